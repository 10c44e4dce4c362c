"""Masks: equation 1 against brute-force supersampling, and the weighted loss against its matrix form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_det.losses.mask import mask_boxes, mask_losses, mask_targets

D, FINE = 6, 60


def sampled(boxes):
    """Coverage counted on a grid of points, the maximum over the boxes."""
    at = (np.arange(D * FINE) + 0.5) / (D * FINE)
    best = np.zeros((D, D))
    for ymin, xmin, ymax, xmax in boxes:
        inside = ((at > ymin) & (at < ymax))[:, None] & ((at > xmin) & (at < xmax))[None]
        best = np.maximum(best, inside.reshape(D, FINE, D, FINE).mean((1, 3)))
    return best


coordinate = st.floats(-0.25, 1.25, width=32)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), min_size=1, max_size=4), st.integers(0, 15))
def test_coverage_equals_supersampling(corners, which):
    corners = np.array(corners, "float32").reshape(-1, 2, 2)
    boxes = np.sort(corners, axis=1).reshape(1, -1, 4)
    valid = np.array([[bool(which >> k & 1) for k in range(boxes.shape[1])]])
    found = np.asarray(mask_targets(boxes, valid, D))[0]
    parts = np.asarray(mask_boxes(boxes))[0][valid[0]]
    for k in range(5):
        np.testing.assert_allclose(found[k], sampled(parts[:, k]), atol=2.5 / FINE)  # a row or column of points


def test_halves_in_the_order_of_the_masks():
    parts = np.asarray(mask_boxes([0.2, 0.4, 0.6, 1.0]))
    expected = [
        [0.2, 0.4, 0.6, 1.0],
        [0.4, 0.4, 0.6, 1.0],
        [0.2, 0.4, 0.4, 1.0],
        [0.2, 0.4, 0.6, 0.7],
        [0.2, 0.7, 0.6, 1.0],
    ]
    np.testing.assert_allclose(parts, expected, atol=1e-6)


def test_opposite_halves_make_the_whole():
    boxes = np.array([[[0.1, 0.2, 0.9, 0.5]]], "float32")
    full, bottom, top, left, right = np.asarray(mask_targets(boxes, np.ones((1, 1), bool), 24))[0]
    np.testing.assert_allclose(bottom + top, full, atol=1e-5)
    np.testing.assert_allclose(left + right, full, atol=1e-5)
    assert full.sum() / 24**2 == pytest.approx(0.8 * 0.3, rel=1e-4)


def test_no_objects_is_an_empty_mask():
    assert not np.asarray(mask_targets(np.zeros((2, 3, 4)), np.zeros((2, 3), bool), 5)).any()


def test_the_loss_is_the_papers_matrix_form():
    rng = np.random.default_rng(0)
    m, found = rng.random((2, 5, 4, 4)), rng.normal(size=(2, 5, 4, 4))
    losses = np.asarray(mask_losses(m.astype("float32"), found.astype("float32"), 0.1))
    for b in range(2):
        for k in range(5):
            root = np.sqrt(np.diag(m[b, k].ravel()) + 0.1 * np.eye(16))
            expected = np.sum((root @ (found[b, k] - m[b, k]).ravel()) ** 2)
            assert losses[b, k] == pytest.approx(expected, rel=1e-5)
