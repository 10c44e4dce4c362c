"""Keras's preprocessing layers and albumentations' transforms as the augmentation of training images.

A box passes through them with the number of its row as its label, so that one that is removed takes its label and its
flags with it. What they draw is a function of the sample's seed, as in `keras_det.data.augment`.
"""

import copy
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_det import _compat
from keras_det.data.augment import MIN_SIDE
from keras_det.data.resize import resize

_MIXING = ("MixUp", "CutMix")  # take boxes from other images of a batch; here is one image at a time
_TURNED = [1, 0, 3, 2]  # between yxyx and xyxy
_TRIALS = 8
_TRIED = (0.35, 0.3, 0.6, 0.75)
_TOLERANCE = 3.0  # of a box, in pixels


def as_augmentation(augment: Any, image_size: tuple[int, int]) -> Callable | None:
    """What `keras_det.data.batches` samples by.

    Args:
        augment: a function such as `SSDAugmentation(image_size)`; a Keras preprocessing layer, or a sequence or
            `keras.Sequential` of them; an `albumentations.Compose`; or `None`.
        image_size: `(height, width)` of the sample in pixels.

    Returns:
        A function from a `OriginalImage`, its objects and a seed to an image and objects, or `None`.

    Raises:
        ValueError: another value, or a transform that cannot move boxes.
    """
    albumentations = sys.modules.get("albumentations")
    if albumentations and isinstance(augment, (albumentations.BaseCompose, albumentations.BasicTransform)):
        return Albumentations(augment, image_size)
    layers = augment if isinstance(augment, (list, tuple)) else getattr(augment, "layers", [augment])
    if layers and all(isinstance(layer, keras.Layer) for layer in layers):
        return KerasLayers(layers, image_size)
    if augment is None or callable(augment):
        return augment
    raise ValueError(
        "`augment` must be a function, Keras preprocessing layers, or an `albumentations.Compose`; "
        f"got {augment!r:.100}."
    )


class KerasLayers:
    """Keras's preprocessing layers on the image at the network's size.

    Args:
        layers: those that take `bounding_boxes`, such as `keras.layers.RandomFlip()`; their own seeds are not used.
        image_size: `(height, width)` of the sample in pixels, to which other outputs are resized.

    Call as `SSDAugmentation`.

    Raises:
        ValueError: a layer that does not move boxes as it moves pixels, which is tried out.
    """

    def __init__(self, layers: Iterable[keras.layers.Layer], image_size: tuple[int, int]):
        self.image_size = tuple(image_size)
        self._layers = list(layers)
        shapes = ((1, *self.image_size, 3), (1, None, 4), (1, None))
        signature = [*(tf.TensorSpec(shape, "float32") for shape in shapes), tf.TensorSpec([2], "int64")]
        self._transform = tf.function(self._run, input_signature=signature, autograph=False)
        self._transform.get_concrete_function()
        for seed in range(_TRIALS):
            self._try(seed)

    def __call__(self, original, objects, seed):
        """One training sample."""
        rows = tf.range(tf.shape(objects["boxes"])[0], dtype=tf.float32)
        image = resize(original.whole(), self.image_size)
        image, boxes, rows = self._transform(image[None], objects["boxes"][None], rows[None], seed)
        return _sample(image[0], boxes[0], rows[0], objects, self.image_size)

    def _run(self, images, boxes, rows, seed):
        """The layers on a batch of one."""
        boxes = tf.gather(boxes * _sides(images), _TURNED, axis=-1)
        data = {"images": images, "bounding_boxes": {"boxes": boxes, "labels": rows}}
        seeds = _Seeds(seed)
        for layer in self._layers:
            if type(layer).__name__ in _MIXING or not hasattr(layer, "transform_bounding_boxes"):
                raise ValueError(_cannot([layer]))
            try:
                with _compat.preprocessing(layer, seeds, "xyxy"):
                    data = layer(data)
            except Exception as error:
                raise ValueError(_cannot([layer])) from error
        images, boxes = data["images"], data["bounding_boxes"]["boxes"]
        return images, tf.gather(boxes, _TURNED, axis=-1) / _sides(images), data["bounding_boxes"]["labels"]

    def _try(self, seed):
        """Refuse layers that leave a shown object's box where its pixels are not."""
        seed = tf.constant([0, seed], tf.int64)
        with tf.device("CPU"):
            found = [self._transform(scene, [[_TRIED]], [[0.0]], seed) for scene in _scenes(self.image_size)]
        (without, *_), (image, boxes, rows) = ([value.numpy() for value in values] for values in found)
        change = np.abs(image - without).max(axis=(0, -1))
        shown = np.argwhere(change > max(change.max() / 2, 1.0))
        if len(shown) and boxes.size and rows[0, 0] >= 0:
            pixels = np.concatenate([shown.min(axis=0), shown.max(axis=0) + 1])
            beyond = (boxes[0, 0] * _sides(image) - pixels) * [1, 1, -1, -1]
            if np.max(beyond) > _TOLERANCE:
                raise ValueError(_cannot(self._layers))


class Albumentations:
    """An albumentations pipeline on the image's own pixels, whose output is resized to the network's size.

    Args:
        compose: an `albumentations.Compose` with `bbox_params`, of any format. It is copied, and seeded by the sample.
        image_size: `(height, width)` of the sample in pixels.

    Call as `SSDAugmentation`.

    Raises:
        ValueError: no `bbox_params`, or a transform that moves pixels but not boxes. In use, where the output is not
            uint8 RGB.
    """

    def __init__(self, compose: Any, image_size: tuple[int, int]):
        self.image_size = tuple(image_size)
        if "bboxes" not in getattr(compose, "processors", {}):
            raise ValueError(
                "`augment` must be an `albumentations.Compose` with `bbox_params`, without which boxes stay where they "
                f"were; got {type(compose).__name__}."
            )
        unmoved = [type(one).__name__ for one in _leaves(compose) if not _moves_boxes(one)]
        if unmoved:
            raise ValueError(f"`augment` must move boxes as it moves pixels; got {', '.join(unmoved)}, which does not.")
        self._compose = copy.deepcopy(compose)
        params = self._compose.processors["bboxes"].params
        params.format = "albumentations"  # xmin, ymin, xmax, ymax as fractions
        self._fields = tuple(params.label_fields or ())
        self._of_thread = threading.local()

    def __call__(self, original, objects, seed):
        """One training sample."""
        number = tf.random.stateless_uniform([], seed, maxval=2**31 - 1, dtype=tf.int32)
        inputs = [original.whole(), objects["boxes"], number]
        image, boxes, rows = tf.numpy_function(self._transform, inputs, (tf.uint8, tf.float32, tf.float32))
        image, boxes = tf.ensure_shape(image, [None, None, 3]), tf.ensure_shape(boxes, [None, 4])
        return _sample(image, boxes, tf.ensure_shape(rows, [None]), objects, self.image_size)

    def _transform(self, pixels, boxes, number):
        """Every thread has a copy of the pipeline, which is seeded before each sample."""
        if not hasattr(self._of_thread, "compose"):
            self._of_thread.compose = copy.deepcopy(self._compose)
        compose = self._of_thread.compose
        compose.set_random_seed(int(number))
        rows = np.arange(len(boxes), dtype="float32")
        found = compose(
            image=pixels, bboxes=np.column_stack([boxes[:, _TURNED], rows]), **dict.fromkeys(self._fields, rows)
        )
        image = found["image"]
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
            form = f"{image.dtype} {tuple(image.shape)}"
            raise ValueError(f"`augment` must leave images uint8 RGB, which the network normalizes itself; got {form}.")
        table = np.asarray(found["bboxes"], "float32").reshape(-1, 5)
        return image, table[:, _TURNED], table[:, 4]


def _leaves(transform):
    """The transforms within one of albumentations'."""
    if isinstance(transform, sys.modules["albumentations"].BaseCompose):
        return [leaf for part in transform.transforms for leaf in _leaves(part)]
    return [transform]


def _moves_boxes(transform):
    """Whether a transform of albumentations moves boxes, or no pixels."""
    albumentations = sys.modules["albumentations"]
    if isinstance(transform, albumentations.ImageOnlyTransform):
        return True
    inherited = albumentations.DualTransform.apply_to_bboxes
    return "bboxes" in transform.targets and type(transform).apply_to_bboxes is not inherited


class _Seeds(keras.random.SeedGenerator):
    """Seeds that follow from one, without a state that parallel samples would share.

    Args:
        seed: `[2]` int64, of the function that is being traced.
    """

    def __init__(self, seed):
        self._seed, self._count = seed, 0

    def next(self, ordered=True):
        """The next seed."""
        self._count += 1
        return tf.random.experimental.stateless_fold_in(self._seed, self._count)


def _sides(images):
    """`[4]` float32: rel_yxyx boxes of a batch times this are in pixels."""
    return tf.cast(tf.tile(tf.shape(images)[1:3], [2]), tf.float32)


def _scenes(size):
    """A textured image in all of 0 .. 255, without and with an object in the box `_TRIED`, `[1, H, W, 3]` each."""
    plain = np.random.default_rng(0).uniform(64, 128, (1, *size, 3)).astype("float32")
    plain[:, :2, :4], plain[:, 2:4, :4] = 0, 255
    top, left, bottom, right = np.round(np.array(_TRIED) * [*size, *size]).astype(int)
    scene = plain.copy()
    scene[:, top:bottom, left:right] += 100
    return plain, scene


def _sample(image, boxes, rows, objects, image_size):
    """A sample from what a transform gave: boxes rel_yxyx, and the rows that they had, below 0 where they are gone."""
    image = tf.cast(image, tf.float32)
    if tuple(image.shape[:2]) != image_size:
        image = resize(image, image_size)
    boxes = tf.clip_by_value(boxes, 0.0, 1.0)
    kept = (rows >= 0) & tf.reduce_all(boxes[:, 2:] - boxes[:, :2] > MIN_SIDE, axis=-1)
    rows = tf.cast(tf.boolean_mask(rows, kept), tf.int32)
    objects = {name: tf.gather(value, rows) for name, value in objects.items()}
    return tf.clip_by_value(image, 0.0, 255.0), objects | {"boxes": tf.boolean_mask(boxes, kept)}


def _cannot(transforms):
    names = ", ".join(type(transform).__name__ for transform in transforms)
    return (
        "`augment` must be Keras layers that take images with boxes and move both alike; "
        f"got {names}, which does not in Keras {keras.__version__}."
    )
