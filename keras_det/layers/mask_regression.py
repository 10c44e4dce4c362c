"""Regression of masks."""

from typing import Any

import keras
from keras import layers, ops

from keras_det.types import Tensor


@keras.saving.register_keras_serializable("keras_det")
class MaskRegression(keras.layers.Layer):
    """The layer that replaces a classifier's softmax: masks of d x d cells (DetectorNet, section 3).

    From a vector it is one linear layer, every cell with weights of its own, "without any smoothness prior or
    convolutional structure". From a feature map, for small networks, the map is resized to d x d and every cell has the
    same weights: beyond the paper, and hundreds of times fewer parameters.

    Args:
        masks: How many masks.
        d: Cells on a side; the paper has 24.

    Input: `[B, F]` or `[B, h, w, c]` float. Output: `[B, masks, d, d]` float32, not limited to 0 .. 1.

    >>> import numpy as np
    >>> MaskRegression(5, d=4)(np.zeros((2, 8), "float32")).shape
    TensorShape([2, 5, 4, 4])
    """

    def __init__(self, masks: int, d: int = 24, **kwargs: Any):
        super().__init__(**kwargs)
        self.masks, self.d = masks, d

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """One linear layer, over the vector or in each cell."""
        small = keras.initializers.RandomNormal(stddev=0.01)
        if len(input_shape) == 2:
            self.linear = layers.Dense(self.masks * self.d**2, kernel_initializer=small, name="masks")
            self.linear.build(input_shape)
        else:
            self.linear = layers.Conv2D(self.masks, 1, kernel_initializer=small, name="masks")
            self.linear.build((None, self.d, self.d, input_shape[-1]))

    def call(self, inputs: Tensor) -> Tensor:
        """The masks."""
        if len(inputs.shape) == 2:
            return ops.cast(ops.reshape(self.linear(inputs), (-1, self.masks, self.d, self.d)), "float32")
        cells = ops.image.resize(inputs, (self.d, self.d), interpolation="bilinear")
        return ops.cast(ops.transpose(self.linear(cells), (0, 3, 1, 2)), "float32")

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return super().get_config() | {"masks": self.masks, "d": self.d}
