"""What a run needs to resume: the weights and the optimizer as Keras saves them, and all that Keras leaves out."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from keras_det.models import pretrained
from keras_det.models.network import Network
from keras_det.weights.metadata import read_metadata


@dataclasses.dataclass
class Progress:
    """How far a run is; the times are those of the epoch that has begun.

    Attributes:
        step: steps done, in all.
        seconds: time of the epoch, evaluation included.
        stepping: seconds of these that were spent in steps.
        waiting: seconds of these in which the steps waited for their batches.
        ended: whether the run has ended before its last step, for want of progress.
    """

    step: int = 0
    seconds: float = 0.0
    stepping: float = 0.0
    waiting: float = 0.0
    ended: bool = False

    def start_epoch(self) -> None:
        """Forget the times of the epoch that has ended."""
        self.seconds = self.stepping = self.waiting = 0.0


def save(model: Network, path: Path, progress: Progress, plan: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Beside what Keras saves it holds the states of the seed generators, of dropout and the like, and the running means
    of the epoch.

    Args:
        model: the detector, compiled.
        path: file that ends in `.weights.h5`.
        progress: the run's `Progress`.
        plan: JSON values that a resumed run must share.

    Raises:
        OSError: the file cannot be written; the checkpoint before it is intact.
    """
    state = {"seeds": _values(_seeds(model)), "means": _values(model.metrics_variables)}
    pretrained.save_weights(model, path, training={"progress": dataclasses.asdict(progress), "plan": plan} | state)


def read(path: Path, model: Network, plan: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its run, after a look whether this model and this plan can resume it.

    Args:
        path: the checkpoint.
        model: the detector.
        plan: JSON values of the run that is to be resumed.

    Returns:
        What `restore` takes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or of another model or plan, or of no run at all.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no run to resume in {path.parent}: {path} is missing.")
    metadata = read_metadata(path) or {}
    state = metadata.get("training") or {}
    if "progress" not in state:
        raise ValueError(f"{path} was not written by a training run.")
    name = type(model).__name__
    if metadata["model"] != name:
        raise ValueError(f"{path} does not hold the weights of this {name}, but of a {metadata['model']}.")
    for what, theirs, ours in (("config", metadata["config"], model.config.to_dict()), ("plan", state["plan"], plan)):
        known = ours if what == "config" else theirs  # a plan of before the last version has fewer keys
        other = [key for key in ours if key in known and theirs.get(key) != _plain(ours[key])]
        if what == "config" and other:
            raise ValueError(f"{path} does not hold the weights of this {name}: its {other[0]} is another.")
        if other:
            was, now = theirs.get(other[0]), ours[other[0]]
            raise ValueError(f"the run in {path.parent} can only be resumed with its own {other[0]}, {was}; got {now}.")
    return state


def restore(model: Network, path: Path, state: dict[str, Any]) -> tuple[Progress, list]:
    """Put a checkpoint into a compiled model, but for the running means, which an epoch resets when it begins.

    Returns:
        `(progress, means)`, the latter for `restore_means`.

    Raises:
        ValueError: the weights do not fit.
    """
    model.optimizer.build(model.trainable_variables)
    pretrained.load_weights(model, path)
    _assign(_seeds(model), state["seeds"])
    return Progress(**state["progress"]), state["means"]


def restore_means(model: Network, means: list) -> None:
    """Put the running means of a checkpoint's epoch into the model's metrics."""
    _assign(model.metrics_variables, means)


def _seeds(model):
    """The states of the seed generators: what is a variable, but no weight."""
    weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _values(variables):
    """Values as JSON has them; a float32 comes back the same."""
    return [np.asarray(variable).tolist() for variable in variables]


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(np.asarray(value, variable.dtype))


def _plain(value):
    """A value as JSON gives it back: tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
