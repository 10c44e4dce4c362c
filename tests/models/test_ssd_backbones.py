"""One recipe for every model and backbone: build, train a step, load into a second model, detect."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_det import models

TRAINED = [
    ("ssd300", "vgg16"),
    pytest.param("ssdlite320", "mobilenet_v3_large", marks=pytest.mark.slow),
    pytest.param("ssd300", "mobilenet_v2", marks=pytest.mark.long),
]
BUILT = [
    ("ssd300", "mobilenet_v3_large"),
    ("ssd512", "vgg16"),
    ("ssd512", "mobilenet_v2"),
    ("ssdlite320", "mobilenet_v2"),
]
BOXES = {"ssd300": 8732, "ssd512": 24564, "ssdlite320": 3234}


def one_object_for_each_map(model, size):
    """Labels of `size` images: a default box of each source layer, so that every predictor has something to learn."""
    maps = [model.features.output[name].shape[1:3] for name in model.sources]
    counts = [rows * columns * prior.boxes_per_cell for (rows, columns), prior in zip(maps, model.priors)]
    middles = np.cumsum(counts) - np.array(counts) // 2 - 1
    boxes = np.clip(model.default_boxes[middles], 0.0, 1.0)
    labels = np.arange(len(boxes), dtype="int32") % len(model.classes)
    return {"boxes": np.stack([boxes] * size), "labels": np.stack([labels] * size)}


@pytest.mark.parametrize(("name", "backbone"), TRAINED)
def test_the_whole_recipe(name, backbone, tmp_path):
    model = models.get(name)(classes=["cat", "dog"], backbone=backbone)
    assert len(model.default_boxes) == BOXES[name]
    size = 1 if backbone == "vgg16" else 2  # one cell of one image has no variance to normalize by
    images = np.random.default_rng(0).integers(0, 256, (size, *model.image_size, 3)).astype("float32")
    model.compile(optimizer=keras.optimizers.SGD(1e-3))
    before = {v.path: np.array(v) for v in model.trainable_weights}
    logs = model.train_on_batch(images, one_object_for_each_map(model, size), return_dict=True)
    assert np.isfinite(logs["loss"]) and logs["matched"] >= len(model.sources) and logs["skipped_steps"] == 0
    still = [v.path for v in model.trainable_weights if (before[v.path] == np.asarray(v)).all()]
    assert not [path for path in still if "_conf" in path or "_loc" in path]
    assert len(still) < len(before) / 10  # gradients reach the first layers too
    model.save_weights(tmp_path / "a.weights.h5", optimizer=False)
    again = type(model)(weights=tmp_path / "a.weights.h5")
    for one, other in zip(model.weights, again.weights):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
    found = again.detections(images.astype("uint8"))
    assert found["boxes"].shape == (size, again.config.max_detections, 4)
    assert np.isfinite(found["boxes"]).all() and found["num_detections"][0] > 0
    keras.backend.clear_session()


@pytest.mark.parametrize(("name", "backbone"), BUILT)
def test_every_other_pair_builds(name, backbone):
    model = models.get(name)(classes=["cat", "dog"], backbone=backbone)
    assert len(model.default_boxes) == BOXES[name] == sum(
        np.prod(model.features.output[source].shape[1:3]) * prior.boxes_per_cell
        for source, prior in zip(model.sources, model.priors)
    )  # fmt: skip
    keras.backend.clear_session()


def test_ssdlite_needs_a_map_of_stride_32():
    with pytest.raises(ValueError, match="vgg16.*stride 32"):
        models.SSDLite320(backbone="vgg16")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"sources": ()}, "`sources`"),
        ({"sources": ("stage4", "stage4")}, "`sources`"),
        ({"sources": "stage4"}, "`sources`"),
        ({"aspect_ratios": (5,)}, "`aspect_ratios`"),
        ({"box_scales": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)}, "`box_scales` must be 7 numbers; got 6"),
        ({"score_threshold": 1.5}, "`score_threshold`"),
        ({"iou_threshold": -0.1}, "`iou_threshold`"),
        ({"max_per_class": 0}, "`max_per_class`"),
        ({"max_detections": 2.5}, "`max_detections`"),
    ],
)
def test_arguments_that_would_build_another_network_are_refused(config, named):
    with pytest.raises(ValueError, match=named):
        models.SSD300(backbone="tiny", classes=["a"], **config)


def test_table_2_and_3_in_full():
    """Number of default boxes of each row; those of Table 3 are of fewer maps, tiled as in the full network."""
    cells = {name: n * n for name, n in zip(("stage3", "stage4", "stage5", "conv9_2", "conv10_2", "conv11_2"),
                                            (38, 19, 10, 5, 3, 1))}  # fmt: skip
    per_cell = dict(zip(cells, (4, 6, 6, 6, 4, 4)))
    whole = models.SSD300(backbone="tiny", classes=["a"]).default_boxes
    for last in range(1, 7):
        sources = tuple(cells)[:last]
        model = models.SSD300(backbone="tiny", classes=["a"], sources=sources)
        assert model.sources == sources
        assert len(model.default_boxes) == sum(cells[s] * per_cell[s] for s in sources)
        np.testing.assert_array_equal(model.default_boxes, whole[: len(model.default_boxes)])


def test_boundary_boxes_left_out_are_no_negatives():
    """Their predictions change neither term of the loss."""
    model = models.SSD300(backbone="tiny", classes=["a", "b"], boundary_boxes=False)
    boxes = model.default_boxes
    crossing = (boxes[:, :2] < 0).any(1) | (boxes[:, 2:] > 1).any(1)
    assert 0 < crossing.sum() < len(boxes)
    labels = {"boxes": np.array([[[0.3, 0.3, 0.7, 0.7], [0, 0, 1, 1]]], "f4"), "labels": np.array([[0, 1]], "int32")}
    targets = model.encode_targets(labels)
    rng = np.random.default_rng(0)
    outputs = {
        "offsets": rng.normal(size=(1, len(boxes), 4)).astype("f4"),
        "logits": rng.normal(size=(1, len(boxes), 3)).astype("f4"),
    }
    losses = model.compute_losses(targets, outputs)
    assert set(np.unique(targets["classes"])) == {0, 1, 2}  # every object still has a box
    wild = {name: np.where(crossing[None, :, None], 100 * value, value) for name, value in outputs.items()}
    for name, value in model.compute_losses(targets, wild).items():
        np.testing.assert_allclose(value, losses[name], rtol=1e-6)


def test_boundary_boxes_are_detected_with_all_the_same():
    """As in the authors' code, which leaves them out of matching alone: found, and clipped."""
    model = models.SSD300(backbone="tiny", classes=["a"], boundary_boxes=False)
    k = int(np.flatnonzero(model.default_boxes[:, 0] < -0.01)[0])
    logits = np.tile(np.array([9.0, -9.0], "f4"), (1, len(model.default_boxes), 1))
    logits[0, k] = -9, 9
    found = model.decode({"offsets": np.zeros((1, len(logits[0]), 4), "f4"), "logits": logits})
    assert float(found["scores"][0, 0]) > 0.99
    np.testing.assert_allclose(found["boxes"][0, 0], np.clip(model.default_boxes[k], 0, 1), atol=1e-6)


def test_the_objectives_constants_are_arguments():
    labels = {"boxes": np.array([[[0.3, 0.3, 0.7, 0.7]]], "f4"), "labels": np.array([[0]], "int32")}

    def losses(**config):
        model = models.SSD300(backbone="tiny", classes=["a"], **config)
        rng = np.random.default_rng(0)
        outputs = {
            "offsets": rng.normal(size=(1, 8732, 4)).astype("f4"),
            "logits": rng.normal(size=(1, 8732, 2)).astype("f4"),
        }
        targets = model.encode_targets(labels)
        return {k: float(v) for k, v in model.compute_losses(targets, outputs).items()}, targets["classes"]

    (plain, classes), (weighted, _) = losses(), losses(localization_weight=2.5)
    assert weighted["localization"] == pytest.approx(2.5 * plain["localization"])
    assert weighted["confidence"] == pytest.approx(plain["confidence"])
    assert losses(negative_ratio=1)[0]["confidence"] < plain["confidence"] < losses(negative_ratio=6)[0]["confidence"]
    assert np.sum(losses(matching_iou=0.7)[1]) < np.sum(classes) < np.sum(losses(matching_iou=0.3)[1])
    for wrong in ({"matching_iou": 1.5}, {"negative_ratio": -1}, {"localization_weight": float("nan")}):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
            losses(**wrong)


def test_labels_of_any_number_of_objects():
    model = models.SSD300(backbone="tiny", classes=["a", "b"])
    none = {"boxes": np.zeros((2, 0, 4), "f4"), "labels": np.zeros((2, 0), "int32"), "is_crowd": np.zeros((2, 0), bool)}
    targets = model.encode_targets(none)
    assert not np.any(targets["classes"]) and not np.any(targets["offsets"])
    boxes = [np.array([[0.1, 0.1, 0.5, 0.6], [0.12, 0.1, 0.5, 0.6]], "f4"), np.array([[0.0, 0.0, 0.9, 0.9]], "f4")]
    padded = {"boxes": np.stack([boxes[0], np.pad(boxes[1], ((0, 1), (0, 0)))]), "labels": np.array([[0, 1], [1, -1]])}
    expected = model.encode_targets(padded)

    def generate():
        for rows, labels in zip(boxes, ([0, 1], [1])):
            yield {"boxes": rows, "labels": np.array(labels, "int32")}

    signature = {"boxes": tf.TensorSpec([None, 4]), "labels": tf.TensorSpec([None], tf.int32)}
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
    dataset = dataset.padded_batch(2, padding_values={"boxes": 0.0, "labels": -1}).map(model.encode_targets)
    for name, value in next(iter(dataset)).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)
