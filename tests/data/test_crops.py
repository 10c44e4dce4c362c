"""Crops: the properties that the papers state, on thousands of draws."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import chisquare

from keras_det.data import ObjectCrops, Shapes, SquareCrops, batches
from keras_det.data.crops import BUCKETS, covered_fraction, sampled_boxes


def iou(window, boxes):
    low, high = np.maximum(window[:2], boxes[:, :2]), np.minimum(window[2:], boxes[:, 2:])
    both = np.maximum(high - low, 0).prod(1)
    return both / ((window[2:] - window[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - both)


def counted_fraction(window, boxes, cells=400):
    """Fraction of a fine grid of points that boxes cover."""
    at = (np.arange(cells) + 0.5) / cells
    y, x = (window[k] + at * (window[k + 2] - window[k]) for k in (0, 1))
    inside = np.zeros((cells, cells), bool)
    for ymin, xmin, ymax, xmax in boxes:
        inside |= ((y > ymin) & (y < ymax))[:, None] & ((x > xmin) & (x < xmax))[None]
    return inside.mean()


def test_covered_share_equals_counting_points():
    rng = np.random.default_rng(0)
    low = rng.random((20, 2)) * 0.7
    windows = np.concatenate([low, low + 0.05 + rng.random((20, 2)) * 0.3], 1).astype("float32")
    for n in (0, 1, 5):
        low = rng.random((n, 2)) * 0.6
        boxes = np.concatenate([low, low + rng.random((n, 2)) * 0.4], 1).astype("float32")
        expected = [counted_fraction(window, boxes) for window in windows]
        np.testing.assert_allclose(covered_fraction(windows, boxes), expected, atol=6e-3)  # a grid of 400 x 400


@pytest.fixture(scope="module")
def drawn():
    """Square crops of scenes in which every bucket is possible, three of each."""
    source, sampler = Shapes(images=500, seed=4), SquareCrops((8, 8))
    window = tf.function(sampler.window, input_signature=[tf.TensorSpec([None, 4]), tf.TensorSpec([2]), _KEY])
    rows = []
    for i in range(len(source)):
        boxes = source.annotation(i).boxes
        for turn in range(3):
            crop, bucket = window(boxes, [200.0, 300.0], [i, turn])
            rows.append((crop.numpy(), int(bucket), boxes))
    return rows


_KEY = tf.TensorSpec([2], tf.int64)


def test_buckets_are_equally_frequent(drawn):
    counts = np.bincount([bucket for _, bucket, _ in drawn], minlength=4)
    assert chisquare(counts).pvalue > 0.01


def test_crops_are_square_inside_and_of_their_bucket(drawn):
    for crop, bucket, boxes in drawn:
        height, width = (crop[2:] - crop[:2]) * (200, 300)
        assert height == pytest.approx(width, rel=1e-4) and crop.min() >= 0 and crop.max() <= 1 + 1e-6
        assert 200 * 0.15 - 1e-3 <= height <= 200 + 1e-3
        fraction = float(covered_fraction(crop[None], boxes)[0])
        assert BUCKETS[bucket] - 1e-5 <= fraction <= BUCKETS[bucket + 1] + 1e-5


@pytest.mark.parametrize(("boxes", "bucket"), [([], 0), ([[0, 0, 1, 1]], 3)])
def test_an_impossible_bucket_gives_way_to_the_next_possible(boxes, bucket):
    boxes = tf.reshape(tf.constant(boxes, tf.float32), [-1, 4])
    for turn in range(8):
        assert (
            int(SquareCrops((8, 8)).window(boxes, tf.constant([90.0, 90.0]), tf.constant([turn, 0], tf.int64))[1])
            == bucket
        )


@pytest.fixture(scope="module")
def objects():
    """Crops of objects and background: window, label, and the image's boxes and labels."""
    source, sampler, rows = Shapes(images=600, seed=5), ObjectCrops((8, 8)), []
    shapes = {"boxes": [None, 4], "labels": [None], "difficult": [None], "is_crowd": [None]}
    kinds = {"boxes": tf.float32, "labels": tf.int32, "difficult": tf.bool, "is_crowd": tf.bool}
    spec = {name: tf.TensorSpec(shape, kinds[name]) for name, shape in shapes.items()}
    window = tf.function(sampler.window, input_signature=[spec, _KEY])
    for i in range(len(source)):
        one = source.annotation(i)
        given = {name: getattr(one, name) for name in spec}
        for turn in range(3):
            crop, label = window(given, [i, turn])
            rows.append((crop.numpy(), int(label), one))
    return rows


def test_positives_and_negatives_keep_their_overlaps(objects):
    for crop, label, one in objects:
        paired_iou = iou(crop, one.boxes)
        assert crop.min() >= 0 and crop.max() <= 1 and (crop[2:] > crop[:2]).all()
        if label < 0:
            assert paired_iou.max() <= 0.2 + 1e-6
        else:
            assert paired_iou.max() >= 0.5 - 1e-6 and one.labels[paired_iou.argmax()] == label


def test_one_positive_to_two_negatives(objects):
    positives = sum(label >= 0 for _, label, _ in objects)
    assert chisquare([positives, len(objects) - positives], [len(objects) / 3, 2 * len(objects) / 3]).pvalue > 0.01


def test_without_objects_all_is_background_and_a_full_image_has_none():
    none = {"boxes": tf.zeros([0, 4]), "labels": tf.zeros([0], tf.int32)}
    none |= {"difficult": tf.zeros([0], tf.bool), "is_crowd": tf.zeros([0], tf.bool)}
    whole = {"boxes": tf.constant(np.tile([[0.0, 0, 1, 1]], (1, 1)), tf.float32), "labels": tf.constant([3])}
    whole |= {"difficult": tf.zeros([1], tf.bool), "is_crowd": tf.zeros([1], tf.bool)}
    sampler = ObjectCrops((8, 8), negative_iou=0.0)  # every crop of the whole image overlaps its one object
    for turn in range(5):
        seed = tf.constant([turn, 1], tf.int64)
        assert int(sampler.window(none, seed)[1]) == -1
        assert int(sampler.window(whole, seed)[1]) == 3


def test_difficult_objects_are_neither_positives_nor_background():
    one = {"boxes": tf.constant([[0.2, 0.2, 0.8, 0.8]]), "labels": tf.constant([1])}
    one |= {"difficult": tf.constant([True]), "is_crowd": tf.constant([False])}
    for turn in range(20):
        crop, label = ObjectCrops((8, 8)).window(one, tf.constant([turn, 2], tf.int64))
        assert int(label) == -1 and iou(crop.numpy(), one["boxes"].numpy()).max() <= 0.2


@pytest.mark.parametrize("sampler", [SquareCrops((32, 32)), ObjectCrops((32, 32))])
def test_batches_are_a_function_of_the_seed(sampler):
    def first(seed):
        images, labels = next(iter(batches(Shapes(16, size=64), 8, (32, 32), True, augment=sampler, seed=seed)))
        return images.numpy(), labels["boxes"].numpy(), labels["labels"].numpy()

    for one, again, other in zip(first(1), first(1), first(2)):
        np.testing.assert_array_equal(one, again)
        assert one.shape == other.shape
    assert not np.array_equal(first(1)[0], first(2)[0])


def test_pixels_and_boxes_of_a_crop_agree():
    """A white object on black: the sample is white where its box is."""
    pixels = np.zeros((60, 80, 3), "uint8")
    pixels[12:42, 20:60] = 255

    class One(Shapes):
        def annotation(self, i):
            one = super().annotation(i)
            box = np.array([[0.2, 0.25, 0.7, 0.75]], "float32")
            flags = np.zeros(1, bool)
            return type(one)(one.image_id, 60, 80, box, np.zeros(1, "int32"), flags, flags, np.ones(1, "float32"))

        def image(self, i):
            return pixels

    seen = 0
    for images, labels in batches(One(64), 16, (40, 40), True, augment=SquareCrops((40, 40))):
        for image, box, label in zip(images.numpy(), labels["boxes"].numpy()[:, 0], labels["labels"].numpy()[:, 0]):
            if label < 0:
                continue
            at = (np.arange(40) + 0.5) / 40
            inside = ((at > box[0]) & (at < box[2]))[:, None] & ((at > box[1]) & (at < box[3]))[None]
            assert np.mean((image[..., 0] > 127) != inside) < 0.06
            seen += 1
    assert seen > 8  # many crops hold less than the center of it


def test_boxes_of_samples_come_from_annotations_alone():
    class Blind(Shapes):
        def image(self, i):
            raise AssertionError("pixels were read")

    whole = sampled_boxes(Blind(20), 0, 20, crops=False)
    assert len(whole) == sum(len(Shapes(20).annotation(i).boxes) for i in range(20))
    crops = sampled_boxes(Blind(20), 0, 20)
    assert crops.min() >= 0 and crops.max() <= 1 and (crops[:, 2:] > crops[:, :2]).all()
    np.testing.assert_array_equal(crops, sampled_boxes(Blind(20), 0, 20))
