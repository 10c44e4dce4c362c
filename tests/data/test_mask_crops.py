"""DetectorNet's crops: the fractions of samples that the paper states, on many draws."""

import numpy as np
import pytest
import tensorflow as tf

from keras_det.data import Shapes
from keras_det.data.mask_crops import MaskCrops, covered_parts
from keras_det.training import RECIPES
from keras_det.training.detectornet import of_one_class

OF_WINDOW = [tf.TensorSpec([None, 4]), tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.int64)]


def samples(source, negative_fraction, draws=1):
    """`[N, C]` which classes each sample shows, and `[N]` which samples show nothing at all."""
    sampler = MaskCrops((8, 8), negative_fraction)

    @tf.function(input_signature=OF_WINDOW)
    def covered(boxes, labels, seed):
        return covered_parts(sampler.window({"boxes": boxes, "labels": labels}, seed)[None], boxes)[0]

    shown, empty = [], []
    for i in range(len(source)):
        one = source.annotation(i)
        for draw in range(draws):
            parts = covered(one.boxes, one.labels.astype("int32"), [i, draw]).numpy()
            shown.append(np.isin(np.arange(len(source.classes)), one.labels[parts >= 0.8]))
            empty.append((parts <= 0).all())
    return np.array(shown), np.array(empty)


@pytest.mark.parametrize(("objects", "negative_fraction"), [((1, 3), 0.2), ((1, 6), 0.4)])
def test_a_class_of_its_own_sees_its_objects_in_four_of_ten_samples(objects, negative_fraction):
    source = Shapes(400, seed=1, size=64, objects=objects)
    own = of_one_class(source, "star", negative_fraction)
    assert own.classes == ("star",) and len(own) > 400
    shown, empty = samples(own, negative_fraction)
    assert shown.mean() == pytest.approx(0.4, abs=0.04)  # some 800 draws: two standard deviations are 0.035
    assert empty.mean() > 0.5
    assert {own.annotation(i).image_id for i in range(len(own))} == {source.annotation(i).image_id for i in range(400)}


def test_the_shared_networks_classes_come_near_to_it():
    recipe = RECIPES["detectornet-shapes"]
    source = Shapes(**recipe.data_options | {"images": 300})
    shown, _ = samples(source, recipe.config["negative_fraction"], draws=2)
    np.testing.assert_allclose(shown.mean(axis=0), 0.41, atol=0.06)


def test_rare_classes_of_a_image_are_drawn_as_often_as_frequent_ones():
    labels = np.array([0] * 7 + [1], "int32")
    sampler = MaskCrops((8, 8), 0.0)
    drawn = tf.function(lambda seed: sampler._drawn(tf.constant(labels), seed), input_signature=[OF_WINDOW[2]])
    assert np.mean([int(drawn([k, 0])) for k in range(400)]) == pytest.approx(0.5, abs=0.07)


def test_a_image_without_objects_gives_a_negative_crop():
    nothing = {"boxes": tf.zeros([0, 4]), "labels": tf.zeros([0], tf.int32)}
    windows = np.array([MaskCrops((8, 8), 0.0).window(nothing, tf.constant([k, 0], tf.int64)) for k in range(8)])
    assert len(np.unique(windows, axis=0)) == 8
