"""ClassGeneric's objective (section 3.2): cross entropy with Gaussians over a grid of boxes."""

from collections.abc import Sequence

from keras import ops

from keras_det.layers.box_grid import BoxGrid
from keras_det.types import Tensor

SMALLEST_MASS = 1e-30  # of a target before it is renormalized; below it, no object is near a cell in use


def box_grid_targets(
    grid: BoxGrid, boxes: Tensor, valid: Tensor, widths: Sequence[float] = (1.0, 1.0, 1.0, 1.0), sub_cell: bool = False
) -> Tensor:
    """Target distribution of each image: a Gaussian around every object, summed, renormalized to one.

    The Gaussian of an object is `exp(-sum_a (n_a - c_a)^2 / (2 w_a^2))` over the four axes a of the grid, n being the
    cell's coordinates and c those of the object limited to the grid. As it is a product over the axes, the sum over M
    objects is one product of a matrix over positions with one over scales and ratios. Cells not in use have no part.
    An image with no object, or with none near a cell in use, has the uniform distribution: it tells the network to
    prefer no box, and leaves every score at `1 / N`.

    Args:
        grid: a `BoxGrid`, N cells in use.
        boxes: `[B, M, 4]` rel_yxyx.
        valid: `[B, M]` bool, false for padding and for what is no object.
        widths: standard deviations in cells, `(w_y, w_x, w_scale, w_ratio)`, above 0.
        sub_cell: whether the Gaussian stands at the object itself, so that the mean of the distribution tells where
            between the cells it lies; else at the nearest cell, the paper's "correct label".

    Returns:
        `[B, N]` float32, 0 or more, sum 1.

    >>> import numpy as np
    >>> from keras_det.layers.box_grid import BoxGrid
    >>> grid = BoxGrid((4, 4, 2, 1))
    >>> target = np.asarray(box_grid_targets(grid, grid.boxes[None, 5:6], np.array([[True]])))
    >>> int(target.argmax()), float(target.sum().round(4))
    (5, 1.0)
    """
    coordinates = grid.coordinates(boxes)
    last = ops.convert_to_tensor([float(n - 1) for n in grid.shape])
    centers = ops.clip(coordinates, 0.0, last) if sub_cell else grid.nearest(coordinates)
    y, x, scale, ratio = (
        _gaussian(centers[..., axis], cells, width) for axis, (cells, width) in enumerate(zip(grid.shape, widths))
    )
    positions = _outer(y * ops.expand_dims(ops.cast(valid, "float32"), -1), x)
    mass = ops.matmul(ops.transpose(positions, (0, 2, 1)), _outer(scale, ratio))
    mass = grid.gather(mass)
    total = ops.sum(mass, axis=-1, keepdims=True)
    return ops.where(total > SMALLEST_MASS, mass / ops.maximum(total, SMALLEST_MASS), 1.0 / grid.size)


def cross_entropy(targets: Tensor, logits: Tensor) -> Tensor:
    """Cross entropy of a softmax with a target distribution.

    Args:
        targets: `[B, N]`, sums 1.
        logits: `[B, N]`.

    Returns:
        `[B]` float32 in nats, at least the target's entropy.
    """
    logits = ops.cast(logits, "float32")
    return ops.logsumexp(logits, axis=-1) - ops.sum(targets * logits, axis=-1)


def entropy(targets: Tensor) -> Tensor:
    """Entropy of distributions, the floor of the cross entropy: `[B, N]` to `[B]` in nats.

    >>> round(float(entropy([[0.5, 0.5]])[0]), 4)
    0.6931
    """
    targets = ops.convert_to_tensor(targets)
    return -ops.sum(targets * ops.log(ops.maximum(targets, SMALLEST_MASS)), axis=-1)


def _gaussian(centers, cells, width):
    """`[B, M]` centers on an axis to `[B, M, cells]`, 1 at the center."""
    distance = ops.expand_dims(centers, -1) - ops.arange(cells, dtype="float32")
    return ops.exp(-0.5 * ops.square(distance / width))


def _outer(a, b):
    """`[B, M, P]` and `[B, M, Q]` to `[B, M, P Q]`."""
    product = ops.expand_dims(a, -1) * ops.expand_dims(b, -2)
    return ops.reshape(product, (*ops.shape(a)[:2], a.shape[-1] * b.shape[-1]))
