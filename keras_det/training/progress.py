"""What one sees of a run while it trains: a progress line, and files for TensorBoard."""

import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from keras_det.training import checkpoint

NO_LOSSES = ("epoch", "seconds", "skipped_steps", "images_per_second", "input_wait")
BAR = 12  # cells


class ProgressLine:
    """The step, the time left, the loss and what is watched, then as much as fits: speed, further losses.

    On a terminal a line that stays at the bottom as long as the run lasts, above it one line for each epoch;
    elsewhere a line for each epoch and each minute.

    Args:
        steps: steps of the whole run.
        epochs: epochs of the whole run.
        verbose: 0 prints nothing, 1 the line of a terminal, 2 plain lines; `"auto"` is 1 on terminals, else 2.
    """

    def __init__(self, steps: int, epochs: int, verbose: int | str = "auto"):
        self.console = Console(soft_wrap=True, highlight=False)
        self.steps, self.epochs = steps, epochs
        self.silent = verbose == 0
        self.said = set()  # what a line of its own was printed for
        self.line = None
        if verbose == 1 or verbose == "auto" and (self.console.is_terminal or self.console.is_jupyter):
            rest = TextColumn("{task.fields[metrics]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
            columns = BarColumn(BAR), MofNCompleteColumn(), TimeRemainingColumn(compact=True), rest
            self.line = Progress(*columns, console=self.console, transient=True, expand=True)
        self.interval = 60.0 if self.line is None else 0.5
        self.shown = time.monotonic()

    def __enter__(self):
        if self.line is not None:
            self.line.start()
            self.task = self.line.add_task("", total=self.steps, metrics="")
        return self

    def __exit__(self, *_):
        if self.line is not None:
            self.line.stop()

    def doing(self, what: str) -> None:
        """Say what the run is doing while no step ends."""
        if self.line is not None:
            self.line.update(self.task, metrics=what, refresh=True)
        elif not self.silent and what not in self.said:
            self.said.add(what)
            self.console.print(what)

    def step(self, step: int, metrics: Callable[[], Mapping[str, Any]]) -> None:
        """Show how far the run is, if it is time to.

        Args:
            step: steps done.
            metrics: function that returns a dict of metrics; it is called only when they are shown, since reading them
                waits for the device.
        """
        if self.silent or time.monotonic() < self.shown + self.interval:
            return
        self.shown = time.monotonic()
        if self.line is None:
            self.console.print(f"step {step}/{self.steps}  {_text(metrics())}")
        else:
            self.line.update(self.task, completed=step, metrics=_text(metrics()))

    def epoch(self, row: Mapping[str, Any], step: int) -> None:
        """Print the row of an epoch that has ended."""
        if self.silent:
            return
        if self.line is not None:
            self.line.update(self.task, completed=step)
        seconds = f"{row['seconds']:.0f} s"
        self.console.print(f"epoch {row['epoch']}/{self.epochs}  step {step}/{self.steps}  {seconds}  {_text(row)}")


class TensorBoardLog:
    """Scalars and images as TensorBoard reads them, written without the tensorboard package.

    Args:
        folder: where the event files go.
    """

    def __init__(self, folder: str | os.PathLike):
        self.writer = tf.summary.create_file_writer(str(folder))

    def scalars(self, metrics: Mapping[str, float], step: int) -> None:
        """Write a dict of numbers at a step."""
        self._write({name: tf.constant(value, tf.float32) for name, value in metrics.items()}, step, "scalars", 1)

    def images(self, name: str, images: Sequence[Image.Image], step: int) -> None:
        """Write PIL images under one name at a step."""
        files = [str(images[0].width), str(images[0].height)]  # TensorBoard's form: sizes, then PNG files
        for image in images:
            file = io.BytesIO()
            image.save(file, "png")
            files.append(file.getvalue())
        self._write({name: tf.constant(files)}, step, "images", 3)

    def _write(self, values, step, plugin, data_class):
        """Write tensors for a plugin of TensorBoard; 1 is its class of scalars, 3 that of files."""
        metadata = tf.compat.v1.SummaryMetadata(data_class=data_class)
        metadata.plugin_data.plugin_name = plugin
        with self.writer.as_default(step):
            for name, value in values.items():
                tf.summary.write(name, value, metadata=metadata)
        self.writer.flush()


def rates(progress: checkpoint.Progress, batch_size: int, steps: int) -> dict[str, float]:
    """Images per second and the fraction of the steps' time that they waited for input.

    Args:
        progress: a `Progress`.
        batch_size: images of a step.
        steps: steps of the epoch so far.
    """
    time_in_steps = max(progress.stepping, 1e-9)
    return {"images_per_second": steps * batch_size / time_in_steps, "input_wait": progress.waiting / time_in_steps}


def _text(metrics):
    """Metrics in words: the loss first, then what was evaluated, the speed with its units, and the rest."""
    named = [name for name in metrics if name not in NO_LOSSES]
    first = sorted(named, key=lambda name: (name != "loss", not name.startswith("val_")))
    count = sum(name == "loss" or name.startswith("val_") for name in named)
    words = [f"{name} {metrics[name]:.4g}" for name in first]
    words.insert(count, f"{metrics['images_per_second']:.3g} images/s")
    return "  ".join([*words, f"input wait {metrics['input_wait']:.0%}"])
