"""VOC's average precision, in both forms, and its results files.

`voc2007_11point` is the challenge's measure until 2009, `area` the one from 2010 on. Metrics equal py-faster-rcnn's
`voc_eval`, by which the papers report: a detection counts when its IoU with the best object of its class is
greater than the threshold (the devkit in MATLAB takes equality too), difficult objects and crowds count neither way,
and further detections of a found object are false.

Equal scores are ranked as `numpy.argsort` leaves them, because `voc_eval` does. Which of them comes first differs
between processors, and moves the metrics of a real detector by some 1e-6.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable

import numpy as np

from keras_det.files import write_text
from keras_det.metrics.columns import GroundTruth, Predictions
from keras_det.metrics.files import read_text
from keras_det.metrics.matching import best_of_groups, paired_iou, pairs

FALSE, TRUE, IGNORED = 0, 1, 2
PREFIXES = ("comp4_det_test_", "comp3_det_test_")
"""How results files begin: trained on any data, and on VOC's alone."""

_UNFIT = re.compile(r'[/\\:*?"<>|%\x00-\x1f]')  # for file names, on any system


@dataclasses.dataclass(frozen=True)
class Matches:
    """What each detection turned out to be.

    Attributes:
        outcome: `[D]` int8: `TRUE`, `FALSE` or `IGNORED` (its object is difficult or a crowd).
        object: `[D]` int64, the object of its image and class that it overlaps most, -1 where there is none.
        paired_iou: `[D]` float64, the IoU with that object, 0 where there is none.
    """

    outcome: np.ndarray
    object: np.ndarray
    paired_iou: np.ndarray


@dataclasses.dataclass(frozen=True)
class Curve:
    """Precision and recall of one class down its ranked detections.

    Attributes:
        recall: `[K]` float64, NaN where the class has no object.
        precision: `[K]` float64.
        scores: `[K]` float64, not increasing.
        objects: Number of objects to find.
    """

    recall: np.ndarray
    precision: np.ndarray
    scores: np.ndarray
    objects: int


def match(truth: GroundTruth, results: Predictions, iou_threshold: float = 0.5) -> Matches:
    """Match detections to objects of their class as VOC does, for all classes at once.

    Args:
        truth: The objects.
        results: The detections.
        iou_threshold: An IoU must be greater than this, in `[0, 1)`.

    Raises:
        ValueError: `results` names images or classes that `truth` does not have.

    >>> truth = GroundTruth(("cat",), ("a",), [[50, 50]], [0], [[0, 0, 20, 20]], [0])
    >>> twice = Predictions([0, 0], [[0, 0, 20, 19], [0, 0, 20, 20]], [0.9, 0.8], [0, 0])
    >>> match(truth, twice).outcome.tolist()
    [1, 0]
    """
    results.check_against(truth)
    count = len(results)
    detection, target = pairs(_keys(truth, results), _keys(truth, truth))
    ious = paired_iou(results.boxes[detection], truth.boxes[target])
    best = best_of_groups(detection, ious, count)
    has_any = best >= 0
    objects, best_iou = np.full(count, -1), np.zeros(count)
    objects[has_any], best_iou[has_any] = target[best[has_any]], ious[best[has_any]]
    outcome = np.full(count, FALSE, np.int8)
    close = best_iou > iou_threshold
    outcome[close] = np.where(truth.ignored[objects[close]], IGNORED, FALSE)
    ranked, _ = rank(results, len(truth.classes))
    ranked = ranked[close[ranked] & (outcome[ranked] != IGNORED)]
    _, first = np.unique(objects[ranked], return_index=True)
    outcome[ranked[first]] = TRUE
    return Matches(outcome, objects, best_iou)


def curves(
    truth: GroundTruth, results: Predictions, iou_threshold: float = 0.5, matches: Matches | None = None
) -> list[Curve]:
    """Precision-recall curve of each class, one point per detection.

    An ignored detection adds a point that repeats the one before it, as `voc_eval` has it.

    Args:
        truth: The objects.
        results: The detections.
        iou_threshold: As in `match`.
        matches: What `match` gave, where it is at hand.
    """
    matches = match(truth, results, iou_threshold) if matches is None else matches
    objects = np.bincount(truth.labels[~truth.ignored], minlength=len(truth.classes))
    order, bounds = rank(results, len(truth.classes))
    by_class = np.split(order, bounds)
    return [_curve(matches.outcome[rows], results.scores[rows], int(n)) for rows, n in zip(by_class, objects)]


def rank(results: Predictions, class_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Order of the detections by class, within a class from the best score down.

    Args:
        results: The detections.
        class_count: C.

    Returns:
        The order `[D]`, and the C-1 places in it where the next class begins.
    """
    order = np.argsort(results.labels, kind="stable")
    bounds = np.searchsorted(results.labels[order], np.arange(1, class_count))
    by_class = np.split(order, bounds)
    return np.concatenate([rows[np.argsort(-results.scores[rows])] for rows in by_class]), bounds


def average_precision(recall: np.ndarray, precision: np.ndarray, variant: str = "area") -> float:
    """Average precision of one curve.

    Args:
        recall: `[K]`, not decreasing.
        precision: `[K]`.
        variant: `"voc2007_11point"`: mean of the best precision at recalls of at least 0, 0.1, ... 1 (VOC2007 devkit,
            section 3.4.1). `"area"`: area under the curve made monotone (VOC2010 and later).

    Returns:
        A number in 0 .. 1; NaN where recall is NaN, so where there was nothing to find.

    Raises:
        ValueError: `variant` is another word.

    >>> average_precision(np.array([0.5, 1.0]), np.array([1.0, 1.0]), "voc2007_11point")
    1.0
    """
    if variant not in ("voc2007_11point", "area"):
        raise ValueError(f"form must be 'voc2007_11point' or 'area', got {variant!r}.")
    if np.isnan(recall).any():
        return float("nan")
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    best_from_here = np.append(best_from_here, 0.0)
    if variant == "area":
        return float(np.sum(np.diff(recall, prepend=0.0) * best_from_here[:-1]))
    return float(np.mean(best_from_here[np.searchsorted(recall, np.arange(0.0, 1.1, 0.1))]))


def voc_ap(truth: GroundTruth, results: Predictions, variant: str = "area", iou_threshold: float = 0.5) -> np.ndarray:
    """Average precision of each class.

    Args:
        truth: The objects. Images without detections count as the objects missed in them.
        results: The detections.
        variant: As in `average_precision`.
        iou_threshold: As in `match`.

    Returns:
        `[C]` float64; NaN for a class that has no object to find, so that `np.nanmean` gives the mAP.

    >>> truth = GroundTruth(("cat", "dog"), ("a",), [[50, 50]], [0], [[0, 0, 20, 20]], [0])
    >>> voc_ap(truth, Predictions([0], [[0, 0, 20, 18]], [0.9], [0])).tolist()
    [1.0, nan]
    """
    return np.array([ap_of_curve(curve, variant) for curve in curves(truth, results, iou_threshold)])


def ap_of_curve(curve: Curve, variant: str = "area") -> float:
    """Average precision of a `Curve`; NaN where the class has no object."""
    return average_precision(curve.recall, curve.precision, variant) if curve.objects else float("nan")


def read_results(directory: str | os.PathLike, truth: GroundTruth, prefix: str | None = None) -> Predictions:
    """Read VOC's results files, one `<prefix><class>.txt` per class.

    A line is `image score xmin ymin xmax ymax`, in 1-based inclusive pixels; the image's id, or a name of
    `GroundTruth.image_of`, may hold blanks. Boxes may leave the image, as real results do.

    Args:
        directory: Folder of the files.
        truth: Its classes and image ids are the known ones.
        prefix: How the file names begin; by default `comp4_det_test_` or `comp3_det_test_`, whichever is there.

    Raises:
        FileNotFoundError: The file of a class is missing (a detector without detections writes an empty one).
        ValueError: A line has fewer than six fields, names an unknown image, holds a score or coordinate that is no
            finite number, or an inverted box; the message names file and line.
    """
    folder = pathlib.Path(directory)
    if prefix is None:
        there = (start for start in PREFIXES if any((folder / _file(start, name)).is_file() for name in truth.classes))
        prefix = next(there, PREFIXES[0])
    numbers = truth.image_of()
    parts = [_read_class(folder / _file(prefix, name), numbers) for name in truth.classes]
    labels = np.repeat(np.arange(len(parts)), [len(image) for image, _ in parts])
    values, image = (np.concatenate(columns) for columns in ([v for _, v in parts], [i for i, _ in parts]))
    boxes = truth.turn(image, values[:, 1:] - [1, 1, 0, 0], upright=True)
    return Predictions(image, boxes, values[:, 0], labels)


def write_results(
    directory: str | os.PathLike, truth: GroundTruth, results: Predictions, prefix: str = PREFIXES[0]
) -> list[pathlib.Path]:
    """Write VOC's results files, one per class, empty where a class has no detection.

    Numbers keep nine significant digits, so float32 values survive. Boxes are of the images as their annotations have
    them, stored or upright. Signs of a class's name that no file name may hold are written as `%` and two digits.

    Args:
        directory: Folder of the files; made when absent.
        truth: Its classes name the files and its image ids the lines.
        results: The detections.
        prefix: How the file names begin: `comp3` is for detectors trained on VOC's data alone.

    Returns:
        The files written, in class order.
    """
    results.check_against(truth)
    folder = pathlib.Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / _file(prefix, name) for name in truth.classes]
    boxes = truth.turn(results.image, results.boxes, upright=False) + [1, 1, 0, 0]
    for label, path in enumerate(paths):
        rows = np.flatnonzero(results.labels == label)
        values = np.column_stack([results.scores[rows], boxes[rows]]).tolist()
        names = [truth.image_ids[i] for i in results.image[rows]]
        lines = (f"{name} " + " ".join(f"{v:.9g}" for v in row) for name, row in zip(names, values))
        write_text(path, "".join(line + "\n" for line in lines))
    return paths


def _file(prefix: str, name: str) -> str:
    """The results file of a class."""
    return prefix + _UNFIT.sub(lambda sign: f"%{ord(sign[0]):02X}", name) + ".txt"


def _keys(truth: GroundTruth, rows: GroundTruth | Predictions) -> np.ndarray:
    """One number for each (image, class)."""
    return rows.image * len(truth.classes) + rows.labels


def _curve(outcome: np.ndarray, scores: np.ndarray, objects: int) -> Curve:
    found = np.cumsum(outcome == TRUE)
    wrong = np.cumsum(outcome == FALSE)
    recall = found / objects if objects else np.full(len(found), np.nan)
    return Curve(recall, found / np.maximum(found + wrong, np.finfo(np.float64).eps), scores, objects)


def _read_class(path: pathlib.Path, numbers: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Image indexes `[K]` and rows of score and box `[K, 5]` of one file."""
    if not path.is_file():
        raise FileNotFoundError(f"VOC results file {path} does not exist; write an empty one for a class not detected.")
    lines = read_text(path).splitlines()
    rows = [line.strip().rsplit(None, 5) for line in lines]  # the image's name may hold blanks
    filled = np.array([bool(row) for row in rows], bool)
    _refuse(path, lines, filled & np.array([len(row) != 6 for row in rows], bool), lambda row: "needs six fields")
    place = np.flatnonzero(filled)
    rows = [rows[i] for i in place]
    image = np.array([numbers.get(row[0], -1) for row in rows], np.int64)
    _refuse_rows(
        path,
        lines,
        place,
        image < 0,
        lambda row: f"names image {row.strip().rsplit(None, 5)[0]!r}, which the truth lacks",
    )
    values = _floats([field for row in rows for field in row[1:]]).reshape(-1, 5)
    bad = ~np.isfinite(values).all(-1)
    _refuse_rows(path, lines, place, bad, lambda row: "holds a score or coordinate that is no finite number")
    bad = (values[:, 3] + 1 < values[:, 1]) | (values[:, 4] + 1 < values[:, 2])
    _refuse_rows(path, lines, place, bad, lambda row: "holds a box of negative width or height")
    return image, values


def _floats(fields: list[str]) -> np.ndarray:
    """Numbers of text fields, NaN for a field that is none."""
    try:
        return np.array(fields, np.float64)
    except ValueError:
        return np.array([_float(field) for field in fields], np.float64)


def _float(field: str) -> float:
    try:
        return float(field)
    except ValueError:
        return float("nan")


def _refuse_rows(path, lines, place, bad: np.ndarray, why: Callable[[str], str]):
    _refuse(path, lines, np.isin(np.arange(len(lines)), place[bad]), why)


def _refuse(path, lines, bad: np.ndarray, why: Callable[[str], str]):
    """Raise for the first bad line, saying how many there are."""
    if bad.any():
        line = int(np.argmax(bad))
        raise ValueError(f"{path}, line {line + 1} {why(lines[line])}: {lines[line]!r} ({int(bad.sum())} such lines).")
