"""Hard negative mining in rounds: false detections of a detector become training samples of its classifier."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from keras_det.boxes import iou
from keras_det.data import Negatives, whole_images
from keras_det.data.source import Source
from keras_det.models import Detector
from keras_det.models.sliding_windows import SlidingWindows
from keras_det.training.recipe import Recipe
from keras_det.training.run import LAST, finished, train

NEGATIVE_IOU = 0.3  # a detection with less overlap with every object shows background


def hard_negatives(model: Detector, source: Source, each: int = 20, progress: bool = False) -> Negatives:
    """Windows of background that a detector takes for objects (DetectorNet, section 7).

    Args:
        model: a `Detector` whose boxes are classified crops, such as `SlidingWindows`.
        source: the images to search, a `keras_det.data.Source` with annotations. Unreadable ones are left out.
        each: windows of an image at most, those of the highest scores.
        progress: show a progress bar on the terminal.

    Returns:
        `keras_det.data.Negatives`, the windows of each image in order of their scores.
    """
    images, windows = [np.zeros(0, np.int64)], [np.zeros((0, 4), np.float32)]
    for pixels, indexes in track(whole_images(source, 1), "mine", total=len(source), disable=not progress):
        found, index = model.detections(pixels), int(indexes[0])
        boxes = found["boxes"][0][: int(found["num_detections"][0])]
        boxes = np.clip(boxes, 0, 1)
        boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
        objects = source.annotation(index).boxes
        if len(objects):
            boxes = boxes[np.asarray(iou(boxes, objects)).max(axis=1) < NEGATIVE_IOU]
        windows.append(boxes[:each])
        images.append(np.full(len(windows[-1]), index))
    return Negatives(source, np.concatenate(images), np.concatenate(windows))


def train_in_rounds(
    model: SlidingWindows,
    recipe: Recipe,
    source: Source,
    folder: str | os.PathLike,
    val_source: Source | None = None,
    seed: int = 0,
    resume: bool = False,
    verbose: int | str = "auto",
) -> list[dict[str, Any]]:
    """Rounds of hard negative mining: search the training images, then train on what was wrongly found, too.

    Each round is a run of its own in the folder, beside `negatives-K.npz`, all windows found so far.

    Args:
        model: a `SlidingWindows` whose classifier is trained.
        recipe: a `Recipe` with `mining_rounds`; its steps are those of each round.
        source: data to mine and to train on.
        folder: where to.
        val_source: data to evaluate on during training.
        seed: seed of order and augmentation.
        resume: leave out the rounds that are done, and continue with the one that was stopped.
        verbose: as of `train`.

    Returns:
        The rows of `results.csv` of the rounds trained now.

    Raises:
        FileExistsError: the folder holds runs and `resume` is false.
        ValueError: the detector takes nothing of the images for an object wrongly; or as `train`.
    """
    rows, mined = [], None
    for number in range(1, recipe.mining_rounds + 1):
        run, file = Path(folder) / f"round-{number}", Path(folder) / f"negatives-{number}.npz"
        if file.exists() and not resume:
            raise FileExistsError(f"{folder} holds a run already; pass --resume to resume it, or name another folder.")
        if file.exists():
            mined = Negatives.load(file, source)
        else:
            found = hard_negatives(model, source, recipe.mined, progress=verbose != 0)
            mined = found if mined is None else mined + found
            file.parent.mkdir(parents=True, exist_ok=True)
            mined.save(file)
        if not len(mined):
            raise ValueError(f"no hard negatives: the detector finds nothing wrong in {source.name}.")
        if not (resume and finished(run, recipe)):
            going_on = resume and (run / LAST).exists()
            options = {"negatives": mined, "negative_fraction": recipe.mined_fraction}
            rows += train(model, recipe, source, run, val_source, seed + number, going_on, verbose, options)
        model.load_weights(run / LAST)
    return rows
