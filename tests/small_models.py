"""Every model of the zoo in the small form that it is registered with, and a batch for it."""

import math
from unittest import mock

import keras
import numpy as np

from keras_det import models
from keras_det.backbones import tiny_net
from keras_det.models.registry import MODELS

CLASSES = ["cat", "dog", "owl"]
VARIANTS = {"multibox-predictions": {"matching": "predictions"}}  # cases beside the models' own
SAME_STEP = ("ssd512", "ssdlite300", "ssdlite320", "sliding_windows")  # as that of another model of the list


def _small(case):
    return MODELS[case.split("-")[0]].small | VARIANTS.get(case, {})


SMALL = {case: _small(case) for case in sorted([*MODELS, *VARIANTS])}
TRAINED = [
    case
    for case in SMALL
    if case not in SAME_STEP and models.get(case.split("-")[0]).compute_losses is not models.Detector.compute_losses
]
"""The cases whose steps of training differ."""

STAGES = ((8, 1), (8, 1), (16, 1), (16, 1), (16, 1))  # of the backbone "tiny", half its layers


def build(case, subclass=lambda model: model, **config):
    """The model of a key of `SMALL`, the same weights every time; `subclass` makes another class of its class."""
    keras.utils.set_random_seed(0)
    with mock.patch.object(tiny_net, "STAGES", STAGES):
        return subclass(models.get(case.split("-")[0]))(**{"classes": CLASSES} | SMALL[case] | config)


def linear(model):
    """A class of models whose outputs are linear in four mean colors: of a step's work the objective is left."""

    class Linear(model):
        """The outputs' forms are the network's own."""

        def build(self, input_shape):
            super().build(input_shape)
            outputs = super().call(np.zeros((1, *self.image_size, 3), "float32"))
            self.shapes = {name: value.shape[1:] for name, value in outputs.items()}
            self.linear = {name: keras.layers.Dense(math.prod(shape)) for name, shape in self.shapes.items()}
            for layer in self.linear.values():
                layer.build((None, 12))

        def call(self, images, training=False):
            colors = keras.ops.reshape(keras.ops.image.resize(images / 255.0, (2, 2), antialias=True), (-1, 12))
            return {k: keras.ops.reshape(self.linear[k](colors), (-1, *shape)) for k, shape in self.shapes.items()}

    return Linear


def batch(model, count=2, seed=0):
    """Random images and labels; of every four images the first has no object, the others one to three."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 255, (count, *model.image_size, 3)).astype("float32")
    low = rng.uniform(0, 0.4, (count, 3, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.3, 0.6, low.shape)], axis=-1).astype("float32")
    labels = rng.integers(0, len(CLASSES), (count, 3)).astype("int32")
    for image in range(count):
        labels[image, image % 4 :] = -1
    return images, {"boxes": boxes, "labels": labels}


def values(variables):
    """Copies of variables as arrays."""
    return [np.asarray(keras.ops.convert_to_numpy(variable)).copy() for variable in variables]
