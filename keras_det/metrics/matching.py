"""Overlaps of boxes and ways to match detections with objects, without a loop over boxes."""

import numpy as np

from keras_det.metrics.columns import GroundTruth, Predictions, box_area

_PAIRS_AT_ONCE = 500_000


def paired_iou(a: np.ndarray, b: np.ndarray, over_first: np.ndarray | bool = False) -> np.ndarray:
    """Intersection over union of `xyxy` boxes, element by element with broadcasting.

    Args:
        a: `[..., 4]`.
        b: `[..., 4]`.
        over_first: Where True the intersection is divided by the area of `a` alone, as COCO does for crowds.

    Returns:
        `[...]` in 0 .. 1; 0 where both areas are zero.

    >>> float(paired_iou(np.array([0, 0, 2, 2]), np.array([1, 0, 3, 2])))
    0.3333333333333333
    """
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    first = box_area(a)
    whole = np.where(over_first, first, first + box_area(b) - common)
    return np.divide(common, whole, out=np.zeros(np.shape(common)), where=whole > 0)


def pairs(first_keys: np.ndarray, second_keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every (i, j) with `first_keys[i] == second_keys[j]`, ordered by i, then by j.

    >>> [part.tolist() for part in pairs(np.array([7, 5, 7]), np.array([7, 7, 9]))]
    [[0, 0, 2, 2], [0, 1, 0, 1]]
    """
    order = np.argsort(second_keys, kind="stable")
    in_order = second_keys[order]
    start = np.searchsorted(in_order, first_keys, "left")
    counts = np.searchsorted(in_order, first_keys, "right") - start
    first = np.repeat(np.arange(len(first_keys)), counts)
    within = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    return first, order[np.repeat(start, counts) + within]


def best_of_groups(groups: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Index of the greatest value of each group, the first one on ties; -1 for a group without values.

    Args:
        groups: `[P]` int, not decreasing, in `0 .. count-1`.
        values: `[P]` float.
        count: Number of groups.

    >>> best_of_groups(np.array([0, 0, 2]), np.array([0.2, 0.7, 0.1]), 3).tolist()
    [1, -1, 2]
    """
    best = np.full(count, -1)
    if len(groups):
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        sizes = np.diff(starts, append=len(groups))
        at_top = values == np.repeat(np.maximum.reduceat(values, starts), sizes)
        places = np.where(at_top, np.arange(len(groups)), len(groups))
        best[groups[starts]] = np.minimum.reduceat(places, starts)
    return best


def ious_in_images(
    truth: GroundTruth, results: Predictions, over_first: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every detection with every object of its image, of whatever class.

    Args:
        truth: The objects.
        results: The detections.
        over_first: `[N]` bool, objects of which the overlap is divided by the detection's area alone.

    Returns:
        The detection, the object and their overlap, `[P]` each, ordered by detection, then by object.
    """
    detection, target = pairs(results.image, truth.image)
    values = np.empty(len(detection))
    for first in range(0, len(detection), _PAIRS_AT_ONCE):
        part = slice(first, first + _PAIRS_AT_ONCE)
        d, t = detection[part], target[part]
        values[part] = paired_iou(results.boxes[d], truth.boxes[t], False if over_first is None else over_first[t])
    return detection, target, values


def one_to_one(detection: np.ndarray, target: np.ndarray, values: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Each detection, from the best score down, takes the free object of greatest value.

    Done in few rounds for all images at once: every detection asks for its best remaining object, and an object keeps
    the best scored of those that asked. Since all objects prefer the same detections, what remains when nobody is
    turned away any more is the very assignment that the walk down the scores gives.

    Args:
        detection: `[P]` int, detection of each admissible pair.
        target: `[P]` int, its object.
        values: `[P]` float; of equal values the first pair is preferred.
        scores: `[D]` float; of equal scores the first detection comes first.

    Returns:
        `[D]` int64, the object of each detection, -1 for none.

    >>> one_to_one(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([0.6, 0.9, 0.7]), np.array([0.8, 0.5])).tolist()
    [0, 1]
    """
    place = np.empty(len(scores), np.int64)
    place[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    order = np.lexsort((np.arange(len(values)), -values, place[detection]))
    rows, columns = place[detection[order]], target[order]
    while True:
        _, asks = np.unique(rows, return_index=True)
        _, kept = np.unique(columns[asks], return_index=True)
        refused = np.delete(asks, kept)
        if not refused.size:
            break
        rows, columns = np.delete(rows, refused), np.delete(columns, refused)
    taken = np.full(len(scores), -1)
    taken[rows[asks]] = columns[asks]
    return taken[place]
