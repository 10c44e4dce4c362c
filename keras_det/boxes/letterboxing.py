"""Where an image lies in a network's input when it keeps its aspect ratio, and boxes there and back."""

from typing import Any

from keras import ops

from keras_det.types import Tensor


def letterbox(
    height: int | Tensor, width: int | Tensor, size: tuple[int, int], xp: Any = ops
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The rectangle of an image in a canvas: as large as fits, its aspect ratio kept, in the middle.

    Args:
        height, width: of the image, integers or scalar integer tensors.
        size: `(height, width)` of the canvas.
        xp: where `minimum` and `maximum` come from: `keras.ops`, `numpy` or TensorFlow, whatever the backend.

    Returns:
        `(top, left, height, width)` in whole pixels of the canvas, each side at least 1.

    >>> [int(edge) for edge in letterbox(100, 200, (300, 300))]
    [75, 0, 150, 300]
    """
    rows = xp.maximum(xp.minimum((2 * height * size[1] + width) // (2 * width), size[0]), 1)
    columns = xp.maximum(xp.minimum((2 * width * size[0] + height) // (2 * height), size[1]), 1)
    return (size[0] - rows) // 2, (size[1] - columns) // 2, rows, columns


def canvas_window(height: int | Tensor, width: int | Tensor, size: tuple[int, int]) -> Tensor:
    """The canvas of `letterbox` as a window of the image, which it leaves: `[4]` float32 rel_yxyx."""
    top, left, rows, columns = (ops.cast(edge, "float32") for edge in letterbox(height, width, size))
    low, here = ops.stack([-top / rows, -left / columns]), ops.stack([size[0] / rows, size[1] / columns])
    return ops.concatenate([low, low + here])


def from_window(boxes: Tensor, window: Tensor) -> Tensor:
    """Boxes relative to a window as boxes relative to the image, limited to it.

    Args:
        boxes: `[..., N, 4]` rel_yxyx of the window.
        window: `[4]`, or `[B, 4]` for `[B, N, 4]` boxes: rel_yxyx of the image.

    Returns:
        `[..., N, 4]` rel_yxyx of the image.

    >>> import numpy as np
    >>> np.asarray(from_window(np.array([[0.25, 0.5, 0.75, 1.0]]), np.array([-0.5, 0.0, 1.5, 1.0]))).tolist()
    [[0.0, 0.5, 1.0, 1.0]]
    """
    window = ops.expand_dims(ops.convert_to_tensor(window), -2)
    low, side = window[..., :2], window[..., 2:] - window[..., :2]
    corners = [boxes[..., k : k + 2] * side + low for k in (0, 2)]
    return ops.clip(ops.concatenate(corners, axis=-1), 0.0, 1.0)
