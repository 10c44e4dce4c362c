"""A training run and the folder it leaves: arguments, metrics, images, weights, and the means to resume."""

import contextlib
import csv
import dataclasses
import io
import json
import logging
import os
import signal
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_det import visualize
from keras_det.data.by_class import images_without
from keras_det.data.source import AnnotationIssue, Source
from keras_det.files import remove_leftovers, write_image, write_text
from keras_det.models import pretrained
from keras_det.models.detector import Detector
from keras_det.models.network import Network
from keras_det.training import checkpoint
from keras_det.training.class_generic import RecognizeImages
from keras_det.training.evaluation import EvaluateDetections, check, unknown_classes
from keras_det.training.multibox import ClassifyObjects
from keras_det.training.progress import ProgressLine, TensorBoardLog, rates
from keras_det.training.recipe import LAST, Recipe
from keras_det.training.steps import Steps
from keras_det.training.strategies import folder_of
from keras_det.weights.metadata import read_metadata

logger = logging.getLogger(__name__)

WATCHED = {"area": "val_map50", "voc2007_11point": "val_map50_voc07", "coco": "val_AP"}  # by the recipe's first metric
ELSE_WATCHED = ("val_pr_auc", "val_top1")  # of class-agnostic detectors and of classifiers
IMAGES = 12  # in the images of samples and of detections
BOARD = 4  # images of detections in TensorBoard
# Of a recipe, while a run is resumed.
KEPT = ("optimizer", "batch_size", "accumulate", "ema", "precision", "augment", "supervision")


def train(
    model: Network,
    recipe: Recipe,
    source: Source,
    folder: str | os.PathLike,
    val_source: Source | None = None,
    seed: int = 0,
    resume: bool = False,
    verbose: int | str = "auto",
    batch_options: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Train a detector by a recipe and keep everything worth keeping in a folder.

    The folder gets `args.json`, `results.csv` (a row for each epoch), `curves.png`, `samples.png` (a training batch as
    the network sees it), `detections.png` (found beside true), `best.weights.h5` (of the highest value of the recipe's
    first metric, or of the lowest loss without `val_source`, or the last ones where the recipe's `keep` says so; the
    averages of the weights where it has `ema`), `last.weights.h5` (all that is needed to resume) and `tensorboard`.
    After a crash, Ctrl-C or SIGTERM, `resume` continues at the step after the last one saved, with the data, the random
    numbers and the running means that an uninterrupted run would have there.
    Of several machines that train together only the first writes.

    Args:
        model: a `Detector` with the source's classes, not compiled, built with the recipe's `precision`.
        recipe: a `Recipe`; of it `by_class` and `mining_rounds` are those of `detectornet.train_by_class` and
            `mining.train_in_rounds`.
        source: data to train on, of which the images of the recipe's `without_classes` are left out.
        folder: where to; made if it is missing.
        val_source: data to evaluate on during training.
        seed: seed of order and augmentation.
        resume: continue from `last.weights.h5` of this folder.
        verbose: 0 prints nothing, 1 a line that stays at the bottom of a terminal, 2 plain lines; `"auto"` is 1 on
            terminals, else 2.
        batch_options: further arguments of `model.batches` for training.

    Returns:
        The rows of `results.csv`, a list of dicts: `images_per_second` and `input_wait` (fraction of the time that
        steps wait for a batch, in 0 .. 1) are of the steps alone, `seconds` is of the whole epoch, evaluation included.

    Raises:
        FileExistsError: the folder holds a run and `resume` is false.
        FileNotFoundError: `resume`, but the folder holds no run.
        ValueError: the run in the folder is of another network, other data or other arguments; `model` was built with
            another precision; or data or validation data have no classes of the model, too many unreadable images or
            too many faulty objects.
        OSError: the folder cannot be written; the checkpoint before is intact.
        KeyboardInterrupt: after Ctrl-C, once the step that was under way is done and saved; a second one ends the run
            at once.
        SystemExit: with code 143 after SIGTERM, in the same way.
    """
    folder = folder_of(model, folder)
    if recipe.without_classes:
        kept = images_without(source, recipe.without_classes)
        source = source if len(kept) == len(source) else kept
    if model.dtype_policy.name != recipe.precision:
        raise ValueError(f"the model was built with {model.dtype_policy.name}, the recipe has {recipe.precision}.")
    per_epoch = recipe.steps_per_epoch or max(len(source) // recipe.batch_size, 1)
    plan = {name: getattr(recipe, name) for name in KEPT} | {"steps_per_epoch": per_epoch, "seed": seed}
    plan["data"] = fingerprint(source)
    state = checkpoint.read(folder / LAST, model, plan) if resume else None
    if val_source is not None:
        check(model, val_source)
        if model.detects and (words := unknown_classes(model, val_source)):
            logger.warning(f"validation data: {words}")
    if not resume and (folder / LAST).exists():
        raise FileExistsError(f"{folder} holds a run already; pass --resume to resume it, or name another folder.")
    replicas = model.distribute_strategy.num_replicas_in_sync
    model.compile(optimizer=recipe.build_optimizer(replicas), jit_compile=recipe.jit_compile)
    progress, means = checkpoint.restore(model, folder / LAST, state) if resume else (checkpoint.Progress(), None)
    epochs = -(-recipe.steps // per_epoch)
    first_epoch = progress.step // per_epoch if progress.step < recipe.steps else epochs
    rows = [row for row in read_csv(folder / "results.csv") if row["epoch"] <= first_epoch] if first_epoch else []
    skipped, batch_options = [], batch_options or {}
    read = [(source, skipped)]
    if (negatives := batch_options.get("negatives")) is not None:
        read.append((negatives, negatives.skipped))
    batches = model.batches(
        source,
        recipe.batch_size,
        training=True,
        seed=seed,
        repeat=True,
        first_step=progress.step,
        skipped=skipped,
        **recipe.batch_options(model) | batch_options,
    )
    _make_folder(folder, describe(model, recipe, source, seed))
    if not resume:
        with in_words(*read):
            write_image(folder / "samples.png", visualize.grid(_samples(batches, model.label_names(source)), columns=4))
    with ProgressLine(recipe.steps, epochs, verbose) as line:
        run = RunFolder(folder, recipe, plan, progress, rows, line, val_source, means)
        line.doing("compiling the first step")
        steps = Steps(progress, per_epoch, recipe.steps, run.after_step)
        try:
            with stopping(run, steps), in_words(*read), steps.inside(model):
                model.fit(
                    batches,
                    epochs=epochs,
                    initial_epoch=first_epoch,
                    steps_per_epoch=per_epoch,
                    callbacks=[run],
                    shuffle=False,
                    verbose=0,
                )
        except (KeyboardInterrupt, SystemExit):
            logger.warning(f"stopped at step {progress.step}. {run.how_to_resume()}")
            raise
        except (OSError, ValueError) as error:
            text = f"the run stopped at step {progress.step}: {str(error).rstrip('.')}. {run.how_to_resume()}"
            raise (OSError if isinstance(error, OSError) else ValueError)(text) from error
    if skipped:
        names = ", ".join(issue.file for issue in skipped[:5])
        logger.warning(f"images skipped as unreadable: {len(skipped)}: {names}{', ...' if len(skipped) > 5 else ''}")
    if val_source is not None and model.detects:
        with best_weights(model, folder):
            draw_detections(model, val_source, folder / "detections.png")
    return rows


def finished(folder: Path, recipe: Recipe) -> bool:
    """Whether the run in a folder, a `Path`, has had all its steps, or ended before for want of progress."""
    path = folder / LAST
    metadata = read_metadata(path) if path.exists() else None
    if metadata is None:
        return False
    progress = checkpoint.Progress(**metadata["training"]["progress"])
    return progress.ended or progress.step >= recipe.steps


class RunFolder(keras.callbacks.Callback):
    """Keeps the files of a run up to date, each written whole.

    Args:
        folder: the run's folder.
        recipe: its `Recipe`.
        plan: what a resumed run must share, kept in the checkpoint.
        progress: its `Progress`.
        rows: rows of the epochs before, to which this adds.
        line: a `ProgressLine`.
        val_source: data to evaluate on, or `None`.
        means: the running means of the epoch that a checkpoint was saved in, or `None`.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        plan: dict[str, Any],
        progress: checkpoint.Progress,
        rows: list[dict[str, Any]],
        line: ProgressLine,
        val_source: Source | None,
        means: list | None,
    ):
        super().__init__()
        self.folder = folder
        self.recipe = recipe
        self.plan = plan
        self.progress = progress
        self.rows = rows
        self.line = line
        self.val_source = val_source
        self.means = means
        self.tensorboard = TensorBoardLog(folder / "tensorboard")
        self.evaluation = None
        self.saved = progress.step
        self.stop: BaseException | None = None  # the exception that ends the run when the step is done
        self.start = 0.0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Prepare the evaluation, whose metrics stand in the rows until the next one."""
        if self.val_source is not None:
            every = self.recipe.evaluate_every
            if self.recipe.supervision == "classes":
                self.evaluation = RecognizeImages(self.val_source, every)
            elif self.model.detects:
                self.evaluation = EvaluateDetections(self.val_source, every, metrics=self.recipe.metrics)
            else:
                self.evaluation = ClassifyObjects(self.val_source, every)
            self.evaluation.set_model(self.model)
            self.evaluation.set_params(self.params)
            shown = ({k: v for k, v in row.items() if k.startswith("val_")} for row in reversed(self.rows))
            self.evaluation.values = next(filter(None, shown), {})
        last = self.rows[-1] if self.rows else {}
        # An epoch that ended with its checkpoint, but perhaps without its evaluation.
        if last and last["epoch"] == -(-self.progress.step // self.plan["steps_per_epoch"]):
            if not any(name.startswith("val_") for name in last):
                self._complete(last)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Resume the clock and the means where a checkpoint was saved in the middle of this epoch."""
        self.start = time.perf_counter() - self.progress.seconds
        if self.means is not None:
            if self.progress.step % self.plan["steps_per_epoch"]:
                checkpoint.restore_means(self.model, self.means)
            self.means = None

    def after_step(self) -> None:
        """Show the progress, and save where it is time to; at the end of an epoch `on_epoch_end` does."""
        step, every = self.progress.step, self.recipe.save_every
        self.line.step(step, lambda: self._row(self.model.get_metrics_result()) | self._evaluated())
        if step % self.plan["steps_per_epoch"] and step < self.recipe.steps:
            if self.stop is not None or every and step % every == 0:
                self._save()
            self._end_if_stopped()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the row and the checkpoint; then evaluate, which may fail and must not cost the epoch."""
        row = {"epoch": epoch + 1, "seconds": round(time.perf_counter() - self.start, 3)} | self._row(logs or {})
        self.rows.append(row)
        write_csv(self.folder / "results.csv", self.rows)
        if self.progress.step % self.plan["steps_per_epoch"] == 0:
            self.progress.start_epoch()
        self._save()
        self._end_if_stopped()
        self._complete(row)
        if self.recipe.patience and self._evaluations_without_gain() >= self.recipe.patience:
            logger.warning(
                f"ended after epoch {row['epoch']}: {self.recipe.patience} evaluations brought nothing better."
            )
            self.model.stop_training = self.progress.ended = True
            self._save()

    def _evaluations_without_gain(self):
        """Evaluations since the one whose weights are the best."""
        best, last = best_row(self.rows, self.recipe)[1]["epoch"], self.rows[-1]["epoch"]
        if self.evaluation is None:
            return last - best
        return sum(self.evaluation.is_due(epoch - 1) for epoch in range(best + 1, last + 1))

    def _end_if_stopped(self):
        """End the run where that was asked for while the step was under way."""
        if self.stop is not None:
            raise self.stop

    def _evaluated(self):
        """What the last evaluation gave."""
        return self.evaluation.values if self.evaluation is not None else {}

    def how_to_resume(self) -> str:
        """What is saved and how the run is resumed, in words."""
        if not (self.folder / LAST).exists():
            return "Nothing was saved yet."
        return f"{self.folder / LAST} is intact and holds step {self.saved}; continue with --resume."

    def _row(self, logs):
        """Losses and speed of the epoch so far."""
        steps = (self.progress.step - 1) % self.plan["steps_per_epoch"] + 1
        return {k: float(v) for k, v in logs.items()} | rates(self.progress, self.recipe.batch_size, steps)

    def _complete(self, row):
        """Evaluate what the last epoch has learned, and write its row in full, the curves and the best weights."""
        start = time.perf_counter()
        with averaged(self.model):
            if self.evaluation is not None:
                self._evaluate(self.evaluation, row)
            row["seconds"] = round(row["seconds"] + time.perf_counter() - start, 3)
            if best_row(self.rows, self.recipe)[1] is row:
                pretrained.save_weights(self.model, self.folder / "best.weights.h5", optimizer=False)
        write_csv(self.folder / "results.csv", self.rows)
        best = best_row(self.rows, self.recipe)[1]["epoch"]
        visualize.plot_curves(self.rows, ("loss", *self.model.loss_terms), self.folder / "curves.png", best)
        self.tensorboard.scalars({k: v for k, v in row.items() if k != "epoch"}, self.progress.step)
        self.line.epoch(row, self.progress.step)

    def _evaluate(self, evaluation, row):
        """Add the evaluation's metrics to the row; images of detections where it is its turn."""
        before = evaluation.values
        if evaluation.is_due(row["epoch"] - 1):
            self.line.doing(f"evaluating on {len(self.val_source)} images")
        evaluation.on_epoch_end(row["epoch"] - 1, row)
        if evaluation.values is not before and self.model.detects:
            if shown := _detections(self.model, self.val_source, BOARD):
                self.tensorboard.images("detections", shown, self.progress.step)

    def _save(self):
        self.progress.seconds = time.perf_counter() - self.start if self.progress.stepping else 0.0
        checkpoint.save(self.model, self.folder / LAST, self.progress, self.plan)
        self.saved = self.progress.step


def best_row(rows: Sequence[dict[str, Any]], recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """What a run is watched by, and the row of `results.csv` whose weights are kept as the best.

    Args:
        rows: of the run's epochs, at least one.
        recipe: its `Recipe`: the first of its metrics decides, the loss where nothing was evaluated, and the last row
            where the recipe keeps the last weights.

    Returns:
        The name of a column, and a row.
    """
    watched = (WATCHED[recipe.metrics[0]], *ELSE_WATCHED)
    name, sign = next(((name, 1) for name in watched if name in rows[-1]), ("loss", -1))
    if recipe.keep == "last":
        return name, rows[-1]
    having = [row for row in rows if name in row and np.isfinite(row[name])]
    if not having:  # no image of the validation data shows an object
        name, sign, having = "loss", -1, [row for row in rows if np.isfinite(row.get("loss", np.nan))]
    return name, max(having, key=lambda row: sign * row[name], default=rows[-1])  # of equal ones the first


@contextlib.contextmanager
def stopping(run: RunFolder, steps: Steps) -> Iterator[None]:
    """Within this context Ctrl-C and SIGTERM, which SLURM and Kubernetes send, lose no step that was done.

    A signal during a step ends the run after it, when its state is saved; at any other time, and the second time, at
    once. Ctrl-C is a KeyboardInterrupt as ever, SIGTERM SystemExit(143).
    """
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return

    def stop(number, frame):
        error = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        if not steps.busy or run.stop is not None or run.saved == run.progress.step:
            raise error
        run.stop = error

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def best_weights(model: Network, folder: Path) -> Iterator[None]:
    """The model with the best weights of a run's folder, where it has any, within this context."""
    path = folder / "best.weights.h5"
    kept = model.get_weights()
    if path.exists():
        pretrained.load_weights(model, path, optimizer=False)
    try:
        yield
    finally:
        model.set_weights(kept)


@contextlib.contextmanager
def averaged(model: Network) -> Iterator[None]:
    """The model with the averages of its weights, where its optimizer keeps them, within this context.

    Keras's `SwapEMAWeights` swaps by adding and subtracting, which rounds; resuming needs the weights as they were.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of a LossScaleOptimizer
    if not optimizer.use_ema:
        yield
        return
    variables = model.trainable_variables
    before = [np.array(variable) for variable in variables]
    optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, before):
            variable.assign(value)


def describe(model: Network, recipe: Recipe, source: Source, seed: int) -> dict[str, Any]:
    """What a run was made of, as JSON values."""
    return {
        "model": type(model).__name__,
        "config": model.config.to_dict(),
        "starts_from": model.starts_from,
        "recipe": dataclasses.asdict(recipe),
        "data": source.name,
        "images": len(source),
        "seed": seed,
        "versions": versions(),
    }


def fingerprint(source: Source) -> str:
    """What tells a source from others: its name, its number of images, and a checksum of its classes and of a hundred
    images' names, sizes, objects and files' lengths. Where the files lie does not count.
    """
    some = sorted({int(i) for i in np.linspace(0, len(source) - 1, min(len(source), 100))})
    checksum = zlib.crc32("\n".join(source.classes).encode())
    for i in some:
        one, path = source.annotation(i), source.path(i)
        length = os.path.getsize(path) if path is not None and os.path.exists(path) else 0
        said = f"{one.image_id}\n{one.height} x {one.width}\n{length}\n".encode()
        checksum = zlib.crc32(said + one.boxes.tobytes() + one.labels.tobytes(), checksum)
    return f"{source.name}, {len(source)} images (checksum {checksum:08x})"


@contextlib.contextmanager
def in_words(*read: tuple[Source, Sequence[AnnotationIssue]]) -> Iterator[None]:
    """Where too many unreadable images end the input pipeline, inside TensorFlow's error, say so in a ValueError.

    Args:
        *read: pairs of a source and the list of its unreadable images that the pipeline fills.
    """
    failed = None
    try:
        yield
    except tf.errors.OpError as error:
        failed = error
    if failed is not None:
        for source, skipped in read:
            source.check_unreadable(skipped)
        raise failed


def versions() -> dict[str, str]:
    """Versions of the packages that decide the metrics."""
    import keras_det

    packages = {"keras_det": keras_det, "keras": keras, "tensorflow": tf, "numpy": np}
    return {name: package.__version__ for name, package in packages.items()}


def draw_detections(model: Detector, source: Source, path: str | os.PathLike) -> None:
    """Write an image of detections beside the truth on the first images of a source."""
    if shown := _detections(model, source, IMAGES):
        write_image(path, visualize.grid(shown, columns=4))


def _detections(model, source, images):
    """Detections beside the truth on the first readable images of a source, drawn."""
    shown = []
    for i in range(len(source)):
        if len(shown) == images:
            break
        try:
            image, truth = source.image(i), source.annotation(i)
        except (OSError, ValueError):
            continue
        found = model.detections(image[None])
        keep = found["scores"][0] >= model.detect_threshold
        boxes, scores, labels = (found[key][0][keep] for key in ("boxes", "scores", "labels"))
        shown.append(visualize.draw_boxes(image, boxes, labels, scores, model.classes, truth.boxes, visualize.TILE))
    return shown


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write JSON to a temporary file and move it in place."""
    write_text(path, json.dumps(value, indent=2, default=str) + "\n")


def write_csv(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of equal meaning, dicts, as CSV; a metric that an epoch lacks is left empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_csv(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The rows that `write_csv` wrote, numbers as floats and the epoch as an int."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    return [row | {"epoch": int(row["epoch"])} for row in rows]


def _make_folder(folder, config):
    """The folder with the run's arguments, without what a killed run left half written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        write_json(folder / "args.json", config)
    except OSError as error:
        raise OSError(f"the run's folder {folder} cannot be written: {error.strerror}.") from error


def _samples(batches, classes):
    """The first images of a training batch, with their objects drawn."""
    images, labels = next(iter(batches.take(1)))
    images = np.clip(images.numpy(), 0, 255).astype("uint8")[:IMAGES]
    shown = []
    for image, boxes, names in zip(images, labels["boxes"].numpy(), labels["labels"].numpy()):
        shown.append(
            visualize.draw_boxes(image, boxes[names >= 0], names[names >= 0], names=classes, longest=visualize.TILE)
        )
    return shown
