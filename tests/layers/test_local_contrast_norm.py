"""LocalContrastNorm against its sums written out in numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_det.layers.local_contrast_norm import LocalContrastNorm


def direct(x, size, epsilon=1e-3):
    """Equations of the layer's docstring, one location after the other."""
    x = x.astype("float64")
    batch, height, width, channels = x.shape
    reach, sigma = size // 2, size / 4

    def local(values):
        mean = np.zeros((batch, height, width))
        for i in range(height):
            for j in range(width):
                total = weights = 0.0
                for p in range(-reach, reach + 1):
                    for q in range(-reach, reach + 1):
                        if 0 <= i + p < height and 0 <= j + q < width:
                            weight = np.exp(-(p * p + q * q) / (2 * sigma**2))
                            total = total + weight * values[:, i + p, j + q].sum(-1)
                            weights += weight * channels
                mean[:, i, j] = total / weights
        return mean[..., None]

    v = x - local(x)
    s = np.sqrt(local(v**2))
    c = s.mean(axis=(1, 2, 3), keepdims=True)
    return v / np.maximum(np.maximum(c, s), epsilon)


def images(shape=(2, 7, 10, 3), scale=1.0):
    return (scale * np.random.default_rng(0).normal(size=shape)).astype("float32")


@pytest.mark.parametrize("size", [3, 5, 9])
def test_it_is_the_direct_form(size):
    x = images()
    x[0] *= np.linspace(0.01, 3, 10)[:, None]  # regions of low and of high contrast
    np.testing.assert_allclose(LocalContrastNorm(size)(x), direct(x, size), rtol=1e-4, atol=1e-5)


def test_brightness_and_contrast_of_the_image_do_not_matter():
    x = images()
    layer = LocalContrastNorm()
    np.testing.assert_allclose(layer(20 * x + 100), layer(x), atol=1e-3)


def test_a_flat_image_gives_0_and_finite_gradients():
    x = tf.fill((1, 8, 8, 4), 250.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = LocalContrastNorm()(x)
    assert np.abs(y).max() < 0.1
    assert np.isfinite(tape.gradient(y, x)).all()


def test_squares_that_overflow_float16_do_not_matter():
    x = images(scale=1e4)
    found = LocalContrastNorm(dtype="mixed_float16")(x.astype("float16"))
    assert found.dtype == tf.float16
    np.testing.assert_allclose(found, LocalContrastNorm()(x), rtol=5e-3, atol=5e-3)


def test_images_of_a_batch_do_not_meet():
    x = images()
    both, alone = LocalContrastNorm()(x), LocalContrastNorm()(x[1:])
    np.testing.assert_allclose(both[1:], alone, rtol=1e-5, atol=1e-6)


def test_config_round_trip_and_a_wrong_size():
    again = LocalContrastNorm.from_config(LocalContrastNorm(5, epsilon=0.1, name="norm").get_config())
    assert (again.size, again.epsilon, again.name) == (5, 0.1, "norm")
    assert keras.saving.get_registered_name(LocalContrastNorm) == "keras_det>LocalContrastNorm"
    for size in (4, 1):
        with pytest.raises(ValueError, match="`size`"):
            LocalContrastNorm(size)
