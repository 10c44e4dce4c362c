"""Samples that are crops: squares by covered fraction for localizers, crops of objects and of background for
classifiers.

Graph operations, each sample a function of one seed, as `keras_det.data.augment`.
"""

import numpy as np
import tensorflow as tf

from keras_det.data.augment import crop_objects, flip_boxes, ious
from keras_det.data.source import Source
from keras_det.types import Tensor

BUCKETS = (0.0, 0.05, 0.15, 0.5, 1.0)  # limits of the fraction of a sample that boxes cover, DeepMultiBox section 4.1
TRIALS = 128  # crops drawn for a sample; the first that fits is taken
SMALLEST = 0.15  # side of a crop relative to the image's shorter side
SHAKEN = 0.25  # of a box's side: how far its sides move for a crop of an object


class SquareCrops:
    """Square crops, as many from each bucket of covered fraction (DeepMultiBox section 4.1, "Training Details").

    A crop's side is log-uniform from 15 % to all of the image's shorter side, its place uniform. A bucket is drawn
    for each sample, all four alike, and the first of 128 crops in it is taken. Where none of them lies in it, which is
    so for images of nothing but background or of one large object, the next bucket that has a crop is taken, round in
    a circle. Objects whose center is in the crop are its objects, clipped to it.

    Args:
        image_size: `(height, width)` of the sample in pixels.

    Call as `keras_det.data.SSDAugmentation`.
    """

    def __init__(self, image_size: tuple[int, int]):
        self.image_size = tuple(image_size)

    def __call__(self, original, objects, seed):
        """One training sample, flipped half of the time: `(image, objects)`."""
        window, _ = self.window(objects["boxes"], original.scale[:2], seed)
        return _sample(original, crop_objects(objects, window), window, self.image_size, seed)

    def window(self, boxes: Tensor, size: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        """The crop, `[4]` rel_yxyx, and its bucket, 0 to 3.

        Args:
            boxes: `[n, 4]` rel_yxyx.
            size: `[2]` height and width of the image in pixels.
            seed: `[2]` int64.
        """
        draw = tf.random.stateless_uniform([TRIALS, 3], seed + [1, 0])
        side = SMALLEST ** draw[:, :1] * tf.reduce_min(size) / size
        low = draw[:, 1:] * (1 - side)
        windows = tf.concat([low, low + side], axis=1)
        fraction = covered_fraction(windows, boxes)
        bucket = tf.reduce_sum(tf.cast(fraction[:, None] > tf.constant(BUCKETS[1:-1]), tf.int32), axis=1)
        wanted = tf.random.stateless_uniform([], seed + [2, 0], 0, len(BUCKETS) - 1, tf.int32)
        place = tf.argmin((bucket - wanted) % (len(BUCKETS) - 1))
        return windows[place], bucket[place]


class ObjectCrops:
    """Crops of objects and of background (DeepMultiBox section 4.2, DetectorNet section 6.2).

    A positive has at least `positive_iou` IoU with some object, and the class of the most similar one; a
    negative at most `negative_iou` with all. The first of 128 crops that fits is taken: around a random object, its
    sides moved, or anywhere. An object that no moved box fits is cropped as it is. An image without objects gives a
    negative, and one in which no negative was found a positive. Difficult objects and crowds are no positives, but no
    background either.

    Args:
        image_size: `(height, width)` of the sample in pixels.
        region: `None` brings the crop itself to that size. `"maximum"` and `"minimum"` show the square of its longer or
            its shorter side in pixels around its center, what `MultiBoxDetector` classifies of a box; where the square
            leaves the image, the image's edge continues.
        positive_iou: Least overlap of a positive.
        negative_iou: Greatest overlap of a negative.
        positive_fraction: Fraction of positives; 1 gives no negatives.

    Call as `keras_det.data.SSDAugmentation`; the objects are one box, the whole sample, with the class, or none.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        positive_iou: float = 0.5,
        negative_iou: float = 0.2,
        positive_fraction: float = 1 / 3,
        region: str | None = None,
    ):
        self.image_size, self.region = tuple(image_size), region
        self.positive_iou, self.negative_iou, self.positive_fraction = positive_iou, negative_iou, positive_fraction

    def __call__(self, original, objects, seed):
        """One training sample, flipped half of the time: `(image, objects)`."""
        window, label = self.window(objects, seed)
        if self.region is not None:
            window = square_around(window, original.scale[:2], self.region)
        found = tf.reshape(tf.where(label[None] >= 0), [-1])  # one row, or none for background
        rows = {
            "boxes": tf.gather(tf.constant([[0.0, 0.0, 1.0, 1.0]]), found),
            "labels": tf.gather(label[None], found),
            "difficult": tf.zeros_like(found, tf.bool),
            "is_crowd": tf.zeros_like(found, tf.bool),
        }
        return _sample(original, rows, window, self.image_size, seed)

    def window(self, objects: dict[str, Tensor], seed: Tensor) -> tuple[Tensor, Tensor]:
        """The crop, `[4]` rel_yxyx, and its label, -1 for background; an image without positives may have no other."""
        boxes = objects["boxes"]
        valid = ~(objects["difficult"] | objects["is_crowd"])
        positives = tf.boolean_mask(boxes, valid)
        near, label, is_object = self._positive(positives, tf.boolean_mask(objects["labels"], valid), seed)
        anywhere, is_free = self._negative(boxes, seed)
        wanted = tf.random.stateless_uniform([], seed + [3, 0]) < self.positive_fraction
        positive = is_object & (wanted | ~is_free)
        return tf.where(positive, near, anywhere), tf.where(positive, label, -1)

    def _positive(self, boxes, labels, seed):
        """A crop of an object, the class of the object most like it, and whether there is one."""
        padded = tf.concat([boxes, [[0.0, 0.0, 1.0, 1.0]]], 0)  # something to gather from where there are none
        count = tf.shape(boxes)[0]
        chosen = padded[tf.random.stateless_uniform([], seed + [4, 0], 0, tf.maximum(count, 1), tf.int32)]
        side = tf.tile(chosen[2:] - chosen[:2], [2])
        moves = tf.random.stateless_uniform([TRIALS - 1, 4], seed + [5, 0], -SHAKEN, SHAKEN)
        crops = tf.clip_by_value(tf.concat([chosen + moves * side, chosen[None]], 0), 0.0, 1.0)
        paired_iou = ious(crops, boxes)
        good = tf.reduce_any(paired_iou >= self.positive_iou, axis=1)
        good = tf.concat([good[:-1], [True]], 0)
        place = tf.argmax(tf.cast(good, tf.int32))
        best = tf.argmax(tf.concat([paired_iou[place], [-1.0]], 0))
        return crops[place], tf.gather(tf.concat([labels, [-1]], 0), best), count > 0

    def _negative(self, boxes, seed):
        """A crop that no object overlaps, and whether one was found."""
        draw = tf.random.stateless_uniform([TRIALS, 4], seed + [6, 0])
        side = 0.05 ** draw[:, :2]
        low = draw[:, 2:] * (1 - side)
        crops = tf.concat([low, low + side], axis=1)
        free = tf.reduce_all(ious(crops, boxes) <= self.negative_iou, axis=1)
        return crops[tf.argmax(tf.cast(free, tf.int32))], tf.reduce_any(free)


class GivenCrops:
    """The image's only object is the crop, which shows background: samples of `keras_det.data.Negatives`.

    Args:
        image_size: `(height, width)` of the sample in pixels.

    Call as `keras_det.data.SSDAugmentation`; the samples have no objects.
    """

    def __init__(self, image_size: tuple[int, int]):
        self.image_size = tuple(image_size)

    def __call__(self, original, objects, seed):
        """One training sample, flipped half of the time: `(image, objects)`."""
        nothing = {name: value[:0] for name, value in objects.items()}
        return _sample(original, nothing, objects["boxes"][0], self.image_size, seed)


def sampled_boxes(source: Source, seed: int, samples: int, crops: bool = True) -> np.ndarray:
    """Boxes of the objects of training samples, from annotations alone.

    Args:
        source: a `keras_det.data.Source`.
        seed: of the samples.
        samples: images at most, each once.
        crops: whether the samples are `SquareCrops`; else whole images.

    Returns:
        `[N, 4]` float32 rel_yxyx of the samples.
    """
    sampler, found = SquareCrops((1, 1)), [np.zeros((0, 4), "float32")]

    @tf.function(input_signature=[tf.TensorSpec([None, 4]), tf.TensorSpec([2]), tf.TensorSpec([2], tf.int64)])
    def crop(boxes, size, key):
        return crop_objects({"boxes": boxes}, sampler.window(boxes, size, key)[0])["boxes"]

    for i in np.random.default_rng(seed).permutation(len(source))[:samples]:
        one = source.annotation(int(i))
        boxes = one.boxes[~one.is_crowd]
        found.append(crop(boxes, [float(one.height), float(one.width)], [seed, i]).numpy() if crops else boxes)
    return np.concatenate(found)


def covered_fraction(windows: Tensor, boxes: Tensor) -> Tensor:
    """Fraction of each window that at least one box covers, exactly.

    Args:
        windows: `[t, 4]` rel_yxyx of positive size.
        boxes: `[n, 4]` rel_yxyx.

    Returns:
        `[t]` float32 in 0 .. 1. The boxes' sides cut a window into at most (2 n + 1)^2 cells, each covered or not.
    """
    sides = tf.clip_by_value(_many_to_windows(boxes, windows), 0.0, 1.0)
    covers, lengths = [], []
    for low, high in ((0, 2), (1, 3)):
        edges = tf.sort(tf.concat([sides[..., low], sides[..., high]], axis=1), axis=1)
        start, end = edges[:, :-1], edges[:, 1:]
        lengths.append(end - start)
        covers.append((sides[..., low, None] <= start[:, None]) & (sides[..., high, None] >= end[:, None]))
    rows, columns = (tf.cast(c, tf.float32) for c in covers)
    covered = tf.cast(tf.matmul(rows, columns, transpose_a=True) > 0, tf.float32)
    return tf.reduce_sum(covered * lengths[0][:, :, None] * lengths[1][:, None], axis=(1, 2))


def square_around(window: Tensor, size: Tensor, region: str) -> Tensor:
    """The square around the center of a window, of its longer or its shorter side, in tensors of the input pipeline.

    Args:
        window: `[4]` rel_yxyx.
        size: `[2]` height and width of the image in pixels.
        region: `"maximum"` or `"minimum"`.

    Returns:
        `[4]` rel_yxyx, as `keras_det.models.multibox.square_regions` gives it; it may leave the image.
    """
    sides = (window[2:] - window[:2]) * size
    side = tf.reduce_max(sides) if region == "maximum" else tf.reduce_min(sides)
    center, half = (window[:2] + window[2:]) / 2, tf.maximum(side, 1.0) / 2 / size
    return tf.concat([center - half, center + half], 0)


def _many_to_windows(boxes, windows):
    """`[t, n, 4]` boxes relative to each window."""
    origin, size = tf.tile(windows[:, :2], [1, 2]), tf.tile(windows[:, 2:] - windows[:, :2], [1, 2])
    return (boxes[None] - origin[:, None]) / size[:, None]


def _sample(original, objects, window, image_size, seed):
    """The window's pixels and objects, flipped half of the time."""
    image = _continued(*original.sample(window, image_size))
    flip = tf.random.stateless_uniform([], seed + [7, 0]) < 0.5
    boxes = tf.where(flip, flip_boxes(objects["boxes"]), objects["boxes"])
    return tf.where(flip, image[:, ::-1], image), objects | {"boxes": boxes}


def _continued(image, inside):
    """A sample whose pixels that are not of the image are those at the image's edge."""
    for axis in (0, 1):
        there = tf.reshape(tf.where(tf.reduce_any(inside, axis=(1 - axis, 2))), [-1])
        last = image.shape[axis] - 1
        first, end = tf.minimum(tf.reduce_min(there), last), tf.maximum(tf.reduce_max(there), 0)
        image = tf.gather(image, tf.clip_by_value(tf.range(last + 1, dtype=tf.int64), first, end), axis=axis)
    return image
