"""The search on integral images against direct sums over cells, for every box of a size."""

import numpy as np
import pytest
import tensorflow as tf

from keras_det.boxes import iou
from keras_det.boxes.integral import MARGIN, STEPS, box_scores, box_sizes, count_boxes, search, search_maps
from keras_det.losses.mask import mask_targets


def compiled(masks, sizes):
    return tf.function(lambda given: search(given, sizes))(masks)


def direct_sum(mask, box):
    """Equation 2's sum: each cell's value times the area of its intersection with the box."""
    d1, d2 = mask.shape
    rows = np.clip(np.minimum(box[2], (np.arange(d1) + 1) / d1) - np.maximum(box[0], np.arange(d1) / d1), 0, None)
    columns = np.clip(np.minimum(box[3], (np.arange(d2) + 1) / d2) - np.maximum(box[1], np.arange(d2) / d2), 0, None)
    return rows @ mask @ columns


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def halves(box):
    y, x = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return {
        "bottom": (y, box[1], box[2], box[3]),
        "top": (box[0], box[1], y, box[3]),
        "left": (box[0], box[1], box[2], x),
        "right": (box[0], x, box[2], box[3]),
    }


def direct_score(masks, box, size):
    """Equation 3 term by term."""
    full, *rest = masks
    fraction = {name: direct_sum(mask, box) / area(box) for name, mask in (("full", full),)}
    margin = [max(round(MARGIN * side), 1) / STEPS for side in size]
    outer = np.clip([box[0] - margin[0], box[1] - margin[1], box[2] + margin[0], box[3] + margin[1]], 0, 1)
    around = area(outer) - area(box)
    total = fraction["full"]
    if around > 1e-9:
        total -= (direct_sum(full, outer) - direct_sum(full, box)) / around
    parts, opposite = halves(box), {"bottom": "top", "top": "bottom", "left": "right", "right": "left"}
    for name, mask in zip(("bottom", "top", "left", "right"), rest):
        total += direct_sum(mask, parts[name]) / area(parts[name])
        total -= direct_sum(mask, parts[opposite[name]]) / area(parts[opposite[name]])
    return total, fraction["full"]


@pytest.mark.parametrize("size", [(10, 10), (7, 23), (100, 41), (100, 100), (2, 3), (99, 98)], ids=str)
@pytest.mark.parametrize("cells", [(24, 24), (7, 31), (100, 100)], ids=str)
def test_scores_equal_direct_sums(size, cells):
    masks = np.random.default_rng(0).random((1, 5, *cells)).astype("float32")
    scores, coverage = (np.asarray(x)[0] for x in box_scores(search_maps(masks), size))
    assert scores.shape == (STEPS + 1 - size[0], STEPS + 1 - size[1])
    rng = np.random.default_rng(1)
    places = {(0, 0), (scores.shape[0] - 1, scores.shape[1] - 1)}
    places |= {(int(rng.integers(scores.shape[0])), int(rng.integers(scores.shape[1]))) for _ in range(40)}
    for y, x in places:
        box = np.array([y, x, y + size[0], x + size[1]]) / STEPS
        expected = direct_score(masks[0].astype("float64"), box, size)
        np.testing.assert_allclose((scores[y, x], coverage[y, x]), expected, atol=1e-4)


def test_the_best_box_of_all_is_found():
    """Against every box of every size."""
    masks = np.random.default_rng(2).random((2, 5, 24, 24)).astype("float32")
    sizes = box_sizes([0.5, 1.0, 2.0], [0.2, 0.5])
    boxes, scores, _ = (x.numpy() for x in compiled(masks, sizes))
    every = [np.asarray(box_scores(search_maps(masks), size)[0]) for size in sizes]
    assert count_boxes(sizes) == sum(one[0].size for one in every)
    np.testing.assert_allclose(scores.max(1), [max(one[n].max() for one in every) for n in range(2)], atol=1e-6)
    best = boxes[0, scores[0].argmax()]
    assert direct_score(masks[0], best, (best[2:] - best[:2]) * STEPS)[0] == pytest.approx(scores[0].max(), abs=1e-4)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 6))])
def test_planted_boxes_are_found_again(seed):
    rng = np.random.default_rng(seed)
    ratios = [0.5, 0.75, 1.0, 1.5, 2.0]
    sizes = box_sizes(ratios)
    planted = []
    for _ in range(2):
        size = sizes[rng.integers(len(sizes))]
        low = [rng.integers(0, STEPS + 1 - side) for side in size]
        box = np.array([*low, *(low + size)], "float32") / STEPS
        if not planted or np.asarray(iou(planted[0][None], box[None])).item() == 0 and min(size) > 12:
            planted.append(box)
    masks = np.stack([mask_targets(np.array([[box]], "float32"), np.ones((1, 1), bool), 24) for box in planted]).max(0)
    boxes, scores, coverage = (x.numpy()[0] for x in compiled(np.asarray(masks), sizes))
    for box in planted:
        paired_iou = np.asarray(iou(boxes, box[None]))[:, 0]
        near = paired_iou > 0.7
        assert near.any() and coverage[near].max() > 0.5
    assert np.asarray(iou(boxes[scores.argmax()][None], np.stack(planted))).max() > 0.7


def test_masks_that_are_no_numbers_count_as_nothing():
    masks = np.random.default_rng(3).random((1, 5, 6, 6)).astype("float32")
    zero, spoilt = masks.copy(), masks.copy()
    zero[0, :, 2:4], spoilt[0, :, 2:4] = 0, np.nan
    sizes = box_sizes([1.0], [0.3])
    for one, other in zip(compiled(zero, sizes), compiled(spoilt, sizes)):
        np.testing.assert_array_equal(one, other)
    nothing = compiled(np.full((1, 5, 6, 6), np.nan, "float32"), sizes)
    assert not nothing[2].numpy().any()


def test_sizes_are_the_papers():
    sizes = box_sizes(np.geomspace(0.3, 3, 10))
    means = sizes.mean(1) / STEPS
    assert set(np.round(means, 1)) <= {k / 10 for k in range(1, 10)} and (sizes <= STEPS).all()
    assert 60 < len(sizes) <= 90  # long boxes of nine tenths do not fit the image
    assert box_sizes([1.0], [0.01]).tolist() == [[2, 2]]
