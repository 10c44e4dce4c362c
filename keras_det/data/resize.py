"""The one resize of the project."""

import tensorflow as tf


def resize(images, size):
    """Resize images: bilinear, half-pixel centers, no antialiasing.

    `Detector.serve` does the same through `keras.ops.image.resize`, so that an image gives one input wherever it is
    resized.

    Args:
        images: `[H, W, 3]` or `[B, H, W, 3]`, uint8 or float.
        size: `(height, width)` wanted.

    Returns:
        float32 tensor of that size, in the range of the input.

    >>> resize(tf.zeros([4, 6, 3], tf.uint8), (2, 3)).shape
    TensorShape([2, 3, 3])
    """
    return tf.image.resize(images, size, method="bilinear", antialias=False)
