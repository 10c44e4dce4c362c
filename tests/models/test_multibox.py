"""MultiBox: its windows, its targets, its whole inference against a plain form, and the two-stage detector."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_boxes import plain_iou

from keras_det.boxes import crop_and_resize, iou
from keras_det.data import Shapes
from keras_det.data.batching import OriginalImage
from keras_det.data.resize import resize
from keras_det.models import Classifier, MultiBox, MultiBoxDetector, OneBoxPerClass
from keras_det.models.multibox import square_regions, square_windows, windows_of

SIZE = 96
CLASSES = ["cat", "dog", "owl"]


def localizer(**config):
    keras.utils.set_random_seed(0)
    model = MultiBox(**{"boxes": 12, "backbone": "tiny", "image_size": SIZE} | config)
    rng = np.random.default_rng(0)
    model.confidences.bias.assign(rng.normal(size=model.config.boxes))
    return model


@pytest.fixture(scope="module")
def model():
    return localizer()


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(1)
    return Classifier(classes=CLASSES, background=True, backbone="tiny", image_size=SIZE)


def random_images(height, width, count=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3)).astype("uint8")


def labels(boxes, classes):
    boxes, classes = np.array(boxes, "float32").reshape(2, -1, 4), np.array(classes, "int32").reshape(2, -1)
    return {"boxes": boxes, "labels": classes}


LABELS = labels(2 * [[[0.1, 0.1, 0.5, 0.6], [0.4, 0.3, 0.9, 0.8], [0, 0, 0, 0]]], 2 * [[0, 2, -1]])


@settings(max_examples=40, deadline=None)
@given(st.integers(20, 3000), st.integers(20, 3000))
def test_windows_of_every_further_scale_cover_the_whole_image(height, width):
    for windows in np.split(np.asarray(square_windows(height, width, 3))[1:], 2):
        sides = (windows[:, 2:] - windows[:, :2]) * [height, width]
        np.testing.assert_allclose(sides, sides[0, 0], rtol=1e-4)
        for axis, length in ((0, height), (1, width)):
            intervals = sorted({(round(w[axis] * length, 2), round(w[axis + 2] * length, 2)) for w in windows})
            assert intervals[0][0] <= 0.02 and max(high for _, high in intervals) >= length - 0.02
            reached = intervals[0][1]
            for low, high in intervals[1:]:
                assert low <= reached + 0.02
                reached = max(reached, high)


@pytest.mark.parametrize(("height", "width"), [(100, 100), (120, 129), (90, 97)])
def test_windows_are_squares_from_edge_to_edge(height, width):
    windows = np.asarray(square_windows(height, width, 3))
    sides = (windows[:, 2:] - windows[:, :2]) * [height, width]
    np.testing.assert_allclose(sides[:, 0], sides[:, 1], rtol=1e-5)
    np.testing.assert_allclose(sides[:, 0], min(height, width) * np.array([1, *9 * [0.6], *9 * [0.36]]), rtol=1e-5)
    assert windows.min() >= -1e-6 and windows.max() <= 1 + 1e-6
    np.testing.assert_allclose((windows[0, :2] + windows[0, 2:]) / 2, 0.5, atol=1e-6)  # the max-center crop
    for first in (1, 10):
        nine = windows[first : first + 9]
        np.testing.assert_allclose([*nine[0, :2], *nine[8, 2:]], [0, 0, 1, 1], atol=1e-6)
        np.testing.assert_allclose(nine[4], 1 - nine[4][[2, 3, 0, 1]], atol=1e-6)


def test_predictions_are_residuals_to_the_priors(model):
    fresh = localizer()
    fresh.locations.kernel.assign(keras.ops.zeros_like(fresh.locations.kernel))
    found = np.asarray(fresh(random_images(SIZE, SIZE))["boxes"])
    np.testing.assert_allclose(found, np.tile(fresh.priors, (2, 1, 1)), atol=1e-6)


def test_targets_are_the_objects_and_their_priors(model):
    crowd = LABELS | {"is_crowd": np.array([[False, True, False]] * 2)}
    targets = {name: np.asarray(value) for name, value in model.encode_targets(crowd).items()}
    assert targets["valid"].tolist() == [[True, False, False]] * 2
    nearest = ((model.priors - LABELS["boxes"][0, 0]) ** 2).sum(1).argmin()
    assert targets["matched_prior"].tolist() == [[nearest, -1, -1]] * 2
    none = model.encode_targets(labels(np.zeros((2, 0, 4)), np.zeros((2, 0))))
    assert np.asarray(none["matched_prior"]).tolist() == [[-1]] * 2


@pytest.mark.parametrize("matching", ["priors", "predictions"])
def test_either_matching_learns_the_objects_of_a_batch(matching):
    network = localizer(matching=matching, alpha=30.0)
    images = random_images(SIZE, SIZE).astype("float32")
    network.compile(optimizer=keras.optimizers.Adam(3e-3))
    logs = [network.train_on_batch(images, LABELS, return_dict=True) for _ in range(60)]
    assert logs[-1]["loss"] < 0.35 * logs[0]["loss"]
    outputs = network(images, training=True)
    best = np.asarray(iou(np.asarray(outputs["boxes"]), LABELS["boxes"][:, :2])).max(1)
    assert (best > 0.5).all()


def test_more_objects_than_boxes_train():
    network = localizer(boxes=2)
    network.compile(optimizer="sgd")
    rng = np.random.default_rng(0)
    low = rng.random((2, 5, 2)) * 0.5
    many = labels(np.concatenate([low, low + 0.3], -1), np.zeros((2, 5)))
    assert np.isfinite(
        network.train_on_batch(random_images(SIZE, SIZE).astype("float32"), many, return_dict=True)["loss"]
    )


def test_an_empty_batch_lowers_the_confidences_alone(model):
    model.compile(optimizer="sgd")
    empty = LABELS | {"labels": np.full((2, 3), -1, "int32")}
    logs = model.test_on_batch(random_images(SIZE, SIZE).astype("float32"), empty, return_dict=True)
    assert logs["matching"] == 0 and logs["confidence"] > 0


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains(policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        network = localizer()
        network.compile(optimizer=keras.optimizers.SGD(1e-3))
        logs = network.train_on_batch(random_images(SIZE, SIZE).astype("float32"), LABELS, return_dict=True)
        assert np.isfinite(logs["loss"]) and logs["skipped_steps"] == 0
        assert network(random_images(SIZE, SIZE))["boxes"].dtype == tf.float32
    finally:
        keras.mixed_precision.set_global_policy("float32")


def plain_serve(model, image, scales):
    """Window after window, box after box."""
    found = []
    for window in np.asarray(square_windows(*image.shape[:2], scales)):
        outputs = model(crop_and_resize(image[None], window[None, None], (SIZE, SIZE))[0])
        for box, logit in zip(np.asarray(outputs["boxes"])[0], np.asarray(outputs["logits"])[0]):
            box = box.reshape(2, 2) * (window[2:] - window[:2]) + window[:2]
            box = np.clip(np.concatenate([box.min(0), box.max(0)]), 0, 1)
            if ((box[2:] - box[:2]) > 0).all():
                found.append((1 / (1 + np.exp(-logit)), box))
    kept = []
    for score, box in sorted(found, key=lambda pair: -pair[0]):
        if all(plain_iou(box, other) <= 0.5 for _, other in kept):
            kept.append((score, box))
    return kept


def test_the_second_scale_of_a_photograph_is_the_papers():
    windows = np.asarray(square_windows(375, 500, 3))
    assert len(windows) == windows_of(3)
    sides = (windows[:, 2] - windows[:, 0]) * 375
    np.testing.assert_allclose(sides, [375, *9 * [0.6 * 375], *9 * [500 / 3]], rtol=1e-5)


@pytest.mark.parametrize("scales", [1, 2])
def test_serve_equals_a_plain_form(scales):
    network = localizer(scales=scales)
    image = random_images(100, 150, 1)[0]
    expected = plain_serve(network, image, scales)
    found = network.detections(image[None])
    count = int(found["num_detections"][0])
    assert count == min(len(expected), 100)
    np.testing.assert_allclose(found["scores"][0, :count], [score for score, _ in expected[:count]], atol=1e-4)
    np.testing.assert_allclose(found["boxes"][0, :count], [box for _, box in expected[:count]], atol=2e-4)


def test_one_scale_of_a_square_image_is_one_pass(model):
    images = random_images(150, 150)
    once = model.decode(model(resize(images, (SIZE, SIZE))))
    served = model.detections(images)
    for name, value in once.items():
        np.testing.assert_allclose(served[name], value, atol=1e-4)


def test_square_regions_of_both_kinds():
    boxes = np.array([[0.2, 0.4, 0.4, 0.5], [0.3, 0.3, 0.3, 0.3]], "float32")  # 20 x 20 pixels, and a point
    for region, side in (("maximum", 20), ("minimum", 20)):
        squares = np.asarray(square_regions(boxes, 100, 200, region)) * [100, 200, 100, 200]
        np.testing.assert_allclose(squares[0], [20, 80, 20 + side, 80 + side], atol=1e-3)
        np.testing.assert_allclose(squares[1, 2:] - squares[1, :2], 1, atol=1e-3)
    wide = np.array([[0.4, 0.1, 0.6, 0.9]], "float32")
    sides = [np.asarray(square_regions(wide, 100, 100, r))[0, 2:] - [0.5, 0.5] for r in ("maximum", "minimum")]
    np.testing.assert_allclose(sides, [[0.4, 0.4], [0.1, 0.1]], atol=1e-6)


@pytest.mark.parametrize("region", ["maximum", "minimum"])
def test_scores_are_confidence_times_class(model, classifier, region):
    detector = MultiBoxDetector(localizer=model, classifier=classifier, windows=4, region=region)
    images = random_images(120, 90)
    found, boxes = detector.detections(images), model.detections(images)
    assert found["boxes"].shape == (2, 12, 4) and (np.diff(found["scores"]) <= 0).all()
    for b in range(2):
        expected = {}
        for k in range(4):
            square = np.asarray(square_regions(boxes["boxes"][b, k], 120, 90, region))
            pixels = crop_and_resize(images[b : b + 1], square[None, None], (SIZE, SIZE))[0]
            logits = np.asarray(classifier(pixels)["logits"])[0]
            p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            for label in range(3):
                expected[tuple(boxes["boxes"][b, k].round(5)), label] = boxes["scores"][b, k] * p[1 + label]
        mine = {(tuple(box.round(5)), int(label)): s for box, label, s in zip(*(found[n][b] for n in _ROWS))}
        assert mine.keys() == expected.keys()
        for key, score in expected.items():
            assert mine[key] == pytest.approx(score, rel=1e-3)


_ROWS = ("boxes", "labels", "scores")


def test_the_best_pair_of_each_class_alone(model, classifier):
    detector = MultiBoxDetector(localizer=model, classifier=classifier, windows=5, best_per_class=True)
    found = detector.detections(random_images(80, 80))
    assert found["num_detections"].tolist() == [3, 3]
    assert sorted(found["labels"][0, :3]) == [0, 1, 2] and (found["labels"][:, 3:] == -1).all()


@pytest.mark.parametrize("ending", [".keras", ".weights.h5", ".safetensors"])
def test_a_file_holds_both_networks(model, classifier, tmp_path, ending):
    detector = MultiBoxDetector(localizer=model, classifier=classifier, windows=3)
    path, images = tmp_path / f"both{ending}", random_images(80, 100)
    detector.save(path) if ending == ".keras" else detector.save_weights(path)
    again = MultiBoxDetector(weights=path)
    assert again.classes == tuple(CLASSES) and again.config.windows == 3
    for name, value in detector.detections(images).items():
        np.testing.assert_array_equal(again.detections(images)[name], value)


def test_other_classes_keep_the_localizer_and_the_backbone(model, classifier, tmp_path):
    path = tmp_path / "both.weights.h5"
    MultiBoxDetector(localizer=model, classifier=classifier).save_weights(path)
    other = MultiBoxDetector(weights=path, classes=["ape", "bat"])
    assert other.classes == ("ape", "bat") and other.classifier.head.units == 3
    for mine, theirs in zip(other.localizer.weights, model.weights):
        np.testing.assert_array_equal(mine, theirs)
    kernel = [v for v in classifier.features.weights if v.name == "kernel"][0]
    np.testing.assert_array_equal([v for v in other.classifier.features.weights if v.name == "kernel"][0], kernel)


def test_one_box_per_class_targets_the_largest_object():
    keras.utils.set_random_seed(0)
    network = OneBoxPerClass(classes=CLASSES, backbone="tiny", image_size=SIZE)
    small, large, owl = [0, 0, 0.1, 0.1], [0.1, 0.1, 0.6, 0.5], [0.2, 0.2, 0.3, 0.9]
    given = labels([[small, large, owl], [owl, owl, owl]], [[0, 0, 2], [-1, -1, -1]])
    targets = {name: np.asarray(value) for name, value in network.encode_targets(given).items()}
    assert targets["fractions"].tolist() == [[0.5, 0, 0.5], [0, 0, 0]]
    np.testing.assert_allclose(targets["boxes"][0, [0, 2]], [large, owl])
    network.compile(optimizer=keras.optimizers.Adam(3e-3))
    images = random_images(SIZE, SIZE).astype("float32")
    logs = [network.train_on_batch(images, given, return_dict=True)["loss"] for _ in range(25)]
    assert logs[-1] < 0.5 * logs[0]
    found = network.detections(images.astype("uint8"))
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in found["labels"])


def baseline(**config):
    keras.utils.set_random_seed(2)
    return OneBoxPerClass(**{"classes": CLASSES, "backbone": "tiny", "image_size": SIZE} | config)


def test_one_box_per_class_suppresses_whatever_the_class():
    boxes = np.array([[[0, 0, 0.5, 0.5], [0.02, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]], "float32")
    outputs = {"boxes": boxes, "logits": np.log([[0.3, 0.5, 0.2]]).astype("float32")}
    found = baseline().decode(outputs)
    assert np.asarray(found["labels"]).tolist() == [[1, 2, -1]]
    np.testing.assert_allclose(found["scores"], [[0.5, 0.2, 0]], atol=1e-6)
    every = baseline(iou_threshold=1.0).decode(outputs)
    assert np.asarray(every["labels"]).tolist() == [[1, 0, 2]]


def test_one_box_per_class_is_trained_on_crops_and_mirror_images():
    source = Shapes(images=6, seed=2, size=150, objects=(1, 1))
    network = baseline(classes=source.classes)
    boxes = [
        labels["boxes"].numpy()
        for seed in range(2)
        for _, labels in network.batches(source, 6, training=True, seed=seed)
    ]
    plain = [next(iter(network.batches(source, 6, training=True, augment=False)))[1]["boxes"].numpy()]
    sides = [np.sort((b[:, 0, 2:] - b[:, 0, :2]).ravel()) for b in boxes + plain]
    np.testing.assert_allclose(sides[0], sides[2] * 256 / 224, rtol=0.01)
    centers = np.stack([np.sort(b[:, 0].mean(-1)) for b in boxes])
    assert np.ptp(centers, axis=0).max() > 0.02  # another crop every time


def test_the_images_label_trains_a_crop_that_shows_no_object():
    network = baseline()
    outside = {"boxes": np.array([[[-0.5, -0.5, -0.1, -0.1]]], "float32"), "labels": np.array([[2]], "int32")}
    targets = {k: np.asarray(v) for k, v in network.encode_targets(outside).items()}
    assert targets["fractions"].tolist() == [[0, 0, 1]] and not targets["seen"].any()
    outputs = {"boxes": np.ones((1, 3, 4), "float32"), "logits": np.zeros((1, 3), "float32")}
    terms = network.compute_losses(targets, outputs)
    assert float(terms["matching"]) == 0
    assert float(terms["classification"]) == pytest.approx(np.log(3))
    cut = outside | {"boxes": np.array([[[-0.5, 0.2, 0.5, 0.6]]], "float32")}
    np.testing.assert_allclose(network.encode_targets(cut)["boxes"][0, 2], [0, 0.2, 0.5, 0.6])


def test_one_box_per_class_looks_at_the_max_center_crop():
    network, images = baseline(iou_threshold=1.0), random_images(120, 200)
    network.locations.bias.assign(np.tile([0.3, 0.2, 0.8, 0.7], 3))
    network.locations.kernel.assign(network.locations.kernel * 0.01)  # so that no box leaves the crop
    middle = network.detections(images[:, :, 40:160])
    found = network.detections(images)
    there = middle["boxes"] * [1, 0.6, 1, 0.6] + [0, 0.2, 0, 0.2]
    np.testing.assert_allclose(found["scores"], middle["scores"], atol=1e-4)
    np.testing.assert_allclose(found["boxes"], there, atol=1e-3)


def test_the_baseline_starts_from_a_classification_network(tmp_path, caplog):
    path, keep = tmp_path / "classifier.weights.h5", Classifier(classes=CLASSES, backbone="tiny", image_size=SIZE)
    keep.save_weights(path)
    network = OneBoxPerClass(weights=path, classes=CLASSES)
    assert "locations start from random values" in caplog.text
    for mine, theirs in zip(network.features.weights + network.head.weights, keep.features.weights + keep.head.weights):
        np.testing.assert_array_equal(mine, theirs)
    other = OneBoxPerClass(weights=path, classes=["ape", "bat", "cow"])
    assert "locations, logits start" in caplog.text
    assert np.abs(np.asarray(other.head.kernel) - np.asarray(keep.head.kernel)).max() > 0
    with pytest.raises(ValueError, match="holds weights of Classifier, not of MultiBox"):
        MultiBox(weights=path)


@pytest.mark.parametrize("region", ["maximum", "minimum"])
def test_the_classifier_is_trained_on_what_the_detector_shows_it(region):
    network = Classifier(classes=CLASSES, background=True, backbone="tiny", image_size=SIZE, crops=region)
    crops = network.augmentation()
    rng = np.random.default_rng(0)
    pixels = tf.image.resize(rng.uniform(0, 255, (9, 12, 3)), (90, 160)).numpy().astype("uint8")
    original = OriginalImage(tf.constant(b""), tf.constant(pixels), tf.constant([90, 160]))
    objects = {
        "boxes": tf.constant([[0.05, 0.3, 0.9, 0.5]]),
        "labels": tf.constant([1]),
        "difficult": tf.constant([False]),
        "is_crowd": tf.constant([False]),
    }
    for seed in range(8):
        key = tf.constant([seed, 3], tf.int64)
        window, _ = crops.window(objects, key)
        shown = np.asarray(crops(original, objects, key)[0])
        square = square_regions(np.asarray(window), 90, 160, region)
        expected = np.asarray(crop_and_resize(pixels[None], square[None, None], (SIZE, SIZE)))[0, 0]
        # Apart by less than one pixel's step at the image's edge, where the two continue from half a pixel apart.
        assert min(np.abs(shown - view).mean() for view in (expected, expected[:, ::-1])) < 1.0


def test_a_classification_network_is_trained_on_crops_of_whole_images():
    source = Shapes(images=6, seed=2, size=150, objects=(1, 1))
    network = Classifier(classes=source.classes, backbone="tiny", image_size=SIZE, crops="images")
    _, found = next(iter(network.batches(source, 6, training=True)))
    boxes = found["boxes"].numpy()
    assert np.asarray(network.encode_targets(found)).min() >= 0 and np.ptp(boxes[..., 2:] - boxes[..., :2]) > 0.05
    with pytest.raises(ValueError, match="no background"):
        Classifier(classes=CLASSES, background=True, backbone="tiny", image_size=SIZE, crops="images")


def test_a_classifier_without_background_names_boxes(model):
    detector = MultiBoxDetector(localizer=model, classifier=_plain(), windows=3)
    images = random_images(80, 80)
    found, boxes = detector.detections(images), model.detections(images)
    np.testing.assert_allclose(found["scores"].sum(1), boxes["scores"][:, :3].sum(1), rtol=1e-4)


def test_a_classifiers_backbone_becomes_the_localizers(classifier):
    network = localizer()
    network.features.set_weights(classifier.features.get_weights())
    images = random_images(SIZE, SIZE)
    for mine, theirs in zip(network.features(images).values(), classifier.features(images).values()):
        np.testing.assert_array_equal(mine, theirs)


def test_images_without_a_class_take_no_part(classifier):
    plain = Classifier(classes=CLASSES, backbone="tiny", image_size=SIZE)
    targets = np.asarray(plain.encode_targets(LABELS | {"labels": np.array([[-1, -1], [2, -1]], "int32")}))
    assert targets.tolist() == [-1, 2]
    assert np.asarray(classifier.encode_targets({"labels": np.array([[-1], [2]])})).tolist() == [0, 3]
    logits = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    expected = -(logits[1, 2] - np.log(np.exp(logits[1]).sum()))
    assert float(plain.compute_losses(targets, {"logits": logits})["classification"]) == pytest.approx(expected, 1e-5)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: localizer(matching="best"), "`matching`"),
        (lambda: localizer(scales=4), "`scales`"),
        (lambda: localizer(boxes=0), "`boxes`"),
        (lambda: localizer(iou_threshold=2.0), "`iou_threshold`"),
        (lambda: localizer(priors=[[0, 0, 1, 1]]), "`priors`"),
        (lambda: localizer(backbone="vgg"), "`backbone`"),
        (lambda: Classifier(classes=CLASSES, backbone="tiny", image_size=SIZE, crops="round"), "`crops`"),
        (lambda: MultiBoxDetector(localizer=localizer(max_detections=5), classifier=_plain(True)), "`windows`"),
        (lambda: MultiBoxDetector(localizer=localizer(), classifier=_plain(True), region="best"), "`region`"),
    ],
)
def test_wrong_arguments_are_named(build, named):
    with pytest.raises(ValueError, match=named):
        build()


def _plain(background=False):
    return Classifier(classes=CLASSES, background=background, backbone="tiny", image_size=SIZE)
