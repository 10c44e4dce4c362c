"""Class-agnostic measures: how many objects a budget of boxes finds, and precision-recall of "object".

Labels are not looked at, so a detector trained on one data set is measured on another's truth as it is; for measures by
class across data sets `map_classes` carries labels over by name.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from keras_det.metrics import voc
from keras_det.metrics.columns import GroundTruth, Predictions
from keras_det.metrics.matching import paired_iou, pairs

_OBJECTS_AT_ONCE = 2000
_Rows = TypeVar("_Rows", GroundTruth, Predictions)


def best_ious(truth: GroundTruth, results: Predictions, budgets: Sequence[int]) -> np.ndarray:
    """For each object, its greatest IoU with any of the best scored boxes of its image.

    Args:
        truth: The objects; difficult ones and crowds are left out.
        results: The boxes; of equal scores the first comes first.
        budgets: Numbers of boxes per image, each at least 1.

    Returns:
        `[len(budgets), N]` float64, N the objects that are neither difficult nor crowds; 0 where no box is near.

    Raises:
        ValueError: A budget is below 1, or `results` has images that `truth` does not have.

    >>> truth = GroundTruth(("cat",), ("a",), [[50, 50]], [0], [[0, 0, 20, 20]], [0])
    >>> boxes = Predictions([0, 0], [[0, 0, 20, 10], [0, 0, 20, 20]], [0.9, 0.8], [0, 0])
    >>> best_ious(truth, boxes, [1, 2]).tolist()
    [[0.5], [1.0]]
    """
    if min(budgets, default=1) < 1:
        raise ValueError(f"budgets must be at least 1, got {min(budgets)}.")
    results = without_classes(results)
    results.check_against(without_classes(truth))
    place = _place_in_image(results)
    results, place = results.take(place < max(budgets, default=0)), place[place < max(budgets, default=0)]
    objects = np.flatnonzero(~truth.ignored)
    parts = [
        _best_of(truth, objects[first : first + _OBJECTS_AT_ONCE], results, place, budgets)
        for first in range(0, len(objects), _OBJECTS_AT_ONCE)
    ]
    return np.concatenate([np.zeros((len(budgets), 0)), *parts], axis=1)


def detection_rate(best: np.ndarray, iou_threshold: float = 0.5) -> np.ndarray:
    """Fraction of the objects found, as DeepMultiBox's Figure 1 counts them: an IoU greater than the threshold.

    Args:
        best: `[..., N]`, of `best_ious`.
        iou_threshold: In `[0, 1)`.

    Returns:
        `[...]` in 0 .. 1; NaN where N is 0.
    """
    return _mean(best > iou_threshold)


def average_recall(best: np.ndarray) -> np.ndarray:
    """Recall averaged over IoU 0.5 to 1 (Hosang et al. 2015, section 4.2): twice the mean of best - 0.5, not < 0.

    Args:
        best: `[..., N]`, of `best_ious`.

    Returns:
        `[...]` in 0 .. 1; NaN where N is 0.

    >>> float(average_recall(np.array([1.0, 0.75, 0.2])))
    0.5
    """
    return _mean(2 * np.maximum(best - 0.5, 0))


def recall_curve(best: np.ndarray, iou_thresholds: Sequence[float]) -> np.ndarray:
    """Detection rate at each IoU: `[..., N]` and T thresholds give `[..., T]`."""
    return np.stack([detection_rate(best, threshold) for threshold in iou_thresholds], axis=-1)


def agnostic_curve(truth: GroundTruth, results: Predictions, iou_threshold: float = 0.5) -> voc.Curve:
    """Precision and recall of "object" whatever its class (DeepMultiBox's Figure 5, ClassGeneric's Figure 1)."""
    return voc.curves(without_classes(truth), without_classes(results), iou_threshold)[0]


def pr_auc(curve: voc.Curve) -> float:
    """Area under a precision-recall curve as it is: the mean, over all objects, of the precision where each is found.

    Not made monotone, unlike VOC's average precision; NaN where there is no object.

    >>> pr_auc(voc.Curve(np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3]), np.array([3, 2, 1]), 2))
    0.8333333333333333
    """
    if not curve.objects:
        return float("nan")
    return float(np.sum(np.diff(curve.recall, prepend=0.0) * curve.precision))


def without_classes(rows: _Rows) -> _Rows:
    """The same with one class, "object"."""
    if isinstance(rows, GroundTruth):
        zeros = np.zeros_like(rows.labels)
        return dataclasses.replace(rows, classes=("object",), labels=zeros, category_ids=None)
    return dataclasses.replace(rows, labels=np.zeros_like(rows.labels))


def only_classes(truth: GroundTruth, names: Sequence[str]) -> GroundTruth:
    """The truth with all objects of other classes made difficult, so that they count neither as found nor as missed.

    For held-out classes in images that show others too (ClassGeneric, section 4.2).

    Raises:
        ValueError: A name is not a class of the truth.
    """
    unknown = [name for name in names if name not in truth.classes]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a class of the truth, which has {', '.join(truth.classes)}.")
    kept = np.isin(truth.labels, [truth.classes.index(name) for name in names])
    return dataclasses.replace(truth, difficult=truth.difficult | ~kept)


def map_classes(
    results: Predictions, classes: Sequence[str], truth: GroundTruth, names: Mapping[str, str] | None = None
) -> tuple[Predictions, dict[str, int]]:
    """Carry a detector's labels over to another data set's classes, by name.

    Args:
        results: Detections labeled with `classes`.
        classes: The detector's class names, in label order.
        truth: The data set.
        names: The truth's name for a detector's name, where they differ (COCO's "airplane" is VOC's "aeroplane").

    Returns:
        The detections of classes that the truth has, and the number left out for each class that it lacks.

    Raises:
        ValueError: A label is not one of `classes`.

    >>> truth = GroundTruth(("cat", "dog"), ("a",), [[50, 50]], [], [], [])
    >>> found = Predictions([0, 0], [[0, 0, 9, 9], [1, 1, 9, 9]], [0.9, 0.8], [1, 0])
    >>> kept, left_out = map_classes(found, ("fox", "hound"), truth, {"hound": "dog"})
    >>> kept.labels.tolist(), left_out
    ([1], {'fox': 1})
    """
    outside = np.flatnonzero((results.labels < 0) | (results.labels >= len(classes)))
    if outside.size:
        at = outside[0]
        raise ValueError(f"results entry {at} has label {results.labels[at]}, expected 0 to {len(classes) - 1}.")
    index = {name: label for label, name in enumerate(truth.classes)}
    table = np.array([index.get((names or {}).get(name, name), -1) for name in classes], np.int64)
    kept = table[results.labels] >= 0
    counts = np.bincount(results.labels[~kept], minlength=len(classes))
    left_out = {name: int(n) for name, n in zip(classes, counts) if n}
    return dataclasses.replace(results.take(kept), labels=table[results.labels[kept]]), left_out


def _place_in_image(results: Predictions) -> np.ndarray:
    """Place of each detection in its image by score, from 0."""
    order = np.lexsort((-results.scores, results.image))
    images = results.image[order]
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.searchsorted(images, images)
    return place


def _best_of(truth: GroundTruth, objects: np.ndarray, results: Predictions, place: np.ndarray, budgets) -> np.ndarray:
    """`best_ious` of some objects."""
    row, detection = pairs(truth.image[objects], results.image)
    values = paired_iou(results.boxes[detection], truth.boxes[objects[row]])
    best = np.zeros((len(budgets), len(objects)))
    if len(row):
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        for k, budget in enumerate(budgets):
            within = np.where(place[detection] < budget, values, 0.0)
            best[k, row[starts]] = np.maximum.reduceat(within, starts)
    return best


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, NaN over none."""
    return values.mean(axis=-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan)
