"""The sliding window classifier: its grid, its scores, its training and its hard negatives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_det.boxes import iou
from keras_det.data import Negatives, Shapes, batches
from keras_det.data.crops import GivenCrops
from keras_det.data.source import Annotation, Source
from keras_det.models import Classifier, SlidingWindows
from keras_det.training import Recipe, mining, train

CLASSIFIER = {"classes": ["cat", "dog"], "background": True, "backbone": "tiny", "image_size": 32}


def build(**config):
    keras.utils.set_random_seed(0)
    return SlidingWindows(**{"classifier": CLASSIFIER, "stride": 12} | config)


@pytest.fixture(scope="module")
def model():
    return build()


def test_the_grid_has_about_as_many_boxes_as_the_paper_says(model):
    assert build(stride=5).count(375, 500) == 153_154
    windows = model.windows(75, 100) * [75, 100, 75, 100]
    sides = windows[:, 2:] - windows[:, :2]
    assert windows.min() >= 0 and (windows <= [75, 100, 75, 100]).all()
    np.testing.assert_allclose(windows[:, :2] / 12, np.round(windows[:, :2] / 12), atol=1e-5)
    areas = np.sqrt(sides.prod(axis=1) / 7500)
    assert areas.min() == pytest.approx(0.1, rel=1e-4)
    np.testing.assert_allclose(sides.max(axis=0), [75, 100], rtol=1e-5)
    assert len(np.unique(sides.round(2), axis=0)) <= 80
    # Another box of each size would not fit.
    for size in np.unique(sides.round(2), axis=0):
        last = windows[(np.abs(sides - size) < 1e-2).all(axis=1)].max(axis=0)
        assert (last[2:] + 12 > [75 + 1e-3, 100 + 1e-3]).all()


def test_a_image_smaller_than_the_stride_has_a_box_of_each_size(model):
    assert model.count(5, 5) == 80


def test_scores_are_the_softmax_of_each_crop():
    model = build(aspect_ratios=(0.5, 1.0, 2.0))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    windows = model.windows(32, 32)
    scores = np.asarray(model.window_scores(images, windows))
    assert scores.shape == (2, len(windows), 2)
    whole = np.flatnonzero((windows == [0, 0, 1, 1]).all(axis=1))
    assert len(whole)
    expected = np.asarray(tf.nn.softmax(model(images)["logits"]))[:, 1:]
    for k in whole:
        np.testing.assert_allclose(scores[:, k], expected, atol=1e-5)
    for k in (0, len(windows) // 2):  # any other window: cut out, then classified by itself
        crop = tf.image.crop_and_resize(images[1:], windows[k : k + 1], [0], (320, 320))
        crop = tf.image.resize(crop, (32, 32), antialias=True)
        near = np.asarray(tf.nn.softmax(model(crop)["logits"]))[0, 1:]
        np.testing.assert_allclose(scores[1, k], near, atol=0.02)  # another way to resize


PLANTED = np.array([8.0, 16.0, 20.0, 28.0], "float32")


def seeing(images):
    """Probability of a cat by a window's distance from the planted box; pixels hold their own places."""
    first, last = images[:, 0, 0, :2], images[:, -1, -1, :2]
    half = (last - first) / 31 / 2
    edges = tf.concat([first - half, last + half], axis=1) + 0.5
    score = tf.exp(-tf.reduce_mean(tf.abs(edges - PLANTED), axis=1) / 8)
    return tf.stack([score, tf.zeros_like(score)], axis=1)


def test_a_planted_object_is_found_and_what_overlaps_it_suppressed(monkeypatch):
    model = build(stride=4, aspect_ratios=(0.5, 1.0, 2.0), score_threshold=0.3)
    rows = np.arange(40, dtype="uint8")
    places = np.stack(np.meshgrid(rows, rows, indexing="ij"), -1)
    image = np.pad(places, ((0, 0), (0, 0), (0, 1)))[None]
    monkeypatch.setattr(model.classifier, "probabilities", seeing)
    found = model.detections(image)
    np.testing.assert_allclose(found["boxes"][0, 0] * 40, PLANTED, atol=1e-3)
    assert found["labels"][0, 0] == 0 and found["scores"][0, 0] == pytest.approx(1, abs=1e-2)
    count = int(found["num_detections"][0])
    paired_iou = np.asarray(iou(found["boxes"][0, :count], found["boxes"][0, :count]))
    assert count > 1 and (paired_iou[~np.eye(count, dtype=bool)] <= 0.5 + 1e-6).all()


@pytest.mark.slow
def test_images_of_several_sizes(model):
    for size in ((40, 40), (40, 60)):
        assert model.detections(np.zeros((1, *size, 3), "uint8"))["boxes"].shape == (1, 100, 4)
    with pytest.raises(ValueError, match="size of `images`"):
        tf.function(model.serve).get_concrete_function(tf.TensorSpec([None, None, None, 3], tf.uint8))


def test_training_it_trains_its_classifier(tmp_path):
    source = Shapes(images=6, seed=0, objects=(1, 2), size=64)
    model = build(classifier=CLASSIFIER | {"classes": list(source.classes)})
    before = [v.numpy() for v in model.classifier.trainable_weights]
    model.compile(keras.optimizers.SGD(0.1))
    logs = model.fit(model.batches(source, 3, training=True), verbose=0).history
    assert np.isfinite(logs["classification"]).all()
    assert any((b != v.numpy()).any() for b, v in zip(before, model.classifier.trainable_weights))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype("uint8")
    np.testing.assert_array_equal(again.detections(images)["scores"], model.detections(images)["scores"])


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"stride": 0}, "stride"),
        ({"aspect_ratios": [1.0, -1.0]}, "aspect_ratios"),
        ({"iou_threshold": 1.5}, "iou_threshold"),
        ({"classifier": CLASSIFIER | {"background": False}}, "background"),
    ],
)
def test_bad_arguments_are_refused(config, named):
    with pytest.raises(ValueError, match=named):
        build(**config)


def test_hard_negatives_are_false_detections_alone(monkeypatch):
    source = Shapes(images=4, seed=3, objects=(1, 2), size=64)
    model = SlidingWindows(classifier=Classifier(**CLASSIFIER | {"classes": list(source.classes)}))
    truth = source.annotation(0).boxes
    free = np.array([[0.0, 0.0, 0.01, 0.01], [0.5, 0.0, 0.51, 0.01]], "float32")

    def detections(images):
        boxes = np.concatenate([truth[:1], free])[None]
        return {"boxes": boxes, "num_detections": np.array([3])}

    monkeypatch.setattr(model, "detections", detections)
    mined = mining.hard_negatives(model, source.take(1))
    np.testing.assert_array_equal(mined.boxes, free)
    assert mined.images.tolist() == [0, 0] and mined.annotation(1).boxes.tolist() == free[1:].tolist()
    assert len(mining.hard_negatives(model, source.take(1), each=1)) == 1


class Plain(Source):
    """Images of one color each but for a dark left half, and which of them were read."""

    classes = ("cat", "dog")

    def __init__(self, count):
        self.name, self.count, self.read = "plain", count, []

    def __len__(self):
        return self.count

    def annotation(self, i):
        return Annotation(str(i), 40, 40, [[0, 0, 1, 1]], [0], [False], [False], [1.0])

    def image(self, i):
        self.read.append(i)
        image = np.full((40, 40, 3), 240 + i % 16, "uint8")
        image[:, :20] = 0
        return image

    def path(self, i):
        return None


def test_a_fraction_of_each_batch_is_mined():
    source = Shapes(images=8, seed=0, objects=(1, 2), size=64)
    model = build(classifier=CLASSIFIER | {"classes": list(source.classes)})
    mined = Negatives(Plain(3), [0, 1, 2], [[0, 0, 0.5, 1], [0, 0.5, 1, 1], [0, 0, 1, 1]])
    options = {"training": True, "repeat": True, "negative_fraction": 0.25}
    seen = []
    for images, labels in model.batches(source, 8, negatives=mined, **options).take(8):
        assert images.shape == (8, 32, 32, 3)
        assert (labels["labels"].numpy()[:2] == -1).all()
        images = images.numpy()[:2].round().astype("uint8")
        seen += [(int(image.max()), bool(image[0, 0, 0])) for image in images]
    assert set(seen) == {(240, False), (240, True), (241, True), (242, False), (242, True)}
    with pytest.raises(ValueError, match="negatives"):
        model.batches(source, 8, negatives=Negatives(Plain(3), [], np.zeros((0, 4))), **options)


@pytest.mark.long
def test_two_million_windows_take_little_memory_and_are_read_when_needed(tmp_path):
    source, draw = Plain(11_540), np.random.default_rng(0)
    low = draw.random((2_000_000, 2), "float32") * 0.5
    mined = Negatives(source, draw.integers(0, len(source), 2_000_000), np.concatenate([low, low + 0.5], 1))
    assert mined.images.nbytes + mined.boxes.nbytes == 48_000_000 and not source.read
    few = mined.subset(range(5_000, 5_040))
    dataset = batches(few, 8, (16, 16), training=True, augment=GivenCrops((16, 16)), max_objects=1)
    assert next(iter(dataset))[0].shape == (8, 16, 16, 3) and set(source.read) <= set(mined.images[5_000:5_040])
    small = Negatives(source, mined.images[:9], mined.boxes[:9])
    small.save(tmp_path / "n.npz")
    again = Negatives.load(tmp_path / "n.npz", source)
    np.testing.assert_array_equal(again.images, small.images)
    np.testing.assert_array_equal((again + small).boxes, np.tile(small.boxes, (2, 1)))
    with pytest.raises(ValueError, match="n.npz holds no windows of plain"):
        Negatives.load(tmp_path / "n.npz", Plain(2))


def test_it_starts_from_a_classifiers_file(tmp_path):
    classifier = Classifier(**CLASSIFIER)
    classifier.save_weights(tmp_path / "c.weights.h5")
    model = SlidingWindows(weights=tmp_path / "c.weights.h5", stride=7)
    np.testing.assert_array_equal(model.classifier.head.kernel, classifier.head.kernel)
    model.save_weights(tmp_path / "s.weights.h5")
    again = SlidingWindows(weights=tmp_path / "s.weights.h5")
    assert again.config.stride == 7 and again.classes == ("cat", "dog")
    Classifier(**CLASSIFIER | {"background": False}).save_weights(tmp_path / "b.weights.h5")
    with pytest.raises(ValueError, match="background"):
        SlidingWindows(weights=tmp_path / "b.weights.h5")


@pytest.mark.slow
def test_rounds_of_mining_can_be_stopped_and_resumed(tmp_path, monkeypatch):
    source = Shapes(images=6, seed=0, objects=(1, 2), size=64)
    model = build(classifier=CLASSIFIER | {"classes": list(source.classes)})
    searched = []

    def detections(images):
        searched.append(1)
        boxes = np.array([[[0.0, 0.0, 0.1, 0.1], [0.9, 0.9, 1.0, 1.0]]], "float32")
        return {"boxes": boxes, "num_detections": np.array([2])}

    monkeypatch.setattr(model, "detections", detections)
    sgd = {"class_name": "SGD", "momentum": 0.9}
    recipe = Recipe("sliding_windows", "shapes", "", batch_size=4, steps=1, mining_rounds=1, mined=1, optimizer=sgd)
    assert len(mining.train_in_rounds(model, recipe, source, tmp_path, verbose=0)) == 1 and len(searched) == 6
    with pytest.raises(FileExistsError, match="resume"):
        mining.train_in_rounds(model, recipe, source, tmp_path, verbose=0)
    more = recipe.replace(mining_rounds=2)
    rows = mining.train_in_rounds(model, more, source, tmp_path, resume=True, verbose=0)
    assert len(rows) == 1 and len(searched) == 12
    counts = [len(Negatives.load(tmp_path / f"negatives-{k}.npz", source)) for k in (1, 2)]
    assert 0 < counts[0] <= 6 and counts[1] == 2 * counts[0]
    assert mining.train_in_rounds(model, more, source, tmp_path, resume=True, verbose=0) == [] and len(searched) == 12


class Fading(Plain):
    """Images that can be read while they are searched, and not while the network trains."""

    gone = False

    def image(self, i):
        if self.gone:
            raise OSError("truncated")
        return super().image(i)


def test_too_many_unreadable_mined_images_are_said_in_one_sentence(tmp_path):
    source, mined_from = Shapes(images=6, seed=0, objects=(1, 2), size=64), Fading(4)
    model = build(classifier=CLASSIFIER | {"classes": list(source.classes)})
    mined = Negatives(mined_from, [0, 1, 2, 3], np.tile([[0.0, 0.0, 0.5, 1.0]], (4, 1)))
    mined_from.gone = True
    recipe = Recipe("sliding_windows", "shapes", "", batch_size=4, steps=2, mining_rounds=1)
    with pytest.raises(ValueError, match="of the 4 images of negatives of plain cannot be read"):
        train(model, recipe, source, tmp_path / "run", verbose=0, batch_options={"negatives": mined})
