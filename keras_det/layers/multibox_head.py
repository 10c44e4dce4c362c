"""The convolutional predictors of SSD."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from keras_det.types import Tensor


@keras.saving.register_keras_serializable("keras_det")
class MultiBoxHead(layers.Layer):
    """Convolutional predictors: `(c + 4) k` filters on each source layer (SSD section 2.1).

    Args:
        num_classes: outputs for each default box, background included: c.
        boxes_per_cell: k of each source layer.
        names: name of each source layer; its predictors are called `NAME_loc` and `NAME_conf`.
        depthwise: SSDLite's predictors, a 3x3 depthwise convolution with batch normalization and ReLU6 and then a
            1x1 convolution, instead of one 3x3 convolution.
        initializer: of the predictors' kernels; the paper's is "xavier".
        kernel_size: of the predictors' convolution, where they are one.

    Input: a list of feature maps `[B, H, W, channels]`. Output: `offsets [B, A, 4]` as `(dcy, dcx, dh, dw)` and
    `logits [B, A, c]` with background as class 0, both float32 also under mixed precision; A counts the boxes in
    `PriorBox`'s order, map after map.

    >>> import numpy as np
    >>> head = MultiBoxHead(3, (4, 6), ("a", "b"))
    >>> offsets, logits = head([np.zeros((2, 4, 4, 8), "float32"), np.zeros((2, 2, 2, 8), "float32")])
    >>> tuple(offsets.shape), tuple(logits.shape)
    ((2, 88, 4), (2, 88, 3))
    """

    def __init__(
        self,
        num_classes: int,
        boxes_per_cell: Sequence[int],
        names: Sequence[str],
        depthwise: bool = False,
        initializer: str | keras.initializers.Initializer = "glorot_uniform",
        kernel_size: int = 3,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if len(boxes_per_cell) != len(names):
            raise ValueError(f"{len(names)} source layers but `boxes_per_cell` for {len(boxes_per_cell)}.")
        self.num_classes = num_classes
        self.boxes_per_cell = tuple(boxes_per_cell)
        self.names = tuple(names)
        self.depthwise = depthwise
        self.kernel_size = kernel_size
        self.initializer = keras.initializers.get(initializer)
        # Flat lists, map after map: Keras 3.8 does not save layers in lists of lists.
        self.localization = sum((self._predictor(k * 4, f"{n}_loc") for k, n in zip(boxes_per_cell, names)), [])
        self.confidence = sum(
            (self._predictor(k * num_classes, f"{n}_conf") for k, n in zip(boxes_per_cell, names)), []
        )

    def _predictor(self, filters, name):
        """The layers, in order, that predict from one source layer."""
        options = {"kernel_initializer": self.initializer.clone(), "name": name, "dtype": self.dtype_policy}
        if not self.depthwise:
            return [layers.Conv2D(filters, self.kernel_size, padding="same", **options)]
        return [
            layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_dw", dtype=self.dtype_policy),
            layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"{name}_bn", dtype=self.dtype_policy),
            layers.ReLU(6.0, dtype=self.dtype_policy),
            layers.Conv2D(filters, 1, **options),
        ]

    def build(self, input_shape: Sequence[tuple[int | None, ...]]) -> None:
        """Build the predictors of each map."""
        if len(input_shape) != len(self.names):
            raise ValueError(f"the head has {len(self.names)} source layers; got {len(input_shape)} feature maps.")
        for flat in (self.localization, self.confidence):
            for predictor, shape in zip(self._of_each_map(flat), input_shape):
                for layer in predictor:
                    layer.build(shape)
                    shape = layer.compute_output_shape(shape)

    def _of_each_map(self, flat):
        """The layers of each map's predictor."""
        depth = len(flat) // len(self.names)
        return [flat[i : i + depth] for i in range(0, len(flat), depth)]

    def _predict(self, features, flat, values, training):
        """Predictions of all maps for one kind, `[B, A, values]` float32."""
        rows = []
        for x, predictor in zip(features, self._of_each_map(flat)):
            for layer in predictor:
                x = layer(x, training=training) if isinstance(layer, layers.BatchNormalization) else layer(x)
            boxes = x.shape[1] * x.shape[2] * x.shape[3] // values
            rows.append(ops.reshape(ops.cast(x, "float32"), (-1, boxes, values)))
        return ops.concatenate(rows, axis=1)

    def call(self, features: Sequence[Tensor], training: bool = False) -> tuple[Tensor, Tensor]:
        """Offsets and logits of every default box of every map."""
        offsets = self._predict(features, self.localization, 4, training)
        return offsets, self._predict(features, self.confidence, self.num_classes, training)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {
            "num_classes": self.num_classes,
            "boxes_per_cell": self.boxes_per_cell,
            "names": self.names,
            "depthwise": self.depthwise,
            "kernel_size": self.kernel_size,
            "initializer": keras.initializers.serialize(self.initializer),
        }
        return {**super().get_config(), **own}
