"""DetectorNet's masks: how much of each output cell the objects or their halves cover, and the weighted L2 loss."""

from keras import ops

from keras_det.types import Tensor

LAMBDA = 0.1  # weight of cells outside objects beside that of covered ones; the paper says "small", no number


def mask_boxes(boxes: Tensor) -> Tensor:
    """The five boxes bb(h) of each object: itself, its bottom, top, left and right half.

    Args:
        boxes: `[..., 4]` rel_yxyx.

    Returns:
        `[..., 5, 4]` in the order of `keras_det.boxes.integral.MASKS`.
    """
    ymin, xmin, ymax, xmax = ops.unstack(ops.cast(boxes, "float32"), axis=-1)
    y, x = (ymin + ymax) / 2, (xmin + xmax) / 2
    parts = (
        (ymin, xmin, ymax, xmax),
        (y, xmin, ymax, xmax),
        (ymin, xmin, y, xmax),
        (ymin, xmin, ymax, x),
        (ymin, x, ymax, xmax),
    )
    return ops.stack([ops.stack(part, axis=-1) for part in parts], axis=-2)


def mask_targets(boxes: Tensor, valid: Tensor, d: int) -> Tensor:
    """Equation 1: the fraction of each output cell that bb(h) covers, the maximum over the objects.

    A cell's fraction is the product of the fractions of its rows and of its columns, so nothing is rasterized; only
    `[B, M, 5, d, d]` products of two vectors each are compared.

    Args:
        boxes: `[B, M, 4]` rel_yxyx; parts outside the image do not count.
        valid: `[B, M]` bool, false for what is no object.
        d: cells on a side.

    Returns:
        `[B, 5, d, d]` float32 in 0 .. 1; 0 in an image without objects.
    """
    parts = ops.expand_dims(mask_boxes(boxes), -1)
    low = ops.arange(d, dtype="float32") / d
    rows, columns = (
        ops.clip(ops.minimum(parts[..., k + 2, :], low + 1 / d) - ops.maximum(parts[..., k, :], low), 0.0, 1.0) * d
        for k in (0, 1)
    )
    rows = rows * ops.cast(valid, "float32")[:, :, None, None]
    return ops.max(ops.expand_dims(rows, -1) * ops.expand_dims(columns, -2), axis=1, initial=0.0)


def mask_losses(targets: Tensor, masks: Tensor, weight: float = LAMBDA) -> Tensor:
    """`||(Diag(m) + lambda I)^(1/2) (DNN(x) - m)||^2` of each mask, section 4.

    Args:
        targets: `[..., d, d]` m, in 0 .. 1.
        masks: `[..., d, d]` predictions.
        weight: lambda.

    Returns:
        `[...]` sums over the cells.
    """
    return ops.sum((targets + weight) * ops.square(masks - targets), axis=(-2, -1))
