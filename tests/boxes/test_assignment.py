"""The assignment against scipy's, on ten thousand cases of every kind."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import linear_sum_assignment

from keras_det.boxes import assign

compiled = tf.function(assign)

KINDS = {
    "random": lambda rng, shape: rng.normal(size=shape),
    "tied": lambda rng, shape: rng.integers(0, 4, shape),
    "equal": lambda rng, shape: np.full(shape, 5.0),
    "one box for all": lambda rng, shape: rng.random(shape) + 10.0 * (np.arange(shape[2]) > 0),
    "permuted": lambda rng, shape: rng.random(shape[:2] + (1,)) * rng.random(shape[:1] + (1,) + shape[2:]),
    "far apart": lambda rng, shape: 10.0 ** rng.uniform(-4, 2, shape),
    "negative": lambda rng, shape: -rng.random(shape) * 20,
}
SHAPES = [(1, 1), (3, 5), (5, 5), (8, 4), (12, 40), (20, 20), (6, 1)]


def check(costs, valid, found):
    """Each row a matching as large as it can be, and as cheap as scipy's."""
    for c, ok, matched_box in zip(costs.astype("float64"), valid, found):
        assert (matched_box[~ok] == -1).all()
        c, matched_box = c[ok], matched_box[ok]
        rows, best = linear_sum_assignment(c)
        used = np.flatnonzero(matched_box >= 0)
        assert len(used) == len(rows) == len(set(matched_box[used]))
        mine, least = c[used, matched_box[used]].sum(), c[rows, best].sum()
        assert mine == pytest.approx(least, rel=1e-5, abs=1e-5)  # sums of float32 costs


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_scipy(kind, shape):
    rng = np.random.default_rng(0)
    costs = KINDS[kind](rng, (210, *shape)).astype("float32")
    valid = np.arange(shape[0]) < rng.integers(0, shape[0] + 1, (210, 1))
    check(costs, valid, compiled(costs, valid).numpy())


@pytest.mark.parametrize("shape", [(12, 200), (64, 1000), (64, 64)], ids=str)
def test_equals_scipy_at_full_size(shape):
    rng = np.random.default_rng(1)
    costs = rng.random((4, *shape)).astype("float32")
    check(costs, np.ones((4, shape[0]), bool), compiled(costs, np.ones((4, shape[0]), bool)).numpy())


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.float32, (3, 4, 5), elements=st.floats(-100, 100, width=32)))
def test_equals_scipy_on_anything(costs):
    valid = np.array([[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]], bool)  # padding anywhere
    check(costs, valid, compiled(costs, valid).numpy())


def test_padding_may_hold_anything():
    costs = np.random.default_rng(2).random((2, 3, 4)).astype("float32")
    valid = np.array([[1, 1, 0], [1, 0, 1]], bool)
    spoilt = np.where(valid[..., None], costs, np.nan)
    np.testing.assert_array_equal(compiled(spoilt, valid), compiled(costs, valid))


def test_costs_that_are_not_finite_end_and_spoil_only_their_image():
    costs = np.random.default_rng(3).random((3, 4, 6)).astype("float32")
    expected = compiled(costs, np.ones((3, 4), bool)).numpy()
    costs[1] = np.nan
    costs[2, 0, :3] = np.inf
    found = compiled(costs, np.ones((3, 4), bool)).numpy()
    np.testing.assert_array_equal(found[0], expected[0])
    assert found.shape == (3, 4) and found.max() < 6


def test_it_needs_no_python_outside_the_graph():
    costs = np.random.default_rng(4).random((2, 5, 7)).astype("float32")
    valid = np.ones((2, 5), bool)
    by_xla = tf.function(assign, jit_compile=True)(costs, valid)
    np.testing.assert_array_equal(by_xla, assign(keras.ops.convert_to_tensor(costs), valid))
