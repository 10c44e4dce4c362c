"""SSD's augmentation (sections 2.2 and 3.6) as graph operations, each sample a function of one seed.

Geometry comes first, from the boxes and the picture's shape alone: expansion and patch together are one window in whole
pixels of the picture, which may leave it. Only the pixels in the window are decoded and resized to their place in the
sample; the mean fills the rest. Colours are distorted at the size of the sample, in one compiled pass.

The authors distort first, then expand, crop and resize. The distortions treat every pixel alike (their contrast is a
factor, not a distance from the picture's mean), so they commute with expansion, crop and flip; with the bilinear resize
brightness and contrast commute but for clipping, hue and saturation nearly. The mean stays undistorted in both orders.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_det.data.resize import resize

MIN_OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Least jaccard overlaps of a patch with an object; beside them a free patch and the whole picture (section 2.2)."""

TRIALS = 50
"""Patches tried for each of `MIN_OVERLAPS`, as in the authors' code."""

PATCH_SCALE = (0.1, 1.0)
"""Square root of a patch's share of the area (section 2.2; the authors' scripts begin at 0.3)."""

PATCH_ASPECT = (0.5, 2.0)
"""Width by height of a patch, both as shares of the picture's, as in the authors' code."""

MAX_EXPANSION = 4.0
"""Largest side of the canvas around a picture, in sides of the picture: 16 times the area (section 3.6)."""

MIN_SIDE = 1e-3
"""Objects of which a crop leaves less than this share of the sample's height or width are left out."""

_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = 32.0, (0.5, 1.5), (0.5, 1.5), 18.0 / 60.0  # hue in sixths of the circle

# One row for each candidate: those of each overlap, one free patch, the whole picture.
_RANDOM = len(MIN_OVERLAPS) * TRIALS + 1
_KIND = np.append(np.repeat(np.arange(len(MIN_OVERLAPS)), TRIALS), [len(MIN_OVERLAPS), len(MIN_OVERLAPS) + 1])
_LEAST = np.append(np.repeat(MIN_OVERLAPS, TRIALS), [-np.inf, -np.inf]).astype("float32")
_EARLIER = np.append(np.tile(1 - np.arange(TRIALS) / TRIALS, len(MIN_OVERLAPS)), [1, 1]).astype("float32")
_SCALARS = 24


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture that is decoded only where it is needed.

    Attributes:
        shape: `[2]` int32, height and width in pixels.
        pixels: `[H, W, 3]` uint8; of any size where `jpeg` holds the picture.
        jpeg: scalar string, the bytes of a JPEG, empty where `pixels` holds the picture; None where none ever does.
    """

    shape: tf.Tensor
    pixels: tf.Tensor
    jpeg: tf.Tensor | None = None

    @classmethod
    def of_pixels(cls, pixels):
        """The picture of an array `[H, W, 3]` uint8."""
        return cls(tf.shape(pixels)[:2], pixels)

    @classmethod
    def of_file(cls, contents):
        """The picture of a file's bytes, a scalar string; the graph ends with an error where that is no picture."""
        is_jpeg = tf.io.is_jpeg(contents)

        def decoded():
            pixels = tf.io.decode_image(contents, channels=3, expand_animations=False)
            return tf.shape(pixels)[:2], pixels, ""

        def encoded():
            return tf.io.extract_jpeg_shape(contents)[:2], tf.zeros([0, 0, 3], tf.uint8), contents

        shape, pixels, jpeg = tf.cond(is_jpeg, encoded, decoded)
        return cls(tf.ensure_shape(shape, [2]), tf.ensure_shape(pixels, [None, None, 3]), jpeg)

    def crop(self, window):
        """Pixels `[height, width, 3]` uint8 of `window`, `[4]` int32 ymin, xmin, height, width inside the picture."""
        if self.jpeg is None:
            return _slice(self.pixels, window)
        return tf.cond(
            tf.strings.length(self.jpeg) > 0,
            lambda: self._decode(window),
            lambda: _slice(self.pixels, window),
        )

    def whole(self):
        """All pixels, `[H, W, 3]` uint8."""
        if self.jpeg is None:
            return self.pixels
        return tf.cond(
            tf.strings.length(self.jpeg) > 0,
            lambda: tf.image.decode_jpeg(self.jpeg, channels=3),
            lambda: self.pixels,
        )

    def _decode(self, window):
        """A window of the JPEG, as if cut from the whole: colours of half resolution need a pixel on either side."""
        top, left, height, width = tf.unstack(window)
        first, last = tf.maximum(left - 1, 0), tf.minimum(left + width + 1, self.shape[1])
        pixels = tf.image.decode_and_crop_jpeg(self.jpeg, tf.stack([top, first, height, last - first]), channels=3)
        return pixels[:, left - first : left - first + width]


def _slice(pixels, window):
    return tf.slice(pixels, tf.concat([window[:2], [0]], 0), tf.concat([window[2:], [3]], 0))


class SSDAugmentation:
    """Patches, expansion, photometric distortion and flips, drawn anew for each seed.

    * With probability 1/2 the picture is put somewhere on a canvas of 1 to 4 times its sides, filled with `mean`.
    * One of the whole canvas, a free patch, or a patch that overlaps some object by at least 0.1, 0.3, 0.5, 0.7 or 0.9
      is cut out: all alike among those that 50 trials find, as the authors do it. Crowds and difficult objects count.
    * An object stays when its centre is in the patch, cut at the patch's border.
    * Brightness by up to 32, contrast and saturation by 0.5 to 1.5, hue by up to 18 degrees, each with probability 1/2;
      contrast comes second or last.
    * With probability 1/2 the sample is mirrored left to right.

    A picture without objects, or left without, is a sample without objects.

    Args:
        image_size: `(height, width)` of the sample in pixels.
        expand: whether to zoom out.
        patches: whether to cut patches.
        photometric: whether to distort colours.
        flip: whether to mirror.
        mean: RGB in 0 .. 255 around the picture.
        channel_order: probability that the channels are permuted, a part of the authors' code that their scripts set
            to 0.

    Raises:
        ValueError: sizes below 1, a mean out of range, or no probability.

    >>> augment = SSDAugmentation((30, 40), photometric=False)
    >>> objects = {"boxes": tf.constant([[0.2, 0.2, 0.8, 0.8]]), "labels": tf.constant([3])}
    >>> image, objects = augment(Picture.of_pixels(tf.zeros([60, 80, 3], tf.uint8)), objects, tf.constant([0, 1]))
    >>> image.shape
    TensorShape([30, 40, 3])
    """

    def __init__(
        self,
        image_size,
        expand=True,
        patches=True,
        photometric=True,
        flip=True,
        mean=(123.0, 117.0, 104.0),
        channel_order=0.0,
    ):
        self.image_size = tuple(int(side) for side in image_size)
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise ValueError(f"`image_size` must be (height, width) of at least 1 pixel; got {image_size!r}.")
        if len(mean) != 3 or not all(0 <= value <= 255 for value in mean):
            raise ValueError(f"`mean` must be three numbers in 0 .. 255; got {mean!r}.")
        if not 0 <= channel_order <= 1:
            raise ValueError(f"`channel_order` must be a probability; got {channel_order!r}.")
        self.expand = expand
        self.patches = patches
        self.photometric = photometric
        self.flip = flip
        self.mean = tuple(float(value) for value in mean)
        self.channel_order = channel_order
        # One pass over the pixels instead of some fifty; compiled once for each augmentation.
        self._finish = tf.function(self._finish, jit_compile=tf.test.is_built_with_xla(), autograph=False)

    def __call__(self, picture, objects, seed):
        """One training sample.

        Args:
            picture: a `Picture`.
            objects: dict of `boxes [n, 4]` rel_yxyx, and any others of `[n, ...]`, such as `labels`.
            seed: `[2]` integers; the same seed gives the same sample.

        Returns:
            `(image [H, W, 3] float32 in 0 .. 255, objects)`, the dict with the objects that stay, boxes in shares of
            the sample.
        """
        numbers = tf.random.stateless_uniform([_RANDOM * 4 + _SCALARS], seed)
        draw = tf.unstack(numbers[-_SCALARS:])
        shape = tf.cast(picture.shape, tf.float32)
        boxes = objects["boxes"] * tf.tile(shape, [2])
        window = self.window(shape, boxes, tf.reshape(numbers[:-_SCALARS], [_RANDOM, 4]), draw)
        source, target = place(window, shape, self.image_size)
        flip = draw[0] < 0.5 if self.flip else tf.constant(False)
        kept, boxes = crop_boxes(boxes, window, source, target, self.image_size, flip)
        objects = {name: tf.gather(value, kept) for name, value in objects.items()} | {"boxes": boxes}
        return self._finish(self._canvas(picture, source, target), target, self._colours(draw[12:]), flip), objects

    def window(self, shape, boxes, candidates, draw):
        """The part of the plane, `[4]` float32 yxyx in whole pixels of the picture, that becomes the sample.

        Args:
            shape: `[2]` float32, of the picture.
            boxes: `[n, 4]` objects in pixels.
            candidates: `[p, 4]` uniform numbers, a row for each random patch.
            draw: list of uniform numbers, of which 1 to 11 are used.
        """
        side = tf.where(draw[1] < 0.5, 1.0 + draw[2] * (MAX_EXPANSION - 1.0), 1.0) if self.expand else tf.constant(1.0)
        origin, extent = (1.0 - side) * shape * tf.stack(draw[3:5]), side * shape
        if not self.patches:
            return tf.round(tf.concat([origin, origin + extent], 0))
        corners, sizes = random_patches(candidates)
        corners = tf.concat([corners, [[0.0, 0.0]]], 0)
        sizes = tf.concat([sizes, [[1.0, 1.0]]], 0)
        low = tf.round(origin + corners * extent)
        high = tf.maximum(tf.round(origin + (corners + sizes) * extent), low + 1)
        # Without objects the best overlap is -inf: then only the free patch and the whole are left.
        holds = tf.reduce_max(overlaps(low, high, boxes), axis=1) >= _LEAST
        kinds = tf.floor(tf.gather(tf.stack(draw[5:12]), _KIND) * 65536.0)
        chosen = tf.argmax(tf.where(holds, kinds + _EARLIER, -1.0))
        return tf.concat([low[chosen], high[chosen]], 0)

    def _canvas(self, picture, source, target):
        """The window's pixels at their place in the sample, `[H, W, 3]` float32; what surrounds them has no meaning."""
        image = resize(picture.crop(source), tf.maximum(target[2:], 1))
        before = tf.minimum(target[:2], tf.constant(self.image_size) - 1)
        after = self.image_size - before - tf.shape(image)[:2]
        image = tf.cond(
            tf.reduce_all(tf.equal(target[2:], self.image_size)),
            lambda: image,
            lambda: tf.pad(image, tf.concat([tf.stack([before, after], 1), [[0, 0]]], 0)),
        )
        return tf.ensure_shape(image, (*self.image_size, 3))

    def _colours(self, draw):
        """What `_finish` does to the colours: factors and shifts, neutral where the draw says so, and an order."""

        def when(number, value, neutral):
            return tf.where(number < 0.5, value, neutral)

        contrast = when(draw[0], _between(_CONTRAST, draw[1]), 1.0)
        second = draw[2] < 0.5
        brightness = when(draw[3], _between((-_BRIGHTNESS, _BRIGHTNESS), draw[4]), 0.0)
        saturation = when(draw[5], _between(_SATURATION, draw[6]), 1.0)
        hue = when(draw[7], _between((-_HUE, _HUE), draw[8]), 0.0)
        order = tf.where(draw[9] < self.channel_order, tf.argsort(tf.stack(draw[9:12])), [0, 1, 2])
        first, last = tf.where(second, contrast, 1.0), tf.where(second, 1.0, contrast)
        return tf.stack([brightness, first, saturation, hue, last]), order

    def _finish(self, image, target, colours, flip):
        """Colours, the mean around the picture, and the mirror."""
        if self.photometric:
            values, order = colours
            planes = distort_colours(tf.unstack(tf.transpose(image, [2, 0, 1])), tf.unstack(values))
            if self.channel_order:
                planes = tf.unstack(tf.gather(tf.stack(planes), order))
            image = tf.transpose(tf.stack(planes), [1, 2, 0])
        rows, columns = (
            (k >= target[a]) & (k < target[a] + target[a + 2]) for a, k in enumerate(map(tf.range, self.image_size))
        )
        image = tf.where((rows[:, None] & columns)[..., None], image, tf.constant(self.mean))
        return tf.where(flip, tf.reverse(image, [1]), image) if self.flip else image


def _between(limits, number):
    """A uniform number of 0 .. 1 moved to the limits."""
    return limits[0] + number * (limits[1] - limits[0])


def random_patches(numbers):
    """Random patches of the unit square, as the authors draw them.

    The scale is uniform in `PATCH_SCALE`; the aspect ratio is uniform in the part of `PATCH_ASPECT` in which no side is
    longer than the square's; the place is uniform.

    Args:
        numbers: `[p, 4]` uniform in 0 .. 1.

    Returns:
        Upper left corners `[p, 2]` (y, x) and sizes `[p, 2]` (height, width), float32.
    """
    scale = _between(PATCH_SCALE, numbers[:, 0])
    area = scale * scale
    aspect = _between((tf.maximum(PATCH_ASPECT[0], area), tf.minimum(PATCH_ASPECT[1], 1 / area)), numbers[:, 1])
    root = tf.sqrt(aspect)
    sizes = tf.minimum(tf.stack([scale / root, scale * root], 1), 1.0)
    return numbers[:, 2:] * (1.0 - sizes), sizes


def overlaps(low, high, boxes):
    """Jaccard overlap of patches and boxes, in TensorFlow's own operations: tf.data is TensorFlow's on any backend.

    Args:
        low: `[p, 2]` upper left corners of the patches.
        high: `[p, 2]` lower right corners.
        boxes: `[n, 4]` yxyx in the same unit.

    Returns:
        `[p, n]` float32.
    """
    shared = tf.minimum(high[:, None], boxes[:, 2:]) - tf.maximum(low[:, None], boxes[:, :2])
    shared = tf.reduce_prod(tf.maximum(shared, 0.0), axis=-1)
    patches, objects = tf.reduce_prod(high - low, -1), tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], -1)
    return shared / (patches[:, None] + objects - shared)


def place(window, shape, image_size):
    """Which pixels of the picture a window shows, and where in the sample they go.

    Args:
        window: `[4]` float32 yxyx in whole pixels of the picture, which it may leave.
        shape: `[2]` float32, of the picture.
        image_size: `(height, width)` of the sample, which shows the whole window.

    Returns:
        `source`, `[4]` int32 ymin, xmin, height, width in the picture, at least one pixel, and `target`, the same in
        the sample, without height or width where less than half a pixel of the picture is in the window.
    """
    low, high, size = window[:2], window[2:], tf.constant(image_size, tf.float32)
    first = tf.clip_by_value(low, 0.0, shape - 1)
    last = tf.clip_by_value(high, first + 1, shape)
    scale = size / (high - low)
    begin, end = (tf.clip_by_value(tf.round((edge - low) * scale), 0.0, size) for edge in (tf.zeros(2), shape))
    source, target = tf.concat([first, last - first], 0), tf.concat([begin, end - begin], 0)
    return tf.cast(source, tf.int32), tf.cast(target, tf.int32)


def crop_boxes(boxes, window, source, target, image_size, flip):
    """Boxes of the picture in the sample: those whose centre is in the window, clipped (section 2.2).

    Args:
        boxes: `[n, 4]` float32 yxyx in pixels of the picture.
        window: `[4]` float32 yxyx in pixels of the picture.
        source: `[4]` as `place` gives it.
        target: `[4]` as `place` gives it.
        image_size: `(height, width)` of the sample.
        flip: scalar bool, whether the sample is mirrored left to right.

    Returns:
        Rows `[k]` int64 of the boxes that stay, and the boxes `[k, 4]` rel_yxyx in the sample.
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    keep = tf.reduce_all((centre >= window[:2]) & (centre <= window[2:]), -1)
    source, target = tf.cast(source, tf.float32), tf.cast(target, tf.float32)
    size = tf.constant(image_size, tf.float32)
    scale = target[2:] / (source[2:] * size)
    moved = (boxes - tf.tile(source[:2], [2])) * tf.tile(scale, [2]) + tf.tile(target[:2] / size, [2])
    ymin, xmin, ymax, xmax = tf.unstack(tf.clip_by_value(moved, 0.0, 1.0), axis=1)
    keep &= (ymax - ymin >= MIN_SIDE) & (xmax - xmin >= MIN_SIDE)
    xmin, xmax = tf.where(flip, 1 - xmax, xmin), tf.where(flip, 1 - xmin, xmax)
    kept = tf.where(keep)[:, 0]
    return kept, tf.gather(tf.stack([ymin, xmin, ymax, xmax], 1), kept)


def distort_colours(planes, values):
    """Brightness, contrast, saturation, hue and contrast again, in this order.

    Saturation and hue are those of HSV: with V the largest channel and C the distance to the smallest, saturation
    scales C, at most to V, and a channel lies below V by the share of C that its distance in hue from the largest
    gives.

    Args:
        planes: three float32 tensors of one shape, red, green and blue in 0 .. 255.
        values: five scalars: summand, factor, factor of the saturation, shift of the hue in sixths of the circle from
            red to yellow, factor.

    Returns:
        Three tensors in 0 .. 255.
    """
    brightness, first, saturation, shift, last = values
    red, green, blue = (_clip(_clip(plane + brightness) * first) for plane in planes)
    value = tf.maximum(tf.maximum(red, green), blue)
    chroma = value - tf.minimum(tf.minimum(red, green), blue)
    per_chroma = 1.0 / tf.maximum(chroma, 1e-6)
    hue = tf.where(
        tf.equal(value, red),
        (green - blue) * per_chroma,
        tf.where(tf.equal(value, green), 2.0 + (blue - red) * per_chroma, 4.0 + (red - green) * per_chroma),
    )
    chroma = tf.minimum(chroma * saturation, value)

    def channel(offset):
        sixth = hue + (shift + offset)
        sixth -= 6.0 * tf.floor(sixth * (1.0 / 6.0))
        return _clip((value - chroma * tf.clip_by_value(tf.minimum(sixth, 4.0 - sixth), 0.0, 1.0)) * last)

    return [channel(5.0), channel(3.0), channel(1.0)]


def _clip(plane):
    return tf.clip_by_value(plane, 0.0, 255.0)
