"""Pooling at every offset against plain loops, and the way back."""

import keras
import numpy as np
import pytest

from keras_det.layers.offset_max_pooling import OffsetMaxPooling, interleave


def pooled(x, k, dy, dx):
    """Plain max pooling of `[H, W, C]` from one offset on."""
    rows, columns = (x.shape[0] - dy) // k, (x.shape[1] - dx) // k
    x = x[dy : dy + rows * k, dx : dx + columns * k]
    return x.reshape(rows, k, columns, k, 4).max((1, 3))


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("size", [(3, 3), (5, 7), (12, 13), (17, 20)])
def test_each_offset_is_plain_pooling_from_there(k, size):
    x = np.random.default_rng(0).normal(size=(2, *size, 4)).astype("float32")
    layer = OffsetMaxPooling(k)
    found = np.asarray(layer(x))
    assert found.shape == layer.compute_output_shape(x.shape)
    for b in range(2):
        for dy in range(k):
            for dx in range(k):
                expected = pooled(x[b], k, dy, dx)
                rows, columns = expected.shape[:2]
                row = found[(b * k + dy) * k + dx]
                np.testing.assert_array_equal(row[:rows, :columns], expected)
                assert not row[rows:].any() and not row[:, columns:].any()


@pytest.mark.parametrize("k", [2, 3])
def test_interleaved_it_is_pooling_at_every_pixel(k):
    x = np.random.default_rng(0).normal(size=(2, 11, 9, 4)).astype("float32")
    found = interleave(OffsetMaxPooling(k)(x), k, 12 - k, 10 - k)
    np.testing.assert_array_equal(found, keras.ops.max_pool(x, k, strides=1))


def test_it_is_saved_with_its_argument():
    layer = OffsetMaxPooling.from_config(OffsetMaxPooling(3, name="pool").get_config())
    assert (layer.pool_size, layer.name) == (3, "pool")
