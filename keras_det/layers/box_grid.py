"""The discretized space of boxes."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_det.types import Tensor

SMALLEST_SIDE = 1e-6  # of a box, as a fraction of the image: keeps the logarithms of a degenerate box finite
SMALLEST_MASS = 1e-30  # of the cells around one, before they are divided by it


@keras.saving.register_keras_serializable("keras_det")
class BoxGrid(keras.layers.Layer):
    """A grid over position, scale and aspect ratio of boxes, and the softmax over it (ClassGeneric section 3.2).

    Cell `(i, j, k, m)` of a grid of shape `(Y, X, S, A)` stands for the box with

        center   y = (i + 1/2) / Y,  x = (j + 1/2) / X
        scale    s = s_0 (s_1 / s_0)^(k / (S - 1)), the square root of the box's area
        ratio    r = r_0 (r_1 / r_0)^(m / (A - 1)), width over height

    all relative to the image's sides, so that height is `s / sqrt(r)` and width `s sqrt(r)`. An axis of one cell
    stands at the geometric mean of its range. A cell is in use if at least `min_inside` of its box's area lies in the
    image; the others are no outcome of the softmax. Cells are numbered row by row, the ratio changing fastest.

    Args:
        shape: cells `(Y, X, S, A)`.
        scales: `(s_0, s_1)`, smallest and largest scale.
        aspect_ratios: `(r_0, r_1)`, smallest and largest ratio.
        min_inside: least fraction of a box's area that must lie in the image, in 0 .. 1.

    Call with logits `[B, N]` of the cells in use: their probabilities on the whole grid, `[B, Y, X, S, A]` float32,
    0 in the cells not in use.

    Attributes:
        total: Y X S A, all cells.
        size: N, the cells in use.
        cells: `[N]` int64, the numbers of the cells in use, ascending.
        boxes: `[N, 4]` float32 rel_yxyx, their boxes, which may leave the image.

    Raises:
        ValueError: numbers out of range, or no cell in use.

    >>> grid = BoxGrid((8, 8, 4, 3))
    >>> grid.total, grid.size
    (768, 696)
    >>> np.asarray(grid.boxes_at(grid.coordinates([[0.25, 0.25, 0.75, 0.5]]))).round(4).tolist()
    [[0.25, 0.25, 0.75, 0.5]]
    """

    def __init__(
        self,
        shape: Sequence[int] = (16, 16, 6, 5),
        scales: Sequence[float] = (0.1, 0.9),
        aspect_ratios: Sequence[float] = (0.33, 3.0),
        min_inside: float = 0.5,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.shape = tuple(int(n) for n in shape)
        self.scales = tuple(float(s) for s in scales)
        self.aspect_ratios = tuple(float(r) for r in aspect_ratios)
        self.min_inside = float(min_inside)
        self._check()
        self.total = int(np.prod(self.shape))
        coordinates = np.stack(np.unravel_index(np.arange(self.total), self.shape), axis=-1)
        every = self._boxes_at(coordinates.astype("float64"), np)
        used = _fraction_inside(every) >= self.min_inside
        self.cells = np.flatnonzero(used)
        if not len(self.cells):
            raise ValueError(f"no box of the grid has {self.min_inside:.0%} of its area in the image.")
        self.size = len(self.cells)
        self.boxes = every[used].astype("float32")
        self._coordinates = coordinates[used].astype("int32")
        place = np.full(self.total, self.size)
        place[self.cells] = np.arange(self.size)
        self._place = place.astype("int32")  # of each cell among those in use; N for the others

    def _check(self):
        """Refuse numbers that make no grid."""
        if len(self.shape) != 4 or min(self.shape) < 1:
            raise ValueError(f"`shape` must be four numbers of at least 1; got {self.shape}.")
        for name, values in (("scales", self.scales), ("aspect_ratios", self.aspect_ratios)):
            if len(values) != 2 or not 0 < values[0] <= values[1]:
                raise ValueError(f"`{name}` must be two ascending positive numbers; got {values}.")
        if not 0 <= self.min_inside <= 1:
            raise ValueError(f"`min_inside` must be in 0 .. 1; got {self.min_inside}.")

    def _axes(self):
        """Logarithm at cell 0 and its step from cell to cell, of scale and ratio."""
        for (low, high), cells in zip((self.scales, self.aspect_ratios), self.shape[2:]):
            low, high = np.log(low), np.log(high)
            if cells == 1:
                yield (low + high) / 2, 1.0
            else:
                yield low, max((high - low) / (cells - 1), 1e-9)

    def _boxes_at(self, coordinates, xp):
        """`boxes_at` in numpy or in `keras.ops`."""
        (scale_0, scale_step), (ratio_0, ratio_step) = self._axes()
        y = (coordinates[..., 0] + 0.5) / self.shape[0]
        x = (coordinates[..., 1] + 0.5) / self.shape[1]
        log_scale = scale_0 + coordinates[..., 2] * scale_step
        half_ratio = (ratio_0 + coordinates[..., 3] * ratio_step) / 2
        height, width = xp.exp(log_scale - half_ratio) / 2, xp.exp(log_scale + half_ratio) / 2
        return xp.stack([y - height, x - width, y + height, x + width], axis=-1)

    def boxes_at(self, coordinates: Tensor) -> Tensor:
        """Boxes at places of the grid, in closed form.

        Args:
            coordinates: `[..., 4]` as `(i, j, k, m)`; whole numbers are cells, others lie between them.

        Returns:
            `[..., 4]` float32 rel_yxyx boxes.
        """
        return self._boxes_at(ops.cast(coordinates, "float32"), ops)

    def coordinates(self, boxes: Tensor) -> Tensor:
        """Places of boxes in the grid, in closed form: the inverse of `boxes_at`.

        Args:
            boxes: `[..., 4]` rel_yxyx.

        Returns:
            `[..., 4]` float32 as `(i, j, k, m)`, neither rounded nor limited to the grid.
        """
        (scale_0, scale_step), (ratio_0, ratio_step) = self._axes()
        ymin, xmin, ymax, xmax = ops.unstack(ops.cast(boxes, "float32"), 4, axis=-1)
        height = ops.log(ops.maximum(ymax - ymin, SMALLEST_SIDE))
        width = ops.log(ops.maximum(xmax - xmin, SMALLEST_SIDE))
        places = [
            (ymin + ymax) / 2 * self.shape[0] - 0.5,
            (xmin + xmax) / 2 * self.shape[1] - 0.5,
            ((height + width) / 2 - scale_0) / scale_step,
            (width - height - ratio_0) / ratio_step,
        ]
        return ops.stack(places, axis=-1)

    def nearest(self, coordinates: Tensor) -> Tensor:
        """The nearest cell: coordinates limited to the grid and rounded, `[..., 4]` float32."""
        last = ops.convert_to_tensor([float(n - 1) for n in self.shape])
        return ops.round(ops.clip(ops.cast(coordinates, "float32"), 0.0, last))

    def index(self, boxes: Tensor) -> Tensor:
        """Number of the cell nearest to each box, `[..., 4]` rel_yxyx to `[...]` int32 below `total`."""
        i, j, k, m = ops.unstack(ops.cast(self.nearest(self.coordinates(boxes)), "int32"), 4, axis=-1)
        rows, columns, scales, ratios = self.shape
        return ((i * columns + j) * scales + k) * ratios + m

    def gather(self, values: Tensor) -> Tensor:
        """Values of the cells in use, `[B, Y, X, S, A]` or `[B, total]` to `[B, N]`."""
        flat = ops.reshape(values, (-1, self.total))
        if self.size == self.total:
            return flat
        return ops.take(flat, ops.convert_to_tensor(self.cells.astype("int32")), axis=1)

    def scatter(self, values: Tensor) -> Tensor:
        """Values of the cells in use on the whole grid, 0 elsewhere: `[B, N]` to `[B, Y, X, S, A]`."""
        if self.size < self.total:
            values = ops.take(ops.pad(values, ((0, 0), (0, 1))), ops.convert_to_tensor(self._place), axis=1)
        return ops.reshape(values, (-1, *self.shape))

    def local_maxima(self, distribution: Tensor) -> Tensor:
        """The distribution where no neighboring cell, diagonal ones included, is more probable, and 0 elsewhere.

        Args:
            distribution: `[B, Y, X, S, A]`.

        Returns:
            The same shape. Of a plateau all cells are kept.
        """
        highest = distribution
        for axis, cells in enumerate(self.shape):
            flat = ops.reshape(
                highest, (-1, int(np.prod(self.shape[:axis])), cells, int(np.prod(self.shape[axis + 1 :])))
            )
            after = ops.concatenate([flat[:, :, 1:], flat[:, :, -1:]], axis=2)
            before = ops.concatenate([flat[:, :, :1], flat[:, :, :-1]], axis=2)
            highest = ops.reshape(ops.maximum(flat, ops.maximum(before, after)), (-1, *self.shape))
        return ops.where(distribution >= highest, distribution, 0.0)

    def local_means(self, distribution: Tensor, index: Tensor, radius: Sequence[int]) -> Tensor:
        """Mean coordinates of the distribution around cells.

        Args:
            distribution: `[B, Y, X, S, A]`.
            index: `[B, K]` int32, places in `cells`.
            radius: cells that count on either side, along each of the four axes.

        Returns:
            `[B, K, 4]` float32 coordinates for `boxes_at`; where there is no mass, those of the cell.
        """
        ranges = [np.arange(-r, r + 1) for r in radius]
        steps = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 4)
        centers = ops.take(ops.convert_to_tensor(self._coordinates), index, axis=0)
        places = ops.expand_dims(centers, 2) + ops.convert_to_tensor(steps.astype("int32"))
        limited = ops.clip(places, 0, ops.convert_to_tensor(np.array(self.shape, "int32") - 1))
        inside = ops.cast(ops.all(places == limited, axis=-1), "float32")
        strides = np.array([int(np.prod(self.shape[axis + 1 :])) for axis in range(4)], "int32")
        number = ops.sum(limited * ops.convert_to_tensor(strides), axis=-1)
        first = ops.reshape(ops.arange(ops.shape(distribution)[0], dtype="int32") * self.total, (-1, 1, 1))
        mass = ops.take(ops.reshape(distribution, (-1,)), number + first) * inside
        shift = ops.matmul(mass, ops.convert_to_tensor(steps.astype("float32")))
        shift = shift / ops.maximum(ops.sum(mass, axis=-1, keepdims=True), SMALLEST_MASS)
        return ops.cast(centers, "float32") + shift

    def call(self, logits: Tensor) -> Tensor:
        """The distribution over the grid."""
        return self.scatter(ops.softmax(ops.cast(logits, "float32")))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """`[B, Y, X, S, A]`."""
        return (input_shape[0], *self.shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"shape": self.shape, "scales": self.scales, "aspect_ratios": self.aspect_ratios}
        return {**super().get_config(), **own, "min_inside": self.min_inside}


def _fraction_inside(boxes):
    """Fraction of each box's area within the image, `[..., 4]` numpy to `[...]`."""
    sides = boxes[..., 2:] - boxes[..., :2]
    inside = np.minimum(boxes[..., 2:], 1) - np.maximum(boxes[..., :2], 0)
    return np.prod(np.maximum(inside, 0), axis=-1) / np.prod(sides, axis=-1)
