"""EfficientNet-Lite0: EfficientNet-B0 for phones and 8 bits."""

import keras
from keras import layers

from keras_det.backbones.common import conv_bn, depthwise_bn

# Tan and Le 2019, Table 1: expansion, kernel, stride, filters and repetitions of each stage.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM, HEAD = 32, 1280


def efficientnet_lite0(image_size: tuple[int, int], name: str = "efficientnet_lite0") -> keras.Model:
    """EfficientNet-Lite0 without its classifier.

    Reference: Tan and Le, "EfficientNet", ICML 2019, and Liu, "Higher accuracy on vision models with
    EfficientNet-Lite", TensorFlow blog, 2020: B0 with ReLU6 in place of swish and without squeeze-and-excite.

    Args:
        image_size: `(height, width)` in pixels.
        name: name of the Keras model.

    Returns:
        A Keras model from `(RGB - 127) / 128`, `[B, H, W, 3]`, to a dict of `block5_expand`, `block11_expand` and
        `head`, of stride 8, 16 and 32 and with 240, 672 and 1280 channels. Where a map is halved its end is padded by
        one cell more than its beginning, which is TensorFlow's "same" for even sides; odd ones are padded alike, as in
        the network that the ImageNet parameters are published with, and round down.

    >>> model = efficientnet_lite0((64, 96))
    >>> {name: tuple(value.shape[1:]) for name, value in model.output.items()}
    {'block5_expand': (8, 12, 240), 'block11_expand': (4, 6, 672), 'head': (2, 3, 1280)}
    """
    x = inputs = keras.Input((*image_size, 3))
    features = {}
    x = conv_bn(x, STEM, 3, "stem", stride=2, activation="relu6", pad=_at_the_end)
    blocks = [(e, k, s if i == 0 else 1, f) for e, k, s, f, count in STAGES for i in range(count)]
    for i, (expansion, kernel, stride, filters) in enumerate(blocks):
        x, features[f"block{i}_expand"] = _block(x, expansion, kernel, stride, filters, f"block{i}")
    features["head"] = conv_bn(x, HEAD, 1, "head", activation="relu6")
    return keras.Model(inputs, {k: features[k] for k in ("block5_expand", "block11_expand", "head")}, name=name)


def _block(x, expansion, kernel, stride, filters, name):
    """Inverted residual block; its output and its expansion."""
    shortcut = x
    if expansion > 1:
        x = conv_bn(x, expansion * x.shape[-1], 1, f"{name}_expand", activation="relu6")
    expanded = x
    x = depthwise_bn(x, kernel, f"{name}_depthwise", stride, activation="relu6", pad=_at_the_end)
    x = conv_bn(x, filters, 1, f"{name}_project", activation=None)
    if stride == 1 and shortcut.shape[-1] == filters:
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x, expanded


def _at_the_end(x, kernel, stride, name):
    """What a convolution is given, and its own padding: one more at the end, by itself where that is "same"."""
    if stride == 1 or not any(side % 2 for side in x.shape[1:3]):
        return x, "same"
    both = (kernel // 2 - 1, kernel // 2)
    return layers.ZeroPadding2D((both, both), name=f"{name}_pad")(x), "valid"
