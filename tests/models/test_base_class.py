"""What the base class promises every detector, shown by SSD on the tiny backbone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_det import models
from keras_det.models import pretrained

CLASSES = ["cat", "dog", "owl"]


def build(name, **config):
    """With two source layers of six, unless told otherwise: fewer layers are compiled sooner."""
    keras.utils.set_random_seed(0)
    return models.get(name)(**{"backbone": "tiny", "classes": CLASSES, "sources": ("stage3", "stage5")} | config)


def batch(model, size=2, seed=0):
    """Random images, each with two objects and one row of padding."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, *model.image_size, 3)).astype("float32")
    boxes = np.tile(np.array([[0.1, 0.1, 0.5, 0.6], [0.4, 0.3, 0.9, 0.8], [0, 0, 0, 0]], "float32"), (size, 1, 1))
    return images, {"boxes": boxes, "labels": np.tile(np.array([[0, 2, -1]], "int32"), (size, 1))}


def values(model):
    return [np.array(variable) for variable in model.weights]


@pytest.fixture(scope="module")
def ssd():
    return build("ssd300")


def detected(model, images):
    return model.detect(images, score_threshold=0.0)


def test_detect_takes_images_of_every_kind(ssd, tmp_path):
    rng = np.random.default_rng(0)
    color = Image.fromarray(rng.integers(0, 256, (120, 160, 3), dtype="uint8"))
    paths = []
    for mode in ("RGB", "L", "RGBA", "P"):
        paths.append(tmp_path / f"{mode}.png")
        color.convert(mode).save(paths[-1])
    array = np.asarray(color)
    given = [*paths, color, array, array.astype("float32"), array[..., :1], array[..., 0], array[None]]
    results = detected(ssd, given)
    assert [found.image.shape for found in results] == [(120, 160, 3)] * len(given)
    for i in (4, 5, 6, 9):  # the same image as a file, a PIL image, integers, floats and a batch
        np.testing.assert_allclose(results[i].scores, results[0].scores, atol=1e-6)
    assert [found.source for found in detected(ssd, str(tmp_path / "*.png"))] == sorted(map(str, paths))


def test_detect_turns_images_upright(ssd, tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 150, 3), dtype="uint8"))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert detected(ssd, tmp_path / "turned.jpg")[0].image.shape == (150, 90, 3)


@pytest.mark.parametrize(
    ("images", "error", "named"),
    [
        ("absent.jpg", FileNotFoundError, "absent.jpg"),
        ("absent*.jpg", FileNotFoundError, "absent"),
        (3, TypeError, "int"),
        (np.zeros((4, 4, 5)), ValueError, "shape"),
        (np.full((4, 4, 3), 300), ValueError, "0 .. 255"),
        (np.full((4, 4, 3), np.nan), ValueError, "0 .. 255"),
        (np.zeros((0, 4, 3)), ValueError, "shape"),
    ],
)
def test_detect_refuses_what_is_no_image(ssd, images, error, named):
    with pytest.raises(error, match=named):
        ssd.detect(images)


def test_detections_in_pixels_and_as_coco(ssd):
    found = detected(ssd, np.random.default_rng(1).integers(0, 256, (100, 200, 3)))[0]
    assert len(found) and len(found.names) == len(found)
    first = found.to_dict()["objects"][0]
    ymin, xmin, ymax, xmax = found.boxes[0]
    np.testing.assert_allclose(first["box"], [xmin * 200, ymin * 100, xmax * 200, ymax * 100], rtol=1e-5)
    entry = found.to_coco(7)[0]
    assert entry["image_id"] == 7 and entry["category_id"] == found.labels[0] + 1
    np.testing.assert_allclose(entry["bbox"][2:], [(xmax - xmin) * 200, (ymax - ymin) * 100], rtol=1e-4)


def test_a_drawn_image_is_written_whole(ssd, tmp_path, monkeypatch):
    found = detected(ssd, np.zeros((60, 60, 3), "uint8"))[0]
    found.save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size == (60, 60)
    with pytest.raises(ValueError):
        found.save(tmp_path / "a.unknown")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(ssd):
    images, labels = batch(ssd)
    ssd.compile(optimizer=keras.optimizers.SGD(1e-3, momentum=0.9))
    ssd.train_on_batch(images, labels)
    before = values(ssd)
    expected = float(ssd.compute_loss(y=labels, y_pred=ssd(images, training=True)))
    for old, variable in zip(before, ssd.weights):
        variable.assign(old)  # the pass in training mode moved the running statistics
    logs = ssd.train_on_batch(np.full_like(images, np.nan), labels, return_dict=True)
    assert logs["skipped_steps"] == 1 and np.isfinite(logs["loss"])
    for old, new, variable in zip(before, values(ssd), ssd.weights):
        np.testing.assert_array_equal(old, new, err_msg=variable.path)
    ssd.reset_metrics()
    after = ssd.train_on_batch(images, labels, return_dict=True)
    assert after["skipped_steps"] == 0 and after["loss"] == pytest.approx(expected, rel=1e-4)


def test_a_batch_without_objects_has_loss_0(ssd):
    images, labels = batch(ssd)
    ssd.compile(optimizer="sgd")
    ssd.reset_metrics()
    logs = ssd.test_on_batch(images, labels | {"labels": np.full((2, 3), -1, "int32")}, return_dict=True)
    assert logs["loss"] == 0 and logs["matched"] == 0


def test_degenerate_boxes_give_no_nan(ssd):
    images, labels = batch(ssd)
    ssd.compile(optimizer="sgd")
    flat = labels | {"boxes": np.tile(np.array([[0.2, 0.2, 0.2, 0.9]] * 3, "float32"), (2, 1, 1))}
    assert np.isfinite(ssd.train_on_batch(images, flat, return_dict=True)["loss"])


def test_the_loss_falls_on_one_batch():
    model = build("ssd300")
    images, labels = batch(model)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    losses = [model.train_on_batch(images, labels, return_dict=True)["confidence"] for _ in range(12)]
    assert losses[-1] < 0.7 * losses[0]


def test_crowd_regions_are_no_objects(ssd):
    _, labels = batch(ssd)
    crowd = np.array([[True, False, False]] * 2)
    classes = np.asarray(ssd.encode_targets(labels | {"is_crowd": crowd})["classes"])
    assert set(np.unique(classes)) == {0, 3}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains(policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = build("ssd300")
        images, labels = batch(model)
        model.compile(optimizer=keras.optimizers.SGD(1e-3))
        logs = model.train_on_batch(images, labels, return_dict=True)
        assert np.isfinite(logs["loss"]) and logs["skipped_steps"] == 0
        assert model(images)["logits"].dtype == tf.float32
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_other_classes_keep_everything_but_the_predictors(ssd, tmp_path, caplog):
    path = tmp_path / "a.weights.h5"
    ssd.save_weights(path)
    other = models.SSD300(weights=path, classes=["one", "two"])
    said = caplog.text
    assert "Class predictors start from random values; everything else is loaded" in said
    mine, theirs = (pretrained.zoo.parameters(m) for m in (other, ssd))
    same = [name for name in mine if mine[name].shape == theirs[name].shape and (mine[name] == theirs[name]).all()]
    assert len(mine) - len(same) == 2 * len(other.sources)  # kernel and bias of each class predictor


@pytest.mark.parametrize("ending", [".weights.h5", ".safetensors"])
def test_weights_in_float16_take_half_the_bytes_and_are_loaded_as_float32(ssd, tmp_path, ending):
    whole, half = tmp_path / f"whole{ending}", tmp_path / f"half{ending}"
    ssd.save_weights(whole, optimizer=False)
    ssd.save_weights(half, optimizer=False, dtype="float16")
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    loaded = models.SSD300(weights=half)
    assert loaded.config == ssd.config and loaded.weights[0].dtype == "float32"
    for own, given in zip(values(loaded), values(ssd), strict=True):
        np.testing.assert_array_equal(own, given.astype("float16").astype("float32"))


def test_what_float16_cannot_hold_is_refused(tmp_path):
    model = build("ssd300")
    model.weights[0].assign(keras.ops.full(model.weights[0].shape, 7e4))
    with pytest.raises(ValueError, match="`dtype` must be float32: .* has numbers that float16 cannot hold"):
        model.save_weights(tmp_path / "half.weights.h5", dtype="float16")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="`dtype` must be one of float32, float16; got 'int8'"):
        model.save_weights(tmp_path / "half.weights.h5", dtype="int8")


def test_a_damaged_weights_file_is_one_clear_error(ssd, tmp_path):
    for ending in (".weights.h5", ".keras", ".safetensors"):
        whole, cut = tmp_path / f"whole{ending}", tmp_path / f"cut{ending}"
        ssd.save(whole) if ending == ".keras" else ssd.save_weights(whole)
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        with pytest.raises(ValueError, match="cut"):
            models.SSD300(weights=cut)
        cut.write_text("something else altogether")
        with pytest.raises(ValueError, match="cut"):
            models.SSD300(weights=cut)


def test_as_many_other_classes_are_other_classes_still(ssd, tmp_path):
    path = tmp_path / "a.weights.h5"
    ssd.save_weights(path)
    keras.utils.set_random_seed(5)  # else the new predictors are drawn as the old ones were
    other = models.SSD300(weights=path, classes=["one", "two", "three"])
    mine, theirs = (pretrained.zoo.parameters(m) for m in (other, ssd))
    assert (mine["stage3_conf/kernel"] != theirs["stage3_conf/kernel"]).any()
    np.testing.assert_array_equal(mine["stage3_loc/kernel"], theirs["stage3_loc/kernel"])


def test_a_compiled_model_is_loaded_compiled(ssd, tmp_path, recwarn):
    images, labels = batch(ssd)
    ssd.compile(optimizer=keras.optimizers.SGD(1e-3, momentum=0.9))
    ssd.train_on_batch(images, labels)
    ssd.reset_metrics()
    ssd.save(tmp_path / "a.keras")
    again = keras.models.load_model(tmp_path / "a.keras")
    assert int(again.optimizer.iterations) == 1
    assert not [w for w in recwarn if "compile" in str(w.message)]
    results = [m.train_on_batch(images, labels, return_dict=True)["loss"] for m in (ssd, again)]
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def test_weights_of_another_model_are_refused(ssd, tmp_path):
    ssd.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match="weights of SSD300, not of SSD512"):
        models.SSD512(weights=tmp_path / "a.weights.h5")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"backbone": "resnet"}, "`backbone`"),
        ({"classes": []}, "`classes`"),
        ({"classes": ["a", "a"]}, "more than once"),
        ({"classes": "cat"}, "`classes`"),
        ({"box_scales": "open"}, "`box_scales`"),
        ({"box_scales": (0.1, 0.2)}, "`box_scales`"),
        ({"sources": ("conv1_1",)}, "`sources`"),
        ({"aspect_ratios": ((2,), (3,), (2,))}, "`aspect_ratios`"),
        ({"clip": "corners"}, "`clip`"),
        ({"resize": "crop"}, "`resize`"),
        ({"negative_iou": 0.6}, "`negative_iou` must be None or in 0 .. `matching_iou`, 0.5; got 0.6"),
    ],
)
def test_wrong_arguments_are_named(config, named):
    with pytest.raises(ValueError, match=named):
        build("ssd300", **config)


def test_table_2_aspect_ratios():
    cells = np.array([38, 19, 10, 5, 3, 1]) ** 2
    assert len(build("ssd300", aspect_ratios=(2,), sources=None).default_boxes) == 4 * cells.sum()
    assert len(build("ssd300", aspect_ratios=(), sources=None).default_boxes) == 2 * cells.sum()


def test_table_3_source_layers_and_stacked_scales():
    fewer = build("ssd300", sources=("stage3", "stage4"))
    assert len(fewer.default_boxes) == 38**2 * 4 + 19**2 * 6
    stacked = build("ssd300", sources=("stage4",), box_scales=[[(0.1, 0.2), (0.3, 0.5)]], aspect_ratios=((2, 3),))
    assert len(stacked.default_boxes) == 19**2 * 12


def test_table_3_without_boundary_boxes():
    model = build("ssd300", boundary_boxes=False)
    boxes = model.default_boxes
    crossing = (boxes[:, :2] < 0).any(1) | (boxes[:, 2:] > 1).any(1)
    images, labels = batch(model)
    edge = labels | {"boxes": np.tile(np.array([[0.0, 0.0, 0.4, 0.4]] * 3, "float32"), (2, 1, 1))}
    assert not np.asarray(model.encode_targets(edge)["classes"])[:, crossing].any()
    outputs = {name: np.zeros(value.shape, "float32") for name, value in model(images).items()}
    outputs["logits"][:, crossing, 1] = 20  # certain of a cat where no box was trained: detected all the same
    assert (np.asarray(model.decode(outputs)["scores"])[:, 0] > 0.99).all()


def test_default_boxes_in_the_ignore_band_are_neither(ssd):
    model = build("ssd300", negative_iou=0.3)
    _, labels = batch(model)
    plain, band = (np.asarray(m.encode_targets(labels)["classes"]) for m in (ssd, model))
    assert (band == -1).any() and not (plain == -1).any()
    np.testing.assert_array_equal(np.maximum(band, 0), plain)


def test_classes_of_the_data_must_be_the_models(ssd):
    from keras_det.data import load

    with pytest.raises(ValueError, match="classes=source.classes"):
        ssd.batches(load("shapes", images=4), 2, training=True)
