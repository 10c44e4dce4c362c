"""Local contrast normalization."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_det.types import Tensor


@keras.saving.register_keras_serializable("keras_det")
class LocalContrastNorm(keras.layers.Layer):
    """Subtract the local mean and divide by the local deviation, both over all channels (ClassGeneric section 3.1).

    The form of Jarrett et al., "What is the Best Multi-Stage Architecture for Object Recognition?", ICCV 2009, section
    2.1, since the paper gives none. With a Gaussian window w over the places p around a location and all channels i,
    whose weights sum to one:

        v_k(x) = u_k(x) - sum_ip w_p u_i(x + p)
        y_k(x) = v_k(x) / max(c, s(x)),    s(x) = sqrt(sum_ip w_p v_i(x + p)^2)

    and c the mean of s over the image. At the image's border the window is limited to the image and its weights are
    scaled to sum to one again.

    Args:
        size: side of the window, an odd number of cells.
        epsilon: least divisor, so that an image without contrast gives 0 and not its rounding errors.

    Input and output: `[B, H, W, channels]` float. The window's standard deviation is a quarter of its side. Computed in
    float32 whatever the layer's dtype, since squares overflow float16. It has no weights.

    Raises:
        ValueError: a size that is even or below 3.

    >>> flat = LocalContrastNorm()(np.full((1, 12, 12, 3), 7.0, "float32"))
    >>> float(np.abs(flat).max()) < 1e-2
    True
    """

    def __init__(self, size: int = 9, epsilon: float = 1e-3, **kwargs: Any):
        super().__init__(**kwargs)
        if size < 3 or size % 2 == 0:
            raise ValueError(f"`size` must be an odd number of at least 3; got {size!r}.")
        self.size = size
        self.epsilon = epsilon

    @property
    def window(self) -> np.ndarray:
        """`[size, size]` float32 Gaussian whose sum is one."""
        place = np.arange(self.size) - self.size // 2
        line = np.exp(-0.5 * (place / (self.size / 4)) ** 2)
        return (np.outer(line, line) / line.sum() ** 2).astype("float32")

    def _local_mean(self, x, inside):
        """Mean over channels and window, `[B, H, W, 1]`."""
        return self._blur(ops.mean(x, axis=-1, keepdims=True)) / inside

    def _blur(self, x):
        return ops.conv(x, self.window[:, :, None, None], padding="same", data_format="channels_last")

    def call(self, inputs: Tensor) -> Tensor:
        """Normalize each image."""
        x = ops.cast(inputs, "float32")
        inside = self._blur(ops.ones_like(x[:1, :, :, :1]))
        v = x - self._local_mean(x, inside)
        deviation = ops.sqrt(ops.maximum(self._local_mean(ops.square(v), inside), 1e-12))
        divisor = ops.maximum(deviation, ops.mean(deviation, axis=(1, 2, 3), keepdims=True))
        return ops.cast(v / ops.maximum(divisor, self.epsilon), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "size": self.size, "epsilon": self.epsilon}
