"""Random crops of an image at one of several scales, as OverFeat trains on.

Graph operations, each sample a function of one seed, as `keras_det.data.augment`.
"""

from collections.abc import Sequence

import tensorflow as tf

from keras_det.data.augment import flip_boxes, to_window
from keras_det.types import Tensor


class ScaledCrops:
    """The image at a random one of several sizes, a random crop of it, flipped half of the time.

    Objects keep their whole extent, so that the fraction of them within a window can be told: their boxes may leave 0
    .. 1 and objects outside the crop stay.

    Args:
        image_size: `(height, width)` of the crop in pixels. An image that is smaller lies somewhere in the crop, with
            `mean` around it.
        scales: sizes of the image, each `(height, width)` in pixels, or one number for its shorter side.
        border: pixels around the image that a crop may take in.
        around: fraction of the samples whose crop has a random object at most a quarter of its side off its center, at
            a random one of the scales that make the object's longer side `sides` pixels; where none does, at the one
            that comes nearest.
        sides: shortest and longest side in pixels of an object that a crop is moved to.
        mean: RGB in 0 .. 255.

    Call as `keras_det.data.SSDAugmentation`.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        scales: Sequence[float | tuple[int, int]],
        border: int = 0,
        around: float = 0.0,
        sides: tuple[float, float] = (0.0, float("inf")),
        mean: Sequence[float] = (118.38, 118.38, 118.38),
    ):
        self.image_size = tuple(image_size)
        self.scales = tuple(scales)
        self.border, self.around, self.sides = border, around, sides
        self.mean = mean

    def __call__(self, original, objects, seed):
        """One training sample: `(image [H, W, 3] float32 in 0 .. 255, objects)`."""
        window = self.window(objects["boxes"], original.scale[:2], seed)
        image, inside = original.sample(window, self.image_size)
        image = tf.where(inside, image, self.mean)
        boxes = to_window(objects["boxes"], window)
        flip = tf.random.stateless_uniform([], seed + [2, 0]) < 0.5
        boxes = tf.where(flip, flip_boxes(boxes), boxes)
        return tf.where(flip, image[:, ::-1], image), objects | {"boxes": boxes}

    def window(self, boxes: Tensor, size: Tensor, seed: Tensor) -> Tensor:
        """The crop, `[4]` rel_yxyx of the image.

        Args:
            boxes: `[n, 4]` rel_yxyx.
            size: `[2]` height and width of the image in pixels.
            seed: `[2]` int64.
        """
        sizes = [s if isinstance(s, (tuple, list)) else s * size / tf.reduce_min(size) for s in self.scales]
        sizes = tf.stack([tf.cast(s, tf.float32) for s in sizes])
        draw = tf.random.stateless_uniform([6], seed)
        anywhere = tf.cast(draw[0] * len(self.scales), tf.int32)
        box, there = self._object(boxes, sizes, draw[1], draw[2])
        moved = (draw[3] < self.around) & (tf.shape(boxes)[0] > 0)
        size = sizes[tf.where(moved, there, anywhere)]
        crop = tf.constant(self.image_size, tf.float32)
        room = size + 2 * self.border - crop  # negative for an image smaller than the crop
        random = draw[4:] * room - self.border
        centered = (box[:2] + box[2:]) / 2 * size - crop / 2 + (draw[4:] - 0.5) * crop / 2
        limits = tf.sort(tf.stack([tf.zeros(2), room]), axis=0) - self.border
        low = tf.where(moved, tf.clip_by_value(centered, limits[0], limits[1]), random) / size
        return tf.concat([low, low + crop / size], 0)

    def _object(self, boxes, sizes, which, scale):
        """A random object and the number of a scale that suits it."""
        boxes = tf.concat([boxes, [[0.0, 0.0, 1.0, 1.0]]], 0)  # something to take where there are none
        count = tf.maximum(tf.shape(boxes)[0] - 1, 1)
        box = boxes[tf.minimum(tf.cast(which * tf.cast(count, tf.float32), tf.int32), count - 1)]
        side = tf.reduce_max((box[2:] - box[:2]) * sizes, axis=1)
        off = tf.maximum(tf.maximum(self.sides[0] - side, side - self.sides[1]), 0.0)
        suitable = tf.reshape(tf.where(off <= tf.reduce_min(off)), [-1])
        place = tf.cast(scale * tf.cast(tf.size(suitable), tf.float32), tf.int32)
        return box, tf.cast(suitable[place], tf.int32)
