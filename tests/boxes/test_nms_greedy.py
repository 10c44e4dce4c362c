"""Non-maximum suppression against the plain greedy form."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_det.boxes import nms


def paired_iou(a, b):
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    intersection = np.float32(max(height, 0)) * np.float32(max(width, 0))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection
    return intersection / max(union, np.float32(1e-12))


def greedy(boxes, scores, score_threshold, iou_threshold, max_per_class, max_detections):
    """`(score, class, box)` of what is kept, class by class and box by box."""
    kept = []
    for c in range(scores.shape[1]):
        order = np.flatnonzero(scores[:, c] > score_threshold)
        order = order[np.argsort(-scores[order, c], kind="stable")][:max_per_class]
        survivors = []
        for i in order:
            if all(paired_iou(boxes[i], boxes[j]) <= iou_threshold for j in survivors):
                survivors.append(i)
        kept += [(-scores[i, c], c, rank, i) for rank, i in enumerate(order) if i in survivors]
    return [(-score, c, i) for score, c, _, i in sorted(kept)][:max_detections]


def check(boxes, scores, **nms_options):
    nms_options = {
        "score_threshold": 0.01, "iou_threshold": 0.45, "max_per_class": 400, "max_detections": 200
    } | nms_options  # fmt: skip
    found = {k: np.asarray(v) for k, v in nms(boxes, scores, **nms_options).items()}
    for b in range(len(boxes)):
        expected = greedy(boxes[b], scores[b], **nms_options)
        n = found["num_detections"][b]
        assert n == len(expected)
        assert found["labels"][b, :n].tolist() == [c for _, c, _ in expected]
        np.testing.assert_array_equal(found["scores"][b, :n], np.array([s for s, _, _ in expected], "float32"))
        np.testing.assert_array_equal(found["boxes"][b, :n], boxes[b][[i for _, _, i in expected]].reshape(-1, 4))
        assert (found["labels"][b, n:] == -1).all() and not found["scores"][b, n:].any()
        assert not found["boxes"][b, n:].any()


def random_set(seed, boxes, classes, batch=1, levels=None):
    """Random boxes and scores; `levels` makes scores tie."""
    rng = np.random.default_rng(seed)
    corner, side = rng.random((batch, boxes, 2)) * 0.8, rng.random((batch, boxes, 2)) * 0.4
    scores = rng.random((batch, boxes, classes)) ** 2
    scores = np.round(scores * levels) / levels if levels else scores
    return np.concatenate([corner, corner + side], -1).astype("float32"), scores.astype("float32")


@pytest.mark.parametrize("seed", range(3))
def test_several_blocks_and_a_batch_of_different_counts(seed):
    boxes, scores = random_set(seed, 400, 3, batch=3)
    scores[1] *= 0.05
    scores[2] = 0
    check(boxes, scores)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 5, None]), st.integers(1, 12), st.integers(1, 30))
def test_ties_and_caps(seed, levels, per_class, detections):
    boxes, scores = random_set(seed, 24, 2, levels=levels)
    check(boxes, scores, max_per_class=per_class, max_detections=detections)


def test_identical_and_empty_boxes():
    boxes = np.array([[[0.1, 0.1, 0.5, 0.5]] * 5 + [[0.3, 0.3, 0.3, 0.3]] * 3], "float32")
    scores = np.array([[[0.5], [0.9], [0.9], [0.2], [0.5], [0.8], [0.8], [0.1]]], "float32")
    check(boxes, scores)


def test_a_chain_of_suppression():
    low = np.arange(60, dtype="float32") / 100  # each box overlaps the next ones, so that every second or third is kept
    boxes = np.stack([low, np.zeros(60), low + 0.05, np.ones(60)], -1)[None].astype("float32")
    check(boxes, np.linspace(0.9, 0.3, 60, dtype="float32")[None, :, None])


def test_ties_that_reach_over_several_blocks():
    boxes, scores = random_set(5, 300, 4, batch=2, levels=3)
    boxes[:, 100:200] = boxes[:, :100]
    check(boxes, scores, max_detections=600)


def test_exactly_at_a_threshold_is_not_over_it():
    boxes = np.array([[[0, 0, 1, 1], [0, 0, 1, 0.5], [0, 0, 1, 0.75]]], "float32")
    scores = np.array([[[0.75], [0.5], [0.25]]], "float32")
    found = nms(boxes, scores, score_threshold=0.25, iou_threshold=0.5, max_detections=3)
    assert np.asarray(found["scores"]).tolist() == [[0.75, 0.5, 0]]


def test_a_class_suppresses_no_other():
    boxes = np.array([[[0.1, 0.1, 0.5, 0.5]] * 2], "float32")
    found = nms(boxes, np.array([[[0.9, 0.8], [0.7, 0.6]]], "float32"), max_detections=5)
    assert int(found["num_detections"][0]) == 2 and np.asarray(found["labels"])[0, :2].tolist() == [0, 1]


@pytest.mark.parametrize("levels", [None, 4])
def test_compiled_forms_agree(levels):
    boxes, scores = random_set(7, 300, 4, batch=2, levels=levels)
    eager = nms(boxes, scores)
    for jit in (False, True):
        compiled = tf.function(nms, jit_compile=jit)(boxes, scores)
        for key in eager:
            np.testing.assert_array_equal(eager[key], compiled[key], err_msg=key)


@pytest.mark.parametrize("seed", range(3))
def test_class_agnostic_suppression_is_that_of_one_class_that_keeps_its_names(seed):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.5, (1, 80, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.2, 0.5, low.shape)], axis=-1).astype("float32")
    scores = (rng.uniform(0, 1, (1, 80, 3)) * np.eye(3)[rng.integers(0, 3, (1, 80))]).astype("float32")
    nms_options = {"max_detections": 50, "iou_threshold": 0.4}
    found = {k: np.asarray(v) for k, v in nms(boxes, scores, class_agnostic=True, **nms_options).items()}
    one = {k: np.asarray(v) for k, v in nms(boxes, scores.max(2, keepdims=True), **nms_options).items()}
    for name in ("boxes", "scores", "num_detections"):
        np.testing.assert_array_equal(found[name], one[name])
    count = int(found["num_detections"][0])
    named = [scores[0].max(1).tolist().index(s) for s in found["scores"][0, :count]]
    assert found["labels"][0, :count].tolist() == scores[0].argmax(1)[named].tolist()
