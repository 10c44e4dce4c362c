"""L2Norm against numpy, and where squares overflow or vanish."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_det.layers import L2Norm


def features(dtype="float32", scale=1.0):
    return (scale * np.random.default_rng(0).normal(size=(2, 3, 5, 8))).astype(dtype)


def built(scale=20.0, **arguments):
    """A layer with a different scale for each channel, as after training."""
    layer = L2Norm(scale, **arguments)
    layer.build((None, None, None, 8))
    layer.gamma.assign(np.arange(1, 9))
    return layer


def test_each_location_gets_unit_length_times_the_scale_of_the_channel():
    x = features()
    lengths = np.sqrt((x.astype("float64") ** 2).sum(-1, keepdims=True))
    np.testing.assert_allclose(built()(x), x / lengths * np.arange(1, 9), rtol=1e-5)


def test_the_first_scale_is_that_of_the_constructor():
    layer = L2Norm(10.0)
    np.testing.assert_allclose(np.linalg.norm(layer(features()), axis=-1), 10, rtol=1e-5)
    assert layer.gamma.shape == (8,)
    assert layer.trainable_weights == [layer.gamma]


def test_squares_that_overflow_float16_do_not_matter():
    x = features("float16", 2e4)  # squares of 4e8; float16 ends at 65504
    found = built(dtype="mixed_float16")(x)
    assert found.dtype == tf.float16
    np.testing.assert_allclose(found, built()(x.astype("float32")), rtol=2e-3, atol=1e-3)


def test_a_location_without_features_stays_0_and_so_does_its_gradient():
    x = tf.zeros((1, 1, 1, 8))
    layer = built()
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    assert not np.any(y)
    assert np.isfinite(tape.gradient(y, x)).all()


def test_gradient_is_that_of_finite_differences():
    layer = built()
    x = tf.constant(features())
    weight = np.random.default_rng(1).normal(size=x.shape).astype("float32")
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(layer(x) * weight)
    gradient = tape.gradient(y, x).numpy()

    def plain(x):
        return (x / np.sqrt((x**2).sum(-1, keepdims=True)) * np.arange(1, 9) * weight).sum()

    for index in ((0, 0, 0, 0), (1, 2, 4, 7), (0, 1, 3, 2)):
        step = np.zeros(x.shape)
        step[index] = 1e-4
        difference = (plain(x.numpy().astype("float64") + step) - plain(x.numpy().astype("float64") - step)) / 2e-4
        assert gradient[index] == pytest.approx(difference, rel=1e-3, abs=1e-4)


def test_config_round_trip():
    again = L2Norm.from_config(L2Norm(7.5, name="norm").get_config())
    assert (again.scale, again.name) == (7.5, "norm")
    assert keras.saving.get_registered_name(L2Norm) == "keras_det>L2Norm"
