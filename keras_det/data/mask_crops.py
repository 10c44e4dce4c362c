"""Training samples of DetectorNet's mask generator."""

import tensorflow as tf

from keras_det.data.augment import areas, flip_boxes, intersections, to_window
from keras_det.types import Tensor

TRIALS = 128  # crops drawn for a sample; the first that fits is taken


class MaskCrops:
    """Crops without objects and crops that cover an object (DetectorNet, section 6).

    A negative intersects no object; a positive covers at least 80 % of some object's area. The paper's fractions are of
    the samples of one class's network, and hold where the source has the objects of one class alone, as
    `keras_det.training.detectornet.of_one_class` gives it. A network of several classes shares its samples among them:
    each positive covers an object of a class drawn among the image's, all alike, and every sample without objects of
    a class is a negative to that class. Of six classes with 1 to 6 objects in an image each sees its own in 16 % of
    the samples, and a smaller `negative_fraction` brings it nearer to 40 %: with 0.2, and 2 to 9 objects, it is 41 %.

    A crop has the image's aspect ratio, as the windows of inference have, its width is uniform between `smallest` and
    the whole image's, and its place uniform. Of 128 crops the first that fits is taken; where none does, the whole
    image. An image without objects gives a negative. Objects keep their boxes relative to the crop, not clipped: a
    half of an object is the half of all of it.

    Args:
        image_size: `(height, width)` of the sample in pixels.
        negative_fraction: fraction of negatives; the paper has 0.6.
        smallest: width of the narrowest crop relative to the image's.

    Call as `keras_det.data.SSDAugmentation`.
    """

    def __init__(self, image_size: tuple[int, int], negative_fraction: float = 0.6, smallest: float = 0.2):
        self.image_size = tuple(image_size)
        self.negative_fraction, self.smallest = negative_fraction, smallest

    def __call__(self, original, objects, seed):
        """One training sample, flipped half of the time: `(image, objects)`."""
        window = self.window(objects, seed)
        image, _ = original.sample(window, self.image_size)
        boxes = to_window(objects["boxes"], window)
        inside = tf.reduce_all((boxes[:, :2] < 1) & (boxes[:, 2:] > 0), axis=1)
        flip = tf.random.stateless_uniform([], seed + [3, 0]) < 0.5
        boxes = tf.where(flip, flip_boxes(boxes), boxes)
        objects = {name: tf.boolean_mask(value, inside) for name, value in (objects | {"boxes": boxes}).items()}
        return tf.where(flip, image[:, ::-1], image), objects

    def window(self, objects: dict[str, Tensor], seed: Tensor) -> Tensor:
        """The crop, `[4]` rel_yxyx."""
        boxes, labels = objects["boxes"], objects["labels"]
        draw = tf.random.stateless_uniform([TRIALS, 3], seed + [1, 0])
        side = self.smallest + draw[:, :1] * (1 - self.smallest)
        low = draw[:, 1:] * (1 - side)
        windows = tf.concat([low, low + side], axis=1)
        covered = covered_parts(windows, boxes)
        negative = tf.reduce_all(covered <= 0, axis=1)
        positive = tf.reduce_any((covered >= 0.8) & (labels == self._drawn(labels, seed)), axis=1)
        wanted = tf.random.stateless_uniform([], seed + [2, 0]) < self.negative_fraction
        fits = tf.where(wanted | (tf.size(labels) == 0), negative, positive)
        whole = tf.constant([0.0, 0.0, 1.0, 1.0])
        return tf.where(tf.reduce_any(fits), windows[tf.argmax(tf.cast(fits, tf.int32))], whole)

    def _drawn(self, labels, seed):
        """One of the labels, each kind as likely as the others however many objects it has; -1 where there are none."""
        kinds = tf.concat([tf.unique(labels)[0], tf.constant([-1], labels.dtype)], 0)
        count = tf.maximum(tf.size(kinds) - 1, 1)
        return kinds[tf.random.stateless_uniform([], seed + [4, 0], 0, count, tf.int32)]


def covered_parts(windows: Tensor, boxes: Tensor) -> Tensor:
    """`[t, n]` fraction of each box's area that lies in each window."""
    return intersections(windows, boxes) / tf.maximum(areas(boxes), 1e-12)
