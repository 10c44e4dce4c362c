"""OverFeat's two networks (Sermanet et al. 2013, Table 1 and the appendix's Table 3), dense layers as convolutions."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import layers, ops

from keras_det.layers.offset_max_pooling import OffsetMaxPooling, interleave
from keras_det.types import Tensor

MEAN, SCALE = 118.380948, 1 / 61.896913  # of pixels; the paper gives none, these are the authors' released extractor's


@dataclass(frozen=True)
class Convolution:
    """A convolution with ReLU and, but for the last one, its pooling."""

    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: int = 1


@dataclass(frozen=True)
class Architecture:
    """A network of Table 1 or 3.

    Attributes:
        field: side in pixels of the window that gives one output, the input of training.
        convolutions: the feature extractor; the last one's pooling is done at every offset in dense use.
        dense: filters of the two hidden layers of the classifier.
        scales: `(height, width)` of the images that it looks at, the appendix's Table 5. The table is of the accurate
            network; the fast one, whose step is 16, has the sizes next to them at which its map fits.
    """

    field: int
    convolutions: tuple[Convolution, ...]
    dense: tuple[int, int]
    scales: tuple[tuple[int, int], ...]

    @property
    def stride(self) -> int:
        """Pixels between two cells of the map before the last pooling, and so of fine-stride outputs."""
        stride = 1
        for i, c in enumerate(self.convolutions):
            stride *= c.stride * (c.pool if i + 1 < len(self.convolutions) else 1)
        return stride

    @property
    def center(self) -> float:
        """Pixels from the image's edge to the center of what the first cell of that map looks at.

        >>> ARCHITECTURES["accurate"].center, ARCHITECTURES["fast"].center
        (26.5, 27.5)
        """
        return (self.field - self.stride * (self.unpooled(self.field) - 1)) / 2

    @property
    def pool(self) -> int:
        """The last pooling's size: coarse outputs have `pool` times the fine stride."""
        return self.convolutions[-1].pool

    @property
    def context(self) -> int:
        """Pixels around a window that the padded convolutions see too, in a larger image; at training zeros."""
        return sum(c.padding for c in self.convolutions) * self.stride

    def unpooled(self, size: int) -> int:
        """Side of the map before the last pooling for a side of `size` pixels.

        >>> ARCHITECTURES["accurate"].unpooled(281)
        20
        """
        for i, c in enumerate(self.convolutions):
            size = (size + 2 * c.padding - c.kernel) // c.stride + 1
            size = size // c.pool if i + 1 < len(self.convolutions) else size
        return size

    @property
    def head_kernel(self) -> int:
        """Side of the pooled map that the dense layers take: 5, and 6 in the fast network."""
        return self.unpooled(self.field) // self.pool

    def cells(self, size: int, fine: bool = True) -> int:
        """Outputs along a side of `size` pixels; an image smaller than the field of view is padded to one cell.

        >>> [ARCHITECTURES["accurate"].cells(size) for size in (200, 221, 245, 256, 257, 281)]
        [1, 1, 3, 3, 4, 6]
        """
        unpooled = self.unpooled(max(size, self.field))
        if fine:
            return unpooled - self.pool * self.head_kernel + 1
        return unpooled // self.pool - self.head_kernel + 1


REGRESSOR = (4096, 1024)  # filters of the regressor's hidden layers, section 4.2
CONTEXT = 1.4  # ratio of a scale to the next lower one, section 4.2

_PAD = {"kernel": 3, "padding": 1}
ARCHITECTURES = {
    "fast": Architecture(
        field=231,
        convolutions=(
            Convolution(96, 11, stride=4, pool=2),
            Convolution(256, 5, pool=2),
            Convolution(512, **_PAD),
            Convolution(1024, **_PAD),
            Convolution(1024, pool=2, **_PAD),
        ),
        dense=(3072, 4096),
        scales=((247, 247), (279, 311), (311, 375), (375, 471), (439, 503), (471, 567)),
    ),
    "accurate": Architecture(
        field=221,
        convolutions=(
            Convolution(96, 7, stride=2, pool=3),
            Convolution(256, 7, pool=2),
            Convolution(512, **_PAD),
            Convolution(512, **_PAD),
            Convolution(1024, **_PAD),
            Convolution(1024, pool=3, **_PAD),
        ),
        dense=(4096, 4096),
        scales=((245, 245), (281, 317), (317, 389), (389, 461), (425, 497), (461, 569)),
    ),
}


def architecture(variant: str) -> Architecture:
    """The architecture of that name.

    Raises:
        ValueError: neither `"fast"` nor `"accurate"`.

    >>> architecture("accurate").stride, architecture("accurate").pool, architecture("accurate").context
    (12, 3, 48)
    """
    if variant not in ARCHITECTURES:
        raise ValueError(f"`variant` must be one of {', '.join(ARCHITECTURES)}; got {variant!r}.")
    return ARCHITECTURES[variant]


def scaled(channels: int, width: float) -> int:
    """Channels of a network of another width, at least 4.

    >>> scaled(96, 1.0), scaled(96, 1 / 8), scaled(96, 1 / 100)
    (96, 12, 4)
    """
    if not 0 < width <= 1:
        raise ValueError(f"`width` must be in 0 .. 1; got {width!r}.")
    return max(round(channels * width), 4)


def overfeat(
    variant: str,
    width: float = 1.0,
    initializer: str | keras.initializers.Initializer = "he_normal",
    batch_norm: bool = False,
    name: str = "features",
) -> keras.Model:
    """Layers 1 to 5 (fast) or 6 (accurate): convolutions without contrast normalization, pooling without overlap.

    Args:
        variant: `"fast"` or `"accurate"`.
        width: fraction of the paper's channels.
        initializer: of the kernels.
        batch_norm: normalize after each convolution, see `_layer`.
        name: name of the Keras model.

    Returns:
        A Keras model from preprocessed images `[B, H, W, 3]` of any size, `(image - MEAN) * SCALE`, to the last
        convolution's map before pooling, `[B, h, w, C]`. Windows of that map `Architecture.field` pixels wide give
        `pool * head_kernel` cells; pixels on the right and at the bottom that fill no cell are not looked at.

    Raises:
        ValueError: another variant, or a width out of range.

    >>> overfeat("fast", width=1 / 16).compute_output_shape((1, 231, 231, 3))
    (1, 12, 12, 64)
    """
    convolutions = architecture(variant).convolutions
    x = inputs = keras.Input((None, None, 3))
    for i, c in enumerate(convolutions, start=1):
        convolution = layers.Conv2D(
            scaled(c.filters, width),
            c.kernel,
            c.stride,
            padding="same" if c.padding else "valid",
            kernel_initializer=initializer,
            name=f"conv{i}",
        )
        x = _layer(x, convolution, batch_norm)
        if c.pool > 1 and i < len(convolutions):
            x = layers.MaxPooling2D(c.pool, name=f"pool{i}")(x)
    return keras.Model(inputs, x, name=name)


def _layer(x, convolution, batch_norm):
    """A convolution and its ReLU.

    The paper's networks have no batch normalization. Narrow ones learn nothing for long without; so they may be trained
    with it, and `fold_batch_norm` makes them the paper's form again.
    """
    if not batch_norm:
        convolution.activation = keras.activations.relu
        return convolution(x)
    x = layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"{convolution.name}_bn")(convolution(x))
    return layers.ReLU(name=f"{convolution.name}_relu")(x)


def fold_batch_norm(trained: keras.Model, plain: keras.Model) -> None:
    """Put the weights of a network with batch normalization into the same network without.

    Args:
        trained: what `overfeat` or `dense_layers` gives with `batch_norm`.
        plain: the same without; afterwards both give the same outputs at inference.
    """
    for layer in plain.layers:
        if layer.weights:
            kernel, bias = trained.get_layer(layer.name).get_weights()
            normalized = [each for each in trained.layers if each.name == f"{layer.name}_bn"]
            if normalized:
                gamma, beta, mean, variance = normalized[0].get_weights()
                scale = gamma / (variance + normalized[0].epsilon) ** 0.5
                kernel, bias = kernel * scale, (bias - mean) * scale + beta
            layer.set_weights([kernel, bias])


def unfold_batch_norm(plain: keras.Model, trained: keras.Model) -> None:
    """The way back: the weights of a network without batch normalization in one with it, which then changes nothing.

    Args:
        plain: what `overfeat` or `dense_layers` gives without `batch_norm`.
        trained: the same with it; afterwards both give the same outputs at inference.
    """
    for layer in trained.layers:
        if layer.name.endswith("_bn"):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([(variance * 0 + 1 + layer.epsilon) ** 0.5, beta * 0, mean * 0, variance * 0 + 1])
        elif layer.weights:
            layer.set_weights(plain.get_layer(layer.name).get_weights())


def dense_layers(
    channels: int,
    hidden: Sequence[int],
    outputs: int,
    kernel: int,
    first: int,
    initializer: str | keras.initializers.Initializer = "he_normal",
    dropout: float = 0.5,
    batch_norm: bool = False,
    name: str = "classifier",
) -> keras.Model:
    """Fully connected layers in their spatial form: a convolution of the first one's extent, then 1x1.

    Args:
        channels: of the pooled map.
        hidden: filters of the hidden layers.
        outputs: of the last layer, which has no activation and gives float32.
        kernel: side of the pooled map that the first layer takes whole.
        first: number of the first layer, as the paper counts.
        initializer: of the kernels.
        dropout: fraction of hidden units dropped in training.
        batch_norm: normalize each hidden layer.
        name: name of the Keras model; its layers are called `NAME_full7` and so on.

    Returns:
        A Keras model from pooled maps `[B, h, w, C]` to a dict: each layer's `full7`, ... `[B, h', w', hidden]` after
        its ReLU, and `output` `[B, h', w', outputs]`, where h' = h - kernel + 1.

    >>> dense_layers(8, (16, 16), 10, 5, first=7).compute_output_shape((1, 6, 7, 8))["output"]
    (1, 2, 3, 10)
    """
    x = inputs = keras.Input((None, None, channels))
    maps = {}
    for i, filters in enumerate(hidden):
        layer = f"full{first + i}"
        size = kernel if i == 0 else 1
        convolution = layers.Conv2D(filters, size, kernel_initializer=initializer, name=f"{name}_{layer}")
        x = _layer(x, convolution, batch_norm)
        maps[layer] = x
        x = layers.Dropout(dropout, name=f"{name}_{layer}_dropout")(x)
    last = layers.Conv2D(outputs, 1, dtype="float32", kernel_initializer=initializer, name=f"{name}_output")
    return keras.Model(inputs, maps | {"output": last(x)}, name=name)


def classifier(
    variant: str,
    classes: int,
    width: float = 1.0,
    initializer: str | keras.initializers.Initializer = "he_normal",
    dropout: float = 0.5,
) -> keras.Model:
    """The classifier of Table 1 or 3: layers 6, 7, 8 of the fast and 7, 8, 9 of the accurate network.

    Args:
        variant: `"fast"` or `"accurate"`.
        classes: outputs.
        width: fraction of the paper's channels.
        initializer: of the kernels.
        dropout: fraction of hidden units dropped in training.

    Returns:
        As `dense_layers`.
    """
    spec = architecture(variant)
    hidden = [scaled(n, width) for n in spec.dense]
    channels = scaled(spec.convolutions[-1].filters, width)
    first = len(spec.convolutions) + 1
    return dense_layers(channels, hidden, classes, spec.head_kernel, first, initializer, dropout)


def run_dense(
    head: keras.Model, unpooled: Tensor, variant: str, fine: bool = True, training: bool = False
) -> dict[str, Tensor]:
    """Run dense layers on every window of an image (section 3.3).

    Args:
        head: as `dense_layers` gives it.
        unpooled: `[B, h, w, C]`, what `overfeat` gives of images at least as large as the field of view.
        variant: `"fast"` or `"accurate"`.
        fine: pool at every offset, so that cells are `Architecture.stride` pixels apart (12 accurate, 16 fast); else
            only at offset 0, and cells are `pool` times as far apart (36, 32).
        training: whether dropout is in force.

    Returns:
        The head's dict of maps; cell (y, x) is what the head gives of the window whose top left corner is y and x steps
        from the image's.
    """
    spec = architecture(variant)
    k = spec.pool
    if not fine:
        return head(ops.max_pool(unpooled, k), training=training)
    outputs = head(OffsetMaxPooling(k)(unpooled), training=training)
    sides = [ops.shape(unpooled)[axis] - k * spec.head_kernel + 1 for axis in (1, 2)]
    return {name: interleave(value, k, *sides) for name, value in outputs.items()}


def count(variant: str, classes: int = 1000, width: float = 1.0, size: tuple[int, int] | None = None) -> dict[str, int]:
    """Parameters and connections of a network, as the paper's Table 4 has them.

    A connection is a weight or bias of a convolution at one of its outputs, zero padding included. In the table the
    parameters are the same (fast 145 M, accurate 144 M), the connections (2810 M, 5369 M) 0.3 % and 0.2 % more; the
    paper does not say what else it counts.

    Args:
        variant: `"fast"` or `"accurate"`.
        classes: outputs.
        width: fraction of the paper's channels.
        size: `(height, width)` of the image in pixels, for the coarse outputs; `None` is one window.

    Returns:
        `{"parameters": int, "connections": int}`.

    >>> {name: count(name)["parameters"] // 10**6 for name in ("fast", "accurate")}
    {'fast': 145, 'accurate': 144}
    """
    spec = architecture(variant)
    weights = layer_weights(variant, classes, width)
    sides = size or (spec.field, spec.field)
    connections = sum(
        n * rows * columns for n, rows, columns in zip(weights, *(_positions(spec, max(s, spec.field)) for s in sides))
    )
    return {"parameters": sum(weights), "connections": connections}


def multiply_adds(variant: str, size: int, outputs: int, box_outputs: int = 0, context: bool = False) -> dict[str, int]:
    """Multiply-adds of a pass over a training sample of detection or localization, at fine stride, in full width.

    Args:
        variant: `"fast"` or `"accurate"`.
        size: side of the sample in pixels.
        outputs: of the classifier.
        box_outputs: of the regressor; 0 is none.
        context: whether the next lower scale goes through the convolutions and into the dense layers, too.

    Returns:
        `{"features": int, "classifier": int, "regressor": int}`.

    >>> sum(multiply_adds("accurate", 221, 1000).values()) / 1e9  # the paper's Table 4 has 5.369
    5.357...
    """
    spec = architecture(variant)
    channels, kernel = spec.convolutions[-1].filters * (1 + context), spec.head_kernel
    sides = [size, round(size / CONTEXT) + 3 * spec.stride] if context else [size]
    features = sum(
        n * positions**2 for side in sides for n, positions in zip(layer_weights(variant), _positions(spec, side)[:-3])
    )

    def dense(*filters):
        inputs, total = kernel * kernel * channels, 0
        for n in filters:
            total += (inputs + 1) * n
            inputs = n
        return total * spec.cells(size) ** 2

    return {
        "features": features,
        "classifier": dense(*spec.dense, outputs),
        "regressor": dense(*REGRESSOR, box_outputs) if box_outputs else 0,
    }


def kernel_shapes(variant: str, classes: int = 1000, width: float = 1.0) -> dict[str, tuple[int, int, int, int]]:
    """`(height, width, in, out)` of each layer's kernel in turn, under the names that the layers have in `OverFeat`.

    >>> list(kernel_shapes("fast"))[-2:], kernel_shapes("accurate")["classifier_full7"]
    (['classifier_full7', 'classifier_output'], (5, 5, 1024, 4096))
    """
    spec = architecture(variant)
    first = len(spec.convolutions) + 1
    layers_ = [(f"conv{i}", scaled(c.filters, width), c.kernel) for i, c in enumerate(spec.convolutions, start=1)]
    layers_ += [
        (f"classifier_full{first + i}", scaled(n, width), 1 if i else spec.head_kernel)
        for i, n in enumerate(spec.dense)
    ]
    shapes, channels = {}, 3
    for name, filters, kernel in [*layers_, ("classifier_output", classes, 1)]:
        shapes[name] = (kernel, kernel, channels, filters)
        channels = filters
    return shapes


def layer_weights(variant: str, classes: int = 1000, width: float = 1.0) -> list[int]:
    """Weights and biases of each layer in turn.

    >>> layer_weights("fast")[0]
    34944
    """
    shapes = kernel_shapes(variant, classes, width).values()
    return [(kernel * kernel * channels + 1) * filters for kernel, _, channels, filters in shapes]


def _positions(spec, size):
    """Outputs of each layer along one side, the dense layers at coarse stride."""
    positions = []
    for c in spec.convolutions:
        size = (size + 2 * c.padding - c.kernel) // c.stride + 1
        positions.append(size)
        size //= c.pool
    return positions + [size - spec.head_kernel + 1] * 3
