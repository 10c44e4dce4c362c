"""Feature extractors: each builds a Keras model from preprocessed images to a dict of feature maps by name."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_det.backbones.mobilenet import mobilenet_v2, mobilenet_v3_large
from keras_det.backbones.tiny import tiny
from keras_det.backbones.vgg16 import vgg16

__all__ = ["BACKBONES", "Backbone", "mobilenet_v2", "mobilenet_v3_large", "tiny", "vgg16"]


@dataclass(frozen=True)
class Backbone:
    """What a detector must know of a backbone.

    Attributes:
        build: function of `image_size` and options that gives the Keras model.
        mean: subtracted from RGB images in 0 .. 255.
        scale: multiplied afterwards.
        sources: names of the maps of stride 8, 16 and 32.
    """

    build: Callable
    mean: tuple[float, float, float]
    scale: float
    sources: tuple[str, ...]


_SYMMETRIC = {"mean": (127.5, 127.5, 127.5), "scale": 1 / 127.5}

BACKBONES = {
    "vgg16": Backbone(vgg16, (123.0, 117.0, 104.0), 1.0, ("conv4_3", "fc7")),
    "mobilenet_v2": Backbone(
        mobilenet_v2, sources=("block_6_expand_relu", "block_13_expand_relu", "out_relu"), **_SYMMETRIC
    ),
    "mobilenet_v3_large": Backbone(
        mobilenet_v3_large, sources=("block7_expand", "block13_expand", "last_conv"), **_SYMMETRIC
    ),
    "tiny": Backbone(tiny, sources=("stage3", "stage4", "stage5"), **_SYMMETRIC),
}
