"""Every backbone by name, and what a detector must know of it."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import ops

from keras_det.backbones.efficientnet_lite import efficientnet_lite0
from keras_det.backbones.mobilenet import (
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3_large,
    v1_from_application,
    v2_from_application,
    v3_from_application,
)
from keras_det.backbones.tiny_net import tiny
from keras_det.backbones.vgg import from_application, vgg16
from keras_det.types import Tensor
from keras_det.weights import fetch, get
from keras_det.weights.registry import CAFFE_MEAN


@dataclass(frozen=True)
class Backbone:
    """What a detector must know of a backbone.

    Attributes:
        build: function of `image_size` and options that gives the Keras model.
        mean: subtracted from RGB images in 0 .. 255.
        scale: multiplied afterwards.
        sources: names of the maps of stride 8, 16 and 32.
        imagenet: function that gives the parameters, by `"layer/variable"`, of a network trained on ImageNet.
    """

    build: Callable
    mean: tuple[float, float, float]
    scale: float
    sources: tuple[str, ...]
    imagenet: Callable | None = None

    def preprocessed(self, images: Tensor) -> Tensor:
        """What the network takes of RGB images in 0 .. 255, in float32."""
        return (ops.cast(images, "float32") - ops.convert_to_tensor(self.mean, "float32")) * self.scale


def _vgg16_imagenet(atrous=True):
    return from_application(keras.applications.VGG16(weights="imagenet"), atrous)


def _v1_imagenet():
    return v1_from_application(keras.applications.MobileNet(weights="imagenet", include_top=False))


def _v2_imagenet():
    return v2_from_application(keras.applications.MobileNetV2(weights="imagenet", include_top=False))


def _v3_imagenet():
    return v3_from_application(keras.applications.MobileNetV3Large(weights="imagenet", include_top=False))


def _lite0_imagenet():
    entry = get("Classifier", "imagenet")
    assert entry.converter is not None
    parameters = entry.converter.rename(entry.converter.read(fetch(entry)))
    return {name: value for name, value in parameters.items() if not name.startswith("logits/")}


_SYMMETRIC = {"mean": (127.5, 127.5, 127.5), "scale": 1 / 127.5}

BACKBONES = {
    "vgg16": Backbone(vgg16, CAFFE_MEAN, 1.0, ("conv4_3", "fc7"), _vgg16_imagenet),
    "mobilenet_v1": Backbone(
        mobilenet_v1,
        sources=("conv5_pointwise", "conv11_pointwise", "conv13_pointwise"),
        imagenet=_v1_imagenet,
        **_SYMMETRIC,
    ),
    "mobilenet_v2": Backbone(
        mobilenet_v2,
        sources=("block_6_expand_relu", "block_13_expand_relu", "out_relu"),
        imagenet=_v2_imagenet,
        **_SYMMETRIC,
    ),
    "mobilenet_v3_large": Backbone(
        mobilenet_v3_large,
        sources=("block7_expand", "block13_expand", "last_conv"),
        imagenet=_v3_imagenet,
        **_SYMMETRIC,
    ),
    "efficientnet_lite0": Backbone(
        efficientnet_lite0,
        mean=(127.0, 127.0, 127.0),
        scale=1 / 128,
        sources=("block5_expand", "block11_expand", "head"),
        imagenet=_lite0_imagenet,
    ),
    "tiny": Backbone(tiny, sources=("stage3", "stage4", "stage5"), **_SYMMETRIC),
}
