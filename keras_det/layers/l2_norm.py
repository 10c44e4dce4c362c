"""L2 normalization with a learned scale."""

from typing import Any

import keras
from keras import ops

from keras_det.types import Tensor


@keras.saving.register_keras_serializable("keras_det")
class L2Norm(keras.layers.Layer):
    """Scale each location's feature vector to a learned length (SSD section 3.1, after ParseNet).

    conv4_3 has larger features than the other source layers; without this its predictors dominate the loss.

    Args:
        scale: initial length of the feature vectors, one learned value for each channel.

    Input and output: `[..., channels]` float. Computed in float32 whatever the layer's dtype, since squares overflow
    float16.

    >>> import numpy as np
    >>> float(np.linalg.norm(L2Norm(20.0)(np.ones((1, 2, 2, 16), "float32"))[0, 0, 0]).round(3))
    20.0
    """

    def __init__(self, scale: float = 20.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale = scale

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """One scale for each channel."""
        self.gamma = self.add_weight(
            shape=(input_shape[-1],), initializer=keras.initializers.Constant(self.scale), name="gamma"
        )

    def call(self, inputs: Tensor) -> Tensor:
        """Normalize the last axis."""
        x = ops.cast(inputs, "float32")
        x = x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), 1e-12))
        return ops.cast(x * ops.cast(self.gamma, "float32"), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "scale": self.scale}
