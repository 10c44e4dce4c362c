"""Where a detector goes wrong: false positives by kind and sensitivity to object size and shape.

After Hoiem, Chodpathumwan, Dai: Diagnosing Error in Object Detectors, ECCV 2012, whose analysis SSD's Figures 3, 4 and
6 show. `tide` has the newer decomposition by what each kind of error costs.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from keras_det.metrics import voc
from keras_det.metrics.columns import GroundTruth, Predictions
from keras_det.metrics.matching import ious_in_images, one_to_one

KINDS = ("correct", "localization", "similar", "other", "background", "ignored")
"""What a detection can be, in the order of `kinds`' codes and of SSD's Figure 3 (Cor, Loc, Sim, Oth, BG)."""

CORRECT, LOCALIZATION, SIMILAR, OTHER, BACKGROUND, IGNORED = range(6)

WEAK_OVERLAP = 0.1
"""Overlap from which a false detection is put down to an object, and the weak criterion of recall."""

VOC_GROUPS = {
    "animals": ("bird", "cat", "cow", "dog", "horse", "person", "sheep"),
    "vehicles": ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    "furniture": ("chair", "diningtable", "sofa"),
}
"""VOC's classes that look alike, as the analysis groups them (its section 3.1, where people are animals)."""

SIZE_BINS = ("XS", "S", "M", "L", "XL")
"""Size: the smallest 10 % of a class's objects, the next 20 %, the middle 40 %, 20 % and the largest 10 %."""

SHAPE_BINS = ("XT", "T", "M", "W", "XW")
"""Width over height: from the tallest 10 % to the widest 10 %, with the same fractions."""

_BIN_ENDS = (0.1, 0.3, 0.7, 0.9)
_NORMAL_OBJECTS_PER_IMAGE = 0.15
TREND_MULTIPLES = (0.125, 0.25, 0.5, 1, 2, 4, 8)
FALSE_POSITIVE_COUNTS = (25, 50, 100, 200, 400, 800, 1600, 3200)


@dataclasses.dataclass(frozen=True)
class Trend:
    """What the best scored detections of some classes are (SSD Figure 3, top row).

    Attributes:
        multiples: `[M]`, detections looked at as multiples of the number of objects, class by class.
        fractions: `[M, 5]`, of correct, localization, similar, other, background; rows sum to 1, or are NaN
            without detections.
        strong_recall: `[M]`, fraction of objects found at IoU 0.5.
        weak_recall: `[M]`, at IoU 0.1.
    """

    multiples: np.ndarray
    fractions: np.ndarray
    strong_recall: np.ndarray
    weak_recall: np.ndarray


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """Normalized average precision of one class's objects by size or shape (SSD Figures 4 and 6).

    Attributes:
        ap: `[5]`, in the order of the bins; NaN for a bin without objects.
        error: `[5]`, standard errors.
        overall: Of all objects of the class.
        objects: `[5]` int, objects in each bin.
    """

    ap: np.ndarray
    error: np.ndarray
    overall: float
    objects: np.ndarray


def similar_classes(classes: Sequence[str], groups: Mapping[str, Sequence[str]] = VOC_GROUPS) -> np.ndarray:
    """Which classes are easily taken for each other.

    Args:
        classes: The C class names.
        groups: Names of similar classes by name of the group; those that `classes` lacks are passed over. Aeroplanes
            and birds are similar too, as the analysis has it, where `groups` is VOC's.

    Returns:
        `[C, C]` bool, False on the diagonal.
    """
    sets = [set(group) for group in groups.values()]
    if groups is VOC_GROUPS:
        sets.append({"aeroplane", "bird"})
    together = [[any(a in group and b in group for group in sets) for b in classes] for a in classes]
    return np.array(together, bool).reshape(len(classes), len(classes)) & ~np.eye(len(classes), dtype=bool)


def kinds(
    truth: GroundTruth, results: Predictions, similar: np.ndarray, matches: voc.Matches | None = None
) -> np.ndarray:
    """Sort every detection into `KINDS` (the analysis's section 3.1).

    A false detection is due to localization when it overlaps an object of its class by at least 0.1 (a second
    detection of a found object too, since better placing would have let it be suppressed); otherwise to similar objects
    when it overlaps one by 0.1, then to other objects, else to background.

    Args:
        truth: The objects.
        results: The detections.
        similar: `[C, C]` bool, of `similar_classes`.
        matches: What `voc.match` gave at 0.5, where it is at hand.

    Returns:
        `[D]` int8 codes, indexes into `KINDS`.
    """
    matches = voc.match(truth, results) if matches is None else matches
    codes = np.full(len(results), BACKGROUND, np.int8)
    detection, target, values = ious_in_images(truth, results)
    near = values >= WEAK_OVERLAP
    detection, labels = detection[near], truth.labels[target[near]]
    codes[detection] = OTHER
    codes[detection[similar[results.labels[detection], labels]]] = SIMILAR
    codes[detection[results.labels[detection] == labels]] = LOCALIZATION
    codes[matches.outcome == voc.TRUE] = CORRECT
    codes[matches.outcome == voc.IGNORED] = IGNORED
    return codes


def trend(truth: GroundTruth, results: Predictions, codes: np.ndarray, labels: Sequence[int]) -> Trend:
    """What the best detections of some classes are, against their number.

    Args:
        truth: The objects.
        results: The detections.
        codes: Of `kinds`.
        labels: The classes, pooled: of each, the same multiple of its number of objects is taken from its top.

    Returns:
        A `Trend` at `TREND_MULTIPLES`.
    """
    weak = voc.match(truth, results, WEAK_OVERLAP).outcome == voc.TRUE
    counted = np.flatnonzero(codes != IGNORED)
    ranked, bounds = voc.rank(results.take(counted), len(truth.classes))
    by_class = np.split(counted[ranked], bounds)
    objects = np.bincount(truth.labels[~truth.ignored], minlength=len(truth.classes))
    total = max(sum(objects[label] for label in labels), 1)
    multiples = np.array(TREND_MULTIPLES)
    counts, weak_found = np.zeros((len(multiples), 5)), np.zeros(len(multiples))
    for row, multiple in enumerate(multiples):
        top = [by_class[label][: round(multiple * objects[label])] for label in labels]
        top = np.concatenate([np.zeros(0, np.int64), *top])
        counts[row] = np.bincount(codes[top], minlength=5)
        weak_found[row] = weak[top].sum()
    fractions = counts / np.where(counts.sum(1) > 0, counts.sum(1), np.nan)[:, None]
    return Trend(multiples, fractions, counts[:, CORRECT] / total, weak_found / total)


def top_false_positives(
    results: Predictions, codes: np.ndarray, labels: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Kinds of the best scored false positives of some classes (SSD Figure 3, bottom row).

    Args:
        results: The detections.
        codes: Of `kinds`.
        labels: The classes, pooled by score.

    Returns:
        The numbers of false positives looked at, those of `FALSE_POSITIVE_COUNTS` that there are, or all where there
        are fewer; and fractions `[., 4]` of localization, similar, other, background.
    """
    false = np.flatnonzero(np.isin(results.labels, labels) & (codes > CORRECT) & (codes < IGNORED))
    false = false[np.argsort(-results.scores[false], kind="stable")]
    counts = [n for n in FALSE_POSITIVE_COUNTS if n <= len(false)] or [len(false)][: len(false)]
    fractions = [np.bincount(codes[false[:n]] - LOCALIZATION, minlength=4) / n for n in counts]
    return np.array(counts, np.int64), np.array(fractions).reshape(-1, 4)


def bins(truth: GroundTruth, by: str) -> np.ndarray:
    """Bin of each object among those of its class: bottom 10 %, 20 %, middle 40 %, 20 %, top 10 % by rank.

    Args:
        truth: The objects.
        by: `"size"`, the box's area, or `"shape"`, its width over its height (the analysis's section 3.2).

    Returns:
        `[N]` int64 in 0 .. 4, -1 for difficult objects and crowds.

    Raises:
        ValueError: `by` is another word.
    """
    if by not in ("size", "shape"):
        raise ValueError(f"by must be 'size' or 'shape', got {by!r}.")
    extent = truth.boxes[:, 2:] - truth.boxes[:, :2]
    values = extent.prod(axis=1) if by == "size" else extent[:, 0] / extent[:, 1]
    found = np.full(len(values), -1)
    for label in range(len(truth.classes)):
        rows = np.flatnonzero((truth.labels == label) & ~truth.ignored)
        rows = rows[np.argsort(values[rows], kind="stable")]
        found[rows] = np.searchsorted(_BIN_ENDS, (np.arange(len(rows)) + 0.5) / max(len(rows), 1))
    return found


def sensitivity(
    truth: GroundTruth, results: Predictions, by: str, matches: voc.Matches | None = None
) -> list[Sensitivity]:
    """Normalized average precision of each class by its objects' size or shape.

    For a bin, its objects are the ones to find; detections of the class's other objects are left out, false ones stay.
    Precision is normalized to N = 0.15 objects for each image (742.8 on VOC2007 test; the analysis's section 2), so
    that bins and classes with few objects compare with others: P = R N / (R N + F) at recall R with F false positives.

    Args:
        truth: The objects.
        results: The detections.
        by: As in `bins`.
        matches: What `voc.match` gave at 0.5, where it is at hand.

    Returns:
        One `Sensitivity` for each class.
    """
    matches = voc.match(truth, results) if matches is None else matches
    bin_of = bins(truth, by)
    order, bounds = voc.rank(results, len(truth.classes))
    normal = _NORMAL_OBJECTS_PER_IMAGE * len(truth.image_ids)
    found = []
    for label, rows in enumerate(np.split(order, bounds)):
        objects = np.bincount(bin_of[(truth.labels == label) & ~truth.ignored], minlength=5)
        true, false = matches.outcome[rows] == voc.TRUE, matches.outcome[rows] == voc.FALSE
        hit_bin = np.where(true, bin_of[matches.object[rows]] if len(bin_of) else -1, -1)
        parts = [_normalized_ap(hit_bin == k, false, objects[k], normal) for k in range(5)]
        overall, _ = _normalized_ap(true, false, objects.sum(), normal)
        ap, error = np.array(parts).T
        found.append(Sensitivity(ap, error, overall, objects))
    return found


def best_threshold(truth: GroundTruth, results: Predictions, matches: voc.Matches | None = None) -> float:
    """The score at which the F1 of all classes together is greatest; detections of at least that score count.

    Infinity where nothing was detected rightly.
    """
    matches = voc.match(truth, results) if matches is None else matches
    counted = np.flatnonzero(matches.outcome != voc.IGNORED)
    counted = counted[np.argsort(-results.scores[counted], kind="stable")]
    scores, true = results.scores[counted], np.cumsum(matches.outcome[counted] == voc.TRUE)
    if not len(true) or not true[-1]:
        return float("inf")
    f1 = 2 * true / (np.arange(1, len(true) + 1) + np.sum(~truth.ignored))
    # A threshold keeps all detections of one score or none, so only the last of equals is a choice.
    f1[:-1][scores[:-1] == scores[1:]] = -1
    return float(scores[np.argmax(f1)])


def confusion_matrix(
    truth: GroundTruth, results: Predictions, score_threshold: float, iou_threshold: float = 0.5
) -> np.ndarray:
    """Which class was detected where which object is.

    From the best score down, every detection takes the free object, of whatever class, that it overlaps most.

    Args:
        truth: The objects; detections left over that lie on difficult ones or crowds are left out.
        results: The detections.
        score_threshold: Only detections of at least this score count.
        iou_threshold: An overlap must be greater than this.

    Returns:
        `[C + 1, C + 1]` int64, rows the object's class, columns the detection's. The last row holds detections on the
        background, the last column missed objects.
    """
    results = results.take(results.scores >= score_threshold)
    results.check_against(truth)
    count = len(truth.classes)
    detection, target, values = ious_in_images(truth, results)
    near = values > iou_threshold
    detection, target, values = detection[near], target[near], values[near]
    ignored = truth.ignored[target]
    taken = one_to_one(detection[~ignored], target[~ignored], values[~ignored], results.scores)
    free = taken < 0
    free[detection[ignored]] = False
    hit = taken >= 0
    missed = np.setdiff1d(np.flatnonzero(~truth.ignored), taken)
    matrix = np.zeros((count + 1, count + 1), np.int64)
    np.add.at(matrix, (truth.labels[taken[hit]], results.labels[hit]), 1)
    matrix[count, :count] = np.bincount(results.labels[free], minlength=count)
    matrix[:count, count] = np.bincount(truth.labels[missed], minlength=count)
    return matrix


def _normalized_ap(true: np.ndarray, false: np.ndarray, objects: int, normal: float) -> tuple[float, float]:
    """Mean over the objects of the normalized precision where each is found, 0 for a missed one; its standard error."""
    if not objects:
        return float("nan"), float("nan")
    recall, wrong = np.cumsum(true) / objects, np.cumsum(false)
    expected = recall * normal
    precision = np.divide(expected, expected + wrong, out=np.zeros(len(true)), where=expected + wrong > 0)
    precision = np.maximum.accumulate(precision[::-1])[::-1][true]
    each = np.concatenate([precision, np.zeros(objects - len(precision))])
    return float(each.mean()), float(each.std(ddof=1) / np.sqrt(objects)) if objects > 1 else float("nan")
