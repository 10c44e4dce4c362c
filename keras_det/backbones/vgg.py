"""VGG16 as SSD uses it: fc6 and fc7 as convolutions, atrous by default."""

import keras
import numpy as np
from keras import layers

from keras_det.backbones.common import subsample

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # filters and convolutions of each block


def vgg16(image_size: tuple[int, int], atrous: bool = True, name: str = "vgg16") -> keras.Model:
    """VGG16 without its classifier (SSD section 3, "Base network").

    Args:
        image_size: `(height, width)` in pixels.
        atrous: subsampled fc6 (3x3, 1024 filters, dilation 6) after a 3x3 pool5 of stride 1, and fc7 of 1024 filters.
            Else the full network: 2x2 pool5 of stride 2, 7x7 fc6 and fc7 of 4096 filters.
        name: name of the Keras model.

    Returns:
        A Keras model from images, RGB less the mean `[B, H, W, 3]`, to a dict of `conv4_3`, `conv5_3` and `fc7`. All
        poolings round up, so that 300 pixels give 38 cells at conv4_3, as in Caffe.
    """
    x = inputs = keras.Input((*image_size, 3))
    features = {}
    for block, (filters, convolutions) in enumerate(BLOCKS, start=1):
        for i in range(1, convolutions + 1):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{block}_{i}")(x)
        features[f"conv{block}_{convolutions}"] = x
        if block < 5:
            x = layers.MaxPooling2D(2, 2, padding="same", name=f"pool{block}")(x)
    if atrous:
        x = layers.MaxPooling2D(3, 1, padding="same", name="pool5")(x)
        x = layers.Conv2D(1024, 3, padding="same", dilation_rate=6, activation="relu", name="fc6")(x)
        x = layers.Conv2D(1024, 1, activation="relu", name="fc7")(x)
    else:
        x = layers.MaxPooling2D(2, 2, padding="same", name="pool5")(x)
        x = layers.Conv2D(4096, 7, padding="same", activation="relu", name="fc6")(x)
        x = layers.Conv2D(4096, 1, activation="relu", name="fc7")(x)
    return keras.Model(inputs, {k: features[k] for k in ("conv4_3", "conv5_3")} | {"fc7": x}, name=name)


def from_application(classifier: keras.Model, atrous: bool = True) -> dict[str, np.ndarray]:
    """Parameters of `vgg16` from Keras's ImageNet VGG16 with its top.

    fc6 and fc7 become convolutions; for the atrous form they are subsampled as the authors did: every third row and
    column of fc6's 7x7 kernel and every fourth of its 4096 outputs, likewise of fc7. Keras's network was trained on
    blue, green, red; here images are red, green, blue, so the first kernel's input channels are turned.

    Args:
        classifier: a `keras.applications.VGG16(include_top=True)`; its convolutions carry `blockB_convI`.
        atrous: as in `vgg16`.

    Returns:
        Dict from `"layer/kernel"` and `"layer/bias"` to numpy arrays.
    """
    parameters = {}
    for block, (_, convolutions) in enumerate(BLOCKS, start=1):
        for i in range(1, convolutions + 1):
            kernel, bias = classifier.get_layer(f"block{block}_conv{i}").get_weights()
            if (block, i) == (1, 1):
                kernel = kernel[:, :, ::-1]
            parameters |= {f"conv{block}_{i}/kernel": kernel, f"conv{block}_{i}/bias": bias}
    for name, dense, shape in (("fc6", "fc1", (7, 7, 512, -1)), ("fc7", "fc2", (1, 1, 4096, -1))):
        kernel, bias = classifier.get_layer(dense).get_weights()
        kernel = kernel.reshape(shape)
        if atrous:
            strides = (3, 3, 1, 4) if name == "fc6" else (1, 1, 4, 4)
            kernel, bias = subsample(kernel, strides), subsample(bias, (4,))
        parameters |= {f"{name}/kernel": kernel, f"{name}/bias": bias}
    return parameters
