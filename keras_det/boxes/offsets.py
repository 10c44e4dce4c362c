"""Boxes as offsets from default boxes (SSD's equation 2) and back."""

import math
from collections.abc import Sequence

from keras import ops

from keras_det.types import Tensor

VARIANCES = (0.1, 0.1, 0.2, 0.2)  # of cy, cx, h, w in the authors' code: offsets come out with about unit variance
MAX_LOG_SIDE = math.log(1000.0 / 16)  # a side never grows more than this in one step, so exp cannot overflow
MIN_SIDE = 1e-6  # of the image; below it a box has no logarithm worth regressing


def _center_form(boxes):
    """`(cy, cx, h, w)` of corner boxes, each `[...]`."""
    ymin, xmin, ymax, xmax = ops.unstack(ops.convert_to_tensor(boxes), axis=-1)
    return (ymin + ymax) / 2, (xmin + xmax) / 2, ymax - ymin, xmax - xmin


def encode_offsets(boxes: Tensor, default_boxes: Tensor, variances: Sequence[float] = VARIANCES) -> Tensor:
    """Offsets of boxes from their default boxes, equation 2 of the paper divided by the variances.

    Args:
        boxes: `[..., 4]` rel_yxyx boxes. Sides under 1e-6 count as 1e-6, so that padding cannot make a NaN.
        default_boxes: rel_yxyx default boxes of positive size, broadcastable to `boxes`.
        variances: four divisors, of cy, cx, h and w.

    Returns:
        `[..., 4]` offsets `(dcy, dcx, dh, dw)`.

    >>> import numpy as np
    >>> box = [[0.1, 0.1, 0.5, 0.5]]
    >>> np.abs(np.asarray(encode_offsets(box, box))).max().item()
    0.0
    """
    cy, cx, h, w = _center_form(boxes)
    dcy, dcx, dh, dw = _center_form(default_boxes)
    h, w = ops.maximum(h, MIN_SIDE), ops.maximum(w, MIN_SIDE)
    offsets = ((cy - dcy) / dh, (cx - dcx) / dw, ops.log(h / dh), ops.log(w / dw))
    return ops.stack([offset / variance for offset, variance in zip(offsets, variances)], axis=-1)


def decode_offsets(offsets: Tensor, default_boxes: Tensor, variances: Sequence[float] = VARIANCES) -> Tensor:
    """The boxes that offsets stand for; the inverse of `encode_offsets`.

    Args:
        offsets: `[..., 4]` offsets `(dcy, dcx, dh, dw)`.
        default_boxes: rel_yxyx default boxes, broadcastable to `offsets`.
        variances: as in `encode_offsets`.

    Returns:
        `[..., 4]` rel_yxyx boxes, not clipped to the image. A side is at most 62.5 times its default box's.

    >>> import numpy as np
    >>> np.asarray(decode_offsets([[0.0, 0.0, 0.0, 0.0]], [[0.25, 0.25, 0.75, 0.75]])).tolist()
    [[0.25, 0.25, 0.75, 0.75]]
    """
    offsets = ops.unstack(ops.convert_to_tensor(offsets), axis=-1)
    ty, tx, th, tw = (offset * variance for offset, variance in zip(offsets, variances))
    dcy, dcx, dh, dw = _center_form(default_boxes)
    cy, cx = ty * dh + dcy, tx * dw + dcx
    h, w = dh * ops.exp(ops.minimum(th, MAX_LOG_SIDE)), dw * ops.exp(ops.minimum(tw, MAX_LOG_SIDE))
    return ops.stack([cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2], axis=-1)
