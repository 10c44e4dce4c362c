"""Every model of the zoo in the smallest form that still has all its parts, and a batch for it."""

import math
import sys
from unittest import mock

import keras
import numpy as np

from keras_det import models

CLASSES = ["cat", "dog", "owl"]
SMALL = {
    "ssd300": {"backbone": "tiny", "sources": ("stage5",)},
    "multibox": {"backbone": "tiny", "boxes": 12, "image_size": 64},
    "multibox-predictions": {"backbone": "tiny", "boxes": 12, "image_size": 64, "matching": "predictions"},
    "one_box_per_class": {"backbone": "tiny", "image_size": 64},
    "detectornet": {"backbone": "tiny", "image_size": 64, "d": 8, "aspect_ratios": (0.5, 1.0, 2.0)},
    "class_generic": {"backbone": "tiny", "image_size": 64, "grid_shape": (8, 8, 3, 2)},
    "classifier": {"backbone": "tiny", "image_size": 64, "background": True},
    "overfeat": {
        "variant": "fast",
        "width": 1 / 24,
        "image_size": (247, 247),
        "scales": ((247, 247),),
        "fixed_trunk": False,
        "dropout": 0.0,  # so that every form of the same step is the same
        "batch_norm": True,
        "negatives": 2,
    },
}


STAGES = ((8, 1), (8, 1), (16, 1), (16, 1), (16, 1))  # of the backbone "tiny", half its layers


def build(case, subclass=lambda model: model, **arguments):
    """The model of a key of `SMALL`, the same weights every time; `subclass` makes another class of its class."""
    keras.utils.set_random_seed(0)
    with mock.patch.object(sys.modules["keras_det.backbones.tiny"], "STAGES", STAGES):
        return subclass(models.get(case.split("-")[0]))(**{"classes": CLASSES} | SMALL[case] | arguments)


def linear(model):
    """A class of models whose outputs are linear in four mean colours: of a step's work the objective is left."""

    class Linear(model):
        """The outputs' forms are the network's own."""

        def build(self, input_shape):
            super().build(input_shape)
            outputs = super().call(np.zeros((1, *self.image_size, 3), "float32"))
            self.forms = {name: value.shape[1:] for name, value in outputs.items()}
            self.linear = {name: keras.layers.Dense(math.prod(shape)) for name, shape in self.forms.items()}
            for layer in self.linear.values():
                layer.build((None, 12))

        def call(self, images, training=False):
            colours = keras.ops.reshape(keras.ops.image.resize(images / 255.0, (2, 2), antialias=True), (-1, 12))
            return {k: keras.ops.reshape(self.linear[k](colours), (-1, *shape)) for k, shape in self.forms.items()}

    return Linear


def batch(model, pictures=2, seed=0):
    """Random pictures and labels; of every four pictures the first has no object, the others one to three."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 255, (pictures, *model.image_size, 3)).astype("float32")
    low = rng.uniform(0, 0.4, (pictures, 3, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.3, 0.6, low.shape)], axis=-1).astype("float32")
    labels = rng.integers(0, len(CLASSES), (pictures, 3)).astype("int32")
    for picture in range(pictures):
        labels[picture, picture % 4 :] = -1
    return images, {"boxes": boxes, "labels": labels}


def values(variables):
    """Copies of variables as arrays."""
    return [np.asarray(keras.ops.convert_to_numpy(variable)).copy() for variable in variables]
