"""SSD's augmentation (sections 2.2 and 3.6) as graph operations, each sample a function of one seed.

Geometry comes first and from the boxes alone: expansion and patch together are one window, which may leave the image.
Only its pixels are decoded and sampled. Colors are distorted at the size of the network's input, which gives the same
distribution as before the crop, the distortions being the same for all pixels, and costs less. Geometry is one compiled
function; colors, the mean around the image and the horizontal flip are another, one pass over the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from keras_det.boxes.letterboxing import letterbox
from keras_det.data.resize import fitted, to_canvas
from keras_det.types import Tensor
from keras_det.weights.registry import CAFFE_MEAN

if TYPE_CHECKING:
    from keras_det.data.batching import OriginalImage

MIN_OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9)  # section 2.2; beside them a free patch and the whole image
TRIALS = 50  # patches tried for each minimum overlap, as in the authors' code
PATCH_SCALE = (0.3, 1.0)  # of the side, as in the authors' code: from 0.09 of the area, the paper's "0.1"
PATCH_ASPECT = (0.5, 2.0)
LARGEST_EXPANSION = 4.0  # of a side: 16 times the area, section 3.6
LARGEST_TURN = 36.0  # of the hue, in degrees
MIN_SIDE = 1e-3  # of the patch; what the crop leaves of a kept object is never thinner

# The random numbers of a sample: expansion, patches, which of them is taken, horizontal flip, colors.
DRAWS = (4, TRIALS * 4, len(MIN_OVERLAPS) + 2, 1, 9)
ROWS = 16  # objects are padded to a multiple of this, for few shapes to compile

compiled = tf.function(jit_compile=tf.test.is_built_with_xla(), autograph=False)


class SSDAugmentation:
    """Patches, expansion, flips and photometric distortion.

    Args:
        image_size: `(height, width)` of the sample in pixels.
        expand: zoom out with probability 1/2, onto up to 16 times the area filled with `mean`.
        mean: RGB in 0 .. 255 around the image.
        resize: `"stretch"` gives every patch the shape of the sample; `"letterbox"` keeps its aspect ratio, and `mean`
            surrounds it.

    Call with a `OriginalImage`, its objects and a seed, as `keras_det.data.batches` does.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        expand: bool = True,
        mean: Sequence[float] = CAFFE_MEAN,
        resize: str = "stretch",
    ):
        self.image_size = tuple(image_size)
        self.expand = expand
        self.mean = tuple(mean)
        self.resize = resize

    def __call__(self, original, objects, seed):
        """One training sample.

        Args:
            original: a `keras_det.data.batching.OriginalImage`.
            objects: dict of `boxes [n, 4]` rel_yxyx, `labels`, `difficult`, `is_crowd` `[n]`.
            seed: `[2]` int64.

        Returns:
            `(image [H, W, 3] float32 in 0 .. 255, objects)`; objects whose center left the patch are gone.
        """
        draw = tf.random.stateless_uniform([sum(DRAWS)], seed)
        source, target, objects = self.geometry(original, objects, draw)
        image = original.paste(source, target, self.image_size)
        return finish(image, target, draw, self.mean), objects

    def geometry(
        self, original: OriginalImage, objects: dict[str, Tensor], draw: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """What is sampled: `source` and `target` as `place` gives them, and the sample's objects."""
        count = tf.shape(objects["boxes"])[0]
        padded = pad_rows(objects, tf.maximum(-(-count // ROWS), 1) * ROWS)
        letterboxed = self.resize == "letterbox"
        source, target, kept, found = cut(padded, original.shape, draw, self.image_size, self.expand, letterboxed)
        return source, target, {name: value[:kept] for name, value in found.items()}


class HorizontalFlip:
    """The whole image, flipped half of the time: what Fast and Faster R-CNN train on (Table 2, first column).

    Args:
        image_size: `(height, width)` of the sample in pixels.
        resize: as of `SSDAugmentation`.

    Call as `SSDAugmentation`.
    """

    def __init__(self, image_size: tuple[int, int], resize: str = "stretch"):
        self.image_size = tuple(image_size)
        self.resize = resize

    def __call__(self, original, objects, seed):
        """One training sample."""
        flip = tf.random.stateless_uniform([], seed) < 0.5
        image, boxes = fitted(original.whole(), objects["boxes"], self.image_size, self.resize)
        image = tf.where(flip, image[:, ::-1], image)
        return image, objects | {"boxes": tf.where(flip, flip_boxes(boxes), boxes)}


@compiled
def cut(
    objects: dict[str, Tensor],
    shape: Tensor,
    draw: Tensor,
    size: tuple[int, int],
    expand: bool,
    letterboxed: bool = False,
) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """The window of a sample and the objects in it.

    Args:
        objects: rows as `SSDAugmentation` takes them, and any number of rows of zeros.
        shape: `[2]` int32 height and width of the image.
        draw: `[sum(DRAWS)]` uniform numbers.
        size: `(height, width)` of the sample.
        expand: whether half of the samples are expanded.
        letterboxed: whether the window keeps its aspect ratio.

    Returns:
        `source` and `target` as `place` gives them, in the whole sample, the number of objects in the window, and as
        many rows as were given, these objects first.
    """
    zoom, trials, kinds, flip, _ = tf.split(draw, DRAWS)
    canvas = tf.constant([0.0, 0.0, 1.0, 1.0])
    if expand:
        canvas = tf.where(zoom[0] < 0.5, expansion(zoom[1:]), canvas)
    patch = choose_patch(to_window(objects["boxes"], canvas), patches(tf.reshape(trials, [TRIALS, 4])), kinds)
    origin, side = canvas[:2], canvas[2:] - canvas[:2]
    window, here = tf.concat([origin + patch[:2] * side, origin + patch[2:] * side], 0), tf.constant(size)
    if letterboxed:
        extent = tf.maximum(tf.round((window[2:] - window[:2]) * tf.cast(shape, tf.float32)), 1.0)
        height, width = tf.unstack(tf.cast(extent, tf.int32))
        top, left, *here = letterbox(height, width, size, tf)
        low, here = tf.stack([top, left]), tf.stack(here)
    window, source, target = place(window, shape, here)
    boxes, inside = in_window(objects["boxes"], window)  # what pads them has no area and is not inside
    if letterboxed:
        boxes, target = to_canvas(boxes, low, here, size), target + tf.pad(low, [[0, 2]])
    boxes = tf.where(flip < 0.5, flip_boxes(boxes), boxes)
    order = tf.argsort(tf.where(inside, 0, 1), stable=True)
    rows = {name: tf.gather(value, order) for name, value in (objects | {"boxes": boxes}).items()}
    return source, target, tf.reduce_sum(tf.cast(inside, tf.int32)), rows


def expansion(draw: Tensor) -> Tensor:
    """A canvas around the image, `[4]` rel_yxyx of the image: its side 1 to 4 times the image's.

    Args:
        draw: `[3]` uniform numbers.
    """
    side = 1.0 + draw[0] * (LARGEST_EXPANSION - 1.0)
    origin = -draw[1:] * (side - 1.0)
    return tf.concat([origin, origin + side], 0)


def patches(draw: Tensor) -> Tensor:
    """`[p, 4]` patches inside the unit square, of scale 0.3 to 1 and aspect ratio 1/2 to 2, from as many numbers."""
    scale = PATCH_SCALE[0] + draw[:, 0] * (PATCH_SCALE[1] - PATCH_SCALE[0])
    # Limits as in the authors' code, so that neither side is longer than the image's.
    lowest = tf.maximum(PATCH_ASPECT[0], scale**2)
    aspect = lowest + draw[:, 1] * (tf.minimum(PATCH_ASPECT[1], 1 / scale**2) - lowest)
    height, width = tf.minimum(scale / tf.sqrt(aspect), 1.0), tf.minimum(scale * tf.sqrt(aspect), 1.0)
    top, left = draw[:, 2] * (1 - height), draw[:, 3] * (1 - width)
    return tf.stack([top, left, top + height, left + width], axis=-1)


def choose_patch(boxes: Tensor, candidates: Tensor, draw: Tensor) -> Tensor:
    """One of the whole image, a free patch, or a patch that overlaps an object by at least 0.1, 0.3, 0.5, 0.7 or 0.9.

    As in the authors' code, each kind is tried, and one of those that succeeded is taken, all alike.

    Args:
        boxes: `[n, 4]` objects relative to what is cropped; boxes without area, which pad them, are overlapped by 0.
        candidates: `[p, 4]` patches.
        draw: `[7]` uniform numbers.

    Returns:
        `[4]` patch relative to the same.
    """
    best = tf.reduce_max(ious(candidates, boxes), axis=1)  # -inf without objects, so that no constraint holds
    holds = best[:, None] >= tf.constant(MIN_OVERLAPS)
    kinds = tf.gather(candidates, tf.argmax(tf.cast(holds, tf.int32), axis=0))
    kinds = tf.concat([kinds, candidates[:1], [[0.0, 0.0, 1.0, 1.0]]], axis=0)
    succeeded = tf.concat([tf.reduce_any(holds, axis=0), [True, True]], axis=0)
    # Not kinds[...]: the compiler takes the place of a slice for a constant, and compiles anew for each.
    return tf.gather(kinds, tf.argmax(tf.where(succeeded, draw, -1.0)))


def place(window: Tensor, shape: Tensor, size: tuple[int, int]) -> tuple[Tensor, ...]:
    """A window moved to where whole pixels of the image fill whole pixels of the sample.

    Args:
        window: `[4]` rel_yxyx of the image, which it may leave.
        shape: `[2]` int32 height and width of the image.
        size: `(height, width)` of the sample.

    Returns:
        `window` as it is sampled, `[4]` rel_yxyx; `source`, `[4]` int32 top, left, height and width in the image,
        at least one pixel; and `target`, the same in the sample, without height or width where the image fills less
        than half a pixel of it.
    """
    here, there = tf.cast(shape, tf.float32), tf.cast(size, tf.float32)
    scale = tf.tile(here, [2])
    window = tf.round(window * scale)
    low, extent = window[:2], tf.maximum(window[2:] - window[:2], 1.0)
    first = tf.clip_by_value(low, 0.0, here - 1)
    source = tf.clip_by_value(low + extent, first + 1, here) - first
    begin, end = (tf.clip_by_value(tf.round((e - low) / extent * there), 0.0, there) for e in (tf.zeros(2), here))
    target = end - begin
    step = source / tf.maximum(target, 1.0)
    moved = tf.concat([first - begin * step, first + (there - begin) * step], 0)
    moved = tf.where(tf.reduce_all(target > 0), moved, tf.concat([low, low + extent], 0))
    whole = (tf.cast(tf.concat(pair, 0), tf.int32) for pair in ([first, source], [begin, target]))
    return moved / scale, *whole


def intersections(patches: Tensor, boxes: Tensor) -> Tensor:
    """`[p, n]` areas, in TensorFlow's own operations: the input pipeline is TensorFlow's on any backend."""
    low = tf.maximum(patches[:, None, :2], boxes[None, :, :2])
    high = tf.minimum(patches[:, None, 2:], boxes[None, :, 2:])
    return tf.reduce_prod(tf.maximum(high - low, 0.0), axis=-1)


def areas(boxes: Tensor) -> Tensor:
    """`[n]` areas of boxes `[n, 4]`."""
    return tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], axis=-1)


def ious(patches: Tensor, boxes: Tensor) -> Tensor:
    """`[p, n]` IoU."""
    common = intersections(patches, boxes)
    return common / (areas(patches)[:, None] + areas(boxes)[None] - common)


def to_window(boxes: Tensor, window: Tensor) -> Tensor:
    """Boxes relative to the window instead of the image."""
    size = window[2:] - window[:2]
    return (boxes - tf.tile(window[:2], [2])) / tf.tile(size, [2])


def in_window(boxes: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes clipped to a window and relative to it, and which of them have their center in it (section 2.2)."""
    boxes = to_window(boxes, window)
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = tf.reduce_all((center > 0) & (center < 1), axis=-1)
    boxes = tf.clip_by_value(boxes, 0.0, 1.0)
    return boxes, inside & tf.reduce_all(boxes[:, 2:] - boxes[:, :2] > MIN_SIDE, axis=-1)


def crop_objects(objects: dict[str, Tensor], window: Tensor) -> dict[str, Tensor]:
    """The objects whose center is in the window, clipped to it and relative to it."""
    boxes, inside = in_window(objects["boxes"], window)
    return {name: tf.boolean_mask(value, inside) for name, value in (objects | {"boxes": boxes}).items()}


def pad_rows(objects: dict[str, Tensor], count: int | Tensor) -> dict[str, Tensor]:
    """Objects padded to at least `count` rows, labels with -1, all else with zeros."""
    more = tf.maximum(count - tf.shape(objects["boxes"])[0], 0) * [[0, 1], [0, 0]]
    flat = more[:1]  # of all that is not boxes
    return {
        name: tf.pad(value, more if name == "boxes" else flat, constant_values=-1 if name == "labels" else 0)
        for name, value in objects.items()
    }


def flip_boxes(boxes: Tensor) -> Tensor:
    """Boxes of the image flipped left to right."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.stack([ymin, 1 - xmax, ymax, 1 - xmin], axis=-1)


@compiled
def finish(image: Tensor, target: Tensor, draw: Tensor, mean: Sequence[float]) -> Tensor:
    """The pixels of a sample from those of the image: colors distorted, the mean around them, flipped or not.

    Args:
        image: `[H, W, 3]` float32 in 0 .. 255; outside `target` it has no meaning.
        target: `[4]` int32 top, left, height and width of the image in the sample.
        draw: `[sum(DRAWS)]` uniform numbers.
        mean: RGB around the image.
    """
    *_, flip, colors = tf.split(draw, DRAWS)
    low, high = target[:2], target[:2] + target[2:]
    rows, columns = ((k >= low[a]) & (k < high[a]) for a, k in enumerate(map(tf.range, image.shape[:2])))
    inside = rows[:, None] & columns
    planes = distort_colors(tf.unstack(tf.transpose(image, [2, 0, 1])), colors)
    planes = tf.stack([tf.where(inside, plane, mean[k]) for k, plane in enumerate(planes)])
    return tf.transpose(tf.where(flip < 0.5, tf.reverse(planes, [2]), planes), [1, 2, 0])


def distort_colors(planes: Sequence[Tensor], draw: Tensor) -> list[Tensor]:
    """Photometric distortion as in the authors' code: each with probability 1/2.

    Brightness by up to 32, contrast and saturation by 0.5 to 1.5, hue by up to 36 degrees, their 18 of OpenCV's two
    degrees; contrast early or last. Hues turn round the circle here, where their 8 bits stop at red.

    Args:
        planes: red, green and blue, each `[H, W]` float32 in 0 .. 255: apart, as processors like them.
        draw: `[9]` uniform numbers.

    Returns:
        The three planes.
    """

    def when(index, value, neutral):
        return tf.where(draw[index] < 0.5, value, neutral)

    contrast, early = when(1, 0.5 + draw[5], 1.0), draw[8] < 0.5
    brightness, saturation = when(0, (draw[4] * 2 - 1) * 32.0, 0.0), when(2, 0.5 + draw[6], 1.0)
    turn = when(3, (draw[7] * 2 - 1) * LARGEST_TURN / 60, 0.0)  # in sixths of the circle
    first, last = tf.where(early, contrast, 1.0), tf.where(early, 1.0, contrast)
    planes = [_clip(_clip(plane + brightness) * first) for plane in planes]
    # What leaves a branch is computed once; without one the compiler merges it into the sum of each channel.
    changed = (draw[2] < 0.5) | (draw[3] < 0.5)
    mixed = tf.cond(changed, lambda: to_hsv(planes, saturation, turn), lambda: planes)
    return [_clip(tf.where(changed, new, old) * last) for new, old in zip(to_rgb(*mixed), mixed)]


def to_hsv(planes: Sequence[Tensor], saturation: Tensor, turn: Tensor) -> list[Tensor]:
    """Value, chroma and hue with changed saturation and hue.

    HSV in closed form: V is the largest channel and C its distance to the smallest; saturation scales C, at most to V.

    Args:
        planes: red, green and blue, each `[H, W]` float32.
        saturation: factor.
        turn: of the hue, in sixths of the circle, -1 to 1.

    Returns:
        V and C in the range of the channels, and the hue in sixths of the circle, -2 to 6: red is 0, green 2, blue 4.
    """
    red, green, blue = planes
    value = tf.maximum(tf.maximum(red, green), blue)
    chroma = value - tf.minimum(tf.minimum(red, green), blue)
    inverse = 1.0 / tf.maximum(chroma, 1e-6)
    hue = tf.where(
        tf.equal(value, red),
        (green - blue) * inverse,
        tf.where(tf.equal(value, green), 2.0 + (blue - red) * inverse, 4.0 + (red - green) * inverse),
    )
    return [value, tf.minimum(chroma * saturation, value), hue + turn]


def to_rgb(value: Tensor, chroma: Tensor, hue: Tensor) -> list[Tensor]:
    """Red, green and blue: each lies below V by the fraction of C that its distance in hue gives."""
    away = [tf.abs(hue - place) for place in (0.0, 2.0, 4.0)]
    away = [tf.minimum(distance, 6.0 - distance) for distance in away]
    return [value - chroma * tf.clip_by_value(distance - 1.0, 0.0, 1.0) for distance in away]


def _clip(plane):
    return tf.clip_by_value(plane, 0.0, 255.0)
