"""Every model of the zoo: what a file registers is built, trained, saved, resumed, served and exported here."""

import functools
import pathlib

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

from keras_det import export, models
from keras_det.backbones import tiny_net
from keras_det.data import load
from keras_det.export.checks import compare
from keras_det.export.to_saved_model import NAMES
from keras_det.models.registry import MODELS, entry_of, register
from keras_det.training import Recipe, train
from keras_det.training.run import RunFolder, read_csv

LONG = ("detectornet", "overfeat")  # their search and merge are compiled for half a minute
ALL = sorted(MODELS)
DETECTORS = [name for name in ALL if MODELS[name].model.detects]
TRAINED = [name for name in ALL if name != "multibox_detector"]  # whose parts are trained apart
ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def smaller_backbone(monkeypatch):
    monkeypatch.setattr(tiny_net, "STAGES", small_models.STAGES)


def marked(names, slow=(), long=LONG):
    """The names, some of which are left out of `make test`."""
    marks = {name: pytest.mark.slow for name in slow} | {name: pytest.mark.long for name in long}
    return [pytest.param(name, marks=marks.get(name, ())) for name in names]


@functools.cache
def model(name):
    return small_models.build(name)


@functools.cache
def images(name):
    return small_models.batch(model(name))[0].astype("uint8")


@pytest.mark.parametrize("name", ALL)
def test_it_is_known_by_its_name(name):
    entry, cls = MODELS[name], models.get(name)
    assert cls is entry.model is getattr(models, cls.__name__) and entry_of(cls) is entry
    assert cls.__name__ in models.__all__ and name in models.list()
    assert keras.saving.get_registered_name(cls) == f"keras_det>{cls.__name__}"


@pytest.mark.parametrize("name", ALL)
def test_it_is_documented(name):
    cls = models.get(name)
    assert "Reference:" in cls.__doc__ or "Args:" in cls.__doc__
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "detectors").glob("*.md"))
    assert f"`{cls.__name__}" in pages or f"{cls.__name__}(" in pages


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_of_training_moves_the_weights(name):
    network = small_models.build(name)
    batch = small_models.batch(network)
    network.compile(optimizer=keras.optimizers.SGD(1e-3))
    before = small_models.values(network.weights)
    logs = network.train_on_batch(*batch, return_dict=True)
    assert set(logs) == {"loss", "skipped_steps", *network.loss_terms, *network.counters}
    assert logs["loss"] == pytest.approx(sum(logs[term] for term in network.loss_terms), rel=1e-5)
    assert np.isfinite(logs["loss"]) and logs["skipped_steps"] == 0
    assert any((old != new).any() for old, new in zip(before, small_models.values(network.weights)))


@pytest.mark.parametrize("ending", [".keras", ".weights.h5", ".safetensors"])
@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded_it_gives_the_same(name, ending, tmp_path):
    network, given = model(name), images(name)[:1]
    path = tmp_path / f"model{ending}"
    network.save(path) if ending == ".keras" else network.save_weights(path)
    again = [type(network)(weights=path)]
    if ending == ".keras":
        again.append(keras.models.load_model(path))
    expected = network(given)
    for other in again:
        assert other.classes == network.classes and other.config == network.config
        for key, value in other(given).items():
            np.testing.assert_array_equal(value, expected[key])


@pytest.mark.parametrize("name", marked(DETECTORS))
def test_detections_are_sorted_padded_and_inside(name):
    found = model(name).detections(images(name))
    boxes, scores, labels = found["boxes"], found["scores"], found["labels"]
    assert boxes.shape[::2] == (2, 4) and scores.shape == labels.shape == boxes.shape[:2]
    assert boxes.shape[1] <= model(name).nms_options.get("max_detections", 100)
    assert (np.diff(scores) <= 0).all() and boxes.min() >= 0 and boxes.max() <= 1
    for row, n in enumerate(found["num_detections"]):
        assert (labels[row, :n] >= 0).all() and (labels[row, n:] == -1).all() and not scores[row, n:].any()


class Killed(Exception):
    """As a kill, as far as the folder is concerned."""


@pytest.mark.parametrize("name", marked(sorted({*small_models.TRAINED} & {*ALL}), ["multibox"], {*ALL} - {"multibox"}))
def test_a_run_that_is_resumed_ends_as_one_that_never_stopped(name, tmp_path, monkeypatch):
    scenes = load("shapes", images=4, seed=3, size=96)
    recipe = Recipe(name, "shapes", "test", batch_size=2, steps=2, steps_per_epoch=1, warmup=0)

    def run(folder, resume=False):
        network = small_models.build(name, classes=scenes.classes)
        train(network, recipe, scenes, folder, resume=resume, verbose=0)
        return small_models.values(network.weights)

    whole = run(tmp_path / "whole")
    complete = RunFolder._complete

    def kill(self, row):
        raise Killed

    monkeypatch.setattr(RunFolder, "_complete", kill)
    with pytest.raises(Killed):
        run(tmp_path / "killed")
    monkeypatch.setattr(RunFolder, "_complete", complete)
    for old, new in zip(whole, run(tmp_path / "killed", resume=True), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-6)
    assert [row["epoch"] for row in read_csv(tmp_path / "killed" / "results.csv")] == [1, 2]


@functools.cache
def decided(name):
    """A model that is sure of something, so that formats which round differently find the same; and what it finds."""
    network = small_models.build(name)
    rng = np.random.default_rng(1)
    for variable in network.trainable_weights:
        if any(f"{predictor}/" in variable.path for predictor in network.class_predictors):
            variable.assign(variable * 8 + 0.3 * rng.standard_normal(variable.shape))
    given = images(name)[:, :, ::-1].copy()
    expected = network.detections(given)
    return network, given, [{key: value[row] for key, value in expected.items()} for row in range(len(given))]


def assert_the_same(network, expected, found):
    """The same detections, in whatever order equal scores have them; boxes without area overlap nothing."""
    rows = [(one[key], other[key]) for one, other in zip(expected, found) for key in NAMES]
    if all(np.allclose(one, other, atol=1e-5) for one, other in rows):
        return
    difference, unmatched = compare(expected, found, "float32", network.nms_options.get("score_threshold", 0.0))
    assert unmatched == 0 and difference < 1e-4


EXPORTED = [name for name in DETECTORS if MODELS[name].model.any_size]


@pytest.mark.parametrize("name", marked(EXPORTED, {*EXPORTED} - {"ssd300", "class_generic"}))
def test_it_is_served_from_images_and_from_files(name, tmp_path):
    network, given, expected = decided(name)
    served = tf.saved_model.load(str(export.saved_model(network, tmp_path / "m"))).signatures
    encoded = tf.constant([tf.io.encode_png(image).numpy() for image in given])
    for found in (served["serving_default"](tf.constant(given)), served["serving_bytes"](encoded)):
        rows = [{key: found[NAMES[key]][row].numpy() for key in NAMES} for row in range(len(given))]
        assert_the_same(network, expected, rows)


@pytest.mark.parametrize("name", marked(EXPORTED, {*EXPORTED} - {"ssd300"}))
def test_it_leaves_as_onnx(name, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    network, given, expected = decided(name)
    session = runtime.InferenceSession(str(export.onnx(network, tmp_path / "model.onnx")))
    outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"images": given})))
    rows = [{key: outputs[NAMES[key]][row] for key in NAMES} for row in range(len(given))]
    assert_the_same(network, expected, rows)


@pytest.mark.parametrize(
    "name", marked([name for name in DETECTORS if MODELS[name].model.single_pass], ("ssdlite300", "ssdlite320"), ())
)
def test_it_leaves_as_tflite(name, tmp_path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    network, given, expected = decided(name)
    run = interpreter(str(export.tflite(network, tmp_path / "model.tflite"))).get_signature_runner()
    outputs = [run(images=image[None].astype("float32")) for image in given]
    rows = [{key: row[NAMES[key]][0] for key in NAMES} for row in outputs]
    assert_the_same(network, expected, rows)


@pytest.mark.parametrize("name", [name for name in DETECTORS if not MODELS[name].model.single_pass])
def test_several_passes_do_not_fit_into_tflite(name, tmp_path):
    with pytest.raises(ValueError, match="looks at an image several times"):
        export.tflite(model(name), tmp_path / "model.tflite")


@pytest.mark.parametrize("name", sorted({*DETECTORS} - {*EXPORTED}))
def test_what_is_compiled_for_each_size_fits_into_no_file(name, tmp_path):
    for to_file in (export.saved_model, export.onnx):
        with pytest.raises(ValueError, match="compiled anew for each size"):
            to_file(model(name), tmp_path / "model")


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="'ssd300' is SSD300"):

        @register("ssd300")
        class Other:
            pass


def test_a_subclass_has_the_metrics_of_its_base():
    class Mine(models.DetectorNet):
        pass

    assert entry_of(Mine).extra_metrics == MODELS["detectornet"].extra_metrics
    assert entry_of(models.Detector) is None
