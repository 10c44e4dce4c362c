"""The greedy merge against the direct search among all pairs."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_det.boxes.greedy_merge import match_score, merge
from keras_det.boxes.greedy_merge import merge_boxes as eager_merge_boxes

compiled = tf.function(eager_merge_boxes)


def merge_boxes(boxes, scores, threshold):
    """Compiled once for each shape."""
    return compiled(tf.constant(boxes, tf.float32), tf.constant(scores, tf.float32), tf.constant(threshold, tf.float32))


def score_of(a, b):
    """The match score of two boxes, in plain arithmetic."""
    height = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    width = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    paired_iou = height * width / (sum(areas) - height * width)
    distance = np.hypot((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2)
    diagonal = np.mean([np.hypot(box[2] - box[0], box[3] - box[1]) for box in (a, b)])
    return distance / diagonal + 1 - paired_iou


def direct(boxes, scores, threshold):
    """Section 4.3's loop as it stands: look at all pairs for every merge. Boxes with what they hold."""
    held = [(box.astype("float64"), float(score), 1) for box, score in zip(boxes, scores) if score > 0]
    while len(held) > 1:
        pairs = [(score_of(a[0], b[0]), i, j) for i, a in enumerate(held) for j, b in enumerate(held[:i])]
        best, i, j = min(pairs)
        if best > threshold:
            break
        (a, score_a, n), (b, score_b, m) = held.pop(i), held.pop(j)
        held.append(((n * a + m * b) / (n + m), score_a + score_b, n + m))
    return sorted(((*box, score, n) for box, score, n in held), key=lambda row: row[4])


def found(boxes, scores, threshold):
    """What `merge_boxes` leaves of one row, as `direct` gives it."""
    merged, confidence, count = (np.asarray(x)[0] for x in merge_boxes(boxes[None], scores[None], threshold))
    assert not confidence[count == 0].any() and not merged[count == 0].any()
    rows = np.concatenate([merged, confidence[:, None], count[:, None]], axis=1)[count > 0]
    return sorted(map(tuple, rows), key=lambda row: row[4])


def sample(n, objects, spread, seed, sort=None):
    """Boxes around a few objects, each with a confidence of its own."""
    rng = np.random.default_rng(seed)
    centers, sides = rng.uniform(0.2, 0.8, (objects, 2)), rng.uniform(0.1, 0.5, (objects, 2))
    which = rng.integers(0, objects, n)
    boxes = np.concatenate([centers[which] - sides[which] / 2, centers[which] + sides[which] / 2], axis=1)
    boxes = boxes + np.clip(rng.normal(size=(n, 4)), -2, 2) * spread
    return boxes.astype("float32"), rng.uniform(0.1, 1, n).astype("float32")


@pytest.mark.parametrize("threshold", [0.1, 0.4, 0.9, 1.5])
@pytest.mark.parametrize(("objects", "spread"), [(1, 0.02), (4, 0.01), (40, 0.02)])
def test_it_is_the_direct_search_among_all_pairs(objects, spread, threshold):
    boxes, scores = sample(90, objects, spread, seed=objects)
    expected = direct(boxes, scores, threshold)
    np.testing.assert_allclose(found(boxes, scores, threshold), expected, rtol=1e-4, atol=1e-5)
    assert threshold < 0.5 or len(expected) < 90


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 24), st.integers(0, 10**6), st.floats(0.05, 1.4))
def test_it_is_the_direct_search_on_any_boxes(objects, seed, threshold):
    boxes, scores = sample(24, objects, 0.03, seed)
    scores = scores * (np.arange(24) % 5 > 0)  # every fifth is padding
    np.testing.assert_allclose(found(boxes, scores, threshold), direct(boxes, scores, threshold), rtol=1e-4, atol=1e-5)


def test_the_match_score():
    boxes, _ = sample(30, 5, 0.05, seed=3)
    expected = [[score_of(a, b) for b in boxes.astype("float64")] for a in boxes.astype("float64")]
    np.testing.assert_allclose(match_score(boxes[:, None], boxes[None]), expected, rtol=1e-4, atol=1e-5)
    scaled = match_score(boxes[:, None] * 3, boxes[None] * 3)
    np.testing.assert_allclose(scaled, expected, rtol=1e-4, atol=1e-5)


def test_confidence_is_neither_lost_nor_made():
    boxes, scores = sample(500, 8, 0.02, seed=1)
    merged, confidence, count = merge_boxes(boxes[None], scores[None], 0.5)
    assert float(np.sum(confidence)) == pytest.approx(scores.sum(), rel=1e-5) and float(np.sum(count)) == 500
    assert (np.asarray(count) > 0).sum() < 60
    mean = (np.asarray(merged) * np.asarray(count)[..., None]).sum(1)[0] / 500
    np.testing.assert_allclose(mean, boxes.mean(0), rtol=1e-4)  # the mean of all that is held stays


def test_what_is_left_does_not_match():
    boxes, scores = sample(300, 12, 0.03, seed=2)
    merged, _, count = (np.asarray(x)[0] for x in merge_boxes(boxes[None], scores[None], 0.5))
    left = merged[count > 0]
    scores = np.asarray(match_score(left[:, None], left[None])) + np.eye(len(left)) * 9
    assert scores.min() > 0.5


@pytest.mark.parametrize("boxes", [np.zeros((1, 4)), np.zeros((70, 4)), np.tile([[0.1, 0.1, 0.5, 0.5]], (70, 1))])
def test_equal_and_empty_boxes_give_no_nan(boxes):
    merged, score, count = (
        np.asarray(x) for x in merge_boxes(boxes[None].astype("float32"), np.ones((1, len(boxes))), 0.4)
    )
    assert np.isfinite(merged).all() and score.sum() == count.sum() == len(boxes)
    if boxes.any():
        assert (count > 0).sum() == 1 and np.allclose(merged[count > 0], boxes[0], atol=1e-5)


def test_rows_are_merged_each_for_itself():
    rows = [sample(64, n, 0.02, seed=n) for n in (1, 3, 20)]
    together = merge_boxes(np.stack([b for b, _ in rows]), np.stack([s for _, s in rows]), 0.5)
    for i, (boxes, scores) in enumerate(rows):
        for value, alone in zip(together, merge_boxes(boxes[None], scores[None], 0.5)):
            np.testing.assert_allclose(value[i], alone[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("own", [False, True])
def test_detections_are_merged_by_class_and_sorted(own):
    boxes, _ = sample(80, 4, 0.02, seed=5)
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, (2, 80, 3)).astype("float32")
    scores[1, :, 2] = 0
    shared = np.stack([boxes, boxes[::-1]])
    per_class = np.stack([shared, shared + 0.01, shared - 0.01], axis=2)
    found = {
        k: np.asarray(v) for k, v in tf.function(merge)(per_class if own else shared, scores, 0.5, 0.6, 80, 400).items()
    }
    for b in range(2):
        expected = []
        for c in range(3):
            kept = np.where(scores[b, :, c] > 0.5, scores[b, :, c], 0)
            used = per_class[b, :, c] if own else shared[b]
            expected += [(*row[:5], c) for row in direct(used, kept, 0.6)]
        expected.sort(key=lambda row: -row[4])
        n = found["num_detections"][b]
        assert n == len(expected)
        rows = np.concatenate([found["boxes"][b], found["scores"][b, :, None], found["labels"][b, :, None]], axis=1)
        np.testing.assert_allclose(rows[:n], expected, rtol=1e-4, atol=1e-5)
        assert (found["labels"][b, n:] == -1).all() and not found["scores"][b, n:].any()
    assert found["boxes"].shape == (2, 400, 4) and found["labels"].dtype == "int32"


def test_a_thousand_windows_that_agree_are_one_detection():
    boxes, scores = np.tile([[[0.1, 0.2, 0.5, 0.6]]], (1, 1000, 1)), np.full((1, 1000, 1), 0.5)
    found = tf.function(merge, jit_compile=True)(boxes, scores)
    assert found["num_detections"][0] == 1
    np.testing.assert_allclose(found["scores"][0, 0], 500, rtol=1e-5)


@pytest.mark.parametrize("own", [False, True])
def test_classes_without_boxes_need_not_be_merged(own):
    rng = np.random.default_rng(5)
    low = rng.uniform(0, 0.6, (2, 12, 6, 2) if own else (2, 12, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.4, low.shape)], axis=-1)
    scores = rng.uniform(0.1, 1, (2, 12, 6))
    scores[0, :, [0, 2, 3, 5]] = 0
    scores[1, :, [1, 2, 3]] = 0
    every, few = merge(boxes, scores), merge(boxes, scores, max_classes=3)
    for name, value in every.items():
        np.testing.assert_allclose(
            few[name][:, :20] if value.shape.rank > 1 else few[name], value[:, :20] if value.shape.rank > 1 else value
        )
    two = merge(boxes, scores, max_classes=2)
    assert set(np.asarray(two["labels"][0]).tolist()) == {1, 4, -1}
