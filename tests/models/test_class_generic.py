"""ClassGeneric: its network, training from either kind of label, and boxes from the distribution."""

import keras
import numpy as np
import pytest

from keras_det import boxes as box_ops
from keras_det.data import load
from keras_det.losses import box_grid_targets
from keras_det.models import pretrained
from keras_det.models.class_generic import ClassGeneric

NAMES = ["cat", "dog", "owl"]
OBJECTS = np.array([[0.1, 0.1, 0.5, 0.6], [0.4, 0.5, 0.9, 0.8], [0.62, 0.1, 0.92, 0.42]], "float32")


def build(**config):
    keras.utils.set_random_seed(0)
    small = {"backbone": "tiny", "image_size": 64, "grid_shape": (8, 8, 4, 3), "scales": (0.2, 0.8)}
    return ClassGeneric(**small | {"classes": NAMES, "aspect_ratios": (0.5, 2.0)} | config)


@pytest.fixture(scope="module")
def model():
    return build()


def batch(size=2):
    images = np.random.default_rng(0).integers(0, 256, (size, 64, 64, 3)).astype("float32")
    boxes = np.concatenate([OBJECTS, np.zeros((1, 4), "float32")])
    labels = np.array([0, 2, 2, -1], "int32")
    return images, {"boxes": np.tile(boxes, (size, 1, 1)), "labels": np.tile(labels, (size, 1))}


def test_the_papers_network():
    network = ClassGeneric(image_size=67, grid_shape=(4, 4, 2, 2), classes=NAMES)
    kinds = [(type(layer).__name__, layer.name) for layer in network.features.layers[1:]]
    assert [name for kind, name in kinds if kind == "Conv2D"] == [f"conv{k}" for k in range(1, 6)]
    assert [name for kind, name in kinds if kind == "LocalContrastNorm"] == ["norm1", "norm2", "norm5"]
    assert [name for kind, name in kinds if kind == "MaxPooling2D"] == ["pool1", "pool2", "pool5"]
    assert network.features.output.shape == (None, 4096)
    outputs = network(np.zeros((1, 67, 67, 3), "float32"))
    assert outputs["boxes"].shape == (1, network.grid.size) and outputs["classes"].shape == (1, 3)
    assert network.boxes.kernel.shape == (4096, network.grid.size)


def test_targets_of_boxes_and_shares_of_classes(model):
    _, labels = batch()
    targets = model.encode_targets(labels)
    valid = labels["labels"] >= 0
    np.testing.assert_allclose(targets["boxes"], box_grid_targets(model.grid, labels["boxes"], valid), rtol=1e-5)
    np.testing.assert_allclose(targets["classes"], [[1 / 3, 0, 2 / 3]] * 2, rtol=1e-6)
    crowd = labels | {"is_crowd": np.array([[False, True, True, False]] * 2)}
    np.testing.assert_allclose(model.encode_targets(crowd)["classes"], [[1, 0, 0]] * 2)
    nothing = model.encode_targets(labels | {"labels": np.full((2, 4), -1, "int32")})
    np.testing.assert_allclose(nothing["boxes"], 1 / model.grid.size, rtol=1e-5)
    np.testing.assert_array_equal(nothing["has_classes"], [0, 0])


def test_a_perfect_network_has_loss_0(model):
    targets = model.encode_targets(batch()[1])
    outputs = {name: np.log(np.maximum(targets[name], 1e-30)) for name in ("boxes", "classes")}
    losses = model.compute_losses(targets, outputs)
    assert set(losses) == set(model.loss_terms)
    assert all(abs(float(value)) < 1e-3 for value in losses.values())
    outputs["boxes"] = outputs["boxes"] * 0
    assert float(model.compute_losses(targets, outputs)["localization"]) > 0.5


@pytest.mark.parametrize(("missing", "kept"), [("boxes", "recognition"), ("classes", "boxes")])
def test_images_with_one_kind_of_label_train_that_kind_alone(missing, kept):
    model = build()
    images, labels = batch()
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    before = {v.path: np.array(v) for v in model.trainable_weights}
    logs = model.train_on_batch(images, labels | {f"has_{missing}": np.zeros(2, bool)}, return_dict=True)
    moved = {v.path.split("/")[-2] for v in model.trainable_weights if (np.array(v) != before[v.path]).any()}
    other = {"boxes": "recognition", "recognition": "boxes"}[kept]
    assert kept in moved and other not in moved and "hidden" in moved
    assert logs["localization" if missing == "boxes" else "recognition"] == 0 < logs["loss"]


def test_both_losses_fall_on_one_batch():
    model = build()
    images, labels = batch()
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    logs = []
    for _ in range(15):
        model.reset_metrics()
        logs.append(model.train_on_batch(images, labels, return_dict=True))
    for term in model.loss_terms:
        assert 0 < logs[-1][term] < 0.5 * logs[0][term]


def greedy(boxes, scores, threshold):
    """Non-maximum suppression, one after the other: the rows kept."""
    kept = []
    for n in np.argsort(-scores, kind="stable"):
        if all(float(box_ops.iou(boxes[n][None], boxes[m][None])[0, 0]) <= threshold for m in kept):
            kept.append(n)
    return kept


def test_decode_is_suppression_over_the_local_maxima(model):
    logits = np.random.default_rng(3).normal(size=(1, model.grid.size)).astype("float32") * 2
    found = model.decode({"boxes": logits})
    p = np.exp(logits[0]) / np.exp(logits[0]).sum()
    cells = [tuple(c) for c in np.stack(np.unravel_index(model.grid.cells, model.grid.shape), axis=-1)]
    value = dict(zip(cells, p))

    def is_peak(cell):
        steps = np.stack(np.meshgrid(*[(-1, 0, 1)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
        return all(value.get(tuple(np.array(cell) + step), 0) <= value[cell] for step in steps)

    rows = np.array([n for n, cell in enumerate(cells) if is_peak(cell) and p[n] > model.config.score_threshold])
    boxes = np.clip(model.grid.boxes[rows], 0, 1)
    kept = greedy(boxes, p[rows], model.config.iou_threshold)
    count = int(found["num_detections"][0])
    assert count == len(kept) > 3
    np.testing.assert_allclose(found["scores"][0, :count], p[rows][kept], rtol=1e-5)
    np.testing.assert_allclose(found["boxes"][0, :count], boxes[kept], atol=1e-6)
    assert set(np.asarray(found["labels"][0, :count])) == {0}


@pytest.mark.parametrize(("sub_cell", "least"), [(False, 0.6), (True, 0.85)])
def test_several_boxes_from_one_pass(sub_cell, least):
    model = build(sub_cell=sub_cell, widths=(0.5,) * 4, grid_shape=(12, 12, 6, 4))
    target = model.encode_targets({"boxes": OBJECTS[None], "labels": np.zeros((1, 3), "int32")})["boxes"]
    found = model.decode({"boxes": np.log(np.maximum(target, 1e-30))})
    ious = np.asarray(box_ops.iou(OBJECTS, found["boxes"][0, :3]))
    assert (ious.max(axis=1) > least).all() and len(set(ious.argmax(axis=1))) == 3
    assert float(found["scores"][0, 3]) < 0.2 * float(found["scores"][0, 2])


def test_a_flat_distribution_shows_nothing(model):
    flat = np.zeros((1, model.grid.size), "float32")
    assert float(model.decode({"boxes": flat})["scores"][0, 0]) == pytest.approx(1 / model.grid.size)
    assert 1 / model.grid.size < model.detect_threshold
    assert int(build(score_threshold=0.1).decode({"boxes": flat})["num_detections"][0]) == 0


@pytest.mark.parametrize("ending", [".keras", ".weights.h5", ".safetensors"])
def test_saved_and_loaded_it_gives_the_same(model, tmp_path, ending):
    path = tmp_path / f"model{ending}"
    model.save(path) if ending == ".keras" else model.save_weights(path)
    again = ClassGeneric(weights=path)
    images, _ = batch(1)
    assert again.config == model.config and again.class_names == tuple(NAMES)
    np.testing.assert_array_equal(again(images)["boxes"], model(images)["boxes"])


def test_other_class_names_keep_all_but_the_recognition_layer(model, tmp_path):
    path = tmp_path / "a.weights.h5"
    model.save_weights(path)
    keras.utils.set_random_seed(5)
    other = ClassGeneric(weights=path, classes=["one", "two", "three"])
    mine, theirs = (pretrained.zoo.parameters(m) for m in (other, model))
    changed = {name for name in mine if (mine[name] != theirs[name]).any()}
    assert changed == {"recognition/kernel"}


def test_sources_of_boxes_and_of_classes_meet_in_a_batch():
    scenes = load("shapes", images=12, size=64)
    single = load("shapes", images=12, size=64, objects=(1, 1), seed=1)
    model = build(classes=scenes.classes)
    images, labels = next(iter(model.mixed_batches(scenes, single, 8, max_objects=6, augment=False)))
    assert images.shape == (8, 64, 64, 3)
    np.testing.assert_array_equal(labels["has_boxes"], [True] * 4 + [False] * 4)
    np.testing.assert_array_equal(labels["has_classes"], [False] * 4 + [True] * 4)
    assert ((labels["labels"].numpy() >= 0).sum(axis=1)[4:] == 1).all()


def test_a_source_of_other_classes_trains_boxes_alone(model):
    scenes = load("shapes", images=4, size=64)
    _, labels = next(iter(model.batches(scenes, 2, training=True)))
    assert labels["has_boxes"].numpy().all() and not labels["has_classes"].numpy().any()
    with pytest.raises(ValueError, match="class_names"):
        model.batches(scenes, 2, training=True, supervision="classes")
    with pytest.raises(ValueError, match="`supervision`"):
        model.batches(scenes, 2, training=True, supervision="all")
    with pytest.raises(ValueError, match="even"):
        model.mixed_batches(scenes, scenes, 3, max_objects=6)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"backbone": "alexnet"}, "`backbone`"),
        ({"widths": (1, 1, 1)}, "`widths`"),
        ({"widths": (1, 1, 0, 1)}, "`widths`"),
        ({"iou_threshold": 2}, "`iou_threshold`"),
        ({"max_candidates": 0}, "`max_candidates`"),
        ({"classes": ["a", "a"]}, "more than once"),
        ({"grid_shape": (8, 8, 4)}, "`shape`"),
        ({"backbone": "alexnet_lcn", "image_size": 60}, "`image_size`"),
    ],
)
def test_wrong_arguments_are_named(config, named):
    with pytest.raises(ValueError, match=named):
        build(**config)
