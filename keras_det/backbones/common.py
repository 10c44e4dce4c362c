"""Pieces that several backbones share."""

from collections.abc import Callable, Sequence

import numpy as np
from keras import layers

from keras_det.types import Tensor


def symmetric(x: Tensor, kernel: int, stride: int, name: str) -> tuple[Tensor, str]:
    """What a convolution is given, and its own padding: both sides padded alike, so that sizes round up."""
    if stride == 1 or kernel == 1:
        return x, "same"
    return layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x), "valid"


def same(x: Tensor, kernel: int, stride: int, name: str) -> tuple[Tensor, str]:
    """What a convolution is given, and its own padding: TensorFlow's "same", one more at the end of even sides."""
    return x, "same"


def conv_bn(
    x: Tensor,
    filters: int,
    kernel: int,
    name: str,
    stride: int = 1,
    activation: str | None = "relu",
    momentum: float = 0.97,
    pad: Callable[..., tuple[Tensor, str]] | None = None,
) -> Tensor:
    """Convolution without bias, batch normalization, activation; `pad` is `symmetric` or the like."""
    x, padding = (pad or symmetric)(x, kernel, stride, name)
    x = layers.Conv2D(filters, kernel, stride, padding, use_bias=False, name=name)(x)
    return norm_act(x, name, activation, momentum)


def depthwise_bn(
    x: Tensor,
    kernel: int,
    name: str,
    stride: int = 1,
    activation: str | None = "relu",
    momentum: float = 0.97,
    pad: Callable[..., tuple[Tensor, str]] | None = None,
) -> Tensor:
    """Depthwise convolution without bias, batch normalization, activation; padding as in `conv_bn`."""
    x, padding = (pad or symmetric)(x, kernel, stride, name)
    x = layers.DepthwiseConv2D(kernel, stride, padding, use_bias=False, name=name)(x)
    return norm_act(x, name, activation, momentum)


def norm_act(x: Tensor, name: str, activation: str | None, momentum: float) -> Tensor:
    """Batch normalization called `NAME_bn` and the activation, if any."""
    x = layers.BatchNormalization(momentum=momentum, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.Activation(activation, name=f"{name}_{activation}")(x) if activation else x


def subsample(array: np.ndarray, strides: Sequence[int | None]) -> np.ndarray:
    """Every n-th entry along each axis."""
    return array[tuple(slice(None, None, n) for n in strides)]
