"""OverFeat: targets, objectives, voting, the combination of scales, and its life as a model of this package."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_det.backbones import overfeat as networks
from keras_det.data import Shapes
from keras_det.export import saved_model
from keras_det.losses import overfeat as losses
from keras_det.models.overfeat import OverFeat, vote

CLASSES = ["cat", "dog", "owl"]
SCALES = ((247, 247), (279, 311))


def build(**config):
    keras.utils.set_random_seed(0)
    small = {"variant": "fast", "width": 1 / 24, "classes": CLASSES, "scales": SCALES}
    return OverFeat(**small | config)


@pytest.fixture(scope="module")
def detector():
    return build()


def random_images(*size, batch=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, *size, 3)).astype("float32")


def labeled(model, boxes, labels):
    """A batch of one training sample with these objects, in pixels."""
    boxes = np.array(boxes, "float32").reshape(1, -1, 4) / np.tile(model.image_size, 2).astype("float32")
    return random_images(*model.image_size, batch=1), {"boxes": boxes, "labels": np.array([labels], "int32")}


# Outputs


@pytest.mark.parametrize("task", ["classification", "localization", "detection"])
def test_outputs_of_each_task(task):
    model = build(task=task)
    found = model(random_images(247, 279))
    assert found["logits"].shape == (2, 2, 4, 4 if task == "detection" else 3)
    assert ("boxes" in found) == (task != "classification")
    assert task == "classification" or found["boxes"].shape == (2, 2, 4, 4)


def test_per_class_regression_has_a_box_for_each_class():
    assert build(per_class=True)(random_images(247, 279))["boxes"].shape == (2, 2, 4, 3, 4)


def test_coarse_outputs_are_the_fine_ones_of_offset_0(detector):
    image = random_images(279, 311)
    fine, coarse = detector(image), build(fine=False)
    coarse.set_weights(detector.get_weights())
    for name, value in coarse(image).items():
        np.testing.assert_allclose(value, fine[name][:, ::2, ::2], rtol=1e-4, atol=1e-5)


def test_a_image_smaller_than_a_window_is_padded_with_the_mean_at_the_right_and_at_the_bottom(detector):
    small = random_images(150, 200)
    padded = np.full((2, 231, 231, 3), networks.MEAN, "float32")
    padded[:, :150, :200] = small
    for name, value in detector(small).items():
        assert value.shape[1:3] == (1, 1)
        np.testing.assert_allclose(value, detector(padded)[name], rtol=1e-4, atol=1e-5)


def test_windows_lie_where_the_cells_look(detector):
    windows = detector.windows((247, 279)) * np.tile([247, 279], 2)
    expected = [(y, x, y + 231, x + 231) for y in (0, 16) for x in (0, 16, 32, 48)]
    np.testing.assert_allclose(windows, expected, rtol=1e-6)
    assert len(build(fine=False).windows((279, 311))) == 2 * 3


def test_the_regressor_does_not_train_the_convolutions_but_when_asked(detector):
    image, labels = labeled(detector, [[40, 40, 200, 190]], [1])
    for fixed in (True, False):
        model = build(frozen_backbone=fixed, dropout=0.0)
        with tf.GradientTape() as tape:
            loss = model.compute_losses(model.encode_targets(labels), model(image))["localization"]
        kernel = model.features_model.get_layer("conv1").kernel
        gradient = tape.gradient(loss, kernel.value)
        assert (gradient is None or not np.any(gradient)) == fixed


def test_for_localization_only_the_regressor_is_trained():
    model = build(task="localization")
    assert {v.path.split("/")[0].split("_")[0] for v in model.trainable_weights} == {"regressor"}
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    before = [np.array(v) for v in model.classifier.weights + model.features_model.weights]
    image, labels = labeled(model, [[40, 40, 200, 190]], [1])
    logs = model.train_on_batch(image, labels, return_dict=True)
    assert logs["classification"] == 0 and logs["localization"] > 0
    for old, new in zip(before, model.classifier.weights + model.features_model.weights):
        np.testing.assert_array_equal(old, new)


def test_context_adds_the_next_lower_scale():
    plain, context = build(), build(context=True)
    kernel = context.classifier.get_layer("classifier_full6").kernel
    assert kernel.shape[2] == 2 * plain.classifier.get_layer("classifier_full6").kernel.shape[2]
    image = random_images(327, 327)
    maps = np.asarray(context._unpooled(image))
    np.testing.assert_allclose(
        maps[..., : maps.shape[-1] // 2],
        context.features_model((image - networks.MEAN) * networks.SCALE),
        rtol=1e-4,
        atol=1e-4,
    )
    image2 = image.copy()
    image2[:, :60] = 0  # out of the last window's sight, but the lower scale sees further
    last = [np.asarray(m(x)["logits"])[:, -1, -1] for m in (plain, context) for x in (image, image2)]
    assert np.abs(last[2] - last[3]).max() > np.abs(last[0] - last[1]).max()


def averaging(**config):
    """A network with context whose convolutions are means, so that maps show where they look."""
    model = build(context=True, **config)
    for layer in model.features_model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([np.full_like(kernel, 1 / np.prod(kernel.shape[:3])), bias * 0])
    return model


def test_the_context_is_read_where_the_cells_look():
    model, size = averaging(), 551
    ramp = np.broadcast_to(np.arange(size, dtype="float32")[None, None, :, None], (1, size, size, 3)) / 3 + 119
    maps = np.asarray(model._unpooled(ramp))[0] / networks.SCALE * 3  # in pixels, of a place left of where they look
    both = maps[8:-8, 8:-8, 0], maps[8:-8, 8:-8, -1]
    # Pooling takes the larger neighbor, half its distance, 2 + 4 pixels, to the right; at the lower scale 1.4 times.
    low = size / round(size / 1.4)
    np.testing.assert_allclose(both[1] - both[0], 6 * (low - 1), atol=0.02)
    assert both[0].size


@pytest.mark.parametrize("axis", [1, 2])
def test_the_context_of_cells_at_the_borders_is_read_where_they_look(axis):
    model, size = averaging(), 407
    cells = model.spec.unpooled(size)
    for cell in (0, 1, 2, cells - 3, cells - 2, cells - 1):
        image = np.full((1, size, size, 3), 119, "float32")
        middle = round(model.spec.center + 16 * cell)
        index = [slice(None)] * 4
        index[axis] = slice(middle - 14, middle + 14)
        image[tuple(index)] = 255
        own, lower = (np.asarray(model._unpooled(image))[0, :, :, k] for k in (0, -1))
        line = [m.mean(axis=2 - axis) for m in (own, lower)]
        assert abs(np.argmax(line[0]) - np.argmax(line[1])) <= 1, cell
        # The lower map sees the bar narrower, so it has its own cell's level or one beside it, never one far inside.
        assert abs(np.argmax(line[1]) - cell) <= 1


def test_only_the_classifier_has_dropout():
    model, image = build(), random_images(231, 231)
    unpooled = model._unpooled(image)
    for head, same in ((model.classifier, False), (model.regressor, True)):
        found = [np.asarray(networks.run_dense(head, unpooled, "fast", training=True)["output"]) for _ in range(2)]
        assert np.array_equal(*found) == same


def test_folding_batch_normalization_keeps_the_outputs():
    model = build(batch_norm=True)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "_bn" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    plain, image = model.folded(), random_images(247, 263)
    assert not plain.config.batch_norm and len(plain.weights) < len(model.weights)
    for name, value in model(image).items():
        np.testing.assert_allclose(plain(image)[name], value, rtol=1e-3, atol=1e-3 * np.abs(value).max())
    for mine, theirs in zip(plain._parts(), model._parts()):
        networks.unfold_batch_norm(mine, theirs)
    for name, value in plain(image).items():
        np.testing.assert_allclose(model(image)[name], value, rtol=1e-4, atol=1e-5)


# Training


@pytest.mark.parametrize(("smallest", "largest_offset"), [(0.2, 0.5), (0.35, 0.3)])
def test_the_object_of_a_window_is_the_covered_one_that_is_most_like_it(smallest, largest_offset):
    detector = build(smallest_object=smallest, largest_offset=largest_offset)
    size, step, field, seen = 327, 16, 231, set()
    assert detector.image_size == (size, size)
    boxes = np.array([[10, 20, 50, 70], [0, 10, 120, 100], [200, 0, 310, 40], [0, 300, 20, 320]], "float32")
    _, labels = labeled(detector, boxes, [0, 2, 1, 0])
    found = {k: np.asarray(v)[0] for k, v in detector.encode_targets(labels).items()}
    for n, (y, x) in enumerate(np.ndindex(7, 7)):
        top, left = y * step, x * step
        best, shown = None, False
        for i, (a, b, c, d) in enumerate(boxes):
            h, w = min(c, top + field) - max(a, top), min(d, left + field) - max(b, left)
            both, area = max(h, 0) * max(w, 0), (c - a) * (d - b)
            center = max(abs((a + c) / 2 - top - field / 2), abs((b + d) / 2 - left - field / 2)) / field
            fits = max(c - a, d - b) >= 0.8 * smallest * field and center <= largest_offset + 0.1
            shown |= fits and both / area >= 0.25
            paired_iou = both / (area + field**2 - both)
            if both / area >= 0.5 and (best is None or paired_iou > best[0]):
                best = paired_iou, i, center
        large = best is not None and max(boxes[best[1]][2:] - boxes[best[1]][:2]) >= smallest * field
        assert found["has_object"][n] == large
        classified = large and best[2] <= largest_offset
        expected = [0, 2, 1, 0][best[1]] + 1 if classified else -1 if shown else 0
        assert found["classes"][n] == expected
        seen.add(min(expected, 1))
        if large:
            frame = (boxes[best[1]] - [top, left, top, left]) / field - 0.5
            np.testing.assert_allclose(found["boxes"][n], frame, atol=1e-5)
    assert seen == {-1, 0, 1}
    assert found["has_object"].any() and not found["has_object"].all()


def test_the_images_label_trains_every_crop_of_classification():
    model = build(task="classification")
    crops, boxes = model.augmentation(), np.array([[0.02, 0.05, 0.98, 0.97]], "float32")  # a close-up
    for seed in range(20):
        window = np.asarray(
            crops.window(tf.constant(boxes), tf.constant([400.0, 600.0]), tf.constant([seed, 1], tf.int64))
        )
        inside = (boxes - np.tile(window[:2], 2)) / np.tile(window[2:] - window[:2], 2)
        found = model.encode_targets({"boxes": inside[None], "labels": np.array([[2]])})
        assert np.asarray(found["classes"]).tolist() == [[2]]


@pytest.mark.parametrize("box", [[0, 0, 3, 3], [300, 300, 400, 400], [100, 100, 101, 101], [-300, -300, 20, 20]])
def test_classification_does_not_ask_where_the_object_is(box):
    model = build(task="classification", image_size=(247, 263))
    _, labels = labeled(model, [box], [1])
    found = model.encode_targets(labels)
    assert np.asarray(found["classes"]).tolist() == [[1] * 6]
    assert float(model.count_targets(found)["positives"]) == 6


def test_an_image_has_the_label_of_its_largest_object():
    model = build(task="classification")
    _, labels = labeled(model, [[0, 0, 50, 50], [50, 0, 200, 200], [0, 0, 231, 231], [0, 0, 0, 0]], [0, 2, 1, -1])
    crowd = labels | {"is_crowd": np.array([[False, False, True, False]])}
    assert np.asarray(model.encode_targets(labels)["classes"]).tolist() == [[1]]
    assert np.asarray(model.encode_targets(crowd)["classes"]).tolist() == [[2]]
    none = {"boxes": np.zeros((1, 0, 4), "float32"), "labels": np.zeros((1, 0), "int32")}
    assert np.asarray(model.encode_targets(none)["classes"]).tolist() == [[-1]]


def test_crowds_are_no_objects_where_the_number_of_rows_is_unknown():
    model = build(task="classification")
    _, labels = labeled(model, [[0, 0, 50, 50], [0, 0, 231, 231]], [0, 1])
    labels |= {"is_crowd": np.array([[False, True]])}
    unknown = {k: tf.TensorSpec([1, None, *np.shape(v)[2:]], tf.as_dtype(v.dtype)) for k, v in labels.items()}
    found = tf.function(model.encode_targets, input_signature=[unknown])(labels)
    assert np.asarray(found["classes"]).tolist() == [[0]]


def test_for_localization_objects_of_every_size_and_place_are_regressed():
    for box in ([100, 100, 110, 110], [0, 0, 300, 60], [0, 0, 20, 20]):
        model = build(task="localization")
        _, labels = labeled(model, [box], [1])
        area = np.prod(np.subtract(box[2:], box[:2]))
        windows = model.windows(model.image_size) * 327
        low, high = np.maximum(windows[:, :2], box[:2]), np.minimum(windows[:, 2:], box[2:])
        covered = np.prod(np.maximum(high - low, 0), axis=1) / area
        np.testing.assert_array_equal(model.encode_targets(labels)["has_object"][0], covered >= 0.5)


def test_crowds_and_padding_are_no_objects(detector):
    _, labels = labeled(detector, [[40, 40, 200, 190], [0, 0, 0, 0]], [1, -1])
    crowd = labels | {"is_crowd": np.array([[True, False]])}
    assert np.asarray(detector.encode_targets(labels)["has_object"]).any()
    for each in (crowd, {"boxes": np.zeros((1, 0, 4)), "labels": np.zeros((1, 0), "int32")}):
        assert not np.asarray(detector.encode_targets(each)["classes"]).any()


def test_most_offending_and_random_negatives():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 20, 4)).astype("float32")
    classes = np.where(rng.uniform(size=(2, 20)) < 0.3, rng.integers(1, 4, (2, 20)), 0)
    classes[:, 5] = -1
    each = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, np.maximum(classes, 0)[..., None], -1)[..., 0]
    noise = rng.uniform(size=(2, 20)).astype("float32")
    for rank, given in ((each, None), (noise, noise)):
        found = losses.classification_loss(classes, logits, 3, given)
        for b in range(2):
            negatives = np.flatnonzero(classes[b] == 0)
            chosen = negatives[np.argsort(-rank[b, negatives])[:3]]
            counted = np.concatenate([np.flatnonzero(classes[b] > 0), chosen])
            np.testing.assert_allclose(found["classification"][b], each[b, counted].sum(), rtol=1e-5)
            assert found["windows"][b] == len(counted)


def test_without_a_background_class_every_labeled_window_counts():
    logits = np.zeros((1, 3, 4), "float32")
    found = losses.classification_loss(np.array([[0, 2, -1]]), logits, None)
    np.testing.assert_allclose(found["classification"], [2 * np.log(4)], rtol=1e-6)


def test_the_regression_loss_is_half_the_squared_distance_of_counted_windows():
    rng = np.random.default_rng(0)
    boxes, found = rng.normal(size=(2, 2, 6, 4)).astype("float32")
    has = np.array([[True, False] * 3] * 2)
    terms = losses.regression_loss(has, boxes, found)
    np.testing.assert_allclose(terms["localization"], ((boxes - found) ** 2 / 2)[:, ::2].sum((1, 2)), rtol=1e-5)
    assert np.asarray(terms["objects"]).tolist() == [3, 3]


def test_per_class_regression_trains_the_objects_class_alone():
    model = build(per_class=True, dropout=0.0)
    image, labels = labeled(model, [[40, 40, 200, 190]], [1])
    layer = model.regressor.get_layer("regressor_output")
    with tf.GradientTape() as tape:
        loss = model.compute_losses(model.encode_targets(labels), model(image))["localization"]
    moved = np.abs(tape.gradient(loss, layer.bias.value)) > 0
    assert moved.tolist() == [False] * 4 + [True] * 4 + [False] * 4


@pytest.mark.parametrize("choice", ["offending", "random"])
def test_the_loss_falls_on_one_batch(choice):
    model = build(negative_choice=choice, dropout=0.0)
    image, labels = labeled(model, [[10, 20, 100, 120], [200, 160, 310, 290]], [0, 2])
    model.compile(optimizer=keras.optimizers.Adam(2e-3))
    logs = []
    for _ in range(12):
        logs.append(model.train_on_batch(image, labels, return_dict=True))
        model.reset_metrics()
    assert set(logs[0]) == {"loss", "classification", "localization", "positives", "skipped_steps"}
    assert logs[0]["loss"] == pytest.approx(logs[0]["classification"] + logs[0]["localization"], rel=1e-5)
    assert logs[-1]["loss"] < 0.8 * logs[0]["loss"]


@pytest.mark.parametrize(("task", "size"), [("classification", 231), ("detection", 327)])
def test_training_samples_have_the_models_size(task, size):
    source = Shapes(images=4, seed=3, size=200, objects=(1, 1))
    images, labels = next(iter(build(classes=source.classes, task=task).batches(source, 4, training=True)))
    assert images.shape == (4, size, size, 3) and labels["boxes"].shape == (4, 1, 4)


def test_mixed_precision_trains():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = build()
        model.compile(optimizer=keras.optimizers.SGD(1e-3))
        image, labels = labeled(model, [[40, 40, 200, 190]], [1])
        assert np.isfinite(model.train_on_batch(image, labels, return_dict=True)["loss"])
        assert model(image)["logits"].dtype == tf.float32
    finally:
        keras.mixed_precision.set_global_policy("float32")


# Classification by voting


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def resized(images, size):
    return tf.image.resize(images, size).numpy()


def test_voting_is_the_mean_over_scales_and_flips_of_the_spatial_maximum():
    model, images = build(task="classification"), random_images(200, 260)
    votes = []
    for size in SCALES:
        random_image = resized(images, size)
        for view in (random_image, random_image[:, :, ::-1]):
            votes.append(softmax(np.asarray(model(view)["logits"])).max((1, 2)))
    np.testing.assert_allclose(model.classify(images), np.mean(votes, 0), rtol=1e-4)
    np.testing.assert_allclose(model.classify(images, scales=SCALES[:1], flip=False), votes[0], rtol=1e-4)


def test_ten_views_are_corners_center_and_flips():
    model, images = build(task="classification"), random_images(300, 400)
    random_image = resized(images, (256, 341))
    places = [(0, 0), (0, 110), (25, 0), (25, 110), (12, 55)]
    views = [random_image[:, y : y + 231, x : x + 231] for y, x in places]
    votes = [softmax(np.asarray(model(v)["logits"]))[:, 0, 0] for view in views for v in (view, view[:, :, ::-1])]
    np.testing.assert_allclose(model.classify(images, ten_views=True), np.mean(votes, 0), rtol=1e-4)


def test_an_ensemble_is_the_mean_of_its_networks():
    models, images = [build(task="classification") for _ in range(2)], random_images(231, 231)
    models[1].set_weights([w * 1.1 for w in models[1].get_weights()])
    expected = np.mean([np.asarray(m.classify(images)) for m in models], 0)
    np.testing.assert_allclose(vote(models, images), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="same classes"):
        vote([models[0], build(classes=["a", "b"])], images)


def test_a_classifier_detects_whole_images():
    model, images = build(task="classification"), random_images(150, 170)
    found, votes = model.detections(images), np.asarray(model.classify(images))
    np.testing.assert_allclose(found["scores"], -np.sort(-votes), rtol=1e-4)
    assert (found["boxes"] == [0, 0, 1, 1]).all() and (found["num_detections"] == 3).all()


# Localization and detection


def test_boxes_and_confidences_of_all_scales(detector):
    images = random_images(200, 260)
    boxes, scores = (np.asarray(x) for x in detector.scored_windows(images))
    place = 0
    for size in SCALES:
        outputs = {k: np.asarray(v) for k, v in detector(resized(images, size)).items()}
        rows, columns = outputs["logits"].shape[1:3]
        for y, x in np.ndindex(rows, columns):
            np.testing.assert_allclose(scores[:, place], softmax(outputs["logits"][:, y, x])[:, 1:], rtol=1e-4)
            edges = (outputs["boxes"][:, y, x] + 0.5) * 231 + np.tile([16 * y, 16 * x], 2)
            edges = np.sort(
                np.clip(edges / np.tile(size, 2), 0, 1).reshape(2, 2, 2), axis=1
            )  # crossed edges change place
            np.testing.assert_allclose(boxes[:, place], edges.reshape(2, 4), atol=1e-5)
            place += 1
    assert place == boxes.shape[1] == 4 + 24


def test_only_the_top_classes_of_a_scale_have_boxes():
    model = build(top_classes=1)
    boxes, scores = (np.asarray(x) for x in model.scored_windows(random_images(250, 250)))
    for part in (scores[:, :4], scores[:, 4:]):  # the windows of the two scales
        assert ((part > 0).any(1).sum(-1) == 1).all()


def test_the_center_window_alone(detector):
    images = random_images(250, 250)
    boxes, scores = detector.scored_windows(images, scales=[(263, 263)], center=True)
    assert boxes.shape == (2, 1, 4)
    every = detector.scored_windows(images, scales=[(263, 263)])[1]
    np.testing.assert_allclose(scores[:, 0], every[:, 4], rtol=1e-5)


def test_no_window_of_the_papers_scales_is_cut_before_the_merge():
    for form in networks.ARCHITECTURES.values():
        windows = sum(form.cells(height) * form.cells(width) for height, width in form.scales)
        assert windows <= OverFeat.Config().max_per_class


def test_what_is_compiled_is_serve(detector):
    images = random_images(180, 240).astype("uint8")
    found, plain = detector.detections(images), detector.serve(images)
    for name, value in plain.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)


def test_only_merged_boxes_have_a_threshold_of_their_own():
    for config, expected in (({}, 9.0), ({"combine": "nms"}, 0.5), ({"task": "classification"}, 0.5)):
        assert build(detect_threshold=9.0, **config).detect_threshold == expected
    with pytest.raises(ValueError, match="`detect_threshold` must be a number of at least 0; got inf"):
        build(detect_threshold=float("inf"))


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("how", ["merge", "nms"])
def test_detections_are_sorted_padded_and_inside(per_class, how):
    model = build(per_class=per_class, combine=how, score_threshold=0.0, max_detections=30)
    found = model.detections(random_images(180, 240).astype("uint8"))
    boxes, scores, labels = found["boxes"], found["scores"], found["labels"]
    assert boxes.shape == (2, 30, 4) and boxes.min() >= 0 and boxes.max() <= 1 + 1e-6
    assert (np.diff(scores) <= 0).all() and found["num_detections"].min() > 0
    for b, n in enumerate(found["num_detections"]):
        assert (labels[b, :n] >= 0).all() and (labels[b, n:] == -1).all() and not scores[b, n:].any()


def test_per_class_suppression_takes_each_class_own_boxes():
    model = build(per_class=True, iou_threshold=1.0, score_threshold=0.0, max_detections=400)
    boxes, scores = (np.asarray(x) for x in model.scored_windows(random_images(247, 247), scales=SCALES[:1]))
    found = {k: np.asarray(v) for k, v in model.combine(boxes, scores, "nms").items()}
    for row, score, label in zip(found["boxes"][0][:12], found["scores"][0], found["labels"][0]):
        place = np.argmin(np.abs(scores[0, :, label] - score))
        np.testing.assert_allclose(row, boxes[0, place, label], atol=1e-6)


# Features


def test_features_of_a_window_and_dense():
    model = build()
    window, larger = random_images(231, 231), random_images(247, 279)
    assert model.features(window).shape == (2, 1, 1, networks.scaled(4096, 1 / 24))
    assert model.features(larger, "full6").shape == (2, 2, 4, 128)
    assert model.features(larger, "output").shape[-1] == 4
    np.testing.assert_allclose(model.features(larger, "output"), model(larger)["logits"], rtol=1e-4, atol=1e-5)
    assert model.features(window, "conv5").shape[1:3] == (12, 12) and model.features(window, "pool1").shape[1] == 28
    with pytest.raises(ValueError, match="full7"):
        model.features(window, "fc9")


# Saving


@pytest.mark.parametrize("ending", [".keras", ".weights.h5", ".safetensors"])
def test_saved_and_loaded_it_gives_the_same(detector, tmp_path, ending):
    path = tmp_path / f"model{ending}"
    detector.save(path) if ending == ".keras" else detector.save_weights(path)
    image = random_images(247, 263)
    again = [OverFeat(weights=path)] + ([keras.models.load_model(path)] if ending == ".keras" else [])
    for name, value in detector(image).items():
        for model in again:
            np.testing.assert_array_equal(model(image)[name], value)


@pytest.mark.slow
def test_a_saved_model_detects_the_same(tmp_path):
    model, images = build(scales=SCALES[:1], max_per_class=8), random_images(120, 160).astype("uint8")
    folder = saved_model(model, tmp_path / "overfeat")
    found = tf.saved_model.load(str(folder)).signatures["serving_default"](images=tf.constant(images))
    expected = model.detections(images)
    np.testing.assert_allclose(found["detection_boxes"], expected["boxes"], atol=1e-5)
    np.testing.assert_allclose(found["detection_scores"], expected["scores"], rtol=1e-4, atol=1e-6)


def test_a_classifiers_weights_go_on_in_the_other_tasks(tmp_path, caplog):
    path = tmp_path / "a.weights.h5"
    classifier = build(task="classification")
    classifier.save_weights(path)
    for task in ("localization", "detection"):
        model = OverFeat(weights=path, task=task)
        said = caplog.messages[-1]
        assert (
            ("classifier_output" in said) == (task == "detection") and "regressor_full6" in said and "conv1" not in said
        )
        for name in ("conv1", "conv5"):
            np.testing.assert_array_equal(
                model.features_model.get_layer(name).kernel, classifier.features_model.get_layer(name).kernel
            )
        np.testing.assert_array_equal(
            model.classifier.get_layer("classifier_full7").kernel,
            classifier.classifier.get_layer("classifier_full7").kernel,
        )


def test_a_network_with_context_starts_as_the_network_without(tmp_path, caplog):
    path, images = tmp_path / "plain.weights.h5", random_images(263, 279)
    plain = build()
    plain.save_weights(path)
    model = OverFeat(weights=path, context=True)
    assert not caplog.messages and model.config.context
    for name, value in plain(images).items():
        np.testing.assert_allclose(model(images)[name], value, rtol=1e-4, atol=1e-5)


def test_training_at_other_scales_than_those_that_are_looked_at():
    model = build(task="localization", training_scales=((343, 343),))
    assert model.augmentation().scales == ((343, 343),) and model.scales == SCALES
    assert build(task="localization").augmentation().scales == SCALES
    assert build(task="classification", training_scales=((343, 343),)).augmentation().scales == (256,)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"variant": "slow"}, "`variant`"),
        ({"task": "segmentation"}, "`task`"),
        ({"width": 2.0}, "`width`"),
        ({"negative_choice": "easy"}, "`negative_choice`"),
        ({"combine": "vote"}, "`combine`"),
        ({"negatives": 0}, "`negatives`"),
        ({"image_size": (100, 100)}, "`image_size`"),
        ({"image_size": 300}, "`image_size`"),
        ({"merge_threshold": -1}, "`merge_threshold`"),
    ],
)
def test_wrong_arguments_are_named(config, named):
    with pytest.raises(ValueError, match=named):
        build(**config)
