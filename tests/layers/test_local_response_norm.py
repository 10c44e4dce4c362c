"""Local response normalization against a plain loop."""

import keras
import numpy as np
import pytest

from keras_det.layers import LocalResponseNorm


def plain(x, depth, k, alpha, beta):
    """The definition, channel by channel."""
    out = np.empty_like(x, dtype="float64")
    side, channels = depth // 2, x.shape[-1]
    for i in range(channels):
        near = x[..., max(0, i - side) : min(channels, i + side + 1)].astype("float64")
        out[..., i] = x[..., i] / (k + alpha * (near**2).sum(-1)) ** beta
    return out


@pytest.mark.parametrize(("depth", "channels"), [(5, 12), (5, 3), (1, 4), (9, 9)])
def test_equals_a_plain_loop(depth, channels):
    x = np.random.default_rng(0).normal(0, 30, (2, 3, 4, channels)).astype("float32")
    layer = LocalResponseNorm(depth=depth, alpha=2e-3)
    np.testing.assert_allclose(layer(x), plain(x, depth, 2.0, 2e-3, 0.75), rtol=2e-6)


def test_half_precision_does_not_overflow():
    x = np.full((1, 8), 3000.0, "float16")
    layer = LocalResponseNorm(dtype="float16")
    assert np.isfinite(np.asarray(layer(x))).all()


def test_it_is_rebuilt_from_its_configuration():
    layer = LocalResponseNorm(depth=3, k=1.0, alpha=0.5, beta=0.6)
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    x = np.random.default_rng(1).normal(size=(2, 7)).astype("float32")
    np.testing.assert_array_equal(layer(x), again(x))
    with pytest.raises(ValueError, match="odd number"):
        LocalResponseNorm(depth=4)
