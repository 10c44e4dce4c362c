"""Max pooling at every offset, and the way back from the offsets' maps to one map."""

from typing import Any

import keras
from keras import layers, ops

from keras_det.types import Tensor


@keras.saving.register_keras_serializable("keras_det")
class OffsetMaxPooling(layers.Layer):
    """Non-overlapping max pooling, repeated at every offset (OverFeat section 3.3, Figure 3 (b) and (c)).

    Pooling by k loses k - 1 of k places. Here each of the k x k offsets gives a map of its own; a head runs on all of
    them, and `interleave` assembles its outputs to one map whose step is that of the map before pooling.

    Args:
        pool_size: k, side of the pooled regions and their distance.

    Input: `[B, H, W, C]` float, H and W at least k. Output: `[B k k, h, w, C]` with h = ceil((H - k + 1) / k) and w
    likewise. Row `(b k + dy) k + dx` is image b at offset (dy, dx); offset (0, 0) is plain max pooling. An offset
    that fits fewer regions than others ends in zeros, which `interleave` leaves out.

    >>> import numpy as np
    >>> x = np.arange(20.0, dtype="float32").reshape(1, 1, 20, 1).repeat(3, axis=1)
    >>> np.asarray(OffsetMaxPooling(3)(x))[:3, 0, :, 0].astype(int).tolist()  # Figure 3: 20 pixels, offsets 0, 1, 2
    [[2, 5, 8, 11, 14, 17], [3, 6, 9, 12, 15, 18], [4, 7, 10, 13, 16, 19]]
    """

    def __init__(self, pool_size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.pool_size = pool_size

    def call(self, inputs: Tensor) -> Tensor:
        """Pool at each pixel, then deal the pixels out to the offsets."""
        k = self.pool_size
        x = ops.max_pool(inputs, k, strides=1, padding="valid")
        height, width, channels = ops.shape(x)[1], ops.shape(x)[2], x.shape[3]
        x = ops.pad(x, ((0, 0), (0, -height % k), (0, -width % k), (0, 0)))
        height, width = (height + k - 1) // k, (width + k - 1) // k
        x = ops.reshape(x, (-1, height, k, width, k, channels))
        return ops.reshape(ops.transpose(x, (0, 2, 4, 1, 3, 5)), (-1, height, width, channels))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shape of the pooled maps; `None` stays `None`."""
        batch, height, width, channels = input_shape
        k = self.pool_size
        sides = [None if side is None else -((k - 1 - side) // k) for side in (height, width)]
        return (None if batch is None else batch * k * k, *sides, channels)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "pool_size": self.pool_size}


def interleave(outputs: Tensor, pool_size: int, height: int | Tensor, width: int | Tensor) -> Tensor:
    """Assemble the outputs of all offsets to one map (OverFeat section 3.3, Figure 3 (e)).

    Args:
        outputs: `[B k k, h, w, C]`, what a head made of `OffsetMaxPooling`'s maps.
        pool_size: k.
        height: rows of the map to keep, at most h k; the rest came from padding.
        width: columns likewise.

    Returns:
        `[B, height, width, C]`; cell (y, x) is cell (y // k, x // k) of offset (y % k, x % k).

    >>> import numpy as np
    >>> np.asarray(interleave(np.arange(4.0).reshape(4, 1, 1, 1), 2, 2, 2))[0, :, :, 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    k, channels = pool_size, outputs.shape[3]
    h, w = ops.shape(outputs)[1], ops.shape(outputs)[2]
    x = ops.reshape(outputs, (-1, k, k, h, w, channels))
    x = ops.reshape(ops.transpose(x, (0, 3, 1, 4, 2, 5)), (-1, h * k, w * k, channels))
    return x[:, :height, :width]
