"""Large crops: the boxes go where the pixels go."""

import numpy as np
import tensorflow as tf

from keras_det.data.batching import OriginalImage
from keras_det.data.large_crops import SIDE, LargeCrops


def sample(seed, size=64):
    """A crop of a black image with one white rectangle."""
    pixels = np.zeros((size, size, 3), "uint8")
    pixels[20:40, 24:52] = 255
    original = OriginalImage(tf.constant(b""), tf.constant(pixels), tf.constant([size, size]))
    objects = {
        "boxes": tf.constant([[20 / 64, 24 / 64, 40 / 64, 52 / 64]]),
        "labels": tf.constant([3]),
        "difficult": tf.constant([False]),
        "is_crowd": tf.constant([False]),
    }
    image, objects = LargeCrops((128, 128))(original, objects, tf.constant([seed, 1], tf.int64))
    return image.numpy(), objects["boxes"].numpy()


def test_boxes_are_where_the_pixels_are():
    lefts = set()
    for seed in range(12):
        image, boxes = sample(seed)
        rows, columns = (np.flatnonzero((image[..., 0] > 127).any(axis)) for axis in (1, 0))
        found = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]) / 128
        np.testing.assert_allclose(boxes[0], found, atol=1.5 / 128)
        height, width = boxes[0, 2:] - boxes[0, :2]
        np.testing.assert_allclose([height, width], [20 / 64 / SIDE, 28 / 64 / SIDE], rtol=1e-4)
        lefts.add(round(float(boxes[0, 1]), 3))
    assert len(lefts) > 8  # crops and flips differ


def test_a_seed_always_gives_the_same_sample():
    first, again = sample(5), sample(5)
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)
