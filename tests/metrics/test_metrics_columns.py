import types

import numpy as np
import pytest

from keras_det.metrics import GroundTruth, Predictions
from keras_det.metrics.columns import restore_hundredths, to_pixels

TRUTH = dict(classes=("a", "b"), image_ids=("x", "y"), sizes=[[10, 20], [30, 40]], image=[0], labels=[1])


def test_truth_from_a_source_is_in_original_pixels():
    boxes = np.array([[1, 2, 9, 19.37]], np.float64)
    relative = (boxes[:, [1, 0, 3, 2]] / [333, 477, 333, 477]).astype(np.float32)
    annotation = types.SimpleNamespace(
        image_id="p", height=333, width=477, boxes=relative, labels=np.array([1], np.int32), area=np.array([7.0], "f4")
    )
    annotation.difficult, annotation.is_crowd = np.array([True]), np.array([False])
    source = types.SimpleNamespace(classes=("a", "b"), category_ids=(3, 9), annotation=lambda i: annotation)
    truth = GroundTruth.from_annotations([annotation], source.classes, source.category_ids)
    np.testing.assert_array_equal(truth.boxes, boxes)
    assert truth.sizes.tolist() == [[333, 477]] and truth.category_ids == (3, 9)
    assert truth.area.tolist() == [7.0] and truth.difficult.tolist() == [True]


def test_restoring_leaves_other_fractions_alone():
    boxes = np.array([[0.123456, 1.5, 7.000001, 9.004]])
    restored = restore_hundredths(boxes, np.array([[300, 300]]))
    np.testing.assert_array_equal(restored, [[0.123456, 1.5, 7.0, 9.004]])


def test_restoring_keeps_a_box_thinner_than_the_rounding():
    thin = np.array([[1.0, 1, 1.00001, 9]])
    np.testing.assert_array_equal(restore_hundredths(thin, np.array([[500, 500]])), thin)


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
        GroundTruth(**{**TRUTH, **change})


@pytest.mark.parametrize("score, box", [(float("nan"), [0, 0, 1, 1]), (0.5, [0, 0, float("inf"), 1])])
def test_bad_results_are_named(score, box):
    with pytest.raises(ValueError, match="entry 1 has a (score|box) that is not finite"):
        Predictions([0, 0], [[0, 0, 1, 1], box], [0.5, score], [0, 0])


def test_results_must_fit_the_truth():
    truth = GroundTruth(**TRUTH, boxes=[[0, 0, 5, 5]])
    with pytest.raises(ValueError, match="label 2, expected 0 to 1"):
        Predictions([0], [[0, 0, 1, 1]], [0.5], [2]).check_against(truth)
    with pytest.raises(ValueError, match="image 2, expected 0 to 1"):
        Predictions([2], [[0, 0, 1, 1]], [0.5], [1]).check_against(truth)
