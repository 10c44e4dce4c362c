"""Exhaustive search for the boxes that agree with five masks, on integral images (DetectorNet, section 5.2).

Everything stands on a lattice of `STEPS` steps a side of the image, 1 % each: the paper's 5 pixels in an image of 500.
A box's sides are whole steps; its halves end on half steps, where the integral image is known too, so that each sum is
exact.
"""

from collections.abc import Sequence

import numpy as np
from keras import ops

from keras_det.types import Tensor

STEPS = 100
MASKS = ("full", "bottom", "top", "left", "right")
MEAN_SIDES = tuple(k / 10 for k in range(1, 10))  # of the image's mean dimension
MARGIN = 0.25  # of a box's side: the frame around a box that stands for the complement of "full"


def box_sizes(aspect_ratios: Sequence[float], mean_sides: Sequence[float] = MEAN_SIDES) -> np.ndarray:
    """Heights and widths of the boxes that are searched.

    Args:
        aspect_ratios: width over height relative to the image, ten by k-means in the paper.
        mean_sides: means of height and width relative to the image.

    Returns:
        `[S, 2]` int, heights and widths in steps, each once; those longer than the image are left out, those shorter
        than two steps become two.
    """
    ratios, means = np.meshgrid(np.asarray(aspect_ratios, float), np.asarray(mean_sides, float), indexing="ij")
    heights = 2 * means / (1 + ratios)
    sizes = np.maximum(np.round(np.stack([heights, heights * ratios], -1).reshape(-1, 2) * STEPS), 2).astype(int)
    return np.unique(sizes[(sizes <= STEPS).all(1)], axis=0)


def count_boxes(sizes: np.ndarray) -> int:
    """How many boxes of these sizes the search looks at."""
    return int(np.prod(STEPS + 1 - np.asarray(sizes), axis=1).sum())


def integral_image(masks: Tensor) -> Tensor:
    """Sums over all rectangles from the upper left corner, at every half step.

    Args:
        masks: `[..., h, w]` mean values of the cells of a regular grid over the image.

    Returns:
        `[..., 2 STEPS + 1, 2 STEPS + 1]`: the integral up to each pair of half steps, the image's area being 1. Exact
        for cells of any size, parts of cells included.
    """
    rows, columns = (_cumulative_fractions(size) for size in masks.shape[-2:])
    return ops.matmul(ops.matmul(rows, masks), ops.transpose(columns))


def _cumulative_fractions(cells):
    """`[2 STEPS + 1, cells]`: how much of the image's side lies in each cell before each half step."""
    places = np.linspace(0, 1, 2 * STEPS + 1)[:, None]
    return ops.convert_to_tensor(np.clip(places - np.arange(cells) / cells, 0, 1 / cells), "float32")


def box_scores(masks: tuple[Tensor, ...], size: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
    """Equation 3 of all boxes of one size.

    The complement of "full" is the frame between the box and the box enlarged by a quarter of its sides all around, as
    far as it lies in the image; a box that fills the image has none, and nothing is subtracted.

    Args:
        masks: what `search_maps` gives.
        size: `(height, width)` in steps.

    Returns:
        `(scores, coverage)`, `[..., STEPS + 1 - height, STEPS + 1 - width]` each: equation 3, in -5 .. 5, and equation
        2 of the full mask, in 0 .. 1, of the box at each place.
    """
    full, across, down = masks
    h, w = int(size[0]), int(size[1])
    area = h * w / STEPS**2
    inside = _sums(full, h, w)
    frame, frame_area = _frames(full, inside, h, w)
    bottom_up = _sums(down, h, w, rows=(h, 2 * h)) - _sums(down, h, w, rows=(0, h))
    left_right = _sums(across, h, w, columns=(0, w)) - _sums(across, h, w, columns=(w, 2 * w))
    halves = (bottom_up + left_right) / (area / 2)
    return inside / area - frame / frame_area + halves, inside / area


def search_maps(masks: Tensor) -> tuple[Tensor, ...]:
    """Integral images of what equation 3 needs of the five masks.

    The halves come in pairs: the bottom mask is wanted in the bottom half and not in the top one, the top mask the
    other way round, so that the sums of their difference serve for both; left and right likewise.

    Args:
        masks: `[..., 5, h, w]` in the order of `MASKS`, values in 0 .. 1.

    Returns:
        Integral images of full, left less right, and bottom less top.
    """
    full, bottom, top, left, right = (masks[..., k, :, :] for k in range(5))
    return tuple(integral_image(values) for values in (full, left - right, bottom - top))


def _sums(integral, h, w, rows=None, columns=None):
    """Sum over a part of each box of `h` x `w` steps; the part's rows and columns in half steps from its corner."""
    (y0, y1), (x0, x1) = rows or (0, 2 * h), columns or (0, 2 * w)
    ys, xs = 2 * (STEPS - h), 2 * (STEPS - w)
    strips = integral[..., y1 : y1 + ys + 1 : 2, :] - integral[..., y0 : y0 + ys + 1 : 2, :]
    return strips[..., x1 : x1 + xs + 1 : 2] - strips[..., x0 : x0 + xs + 1 : 2]


def _frames(integral, inside, h, w):
    """Sums over the frames around the boxes, and the frames' areas, 1 where there is no frame."""
    bounds = []
    for side in (h, w):
        low = np.arange(STEPS + 1 - side)
        margin = max(round(MARGIN * side), 1)
        bounds.append((2 * np.maximum(low - margin, 0), 2 * np.minimum(low + side + margin, STEPS)))
    (top, bottom), (left, right) = bounds
    strips = ops.take(integral, bottom, axis=-2) - ops.take(integral, top, axis=-2)
    outer = ops.take(strips, right, axis=-1) - ops.take(strips, left, axis=-1)
    areas = ((bottom - top)[:, None] * (right - left)[None] - 4 * h * w) / (4 * STEPS**2)
    frame = ops.where(areas > 0, outer - inside, 0.0)
    return frame, ops.convert_to_tensor(np.where(areas > 0, areas, 1.0), "float32")


def search(masks: Tensor, sizes: np.ndarray, per_size: int = 8) -> tuple[Tensor, ...]:
    """The boxes of all sizes and places that agree best with the masks.

    Of each size those places are candidates whose score is the highest among their neighbors', so that one object does
    not take all of them.

    Args:
        masks: `[N, 5, h, w]` in the order of `MASKS`, values in 0 .. 1; a value that is not a number counts as 0.
        sizes: `[S, 2]` of `box_sizes`.
        per_size: candidates of each size.

    Returns:
        `(boxes [N, K, 4] rel_yxyx, scores [N, K], coverage [N, K])` with K the candidates of all sizes: equation 3 and
        equation 2 of the full mask; fewer peaks than `per_size` are padded with the score -5.
    """
    masks = ops.cast(masks, "float32")
    masks = ops.where(masks == masks, masks, 0.0)
    maps = search_maps(masks)
    found = [_best(*box_scores(maps, size), size, per_size) for size in np.asarray(sizes)]
    return tuple(ops.concatenate(parts, axis=1) for parts in zip(*found))


def _best(scores, coverage, size, count):
    """The highest peaks of one size, which lie in the rows of the highest peaks: a search of few places."""
    rows, columns = scores.shape[1:]
    count = min(count, rows * columns)
    peaks = scores if count == 1 else ops.where(scores >= _highest_around(scores), scores, -5.0)
    _, high = ops.top_k(ops.max(peaks, axis=2), min(count, rows))
    high = ops.sort(ops.cast(high, "int32"), axis=1)  # of equal peaks the first counts
    peaks = ops.take_along_axis(peaks, ops.expand_dims(high, 2), axis=1)
    best, index = ops.top_k(ops.reshape(peaks, (-1, high.shape[1] * columns)), count)
    index = ops.cast(index, "int32")
    row, column = ops.take_along_axis(high, index // columns, axis=1), index % columns
    low = ops.cast(ops.stack([row, column], axis=-1), "float32")
    boxes = ops.concatenate([low, low + ops.convert_to_tensor(np.asarray(size), "float32")], axis=-1) / STEPS
    covered = ops.take_along_axis(ops.reshape(coverage, (-1, rows * columns)), row * columns + column, axis=1)
    return boxes, best, covered


def _highest_around(values):
    """The highest value among each place and its eight neighbors, `[N, rows, columns]`.

    By pooling: XLA would work out the scores anew for each neighbor that it compares.
    """
    values = ops.expand_dims(values, 3)
    for window in ((3, 1), (1, 3)):
        values = ops.max_pool(values, window, strides=1, padding="same")
    return values[..., 0]
