"""The one resize of the project."""

import tensorflow as tf


def resize(images, size):
    """Resize pictures: bilinear, half-pixel centres, no antialiasing.

    `Detector.serve` does the same through `keras.ops.image.resize`, so that a picture gives one input wherever it is
    resized.

    Args:
        images: `[H, W, 3]` or `[B, H, W, 3]`, uint8 or float; H and W at least 1.
        size: `(height, width)` wanted, in pixels, numbers or a tensor `[2]` int32.

    Returns:
        float32 tensor `[height, width, 3]` or `[B, height, width, 3]`, in the range of the input.

    Raises:
        ValueError: images of another rank.

    >>> resize(tf.zeros([4, 6, 3], tf.uint8), (2, 3)).shape
    TensorShape([2, 3, 3])
    """
    images = tf.convert_to_tensor(images)
    if images.shape.rank not in (3, 4):
        raise ValueError(f"`images` must be [H, W, 3] or [B, H, W, 3]; got the shape {images.shape}.")
    batch = images if images.shape.rank == 4 else images[None]
    # tf.image.resize does the same, but hands uint8 back when the size stays.
    resized = tf.raw_ops.ResizeBilinear(images=batch, size=size, half_pixel_centers=True)
    return resized if images.shape.rank == 4 else resized[0]
