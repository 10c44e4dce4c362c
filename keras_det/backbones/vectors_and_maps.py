"""Backbones as the detectors from before feature pyramids take them: one vector for an image, or one fine map."""

from collections import ChainMap

import keras
from keras import layers

from keras_det.backbones.alex_net import alexnet, scaled
from keras_det.backbones.common import conv_bn
from keras_det.backbones.table import BACKBONES
from keras_det.backbones.tiny_net import tiny
from keras_det.weights.registry import CAFFE_MEAN

VECTOR_BACKBONES = ChainMap({"alexnet": None}, BACKBONES)  # with those that are added later
SQUEEZED, SQUEEZED_TINY = 64, 14  # channels to which a map is brought whose cells are the vector
MERGED = 128  # channels of the fine map


def last_vector(name: str, image_size: tuple[int, int], width: float = 1.0, pooled: bool = False) -> keras.Model:
    """A network from images to the vector of its last hidden layer, preprocessing included.

    Args:
        name: `"alexnet"`, whose vector is fc7, or one of `keras_det.backbones.BACKBONES`.
        image_size: `(height, width)` in pixels.
        width: factor of the numbers of filters and units of AlexNet; of the others, of the channels to which their last
            map is brought where its cells are the vector: 64, of tiny's map of stride 16 14.
        pooled: whether the vector is the mean of the last map over its cells, as a classifier takes it; else it is the
            map cell by cell, which tells where things are. Of tiny, whose map is small, it is always the latter.

    Returns:
        A Keras model from RGB images in 0 .. 255, `[B, H, W, 3]`, to a dict of `map` `[B, h, w, c]`, the last map, and
        `features` `[B, F]`.

    Raises:
        ValueError: no backbone of that name, or a size that it cannot take.

    >>> last_vector("tiny", (96, 96)).output["features"].shape
    (None, 504)
    >>> last_vector("mobilenet_v2", (96, 96), pooled=True).output["features"].shape
    (None, 1280)
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
    x = _preprocessed(name, inputs)
    if name == "tiny":
        network = tiny(image_size)
        last = keras.Model(network.input, network.output["stage4"], name="tiny")(x)  # without what stage3 alone needs
        features = _cells(last, scaled(SQUEEZED_TINY, width))
    else:
        last = list(BACKBONES[name].build(image_size)(x).values())[-1]
        if pooled:
            features = layers.Dropout(0.2, name="dropout")(layers.GlobalAveragePooling2D(name="pool")(last))
        else:
            features = _cells(last, scaled(SQUEEZED, width))
    return keras.Model(inputs, {"map": last, "features": features}, name="backbone")


def fine_map(name: str, image_size: tuple[int, int]) -> keras.Model:
    """A network from images to one map of stride 8, preprocessing included.

    Coarser maps are added to the next finer one from the coarsest on, as in a feature pyramid.

    Args:
        name: one of `keras_det.backbones.BACKBONES`.
        image_size: `(height, width)` in pixels.

    Returns:
        A Keras model from RGB images in 0 .. 255, `[B, H, W, 3]`, to `[B, h, w, 128]`; of tiny, 48 channels.

    >>> fine_map("mobilenet_v2", (64, 96)).output.shape
    (None, 8, 12, 128)
    """
    inputs = keras.Input((*image_size, 3))
    x = _preprocessed(name, inputs)
    if name == "tiny":  # which merges its maps itself
        network = tiny(image_size)
        fine = keras.Model(network.input, network.output["stage3"], name="tiny")(x)
        return keras.Model(inputs, fine, name="backbone")
    maps, merged = BACKBONES[name].build(image_size)(x), None
    for source in reversed(BACKBONES[name].sources):
        lateral = conv_bn(maps[source], MERGED, 1, f"{source}_lateral", activation=None)
        if merged is not None:
            merged = layers.Resizing(*lateral.shape[1:3], interpolation="nearest", name=f"{source}_up")(merged)
            lateral = layers.Add(name=f"{source}_sum")([lateral, merged])
        merged = lateral
    return keras.Model(inputs, conv_bn(merged, MERGED, 3, "merged"), name="backbone")


def _preprocessed(name, inputs):
    """Images as the backbone takes them; the mean of equal channels is one number."""
    entry = BACKBONES[name]
    offsets = [-value * entry.scale for value in entry.mean]
    return layers.Rescaling(entry.scale, offsets[0] if len({*offsets}) == 1 else offsets, name="to_one")(inputs)


def _cells(last, channels):
    """A map's cells as one vector, each brought to this many channels."""
    return layers.Flatten(name="flatten")(conv_bn(last, channels, 1, "squeeze"))
