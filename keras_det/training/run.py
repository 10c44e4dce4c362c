"""A training run and the folder it leaves: arguments, figures, pictures, weights, and the means to go on."""

import csv
import dataclasses
import io
import json
import os
import re
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_det import visualize
from keras_det.models import Detector, pretrained
from keras_det.training.evaluate import EvaluateDetections
from keras_det.training.multibox import ClassifyObjects
from keras_det.training.strategies import folder_of

BEST = ("val_map50", "val_pr_auc")  # figures that choose the best weights; the second is of class-agnostic detectors
PICTURES = 12  # in the pictures of samples and of detections


def train(model, recipe, source, folder, val_source=None, seed=0, resume=False, verbose="auto"):
    """Train a detector by a recipe and keep everything worth keeping in a folder.

    The folder gets `args.json`, `results.csv` (a row for each epoch), `curves.png`, `samples.png` (a training batch as
    the network sees it), `detections.png` (found beside true), `best.weights.h5` (highest `val_map50`, or lowest loss
    without `val_source`) and `last.weights.h5` (with the optimizer's state). Ctrl-C ends it after the last whole epoch.
    Of several machines that train together only the first writes.

    Args:
        model: a `Detector` with the source's classes, not compiled.
        recipe: a `Recipe`.
        source: data to train on.
        folder: where to; made if it is missing.
        val_source: data to evaluate on during training.
        seed: seed of order and augmentation.
        resume: go on from `last.weights.h5` of this folder, at the epoch after the one it was saved in.
        verbose: Keras's: `"auto"`, 0, 1 or 2.

    Returns:
        The rows of `results.csv`, a list of dicts.

    Raises:
        FileExistsError: the folder holds a run and `resume` is false.
        FileNotFoundError: `resume`, but the folder holds no run.
        ValueError: the run in the folder is of another network.
    """
    folder = folder_of(model, folder)
    rows, first_epoch = _prepare(folder, resume)
    model.compile(optimizer=recipe.build_optimizer())
    if resume:
        model.optimizer.build(model.trainable_variables)
        pretrained.load_weights(model, folder / "last.weights.h5")
    steps = recipe.steps_per_epoch or max(len(source) // recipe.batch_size, 1)
    epochs = -(-recipe.steps // steps)
    skipped = []
    batches = model.batches(
        source,
        recipe.batch_size,
        training=True,
        seed=seed,
        augment=recipe.augment,
        repeat=True,
        first_step=first_epoch * steps,
        skipped=skipped,
    )
    write_json(folder / "args.json", describe(model, recipe, source, seed))
    visualize.grid(_samples(batches, model.classes), columns=4).save(folder / "samples.png")
    callbacks = [RunFolder(folder, rows)]
    if val_source is not None:
        evaluation = EvaluateDetections if isinstance(model, Detector) else ClassifyObjects
        callbacks.insert(0, evaluation(val_source, recipe.evaluate_every))
    try:
        model.fit(
            batches,
            epochs=epochs,
            initial_epoch=first_epoch,
            steps_per_epoch=steps,
            callbacks=callbacks,
            shuffle=False,
            verbose=verbose,
        )
    except KeyboardInterrupt:
        _say(f"stopped; go on with --resume. Everything up to the last whole epoch is in {folder}.")
    except tf.errors.OpError as error:
        raise_unreadable(error)
        raise
    if skipped:
        names = ", ".join(problem.file for problem in skipped[:5])
        _say(f"{len(skipped)} unreadable pictures were skipped: {names}{', ...' if len(skipped) > 5 else ''}")
    if val_source is not None and isinstance(model, Detector):
        draw_detections(model, val_source, folder / "detections.png")
    return rows


class RunFolder(keras.callbacks.Callback):
    """Keeps the files of a run up to date after each epoch, each written whole.

    Args:
        folder: the run's folder.
        rows: rows of the epochs before, to which this adds.
    """

    def __init__(self, folder, rows):
        super().__init__()
        self.folder = folder
        self.rows = rows
        self.start = None

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Write the row, the curves and the weights; the checkpoint last, since a resumed run begins from it."""
        row = {"epoch": epoch + 1, "seconds": round(time.perf_counter() - self.start, 3)}
        row |= {name: float(value) for name, value in (logs or {}).items()}
        best = self._is_best(row)
        self.rows.append(row)
        write_csv(self.folder / "results.csv", self.rows)
        visualize.plot_curves(self.rows, self.folder / "curves.png")
        if best:
            pretrained.save_weights(self.model, self.folder / "best.weights.h5", optimizer=False)
        pretrained.save_weights(self.model, self.folder / "last.weights.h5", training={"epoch": epoch + 1})

    def _is_best(self, row):
        """Whether this row beats all before it by the first of `BEST`, or by the loss where nothing is evaluated."""
        name, sign = next(((name, 1) for name in BEST if name in row), ("loss", -1))
        before = [sign * other[name] for other in self.rows if name in other and np.isfinite(other[name])]
        return not before or sign * row[name] > max(before)


def describe(model, recipe, source, seed):
    """What a run was made of, as JSON values."""
    return {
        "model": type(model).__name__,
        "arguments": model.arguments,
        "recipe": dataclasses.asdict(recipe),
        "data": source.name,
        "pictures": len(source),
        "seed": seed,
        "versions": versions(),
    }


def raise_unreadable(error):
    """Raise what the input pipeline said of unreadable pictures, if TensorFlow's error holds it, as a ValueError."""
    said = re.search(r"ValueError: (\d+ of the first .* cannot be read.*)", str(error))
    if said:
        raise ValueError(said.group(1)) from None


def _say(text):
    """A line on stderr, since stdout may be JSON."""
    print(text, file=sys.stderr)


def versions():
    """Versions of the packages that decide the figures."""
    import keras_det

    packages = {"keras_det": keras_det, "keras": keras, "tensorflow": tf, "numpy": np}
    return {name: package.__version__ for name, package in packages.items()}


def draw_detections(model, source, path, pictures=PICTURES, score_threshold=0.4):
    """Write a picture of detections beside the truth on the first pictures of a source."""
    shown = []
    for i in range(min(pictures, len(source))):
        image, truth = source.image(i), source.annotation(i)
        found = model.detections(image[None])
        keep = found["scores"][0] >= score_threshold
        boxes, scores, labels = (found[key][0][keep] for key in ("boxes", "scores", "labels"))
        shown.append(visualize.draw_boxes(image, boxes, labels, scores, model.classes, truth=truth.boxes))
    visualize.grid(shown, columns=4).save(path)


def write_json(path, value):
    """Write JSON to a temporary file and move it in place."""
    _write(path, json.dumps(value, indent=2, default=str) + "\n")


def write_csv(path, rows):
    """Write rows of equal meaning, dicts, as CSV; a figure that an epoch lacks is left empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write(path, text.getvalue())


def read_csv(path):
    """The rows that `write_csv` wrote, numbers as floats and the epoch as an int."""
    with open(path, newline="") as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    return [row | {"epoch": int(row["epoch"])} for row in rows]


def _write(path, text):
    temporary = Path(path).with_name(f".{os.getpid()}-{Path(path).name}")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _prepare(folder, resume):
    """Rows and number of the epochs that are done."""
    last = folder / "last.weights.h5"
    if not resume:
        if last.exists():
            raise FileExistsError(f"{folder} holds a run already; pass --resume to go on, or name another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        return [], 0
    if not last.exists():
        raise FileNotFoundError(f"there is no run to resume in {folder}: {last} is missing.")
    epoch = (pretrained.read_metadata(last) or {}).get("training", {}).get("epoch")
    if epoch is None:
        raise ValueError(f"{last} was not written by a training run.")
    rows = [row for row in read_csv(folder / "results.csv") if row["epoch"] <= epoch]
    return rows, epoch


def _samples(batches, classes):
    """The first pictures of a training batch, with their objects drawn."""
    images, labels = next(iter(batches.take(1)))
    images = np.clip(images.numpy(), 0, 255).astype("uint8")[:PICTURES]
    shown = []
    for image, boxes, names in zip(images, labels["boxes"].numpy(), labels["labels"].numpy()):
        shown.append(visualize.draw_boxes(image, boxes[names >= 0], names[names >= 0], names=classes))
    return shown
