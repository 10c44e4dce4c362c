"""Matching against the plain form of the authors' scheme, and the other geometry against numpy."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_det.boxes import area, convert, decode_offsets, encode_offsets, iou, match


def plain_match(overlaps, valid, threshold, usable):
    """One picture: the best free pair again and again, then every box over the threshold."""
    overlaps = np.where(valid[None, :] & usable[:, None], overlaps, 0)
    matched = np.where(overlaps.max(1) > threshold, overlaps.argmax(1), -1)
    free = overlaps.copy()
    while free.max() > 0:
        box, thing = np.unravel_index(free.argmax(), free.shape)
        matched[box] = thing
        free[box], free[:, thing] = 0, 0
    return matched


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 7), st.booleans())
def test_match_is_greedy_bipartite_then_threshold(seed, boxes, objects, all_usable):
    rng = np.random.default_rng(seed)
    overlaps = rng.random((3, boxes, objects)).astype("float32") ** 2
    overlaps[rng.random(overlaps.shape) < 0.3] = 0
    valid = rng.random((3, objects)) < 0.8
    usable = np.ones(boxes, bool) if all_usable else rng.random(boxes) < 0.7
    found = np.asarray(match(overlaps.transpose(0, 2, 1), valid, 0.5, usable))
    for one in range(3):
        np.testing.assert_array_equal(found[one], plain_match(overlaps[one], valid[one], 0.5, usable))


def test_two_objects_that_share_their_best_box_both_keep_one():
    overlaps = np.array([[[0.9, 0.2, 0.6], [0.95, 0.3, 0.1]]], "float32")
    assert np.asarray(match(overlaps, np.ones((1, 2), bool))).tolist() == [[1, -1, 0]]


def test_ties_still_give_every_object_a_box():
    found = np.asarray(match(np.full((1, 3, 5), 0.25, "float32"), np.ones((1, 3), bool)))
    assert sorted(found[0].tolist()) == [-1, -1, 0, 1, 2]


def test_an_object_that_overlaps_nothing_and_padding_match_nothing():
    overlaps = np.array([[[0.0, 0.0], [0.9, 0.4]]], "float32")
    assert np.asarray(match(overlaps, np.array([[True, False]]))).tolist() == [[-1, -1]]


box_coordinates = st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4)


@settings(max_examples=80, deadline=None)
@given(box_coordinates, box_coordinates)
def test_iou_is_symmetric_and_right(a, b):
    a, b = (np.array([*np.minimum(x[:2], x[2:]), *np.maximum(x[:2], x[2:])], "float32") for x in (a, b))
    both = float(iou(a[None], b[None])[0, 0])
    side = np.maximum(np.minimum(a[2:], b[2:]).astype("f8") - np.maximum(a[:2], b[:2]), 0)
    union = np.prod(a[2:].astype("f8") - a[:2]) + np.prod(b[2:].astype("f8") - b[:2]) - side.prod()
    assert both == pytest.approx(side.prod() / union if union > 1e-10 else both, abs=2e-3 if union < 1e-6 else 1e-5)
    assert both == float(iou(b[None], a[None])[0, 0])
    assert 0 <= both <= 1 + 1e-6


def test_iou_and_area_of_boxes_without_area():
    point = np.zeros((1, 4), "float32")
    assert float(iou(point, point)[0, 0]) == 0
    assert float(area([[0.5, 0.5, 0.2, 0.7]])[0]) == 0  # inverted


def test_offsets_are_equation_2():
    box, default = np.array([[0.2, 0.1, 0.6, 0.9]]), np.array([[0.3, 0.2, 0.7, 0.6]])
    expected = [(0.4 - 0.5) / 0.4 / 0.1, (0.5 - 0.4) / 0.4 / 0.1, np.log(0.4 / 0.4) / 0.2, np.log(0.8 / 0.4) / 0.2]
    np.testing.assert_allclose(encode_offsets(box, default)[0], expected, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_decode_undoes_encode(seed):
    rng = np.random.default_rng(seed)
    corners = rng.random((2, 20, 2)) * 0.5
    boxes, defaults = np.concatenate([corners, corners + 0.02 + rng.random((2, 20, 2)) * 0.5], -1).astype("float32")
    np.testing.assert_allclose(decode_offsets(encode_offsets(boxes, defaults), defaults), boxes, atol=2e-6)


def test_degenerate_boxes_and_wild_offsets_stay_finite():
    default = np.array([[0.4, 0.4, 0.6, 0.6]], "float32")
    assert np.isfinite(encode_offsets(np.zeros((1, 4), "float32"), default)).all()
    assert np.isfinite(decode_offsets(np.full((1, 4), 1e6, "float32"), default)).all()


@pytest.mark.parametrize("target", ["xyxy", "yxyx", "xywh", "center_xywh", "rel_xyxy", "rel_xywh", "rel_center_xywh"])
def test_convert_there_and_back(target):
    boxes = np.array([[0.1, 0.2, 0.5, 0.9]], "float32")
    there = convert(boxes, "rel_yxyx", target, image_shape=(200, 400))
    np.testing.assert_allclose(convert(there, target, "rel_yxyx", image_shape=(200, 400)), boxes, atol=1e-6)


def test_convert_to_pixels():
    pixels = convert(np.array([[0.1, 0.2, 0.5, 0.9]], "float32"), "rel_yxyx", "xywh", image_shape=(200, 400))
    np.testing.assert_allclose(pixels, [[80, 20, 280, 80]], rtol=1e-5)


def test_convert_names_what_is_wrong():
    with pytest.raises(ValueError, match="`source`"):
        convert([[0, 0, 1, 1]], "corners", "xyxy")
    with pytest.raises(ValueError, match="image_shape"):
        convert([[0, 0, 1, 1]], "rel_yxyx", "xyxy")
    assert keras.ops.shape(convert([[0.0, 0, 1, 1]], "yxyx", "xyxy")) == (1, 4)
