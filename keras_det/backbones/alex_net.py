"""AlexNet (Krizhevsky, Sutskever, Hinton 2012), the network of DeepMultiBox and DetectorNet."""

import keras
from keras import layers

from keras_det.layers import LocalResponseNorm

SMALLEST = 67  # pixels of a side that leave one cell after pool5


def alexnet(image_size: tuple[int, int], width: float = 1.0, name: str = "alexnet") -> keras.Model:
    """Five convolutions and two dense layers, with local response normalization after the first two.

    One column instead of the original's two groups, which only divided it over two GPUs.

    Args:
        image_size: `(height, width)` in pixels, at least 67 each: 220 in DeepMultiBox, 225 in DetectorNet.
        width: Factor of all numbers of filters and units; 1 is the paper's.
        name: Name of the Keras model.

    Returns:
        A Keras model from images, RGB less the mean `[B, H, W, 3]`, to a dict of `pool5` `[B, h, w, 256 width]` and
        `fc7` `[B, 4096 width]`. Dropout of 0.5 follows both dense layers.

    Raises:
        ValueError: `image_size` is too small for the network.
    """
    if min(image_size) < SMALLEST:
        raise ValueError(f"`image_size` must be at least {SMALLEST} x {SMALLEST} for AlexNet; got {tuple(image_size)}.")

    def conv(x, filters, kernel, name, stride=1, padding="same"):
        return layers.Conv2D(scaled(filters, width), kernel, stride, padding, activation="relu", name=name)(x)

    def dense(x, units, name):
        x = layers.Dense(scaled(units, width), activation="relu", name=name)(x)
        return layers.Dropout(0.5, name=f"{name}_dropout")(x)

    x = inputs = keras.Input((*image_size, 3))
    x = conv(x, 96, 11, "conv1", stride=4, padding="valid")
    x = layers.MaxPooling2D(3, 2, name="pool1")(LocalResponseNorm(name="norm1")(x))
    x = conv(x, 256, 5, "conv2")
    x = layers.MaxPooling2D(3, 2, name="pool2")(LocalResponseNorm(name="norm2")(x))
    x = conv(conv(conv(x, 384, 3, "conv3"), 384, 3, "conv4"), 256, 3, "conv5")
    pool5 = layers.MaxPooling2D(3, 2, name="pool5")(x)
    fc6 = dense(layers.Flatten(name="flatten")(pool5), 4096, "fc6")
    return keras.Model(inputs, {"pool5": pool5, "fc7": dense(fc6, 4096, "fc7")}, name=name)


def scaled(count: int, width: float) -> int:
    """A number of filters or units times the width, at least 1."""
    return max(round(count * width), 1)
