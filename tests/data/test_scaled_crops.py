"""OverFeat's training samples: crops of images at several scales, boxes following the pixels."""

import numpy as np
import pytest
import tensorflow as tf

from keras_det.data import ScaledCrops
from keras_det.data.batching import OriginalImage


def original(height=100, width=150):
    """A dark image with one bright object, and its box."""
    pixels = np.full((height, width, 3), 20, "uint8")
    pixels[30:70, 60:110] = 220
    box = np.array([[30 / height, 60 / width, 70 / height, 110 / width]], "float32")
    objects = {"boxes": tf.constant(box), "labels": tf.constant([3])}
    return OriginalImage(tf.constant(b""), tf.constant(pixels), tf.constant([height, width])), objects


def sample(crops, seed):
    image, objects = crops(*original(), tf.constant([seed, 1], tf.int64))
    return image.numpy(), objects["boxes"].numpy()[0], objects


@pytest.mark.parametrize("seed", range(8))
def test_the_box_follows_the_pixels(seed):
    image, box, objects = sample(ScaledCrops((90, 120), [(200, 280), (120, 150)]), seed)
    assert image.shape == (90, 120, 3) and objects["labels"].numpy().tolist() == [3]
    top, left, bottom, right = np.round(box * [90, 120, 90, 120]).astype(int)
    inside = np.zeros((90, 120), bool)
    inside[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    bright = image[..., 0] > 120
    assert (bright != inside).mean() < 0.04


def test_sizes_of_objects_are_those_of_the_scales():
    crops = ScaledCrops((64, 64), [(200, 300), 400])
    found = {
        tuple(np.round((box[2:] - box[:2]) * 64).astype(int)) for _, box, _ in (sample(crops, s) for s in range(20))
    }
    assert found == {(80, 100), (160, 200)}  # 40 by 50 pixels of 100 by 150; 400 is for the shorter side


def test_a_smaller_image_lies_in_the_mean():
    for seed in range(6):
        image, box, _ = sample(ScaledCrops((90, 120), [(60, 80)], mean=(1.0, 2.0, 3.0)), seed)
        mean = (image == [1, 2, 3]).all(-1)
        assert mean.sum() == pytest.approx(90 * 120 - 60 * 80, rel=0.05)
        assert box.min() > 0 and box.max() < 1


def test_half_of_the_samples_are_mirrored_and_all_come_again():
    crops = ScaledCrops((100, 150), [(100, 150)])
    lefts = [round(float(sample(crops, s)[1][1]) * 150) for s in range(40)]
    assert set(lefts) == {60, 40} and 10 < lefts.count(40) < 30
    np.testing.assert_array_equal(sample(crops, 5)[0], sample(crops, 5)[0])


def test_crops_around_an_object_have_it_near_the_middle_at_a_scale_that_suits():
    crops = ScaledCrops((80, 80), [(100, 150), (200, 300), (400, 600)], border=40, around=1.0, sides=(60, 110))
    centers = []
    for seed in range(20):
        _, box, _ = sample(crops, seed)
        assert max(box[2:] - box[:2]) * 80 == pytest.approx(100, abs=0.5)  # 50 pixels of the image, at scale 2
        centers.append((box[:2] + box[2:]) / 2)
    assert np.abs(np.array(centers) - 0.5).max() <= 0.26 and np.ptp(centers, axis=0).min() > 0.2


def test_no_scale_suits_the_nearest_is_taken():
    crops = ScaledCrops((80, 80), [(100, 150), (200, 300)], around=1.0, sides=(300, 400))
    assert all(
        max(box[2:] - box[:2]) * 80 == pytest.approx(100, abs=0.5) for _, box, _ in (sample(crops, s) for s in range(4))
    )
