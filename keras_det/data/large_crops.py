"""Samples that are large crops, as Krizhevsky et al. 2012 cut 224 of 256 pixels."""

import tensorflow as tf

from keras_det.data.augment import crop_objects, flip_boxes

SIDE = 7 / 8  # of the crop relative to the image's: 224 of 256


class LargeCrops:
    """Crops of 7/8 of the image's sides anywhere in it, flipped left to right half of the time.

    Objects whose center is in the crop are its objects, clipped to it.

    Args:
        image_size: `(height, width)` of the sample in pixels.

    Call as `keras_det.data.SSDAugmentation`.
    """

    def __init__(self, image_size: tuple[int, int]):
        self.image_size = tuple(image_size)

    def __call__(self, original, objects, seed):
        """One training sample: `(image [H, W, 3] float32 in 0 .. 255, objects)`."""
        draw = tf.random.stateless_uniform([3], seed)
        low = draw[:2] * (1 - SIDE)
        window = tf.concat([low, low + SIDE], 0)
        objects = crop_objects(objects, window)
        image, _ = original.sample(window, self.image_size)
        flip = draw[2] < 0.5
        objects["boxes"] = tf.where(flip, flip_boxes(objects["boxes"]), objects["boxes"])
        return tf.where(flip, image[:, ::-1], image), objects
