"""Local response normalization."""

from typing import Any

import keras
from keras import ops

from keras_det.types import Tensor


@keras.saving.register_keras_serializable("keras_det")
class LocalResponseNorm(keras.layers.Layer):
    """Divide each response by the strength of its neighbors in the channels (Krizhevsky et al. 2012, section 3.3).

    `b_i = a_i / (k + alpha sum_j a_j^2)^beta`, j over the `depth` channels around i, fewer at the ends. DeepMultiBox,
    DetectorNet and the class-generic detector stand on networks with it. As in that paper alpha multiplies the sum
    itself; Caffe and PyTorch divide it by `depth`.

    Args:
        depth: Odd number of channels in a neighborhood, n.
        k: Offset.
        alpha: Factor of the sum of squares.
        beta: Exponent.

    Input and output: `[..., channels]` float. Computed in float32, since squares overflow float16.

    >>> import numpy as np
    >>> layer = LocalResponseNorm(depth=3, k=1.0, alpha=1.0, beta=1.0)
    >>> np.asarray(layer(np.array([[1.0, 1.0, 2.0]], "float32"))).round(4).tolist()
    [[0.33329999446868896, 0.1429000049829483, 0.33329999446868896]]
    """

    def __init__(self, depth: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, **kwargs: Any):
        super().__init__(**kwargs)
        if depth < 1 or depth % 2 == 0:
            raise ValueError(f"`depth` must be an odd number of channels; got {depth}.")
        self.depth, self.k, self.alpha, self.beta = depth, k, alpha, beta

    def call(self, inputs: Tensor) -> Tensor:
        """Normalize over the last axis."""
        x = ops.cast(inputs, "float32")
        channels, side = x.shape[-1], self.depth // 2
        squares = ops.pad(ops.square(x), [(0, 0)] * (len(x.shape) - 1) + [(side, side)])
        total = sum(squares[..., shift : shift + channels] for shift in range(self.depth))
        return ops.cast(x * ops.power(self.k + self.alpha * total, -self.beta), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return super().get_config() | {"depth": self.depth, "k": self.k, "alpha": self.alpha, "beta": self.beta}
