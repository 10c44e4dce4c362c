"""SSD's augmentation (sections 2.2 and 3.6) as graph operations, each sample a function of one seed.

Geometry comes first and from the boxes alone: expansion and patch together are one window, which may leave the picture.
Only its pixels are decoded and sampled. Colours are distorted at the size of the network's input, which gives the same
distribution as before the crop, the distortions being the same for all pixels, and costs less; colours, the mean around
the picture and the mirror are one compiled pass over the pixels.
"""

import tensorflow as tf

from keras_det.data.resize import resize

MIN_OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9)  # section 2.2; beside them a free patch and the whole picture
TRIALS = 50  # patches tried for each minimum overlap, as in the authors' code
PATCH_SCALE = (0.1, 1.0)
PATCH_ASPECT = (0.5, 2.0)
LARGEST_EXPANSION = 4.0  # of a side: 16 times the area, section 3.6
MIN_SIDE = 1e-3  # of the patch; what the crop leaves of a kept object is never thinner


class SSDAugmentation:
    """Patches, expansion, flips and photometric distortion.

    Args:
        image_size: `(height, width)` of the sample in pixels.
        expand: zoom out with probability 1/2, onto up to 16 times the area filled with `mean`.
        mean: RGB in 0 .. 255 around the picture.

    Call with a `Picture`, its objects and a seed, as `keras_det.data.batches` does.
    """

    def __init__(self, image_size, expand=True, mean=(123.0, 117.0, 104.0)):
        self.image_size = tuple(image_size)
        self.expand = expand
        self.mean = mean

    def __call__(self, picture, objects, seed):
        """One training sample.

        Args:
            picture: a `keras_det.data.batching.Picture`.
            objects: dict of `boxes [n, 4]` rel_yxyx, `labels`, `difficult`, `is_crowd` `[n]`.
            seed: `[2]` int64.

        Returns:
            `(image [H, W, 3] float32 in 0 .. 255, objects)`; objects whose centre left the patch are gone.
        """
        draw = tf.random.stateless_uniform([16], seed)
        window = self.window(objects["boxes"], draw, seed)
        window, source, target = picture.place(window, self.image_size)
        objects = crop_objects(objects, window)
        flip = draw[2] < 0.5
        objects["boxes"] = tf.where(flip, flip_boxes(objects["boxes"]), objects["boxes"])
        image = picture.paste(source, target, self.image_size)
        return finish(image, target, draw[3:], tf.constant(self.mean, tf.float32), flip), objects

    def window(self, boxes, draw, seed):
        """The part of the plane, `[4]` rel_yxyx of the picture, that becomes the sample."""
        canvas = tf.constant([0.0, 0.0, 1.0, 1.0])
        if self.expand:
            canvas = tf.where(draw[0] < 0.5, expansion(seed), canvas)
        patch = choose_patch(to_window(boxes, canvas), seed)
        origin, size = canvas[:2], canvas[2:] - canvas[:2]
        return tf.concat([origin + patch[:2] * size, origin + patch[2:] * size], 0)


class Mirroring:
    """The whole picture, mirrored half of the time: what Fast and Faster R-CNN train on (Table 2, first column).

    Args:
        image_size: `(height, width)` of the sample in pixels.

    Call as `SSDAugmentation`.
    """

    def __init__(self, image_size):
        self.image_size = tuple(image_size)

    def __call__(self, picture, objects, seed):
        """One training sample."""
        flip = tf.random.stateless_uniform([], seed) < 0.5
        image = resize(picture.whole(), self.image_size)
        image = tf.where(flip, image[:, ::-1], image)
        return image, objects | {"boxes": tf.where(flip, flip_boxes(objects["boxes"]), objects["boxes"])}


def expansion(seed):
    """A canvas around the picture, `[4]` rel_yxyx of the picture: its side 1 to 4 times the picture's."""
    draw = tf.random.stateless_uniform([3], seed + [1, 0])
    side = 1.0 + draw[0] * (LARGEST_EXPANSION - 1.0)
    origin = -draw[1:] * (side - 1.0)
    return tf.concat([origin, origin + side], 0)


def patches(seed, count=TRIALS):
    """`[count, 4]` random patches inside the unit square, of scale 0.1 to 1 and aspect ratio 1/2 to 2."""
    draw = tf.random.stateless_uniform([count, 4], seed + [2, 0])
    scale = PATCH_SCALE[0] + draw[:, 0] * (PATCH_SCALE[1] - PATCH_SCALE[0])
    # Limits as in the authors' code, so that neither side is longer than the picture's.
    lowest = tf.maximum(PATCH_ASPECT[0], scale**2)
    aspect = lowest + draw[:, 1] * (tf.minimum(PATCH_ASPECT[1], 1 / scale**2) - lowest)
    height, width = tf.minimum(scale / tf.sqrt(aspect), 1.0), tf.minimum(scale * tf.sqrt(aspect), 1.0)
    top, left = draw[:, 2] * (1 - height), draw[:, 3] * (1 - width)
    return tf.stack([top, left, top + height, left + width], axis=-1)


def choose_patch(boxes, seed):
    """One of the whole picture, a free patch, or a patch that overlaps an object by at least 0.1, 0.3, 0.5, 0.7 or 0.9.

    As in the authors' code, each kind is tried, and one of those that succeeded is taken, all alike.

    Args:
        boxes: `[n, 4]` objects in shares of what is cropped.
        seed: `[2]` int64.

    Returns:
        `[4]` patch in the same shares.
    """
    candidates = patches(seed)
    best = tf.reduce_max(overlaps(candidates, boxes), axis=1)  # -inf without objects, so that no constraint holds
    holds = best[:, None] >= tf.constant(MIN_OVERLAPS)
    kinds = tf.gather(candidates, tf.argmax(tf.cast(holds, tf.int32), axis=0))
    kinds = tf.concat([kinds, candidates[:1], [[0.0, 0.0, 1.0, 1.0]]], axis=0)
    succeeded = tf.concat([tf.reduce_any(holds, axis=0), [True, True]], axis=0)
    draw = tf.random.stateless_uniform([len(MIN_OVERLAPS) + 2], seed + [3, 0])
    return kinds[tf.argmax(tf.where(succeeded, draw, -1.0))]


def overlaps(patches, boxes):
    """`[p, n]` jaccard overlap, in TensorFlow's own operations: the input pipeline is TensorFlow's on any backend."""
    low = tf.maximum(patches[:, None, :2], boxes[None, :, :2])
    high = tf.minimum(patches[:, None, 2:], boxes[None, :, 2:])
    intersection = tf.reduce_prod(tf.maximum(high - low, 0.0), axis=-1)
    areas = [tf.reduce_prod(b[:, 2:] - b[:, :2], axis=-1) for b in (patches, boxes)]
    return intersection / (areas[0][:, None] + areas[1][None] - intersection)


def to_window(boxes, window):
    """Boxes in shares of the window instead of the picture."""
    size = window[2:] - window[:2]
    return (boxes - tf.tile(window[:2], [2])) / tf.tile(size, [2])


def crop_objects(objects, window):
    """The objects whose centre is in the window, clipped to it and in shares of it (section 2.2)."""
    boxes = to_window(objects["boxes"], window)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    keep = tf.reduce_all((centre > 0) & (centre < 1), axis=-1)
    boxes = tf.clip_by_value(boxes, 0.0, 1.0)
    keep &= tf.reduce_all(boxes[:, 2:] - boxes[:, :2] > MIN_SIDE, axis=-1)
    return {name: tf.boolean_mask(value, keep) for name, value in (objects | {"boxes": boxes}).items()}


def flip_boxes(boxes):
    """Boxes of the picture mirrored left to right."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.stack([ymin, 1 - xmax, ymax, 1 - xmin], axis=-1)


@tf.function(jit_compile=tf.test.is_built_with_xla(), autograph=False)
def finish(image, target, draw, mean, flip):
    """The pixels of a sample from those of the picture: colours distorted, the mean around them, mirrored or not.

    Args:
        image: `[H, W, 3]` float32 in 0 .. 255; outside `target` it has no meaning.
        target: `[4]` int32 top, left, height and width of the picture in the sample.
        draw: `[13]` uniform numbers.
        mean: `[3]` RGB around the picture.
        flip: scalar bool, mirror left to right.
    """
    low, high = target[:2], target[:2] + target[2:]
    rows, columns = ((k >= low[a]) & (k < high[a]) for a, k in enumerate(map(tf.range, image.shape[:2])))
    inside = rows[:, None] & columns
    colours = distort_colours(tf.unstack(tf.transpose(image, [2, 0, 1])), draw)
    planes = tf.stack([tf.where(inside, plane, mean[k]) for k, plane in enumerate(colours)])
    return tf.transpose(tf.where(flip, tf.reverse(planes, [2]), planes), [1, 2, 0])


def distort_colours(planes, draw):
    """Photometric distortion as in the authors' code: each with probability 1/2.

    Brightness by up to 32, contrast and saturation by 0.5 to 1.5, hue by up to 18 degrees; contrast early or last.
    Saturation and hue are those of HSV, in closed form: with V the largest channel and C its distance to the smallest,
    saturation scales C, at most to V, and each channel lies below V by a share of C that its distance in hue gives.

    Args:
        planes: red, green and blue, each `[H, W]` float32 in 0 .. 255: apart, as processors like them.
        draw: at least 9 uniform numbers.

    Returns:
        The three planes.
    """

    def when(index, value, neutral):
        return tf.where(draw[index] < 0.5, value, neutral)

    contrast, early = when(1, 0.5 + draw[5], 1.0), draw[8] < 0.5
    brightness, saturation = when(0, (draw[4] * 2 - 1) * 32.0, 0.0), when(2, 0.5 + draw[6], 1.0)
    turn = when(3, (draw[7] * 2 - 1) * 18 / 60, 0.0)  # in sixths of the circle
    first, last = tf.where(early, contrast, 1.0), tf.where(early, 1.0, contrast)
    red, green, blue = (_clip(_clip(plane + brightness) * first) for plane in planes)
    value = tf.maximum(tf.maximum(red, green), blue)
    chroma = value - tf.minimum(tf.minimum(red, green), blue)
    inverse = 1.0 / tf.maximum(chroma, 1e-6)
    hue = tf.where(
        tf.equal(value, red),
        (green - blue) * inverse,
        tf.where(tf.equal(value, green), 2.0 + (blue - red) * inverse, 4.0 + (red - green) * inverse),
    )
    chroma = tf.minimum(chroma * saturation, value)

    def channel(offset):
        sixth = hue + (turn + offset)
        sixth -= 6.0 * tf.floor(sixth / 6.0)
        return _clip((value - chroma * tf.clip_by_value(tf.minimum(sixth, 4.0 - sixth), 0.0, 1.0)) * last)

    return channel(5.0), channel(3.0), channel(1.0)


def _clip(plane):
    return tf.clip_by_value(plane, 0.0, 255.0)
