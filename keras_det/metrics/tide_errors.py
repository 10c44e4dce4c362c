"""The six TIDE errors and the AP that each costs.

After Bolya, Foley, Hays, Hoffman: TIDE, A General Toolbox for Identifying Object Detection Errors, ECCV 2020; where the
paper leaves a choice, that of the authors' toolbox, whose metrics these are.
"""

import dataclasses

import numpy as np

from keras_det.metrics.columns import GroundTruth, Predictions
from keras_det.metrics.matching import ious_in_images, one_to_one, paired_iou, pairs

ERRORS = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
"""Classification, localization, both, duplicate, background, missed object."""

_DETECTIONS_PER_IMAGE = 100
_NONE, _CLS, _LOC, _BOTH, _DUPE, _BKG = range(-1, 5)


@dataclasses.dataclass(frozen=True)
class Tide:
    """The errors of a set of detections.

    Attributes:
        ap: Average precision at IoU 0.5, COCO's 101 recalls, mean over the classes with objects; in 0 .. 1.
        cost: AP gained were only the errors of this kind put right, by name of `ERRORS`.
        special: AP gained without false positives (`"FP"`), and without false negatives (`"FN"`).
        counts: Number of errors of each kind.
    """

    ap: float
    cost: dict[str, float]
    special: dict[str, float]
    counts: dict[str, int]


def tide(truth: GroundTruth, results: Predictions, foreground: float = 0.5, background: float = 0.1) -> Tide:
    """Sort false detections and missed objects into TIDE's six errors, and say what each kind costs.

    A false detection's error is the first that fits of: Loc, its IoU with an object of its class is `background` to
    `foreground`; Cls, it overlaps one of another class by `foreground`; Dupe, it overlaps by `foreground` an object of
    its class that a better detection has; Bkg, it overlaps nothing by more than `background`; else Both. Miss is an
    object that is neither found nor overlapped by a Loc or Cls error. Put right, the best scored Loc or Cls error
    of an object becomes a true detection of it and the others vanish; Both, Dupe and Bkg vanish; missed objects
    are no longer asked for.

    Args:
        truth: The objects; difficult ones and crowds are regions in which false detections are ignored.
        results: The detections; of each image the 100 best count.
        foreground: Overlap from which a detection is true.
        background: Overlap up to which it lies on background.

    >>> truth = GroundTruth(("cat", "dog"), ("a",), [[50, 50]], [0], [[0, 0, 20, 20]], [0])
    >>> found = Predictions([0, 0], [[0, 0, 20, 8], [0, 0, 20, 20]], [0.9, 0.8], [0, 1])
    >>> tide(truth, found).counts
    {'Cls': 1, 'Loc': 1, 'Both': 0, 'Dupe': 0, 'Bkg': 0, 'Miss': 0}
    """
    results.check_against(truth)
    results = results.take(_best_of_each_image(results))
    rows = np.flatnonzero(~truth.ignored)
    objects = dataclasses.replace(
        truth,
        **{name: getattr(truth, name)[rows] for name in ("image", "boxes", "labels", "difficult", "is_crowd", "area")},
    )
    d, t, values = ious_in_images(objects, results)
    same = results.labels[d] == objects.labels[t]
    positive = same & (values >= foreground)
    taken = one_to_one(d[positive], t[positive], values[positive], results.scores)
    true = taken >= 0
    left_out = ~true & _in_ignored_region(truth, results, foreground)
    kind, meant = _sort_errors(objects, results, (d, t, values, same), taken, foreground, background)
    used = np.zeros(len(rows), bool)
    used[taken[true]] = True
    first = _first_claims(results, kind, meant, used)
    missed = ~used
    missed[meant[first]] = False
    positives = np.bincount(objects.labels, minlength=len(truth.classes))
    asked = positives > 0

    def ap(valid, correct, labels, wanted):
        each = [
            _ap(results.scores[valid & (labels == k)], correct[valid & (labels == k)], wanted[k])
            for k in np.flatnonzero(asked)
        ]
        return float(np.nanmean(each)) if np.isfinite(each).any() else 0.0

    base = ap(~left_out, true, results.labels, positives)
    cost = {}
    for code, name in enumerate(ERRORS[:-1]):
        fixed = first & (kind == code)
        valid = np.where(kind == code, fixed, ~left_out)
        labels = results.labels.copy()
        labels[fixed] = objects.labels[meant[fixed]]
        cost[name] = ap(valid, true | fixed, labels, positives)
    fewer = np.bincount(objects.labels[missed], minlength=len(truth.classes))
    unfound = np.bincount(objects.labels[~used], minlength=len(truth.classes))
    cost["Miss"] = ap(~left_out, true, results.labels, positives - fewer)
    special = {
        "FP": ap(true, true, results.labels, positives) - base,
        "FN": ap(~left_out, true, results.labels, positives - unfound) - base,
    }
    counts = {name: int(np.sum(kind == code)) for code, name in enumerate(ERRORS[:-1])} | {"Miss": int(missed.sum())}
    return Tide(base, {name: max(value - base, 0.0) for name, value in cost.items()}, special, counts)


def _best_of_each_image(results: Predictions) -> np.ndarray:
    """The 100 best scored detections of each image, as rows by image and score."""
    order = np.lexsort((-results.scores, results.image))
    images = results.image[order]
    return order[np.arange(len(order)) - np.searchsorted(images, images) < _DETECTIONS_PER_IMAGE]


def _in_ignored_region(truth: GroundTruth, results: Predictions, threshold: float) -> np.ndarray:
    """Detections of which more than the threshold lies in a difficult object or crowd of their class."""
    regions = np.flatnonzero(truth.ignored)
    count = len(truth.classes)
    keys = truth.image[regions] * count + truth.labels[regions]
    d, t = pairs(results.image * count + results.labels, keys)
    inside = paired_iou(results.boxes[d], truth.boxes[regions[t]], True) > threshold
    mask = np.zeros(len(results), bool)
    mask[d[inside]] = True
    return mask


def _sort_errors(objects: GroundTruth, results: Predictions, pair_columns, taken, foreground, background):
    """Kind of error of each detection that is not true, and the object that a Loc or Cls error meant (-1 for none)."""
    d, t, values, same = pair_columns
    used = np.isin(t, taken[taken >= 0])
    own, own_object = _greatest(d, t, values, same, len(results))
    other, other_object = _greatest(d, t, values, ~same, len(results))
    double, _ = _greatest(d, t, values, same & used, len(results))
    loc = (own >= background) & (own <= foreground)
    kind = np.select(
        [taken >= 0, loc, other >= foreground, double >= foreground, np.maximum(own, other) <= background],
        [_NONE, _LOC, _CLS, _DUPE, _BKG],
        _BOTH,
    )
    return kind, np.select([kind == _LOC, kind == _CLS], [own_object, other_object], -1)


def _greatest(d, t, values, mask, count):
    """Greatest IoU of each detection among the masked pairs, and its object; 0 and -1 where there is none."""
    d, t, values = d[mask], t[mask], values[mask]
    order = np.lexsort((-values, d))
    rows, first = np.unique(d[order], return_index=True)
    best, target = np.zeros(count), np.full(count, -1)
    best[rows], target[rows] = values[order[first]], t[order[first]]
    return best, target


def _first_claims(results: Predictions, kind, meant, used) -> np.ndarray:
    """The best scored of the Loc and Cls errors that meant each unfound object: the one that can be put right."""
    claims = np.flatnonzero(meant >= 0)
    claims = claims[~used[meant[claims]]]
    claims = claims[np.argsort(-results.scores[claims], kind="stable")]
    _, first = np.unique(meant[claims], return_index=True)
    mask = np.zeros(len(results), bool)
    mask[claims[first]] = True
    return mask


def _ap(scores: np.ndarray, correct: np.ndarray, positives: int) -> float:
    """COCO's 101-point average precision; NaN with nothing to find and nothing found."""
    if not positives:
        return 0.0 if len(scores) else float("nan")
    correct = correct[np.argsort(-scores, kind="stable")]
    found = np.cumsum(correct)
    precision = found / np.arange(1, len(found) + 1)
    precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    places = np.searchsorted(found / positives, np.arange(101) / 100)
    return float(precision[places].mean())
