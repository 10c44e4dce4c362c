"""Random crops of a picture at one of several scales, as OverFeat trains on.

Graph operations, each sample a function of one seed, as `keras_det.data.augment`.
"""

import tensorflow as tf

from keras_det.data.augment import flip_boxes, to_window


class ScaledCrops:
    """The picture at a random one of several sizes, a random crop of it, mirrored half of the time.

    Objects keep their whole extent, so that the share of them within a window can be told: their boxes may leave 0 .. 1
    and objects outside the crop stay.

    Args:
        image_size: `(height, width)` of the crop in pixels. A picture that is smaller lies somewhere in the crop, with
            `mean` around it.
        scales: sizes of the picture, each `(height, width)` in pixels, or one number for its shorter side.
        border: pixels around the picture that a crop may take in.
        mean: RGB in 0 .. 255.

    Call as `keras_det.data.SSDAugmentation`.
    """

    def __init__(self, image_size, scales, border=0, mean=(118.38, 118.38, 118.38)):
        self.image_size = tuple(image_size)
        self.scales = tuple(scales)
        self.border = border
        self.mean = mean

    def __call__(self, picture, objects, seed):
        """One training sample: `(image [H, W, 3] float32 in 0 .. 255, objects)`."""
        draw = tf.random.stateless_uniform([3], seed)
        window = self.window(picture.scale[:2], draw[:2], seed)
        image, inside = picture.sample(window, self.image_size)
        image = tf.where(inside, image, self.mean)
        boxes, flip = to_window(objects["boxes"], window), draw[2] < 0.5
        boxes = tf.where(flip, flip_boxes(boxes), boxes)
        return tf.where(flip, image[:, ::-1], image), objects | {"boxes": boxes}

    def window(self, size, draw, seed):
        """The crop, `[4]` rel_yxyx of the picture, for a picture of `size` `[2]` pixels."""
        sizes = [
            scale if isinstance(scale, (tuple, list)) else scale * size / tf.reduce_min(size) for scale in self.scales
        ]
        which = tf.random.stateless_uniform([], seed + [1, 0], 0, len(sizes), tf.int32)
        size = tf.stack([tf.cast(s, tf.float32) for s in sizes])[which]
        share, border = tf.constant(self.image_size, tf.float32) / size, self.border / size
        low = draw * (1 + 2 * border - share) - border
        return tf.concat([low, low + share], 0)
