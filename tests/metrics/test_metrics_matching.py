import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_samples import random_set

from keras_det.metrics import matching
from keras_det.metrics.matching import best_of_groups, ious_in_images, one_to_one, paired_iou, pairs


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
    np.testing.assert_allclose(paired_iou(boxes[:, 0], boxes[:, 1]), both / either, rtol=1e-15)
    first = grid[:, 0].sum((1, 2))
    np.testing.assert_allclose(paired_iou(boxes[:, 0], boxes[:, 1], True), both / first, rtol=1e-15)


def test_overlap_of_nothing_is_zero():
    assert paired_iou(np.zeros(4), np.zeros(4)) == 0


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


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_one_to_one_is_the_walk_down_the_scores(data):
    count = data.draw(st.integers(0, 8))
    scores = np.array(data.draw(st.lists(st.sampled_from([0.2, 0.5, 0.9]), min_size=count, max_size=count)))
    rows = data.draw(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5), st.integers(1, 3)), max_size=25))
    rows = sorted({(d, t): v for d, t, v in rows if d < count}.items())
    taken, expected = set(), np.full(count, -1)
    for d in np.argsort(-scores, kind="stable"):
        free = [(v, t) for (e, t), v in rows if e == d and t not in taken]
        if free:
            expected[d] = next(t for v, t in free if v == max(free)[0])
            taken.add(expected[d])
    columns = [np.array(c, int) for c in zip(*[(d, t, v) for (d, t), v in rows])] or [np.zeros(0, int)] * 3
    np.testing.assert_array_equal(one_to_one(*columns, scores), expected)


def test_overlaps_in_images_in_parts_are_the_same(monkeypatch):
    truth, results = random_set(0)
    whole = ious_in_images(truth, results, truth.is_crowd)
    monkeypatch.setattr(matching, "_PAIRS_AT_ONCE", 7)
    for part, expected in zip(ious_in_images(truth, results, truth.is_crowd), whole):
        np.testing.assert_array_equal(part, expected)
    d, t, values = whole
    assert (results.image[d] == truth.image[t]).all() and len(d) == sum((truth.image == i).sum() for i in results.image)
    np.testing.assert_array_equal(values, paired_iou(results.boxes[d], truth.boxes[t], truth.is_crowd[t]))
