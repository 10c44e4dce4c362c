"""The network of class-generic detection (Huval, Coates, Ng 2013): Krizhevsky's with local contrast normalization."""

import keras
from keras import layers

from keras_det.backbones.alex_net import scaled
from keras_det.layers.local_contrast_norm import LocalContrastNorm

SMALLEST = 67  # pixels of a side that leave one cell after pool5


def alexnet_lcn(image_size: tuple[int, int], width: float = 1.0, name: str = "alexnet_lcn") -> keras.Model:
    """Five convolutions and two dense layers with ReLU; normalization and pooling on the first, second and fifth.

    Filters, strides and dropout are those of Krizhevsky et al. 2012, to which section 3.1 refers. The normalization
    follows the ReLU, as there.

    Args:
        image_size: `(height, width)` in pixels, at least 67 each.
        width: Factor of all numbers of filters and units; 1 is the paper's.
        name: Name of the Keras model.

    Returns:
        A Keras model from images, RGB less the mean `[B, H, W, 3]`, to the feature vector `[B, 4096 width]`.

    Raises:
        ValueError: `image_size` is too small for the network.
    """
    if min(image_size) < SMALLEST:
        raise ValueError(f"`image_size` must be at least {SMALLEST} x {SMALLEST} here; got {tuple(image_size)}.")

    def conv(x, filters, kernel, name, stride=1, padding="same"):
        return layers.Conv2D(scaled(filters, width), kernel, stride, padding, activation="relu", name=name)(x)

    def norm_pool(x, number):
        return layers.MaxPooling2D(3, 2, name=f"pool{number}")(LocalContrastNorm(name=f"norm{number}")(x))

    x = inputs = keras.Input((*image_size, 3))
    x = norm_pool(conv(x, 96, 11, "conv1", stride=4, padding="valid"), 1)
    x = norm_pool(conv(x, 256, 5, "conv2"), 2)
    x = conv(conv(x, 384, 3, "conv3"), 384, 3, "conv4")
    x = layers.Flatten(name="flatten")(norm_pool(conv(x, 256, 3, "conv5"), 5))
    for dense in ("fc6", "fc7"):
        x = layers.Dense(scaled(4096, width), activation="relu", name=dense)(x)
        x = layers.Dropout(0.5, name=f"{dense}_dropout")(x)
    return keras.Model(inputs, x, name=name)
