"""Area and intersection over union of boxes."""

from keras import ops

from keras_det.types import Tensor

SMALLEST_UNION = 1e-12  # keeps 0 / 0 at 0; far below the area of any box that has one


def area(boxes: Tensor) -> Tensor:
    """Area of `[..., 4]` corner boxes: `[...]`, in the boxes' own units; inverted boxes have area 0.

    >>> float(area([[0.0, 0.0, 0.5, 0.5]])[0])
    0.25
    """
    ymin, xmin, ymax, xmax = ops.unstack(ops.convert_to_tensor(boxes), axis=-1)
    return ops.maximum(ymax - ymin, 0) * ops.maximum(xmax - xmin, 0)


def intersection(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Pairwise areas of intersection.

    Coordinate by coordinate, so that the largest tensor is `[..., N, M]`: Keras's own `compute_iou` keeps several
    `[..., N, M, 2]`, which for 8732 boxes is what fills the memory.

    Args:
        boxes1: `[..., N, 4]` boxes `(ymin, xmin, ymax, xmax)`.
        boxes2: `[..., M, 4]` boxes in the same units.

    Returns:
        `[..., N, M]` areas in the boxes' own units; 0 for boxes that do not meet.

    >>> float(intersection([[0.0, 0.0, 1.0, 1.0]], [[0.5, 0.0, 1.5, 0.5]])[0, 0])
    0.25
    """
    boxes1, boxes2 = ops.convert_to_tensor(boxes1), ops.convert_to_tensor(boxes2)
    first = [ops.expand_dims(c, -1) for c in ops.unstack(boxes1, axis=-1)]
    second = [ops.expand_dims(c, -2) for c in ops.unstack(boxes2, axis=-1)]
    height = ops.minimum(first[2], second[2]) - ops.maximum(first[0], second[0])
    width = ops.minimum(first[3], second[3]) - ops.maximum(first[1], second[1])
    return ops.maximum(height, 0) * ops.maximum(width, 0)


def iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Pairwise IoU (Jaccard overlap).

    Args:
        boxes1: `[..., N, 4]` boxes `(ymin, xmin, ymax, xmax)`.
        boxes2: `[..., M, 4]` boxes in the same units.

    Returns:
        `[..., N, M]` overlaps in 0 .. 1; 0 where both boxes have no area.

    >>> float(iou([[0.0, 0.0, 1.0, 1.0]], [[0.0, 0.0, 1.0, 0.5]])[0, 0])
    0.5
    """
    common = intersection(boxes1, boxes2)
    union = ops.expand_dims(area(boxes1), -1) + ops.expand_dims(area(boxes2), -2) - common
    return common / ops.maximum(union, SMALLEST_UNION)
