"""Backbones up to the last hidden layer, one vector per image, for the detectors from before feature maps."""

import keras
from keras import layers

from keras_det.backbones.alex_net import alexnet, scaled
from keras_det.backbones.common import conv_bn
from keras_det.backbones.efficientnet_lite import efficientnet_lite0
from keras_det.backbones.tiny_net import tiny
from keras_det.weights.registry import CAFFE_MEAN

VECTOR_BACKBONES = ("alexnet", "efficientnet_lite0", "tiny")
_SQUEEZED = 14  # channels of the tiny backbone's map, of which each cell is a part of the vector


def build_backbone(name: str, image_size: tuple[int, int], width: float = 1.0) -> keras.Model:
    """A network from images to the vector of its last hidden layer, preprocessing included.

    Args:
        name: `"alexnet"`, `"efficientnet_lite0"`, whose last map is pooled, or `"tiny"` for CPUs.
        image_size: `(height, width)` in pixels.
        width: Factor of the numbers of filters and units of AlexNet; of tiny, of the 14 channels to which its map of
            stride 16 is brought, which are the vector cell by cell.

    Returns:
        A Keras model from RGB images in 0 .. 255, `[B, H, W, 3]`, to a dict of `map` `[B, h, w, c]`, the last map, and
        `features` `[B, F]`.

    Raises:
        ValueError: no backbone of that name, or a size that it cannot take.

    >>> build_backbone("tiny", (96, 96)).output["features"].shape
    (None, 504)
    """
    if name not in VECTOR_BACKBONES:
        raise ValueError(f"`backbone` must be one of {', '.join(VECTOR_BACKBONES)}; got {name!r}.")
    if width <= 0:
        raise ValueError(f"`width` must be positive; got {width}.")
    inputs = keras.Input((*image_size, 3))
    if name == "alexnet":
        x = layers.Rescaling(1.0, [-value for value in CAFFE_MEAN], name="subtract_mean")(inputs)
        maps = alexnet(image_size, width)(x)
        return keras.Model(inputs, {"map": maps["pool5"], "features": maps["fc7"]}, name="backbone")
    if name == "efficientnet_lite0":
        x = layers.Rescaling(1 / 128, -127 / 128, name="to_one")(inputs)
        last = efficientnet_lite0(image_size)(x)["head"]
        features = layers.Dropout(0.2, name="dropout")(layers.GlobalAveragePooling2D(name="pool")(last))
        return keras.Model(inputs, {"map": last, "features": features}, name="backbone")
    x = layers.Rescaling(1 / 127.5, -1.0, name="to_one")(inputs)
    network = tiny(image_size)
    last = keras.Model(network.input, network.output["stage4"], name="tiny")(x)  # without what stage3 alone needs
    features = layers.Flatten(name="flatten")(conv_bn(last, scaled(_SQUEEZED, width), 1, "squeeze"))
    return keras.Model(inputs, {"map": last, "features": features}, name="backbone")
