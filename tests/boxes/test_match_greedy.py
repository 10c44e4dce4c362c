"""Matching against the plain form of the authors' scheme, and the other geometry against numpy."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_boxes import plain_iou

from keras_det.boxes import area, convert, decode_offsets, encode_offsets, iou, match
from keras_det.boxes.formats import FORMATS


def plain_match(ious, valid, threshold, valid_boxes):
    """One image: the best free pair again and again, then every box over the threshold; of ties the first."""
    ious = np.where(valid[:, None] & valid_boxes, ious, 0)
    matched = np.where(ious.max(0) > threshold, ious.argmax(0), -1)
    free = ious.copy()
    while free.max() > 0:
        thing, box = np.unravel_index(free.argmax(), free.shape)
        matched[box] = thing
        free[thing], free[:, box] = 0, 0
    return matched


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 7), st.booleans(), st.sampled_from([None, 2, 5])
)  # fmt: skip
def test_match_is_greedy_bipartite_then_threshold(seed, boxes, objects, all_valid, levels):
    """More objects than boxes, boxes that several objects claim, and with `levels` many ties."""
    rng = np.random.default_rng(seed)
    ious = rng.random((3, objects, boxes)).astype("float32") ** 2
    ious = np.round(ious * levels) / np.float32(levels) if levels else ious
    ious[rng.random(ious.shape) < 0.3] = 0
    valid = rng.random((3, objects)) < 0.8
    valid_boxes = np.ones(boxes, bool) if all_valid else rng.random(boxes) < 0.7
    found = np.asarray(match(ious, valid, 0.5, valid_boxes))
    for one in range(3):
        expected = plain_match(ious[one], valid[one], 0.5, valid_boxes)
        np.testing.assert_array_equal(found[one], expected)
        if boxes >= objects and valid_boxes.all():  # nobody goes without, however many claim the same boxes
            assert set(found[one]) >= set(np.flatnonzero(valid[one] & (ious[one] > 0).all(1)))


@pytest.mark.parametrize("jit", [False, True])
def test_match_compiled_for_any_number_of_objects(jit):
    rng = np.random.default_rng(4)
    signature = [tf.TensorSpec([None, None, 20]), tf.TensorSpec([None, None], tf.bool)]
    compiled = tf.function(match, input_signature=signature, jit_compile=jit)
    for objects, levels in ((1, 3), (6, 3), (30, 1000)):
        ious = (np.round(rng.random((2, objects, 20)) * levels) / levels).astype("float32")
        valid = rng.random((2, objects)) < 0.8
        expected = [plain_match(ious[b], valid[b], 0.5, np.ones(20, bool)) for b in range(2)]
        np.testing.assert_array_equal(compiled(ious, valid), expected)


def test_two_objects_that_share_their_best_box_both_keep_one():
    ious = np.array([[[0.9, 0.2, 0.6], [0.95, 0.3, 0.1]]], "float32")
    assert np.asarray(match(ious, np.ones((1, 2), bool))).tolist() == [[1, -1, 0]]


def test_ties_still_give_every_object_a_box():
    found = np.asarray(match(np.full((1, 3, 5), 0.25, "float32"), np.ones((1, 3), bool)))
    assert sorted(found[0].tolist()) == [-1, -1, 0, 1, 2]


def test_an_object_that_overlaps_nothing_and_padding_match_nothing():
    ious = np.array([[[0.0, 0.0], [0.9, 0.4]]], "float32")
    assert np.asarray(match(ious, np.array([[True, False]]))).tolist() == [[-1, -1]]


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


def test_iou_pairs_every_box_with_every_box_of_the_same_image():
    rng = np.random.default_rng(0)
    corners = rng.random((2, 9, 2)) * 0.6
    boxes = np.concatenate([corners, corners + 0.01 + rng.random((2, 9, 2)) * 0.4], -1)
    first, second = boxes[:, :5], boxes[:, 5:]
    expected = [[[plain_iou(a, b) for b in second[p]] for a in first[p]] for p in range(2)]
    np.testing.assert_allclose(iou(first.astype("f4"), second.astype("f4")), expected, atol=1e-6)
    shared = iou(first.astype("f4"), second[:1].astype("f4"))  # one set of boxes for the whole batch
    np.testing.assert_allclose(shared[1], [[plain_iou(a, b) for b in second[0]] for a in first[1]], atol=1e-6)
    np.testing.assert_allclose(np.diagonal(iou(boxes[0], boxes[0])), 1, atol=1e-6)


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
    for wild in (1e6, -1e6):
        assert np.isfinite(decode_offsets(np.full((1, 4), wild, "float32"), default)).all()
    side = np.asarray(decode_offsets(np.array([[0, 0, 1e6, 1e6]], "float32"), default))
    np.testing.assert_allclose(side[0, 2:] - side[0, :2], 62.5 * 0.2, rtol=1e-5)  # as the docstring limits it


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_convert_between_all_formats(source, target):
    boxes = np.array([[[0.1, 0.2, 0.5, 0.9], [0.0, 0.0, 1.0, 1.0]]], "float32")
    shape = (200, 400)
    given = convert(boxes, "rel_yxyx", source, shape)
    back = convert(convert(given, source, target, shape), target, "rel_yxyx", shape)
    np.testing.assert_allclose(back, boxes, atol=1e-6)
    if source.startswith("rel_") == target.startswith("rel_"):  # the size of the image does not matter
        np.testing.assert_allclose(convert(given, source, target), convert(given, source, target, shape), rtol=1e-5)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("xyxy", [80, 20, 360, 100]),
        ("yxyx", [20, 80, 100, 360]),
        ("xywh", [80, 20, 280, 80]),
        ("center_xywh", [220, 60, 280, 80]),
        ("center_yxhw", [60, 220, 80, 280]),
        ("rel_xyxy", [0.2, 0.1, 0.9, 0.5]),
        ("rel_xywh", [0.2, 0.1, 0.7, 0.4]),
        ("rel_center_xywh", [0.55, 0.3, 0.7, 0.4]),
    ],
)
def test_convert_gives_each_format_its_meaning(target, expected):
    found = convert([0.1, 0.2, 0.5, 0.9], "rel_yxyx", target, image_shape=(200, 400))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_convert_names_what_is_wrong():
    with pytest.raises(ValueError, match="`source`"):
        convert([[0, 0, 1, 1]], "corners", "xyxy")
    with pytest.raises(ValueError, match="image_shape"):
        convert([[0, 0, 1, 1]], "rel_yxyx", "xyxy")
    with pytest.raises(ValueError, match="`target`"):
        convert([[0, 0, 1, 1]], "xyxy", "coco")


def test_boxes_between_the_thresholds_are_ignored():
    rng = np.random.default_rng(0)
    ious = rng.uniform(0, 0.8, (20, 3, 40)).astype("float32")
    valid = rng.random((20, 3)) > 0.3
    plain = np.asarray(match(ious, valid, 0.6))
    band = np.asarray(match(ious, valid, 0.6, negative_threshold=0.4))
    best = np.where(valid[..., None], ious, 0).max(axis=1)
    np.testing.assert_array_equal(band, np.where((plain == -1) & (best > 0.4), -2, plain))
    assert {-2, -1, 0} <= set(np.unique(band))
