"""The steps of a run inside Keras's `fit`: counted, timed, and passed over where they were done before a restart."""

import contextlib
import time
from collections.abc import Callable, Iterator

from keras_det.models.network import Network
from keras_det.training.checkpoint import Progress


class Steps:
    """Stands between `fit` and the model's train function, which costs `fit` nothing and needs no batch callbacks.

    Args:
        progress: the run's `Progress`, kept up to date.
        per_epoch: steps of an epoch.
        total: steps in all; `fit` is stopped after them, in the middle of an epoch where need be.
        after: called without arguments after each step.
    """

    def __init__(self, progress: Progress, per_epoch: int, total: int, after: Callable[[], None]):
        self.progress = progress
        self.total = total
        self.after = after
        self.done_before = progress.step % per_epoch
        self.busy = False  # whether a step is under way

    @contextlib.contextmanager
    def inside(self, model: Network) -> Iterator[None]:
        """Within this context the compiled model's `fit` takes the steps of this run."""
        model.make_train_function()
        train_function = model.train_function
        model.train_function = lambda iterator: self._step(model, train_function, iterator)
        try:
            yield
        finally:
            model.train_function = train_function

    def _step(self, model, train_function, iterator):
        """One step, or none where it was done before the restart: the data begin after it."""
        if self.done_before:
            self.done_before -= 1
            return {}
        start = time.perf_counter()
        self.busy = True
        try:
            logs = train_function(self._timed(iterator))
            self.progress.stepping += time.perf_counter() - start
            self.progress.step += 1
            model.stop_training = self.progress.step >= self.total
            self.after()
        finally:
            self.busy = False
        return logs

    def _timed(self, iterator):
        """The batches; how long each is waited for is added up. Keras takes them out of the compiled step for it."""
        while True:
            start = time.perf_counter()
            batch = next(iterator)
            self.progress.waiting += time.perf_counter() - start
            yield batch
