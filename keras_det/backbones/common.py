"""Pieces that several backbones share."""

from keras import layers


def conv_bn(x, filters, kernel, name, stride=1, activation="relu", momentum=0.97):
    """Convolution without bias, batch normalisation, activation; symmetric padding, so that sizes round up."""
    if stride > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    padding = "valid" if stride > 1 and kernel > 1 else "same"
    x = layers.Conv2D(filters, kernel, stride, padding, use_bias=False, name=name)(x)
    return norm_act(x, name, activation, momentum)


def depthwise_bn(x, kernel, name, stride=1, activation="relu", momentum=0.97):
    """Depthwise convolution without bias, batch normalisation, activation."""
    if stride > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    padding = "valid" if stride > 1 else "same"
    x = layers.DepthwiseConv2D(kernel, stride, padding, use_bias=False, name=name)(x)
    return norm_act(x, name, activation, momentum)


def norm_act(x, name, activation, momentum):
    """Batch normalisation called `NAME_bn` and the activation, if any."""
    x = layers.BatchNormalization(momentum=momentum, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.Activation(activation, name=f"{name}_{activation}")(x) if activation else x


def subsample(array, strides):
    """Every n-th entry along each axis."""
    return array[tuple(slice(None, None, n) for n in strides)]
