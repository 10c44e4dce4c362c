"""Gaussian targets over the grid against loops over objects and cells, the cross entropy and its floor."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_det.layers.box_grid import BoxGrid
from keras_det.losses.box_grid import box_grid_targets, cross_entropy, entropy

GRID = BoxGrid((6, 5, 4, 3), scales=(0.1, 0.8), aspect_ratios=(0.4, 2.5))
WIDTHS = (1.0, 1.5, 0.7, 0.5)


def direct(grid, boxes, widths, sub_cell):
    """One image, one object and one cell after the other."""
    places = np.asarray(grid.coordinates(boxes), "float64").reshape(-1, 4)
    places = np.clip(places, 0, np.array(grid.shape) - 1)
    if not sub_cell:
        places = np.round(places)
    mass = np.zeros(grid.size)
    for center in places:
        for n, cell in enumerate(grid.cells):
            at = np.array(np.unravel_index(cell, grid.shape))
            mass[n] += np.exp(-(((at - center) / widths) ** 2).sum() / 2)
    return mass / mass.sum() if len(places) else np.full(grid.size, 1 / grid.size)


def objects(count, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (count, 2))
    return np.concatenate([low, low + rng.uniform(0.05, 0.4, (count, 2))], axis=1).astype("float32")


@pytest.mark.parametrize("sub_cell", [False, True])
def test_targets_are_the_direct_form(sub_cell):
    boxes = np.stack([objects(4, seed) for seed in range(3)])
    valid = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], bool)
    found = np.asarray(box_grid_targets(GRID, boxes, valid, WIDTHS, sub_cell))
    for row, rows, keep in zip(found, boxes, valid):
        np.testing.assert_allclose(row, direct(GRID, rows[keep], WIDTHS, sub_cell), rtol=1e-4, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 6), st.integers(0, 10**6), st.floats(0.2, 4), st.booleans())
def test_every_target_is_a_distribution(count, seed, width, sub_cell):
    boxes = np.zeros((1, 6, 4), "float32")
    boxes[0, :count] = objects(count, seed)
    target = np.asarray(box_grid_targets(GRID, boxes, np.arange(6)[None] < count, (width,) * 4, sub_cell))
    assert target.min() >= 0 and target.sum() == pytest.approx(1, rel=1e-4)
    floor = float(entropy(target)[0])
    assert 0 <= floor <= np.log(GRID.size) + 1e-4
    assert float(cross_entropy(target, np.log(np.maximum(target, 1e-30)))[0]) == pytest.approx(floor, abs=1e-3)


def test_at_the_nearest_cell_or_at_the_object():
    at = np.array([2.3, 2.0, 1.0, 1.0], "float32")
    box = np.asarray(GRID.boxes_at(at))[None, None]
    peaks = []
    for sub_cell in (False, True):
        target = GRID.scatter(box_grid_targets(GRID, box, np.ones((1, 1), bool), sub_cell=sub_cell))[0]
        line = np.log(np.asarray(target)[1:4, 2, 1, 1])
        peaks.append(2 + (line[2] - line[0]) / (2 * (2 * line[1] - line[0] - line[2])))
    np.testing.assert_allclose(peaks, [2.0, 2.3], atol=1e-3)


def test_no_object_and_an_object_near_no_cell_in_use_are_uniform():
    grid = BoxGrid((8, 8, 1, 1), scales=(0.9, 0.9), aspect_ratios=(1, 1), min_inside=0.9)
    corner = np.array([[[0.0, 0.0, 0.02, 0.02]]], "float32")
    for boxes, valid in ((corner, True), (corner, False)):
        target = box_grid_targets(grid, boxes, np.array([[valid]]), (0.1,) * 4)
        np.testing.assert_allclose(target, np.full((1, grid.size), 1 / grid.size), rtol=1e-6)
    assert box_grid_targets(grid, np.zeros((2, 0, 4), "float32"), np.zeros((2, 0), bool)).shape == (2, grid.size)


def test_a_near_box_costs_less_than_a_far_one():
    target = np.asarray(box_grid_targets(GRID, objects(1)[None], np.ones((1, 1), bool)))
    order = np.argsort(-target[0])
    losses = [
        float(cross_entropy(target, 8 * np.eye(GRID.size, dtype="float32")[n : n + 1])[0]) for n in order[[0, 2, -1]]
    ]
    assert losses == sorted(losses) and losses[0] < losses[1] < losses[2]


def test_cross_entropy_and_its_gradient():
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=(3, GRID.size)) * 30, tf.float32)
    target = np.asarray(box_grid_targets(GRID, objects(3)[:, None], np.ones((3, 1), bool)))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = cross_entropy(target, logits)
    z = logits.numpy().astype("float64")
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    np.testing.assert_allclose(loss, -(target * np.log(p)).sum(1), rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, logits), p - target, atol=1e-5)
