import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_det.metrics import Results, Truth
from keras_det.metrics.columns import best_of_groups, overlap, pairs, restore_hundredths, to_pixels

TRUTH = dict(classes=("a", "b"), image_ids=("x", "y"), sizes=[[10, 20], [30, 40]], image=[0], labels=[1])


def test_overlap_equals_counting_pixels():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 12, (200, 2, 2, 2))
    boxes = np.concatenate([corners.min(2), corners.max(2) + 1], -1)
    grid = np.zeros((200, 2, 13, 13), bool)
    for n in range(200):
        for k in range(2):
            x0, y0, x1, y1 = boxes[n, k]
            grid[n, k, y0:y1, x0:x1] = True
    both, either = grid.all(1).sum((1, 2)), grid.any(1).sum((1, 2))
    np.testing.assert_allclose(overlap(boxes[:, 0], boxes[:, 1]), both / either, rtol=1e-15)
    first = grid[:, 0].sum((1, 2))
    np.testing.assert_allclose(overlap(boxes[:, 0], boxes[:, 1], True), both / first, rtol=1e-15)


def test_overlap_of_nothing_is_zero():
    assert overlap(np.zeros(4), np.zeros(4)) == 0


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), max_size=12), st.lists(st.integers(0, 4), max_size=12))
def test_pairs_are_all_equal_keys_in_order(first, second):
    i, j = pairs(np.array(first, int), np.array(second, int))
    assert list(zip(i, j)) == [(a, b) for a, x in enumerate(first) for b, y in enumerate(second) if x == y]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=20))
def test_best_of_groups_is_argmax_of_each(rows):
    rows = sorted(rows, key=lambda r: r[0])
    groups, values = np.array([r[0] for r in rows], int), np.array([r[1] for r in rows], float)
    best = best_of_groups(groups, values, 6)
    for g in range(6):
        place = np.flatnonzero(groups == g)
        assert best[g] == (place[np.argmax(values[place])] if place.size else -1)


def test_truth_from_a_source_is_in_original_pixels():
    boxes = np.array([[1, 2, 9, 19.37]], np.float64)
    relative = (boxes[:, [1, 0, 3, 2]] / [333, 477, 333, 477]).astype(np.float32)
    annotation = types.SimpleNamespace(
        image_id="p", height=333, width=477, boxes=relative, labels=np.array([1], np.int32), area=np.array([7.0], "f4")
    )
    annotation.difficult, annotation.is_crowd = np.array([True]), np.array([False])
    source = types.SimpleNamespace(classes=("a", "b"), category_ids=(3, 9), annotation=lambda i: annotation)
    truth = Truth.from_annotations([annotation], source.classes, source.category_ids)
    np.testing.assert_array_equal(truth.boxes, boxes)
    assert truth.sizes.tolist() == [[333, 477]] and truth.category_ids == (3, 9)
    assert truth.area.tolist() == [7.0] and truth.difficult.tolist() == [True]


def test_restoring_leaves_other_fractions_alone():
    boxes = np.array([[0.123456, 1.5, 7.000001, 9.004]])
    restored = restore_hundredths(boxes, np.array([[300, 300]]))
    np.testing.assert_array_equal(restored, [[0.123456, 1.5, 7.0, 9.004]])


def test_to_pixels_swaps_axes_and_scales_each():
    np.testing.assert_array_equal(to_pixels(np.array([[0.1, 0.2, 0.5, 1]]), [[100, 10]]), [[2, 10, 10, 50]])


@pytest.mark.parametrize(
    "change, says",
    [
        ({"boxes": [[0, 0, 5, 0]]}, "object 0 has no area"),
        ({"boxes": [[5, 0, 4, 5]]}, "object 0 has no area"),
        ({"boxes": [[0, 0, 5, float("nan")]]}, "not finite"),
        ({"boxes": [[0, 0, 5, 5]], "labels": [2]}, "label 2, expected 0 to 1"),
        ({"boxes": [[0, 0, 5, 5]], "image": [-1]}, "image -1, expected 0 to 1"),
        ({"boxes": [[0, 0, 5, 5]], "image_ids": ("x", "x")}, "'x' twice"),
        ({"boxes": [[0, 0, 5, 5]], "sizes": [[1, 1]]}, "2 image_ids but 1 sizes"),
        ({"boxes": [[0, 0, 5, 5]] * 2}, "one length"),
        ({"boxes": [[0, 0, 5, 5]], "category_ids": (4, 4)}, "4 twice"),
    ],
)
def test_bad_truth_is_named(change, says):
    with pytest.raises(ValueError, match=says):
        Truth(**{**TRUTH, **change})


@pytest.mark.parametrize("score, box", [(float("nan"), [0, 0, 1, 1]), (0.5, [0, 0, float("inf"), 1])])
def test_bad_results_are_named(score, box):
    with pytest.raises(ValueError, match="entry 1 has a (score|box) that is not finite"):
        Results([0, 0], [[0, 0, 1, 1], box], [0.5, score], [0, 0])


def test_results_must_fit_the_truth():
    truth = Truth(**TRUTH, boxes=[[0, 0, 5, 5]])
    with pytest.raises(ValueError, match="label 2, expected 0 to 1"):
        Results([0], [[0, 0, 1, 1]], [0.5], [2]).check_against(truth)
    with pytest.raises(ValueError, match="image 2, expected 0 to 1"):
        Results([2], [[0, 0, 1, 1]], [0.5], [1]).check_against(truth)
