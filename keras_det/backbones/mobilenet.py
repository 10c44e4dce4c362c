"""MobileNetV1, MobileNetV2 and MobileNetV3-Large as feature extractors."""

import keras
import numpy as np
from keras import layers

from keras_det.backbones.common import conv_bn, depthwise_bn, same

# MobileNetV3-Large, Table 1 of Howard et al. 2019: kernel, expansion, output, squeeze-excite, activation, stride.
V3_BLOCKS = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hard_swish", 2),
    (3, 200, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 480, 112, True, "hard_swish", 1),
    (3, 672, 112, True, "hard_swish", 1),
    (5, 672, 160, True, "hard_swish", 2),
    (5, 960, 160, True, "hard_swish", 1),
    (5, 960, 160, True, "hard_swish", 1),
)


def mobilenet_v3_large(
    image_size: tuple[int, int], reduced_tail: bool = False, name: str = "mobilenet_v3_large"
) -> keras.Model:
    """MobileNetV3-Large without its classifier.

    Args:
        image_size: `(height, width)` in pixels.
        reduced_tail: half the channels after stride 16 (Howard et al. 2019, section 6.3), as torchvision's SSDLite320.
        name: name of the Keras model.

    Returns:
        A Keras model from images in -1 .. 1, `[B, H, W, 3]`, to a dict of `block7_expand`, `block13_expand` and
        `last_conv`, of stride 8, 16 and 32. Convolutions of stride 2 pad both sides alike, so sizes round up.
    """
    x = inputs = keras.Input((*image_size, 3))
    features = {}
    x = conv_bn(x, 16, 3, "conv", stride=2, activation="hard_swish")
    for i, (kernel, expansion, filters, squeeze, activation, stride) in enumerate(V3_BLOCKS, start=1):
        half = 2 if reduced_tail and i >= 13 else 1
        expansion = expansion if i == 13 else expansion // half
        x, expanded = _v3_block(x, kernel, expansion, filters // half, squeeze, activation, stride, f"block{i}")
        features[f"block{i}_expand"] = expanded
    features["last_conv"] = conv_bn(x, 480 if reduced_tail else 960, 1, "last_conv", activation="hard_swish")
    outputs = {k: features[k] for k in ("block7_expand", "block13_expand", "last_conv")}
    return keras.Model(inputs, outputs, name=name)


def _v3_block(x, kernel, expansion, filters, squeeze, activation, stride, name):
    """Inverted residual block; returns its output and its expansion."""
    shortcut = x
    if expansion != x.shape[-1]:
        x = conv_bn(x, expansion, 1, f"{name}_expand", activation=activation)
    expanded = x
    x = depthwise_bn(x, kernel, f"{name}_depthwise", stride, activation)
    if squeeze:
        x = _squeeze_excite(x, name)
    x = conv_bn(x, filters, 1, f"{name}_project", activation=None)
    if stride == 1 and shortcut.shape[-1] == filters:
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x, expanded


def _squeeze_excite(x, name):
    """Channel attention with a hard sigmoid; the inner width is a quarter, to a multiple of 8 and never under 90 %."""
    quarter = x.shape[-1] / 4
    inner = max(8, int(quarter + 4) // 8 * 8)
    inner += 8 if inner < 0.9 * quarter else 0
    s = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_se_pool")(x)
    s = layers.Conv2D(inner, 1, activation="relu", name=f"{name}_se_reduce")(s)
    s = layers.Conv2D(x.shape[-1], 1, activation="hard_sigmoid", name=f"{name}_se_expand")(s)
    return layers.Multiply(name=f"{name}_se")([x, s])


def v3_from_application(network: keras.Model) -> dict[str, np.ndarray]:
    """Parameters of `mobilenet_v3_large` from Keras's ImageNet MobileNetV3Large, whose layers come in the same order.

    Of an image of even height or width Keras's network pads one side only where it halves; `mobilenet_v3_large` pads
    both. Its maps then look at the image 31 pixels further up and left at stride 32; of odd sizes they are the same.

    Args:
        network: a `keras.applications.MobileNetV3Large`.

    Returns:
        Dict from `"layer/variable"` to numpy arrays, of the network with its whole tail.
    """
    ours = mobilenet_v3_large((224, 224))
    theirs = [layer.get_weights() for layer in network.layers if layer.get_weights()]
    parameters = {}
    for layer, values in zip((layer for layer in ours.layers if layer.weights), theirs):
        parameters |= {f"{layer.name}/{variable.name}": value for variable, value in zip(layer.weights, values)}
    return parameters


def v2_from_application(network: keras.Model) -> dict[str, np.ndarray]:
    """Parameters of `mobilenet_v2` from Keras's ImageNet MobileNetV2, which has the same layers.

    Args:
        network: a `keras.applications.MobileNetV2`.

    Returns:
        Dict from `"layer/variable"` to numpy arrays.
    """
    return {f"{layer.name}/{v.name}": np.asarray(v) for layer in network.layers for v in layer.weights}


def mobilenet_v2(image_size: tuple[int, int], name: str = "mobilenet_v2") -> keras.Model:
    """MobileNetV2 without its classifier, as `keras.applications` builds it.

    Args:
        image_size: `(height, width)` in pixels.
        name: name of the Keras model.

    Returns:
        A Keras model from images in -1 .. 1, `[B, H, W, 3]`, to a dict of `block_6_expand_relu`,
        `block_13_expand_relu` and `out_relu`, of stride 8, 16 and 32, sizes rounded up.
    """
    network = keras.applications.MobileNetV2((*image_size, 3), include_top=False, weights=None)
    names = ("block_6_expand_relu", "block_13_expand_relu", "out_relu")
    return keras.Model(network.input, {n: network.get_layer(n).output for n in names}, name=name)


# MobileNetV1, Table 1 of Howard et al. 2017: filters and stride of each pointwise convolution.
V1_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)


def mobilenet_v1(image_size: tuple[int, int], name: str = "mobilenet_v1") -> keras.Model:
    """MobileNetV1 without its classifier, padded by TensorFlow's "same" as in its authors' code.

    Args:
        image_size: `(height, width)` in pixels.
        name: name of the Keras model.

    Returns:
        A Keras model from images in -1 .. 1, `[B, H, W, 3]`, to a dict of `conv5_pointwise`, `conv11_pointwise` and
        `conv13_pointwise`, of stride 8, 16 and 32, sizes rounded up.
    """
    x = inputs = keras.Input((*image_size, 3))
    features = {}
    x = conv_bn(x, 32, 3, "conv0", stride=2, activation="relu6", pad=same)
    for i, (filters, stride) in enumerate(V1_BLOCKS, start=1):
        x = depthwise_bn(x, 3, f"conv{i}_depthwise", stride, activation="relu6", pad=same)
        x = features[f"conv{i}_pointwise"] = conv_bn(x, filters, 1, f"conv{i}_pointwise", activation="relu6")
    names = ("conv5_pointwise", "conv11_pointwise", "conv13_pointwise")
    return keras.Model(inputs, {n: features[n] for n in names}, name=name)


def v1_from_application(network: keras.Model) -> dict[str, np.ndarray]:
    """Parameters of `mobilenet_v1` from Keras's ImageNet MobileNet, whose layers come in the same order.

    Keras's network pads the end of every map that it halves, also of odd sides, where "same" pads both ends.

    Args:
        network: a `keras.applications.MobileNet`.

    Returns:
        Dict from `"layer/variable"` to numpy arrays.
    """
    ours = (layer for layer in mobilenet_v1((224, 224)).layers if layer.weights)
    theirs = (layer for layer in network.layers if layer.weights)
    return {
        f"{mine.name}/{variable.name}": np.asarray(value)
        for mine, other in zip(ours, theirs)
        for variable, value in zip(mine.weights, other.weights)
    }
