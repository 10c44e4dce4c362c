"""The one resize of the project, stretched or with the aspect ratio kept."""

import tensorflow as tf

from keras_det.boxes.letterboxing import letterbox
from keras_det.types import Tensor
from keras_det.weights.registry import CAFFE_MEAN


def resize(images: Tensor, size: tuple[int, int] | Tensor) -> Tensor:
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


def fitted(image: Tensor, boxes: Tensor, size: tuple[int, int], mode: str = "stretch") -> tuple[Tensor, Tensor]:
    """An image and its boxes at a network's size.

    Args:
        image: `[H, W, 3]`, uint8 or float.
        boxes: `[n, 4]` rel_yxyx.
        size: `(height, width)` wanted.
        mode: `"stretch"`, or `"letterbox"`: the aspect ratio stays, and the mean color surrounds the image, as it does
            what SSD's augmentation zooms out of.

    Returns:
        float32 image of that size, and its boxes.
    """
    if mode == "stretch":
        return resize(image, size), boxes
    shape = tf.shape(image)
    top, left, rows, columns = letterbox(shape[0], shape[1], size, tf)
    low, here = tf.stack([top, left]), tf.stack([rows, columns])
    around = tf.stack([low, tf.constant(size) - low - here], axis=1)
    inside = tf.pad(tf.ones(here, tf.bool), around)
    image = tf.pad(resize(image, here), tf.concat([around, [[0, 0]]], axis=0))
    image = tf.where(inside[..., None], image, tf.constant(CAFFE_MEAN))
    return tf.ensure_shape(image, (*size, 3)), to_canvas(boxes, low, here, size)


def to_canvas(boxes: Tensor, low: Tensor, here: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes of an image, `[n, 4]` rel_yxyx, as boxes of a canvas in which it lies.

    Args:
        boxes: relative to the image.
        low: `[2]` int32 top and left of the image in the canvas, in pixels.
        here: `[2]` int32 height and width of the image there.
        size: `(height, width)` of the canvas.
    """
    low, here = (tf.cast(tf.tile(edges, [2]), tf.float32) for edges in (low, here))
    return (boxes * here + low) / tf.constant(size * 2, tf.float32)
