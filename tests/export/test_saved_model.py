"""The SavedModel gives the model's detections where neither keras_det nor a network's code is at hand."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_det import models
from keras_det.data import load, read_image
from keras_det.export import saved_model

RUN = """
import sys
sys.modules["keras_det"] = None  # importing it is an error
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
given = np.load(sys.argv[2])
served = model.signatures["serving_default"](tf.constant(given["images"]))
encoded = [tf.io.encode_png(image).numpy() for image in given["images"]] + [tf.io.encode_jpeg(given["other"]).numpy()]
from_bytes = model.signatures["serving_bytes"](tf.constant(encoded))
raw = model.signatures["raw"](tf.constant(given["images"][:, :300, :300].astype("float32")))
parts = {"": served, "bytes_": from_bytes, "raw_": raw}
np.savez(sys.argv[3], **{prefix + key: value for prefix, part in parts.items() for key, value in part.items()})
"""


@pytest.fixture(scope="module")
def model():
    return models.SSD300(weights="shapes")


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return saved_model(model, tmp_path_factory.mktemp("export") / "ssd300", version=3)


@pytest.fixture(scope="module")
def served(exported, tmp_path_factory):
    """What another process gets from the export, and what it was given."""
    folder = tmp_path_factory.mktemp("served")
    scenes = load("shapes", images=3, seed=21, size=333)
    given = {"images": np.stack([scenes.image(0)[:310], scenes.image(1)[:310]]), "other": scenes.image(2)}
    np.savez(folder / "given.npz", **given)
    subprocess.run([sys.executable, "-c", RUN, exported, folder / "given.npz", folder / "out.npz"], check=True)
    return given, dict(np.load(folder / "out.npz"))


def test_layout_and_assets(exported, model):
    assert exported.name == "3"
    assert (exported / "assets" / "labels.txt").read_text().split() == list(model.classes)
    assert json.loads((exported / "assets" / "model.json").read_text())["image_size"] == [300, 300]
    assert not list(exported.parent.glob(".export-*"))


def test_the_same_detections(served, model):
    given, out = served
    expected = model.detections(given["images"])
    assert expected["num_detections"].min() > 0
    for name, key in (("boxes", "detection_boxes"), ("scores", "detection_scores"), ("labels", "detection_classes")):
        np.testing.assert_allclose(out[key], expected[name], atol=1e-5, err_msg=key)
    np.testing.assert_array_equal(out["num_detections"], expected["num_detections"])


def test_encoded_images_of_different_sizes(served, model):
    given, out = served
    np.testing.assert_allclose(out["bytes_detection_scores"][:2], out["detection_scores"], atol=1e-5)
    decoded = read_image(tf.io.encode_jpeg(given["other"]).numpy())
    expected = model.detections(decoded[None])["scores"][0]
    np.testing.assert_allclose(out["bytes_detection_scores"][2], expected, atol=1e-5)


def test_raw_outputs(served, model):
    given, out = served
    expected = model(given["images"][:, :300, :300].astype("float32"))
    for name in ("offsets", "logits"):
        np.testing.assert_allclose(out[f"raw_{name}"], expected[name], atol=1e-4)


def test_a_version_is_never_overwritten(exported, model):
    with pytest.raises(FileExistsError, match="exists"):
        saved_model(model, exported.parent, version=3)


@pytest.mark.parametrize("version", [0, -1, "1", 1.5])
def test_a_wrong_version_is_refused(version, tmp_path):
    with pytest.raises(ValueError, match="positive integer"):
        saved_model(None, tmp_path, version=version)


def test_a_failed_export_leaves_nothing(model, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(OSError, match="No space"):
        saved_model(model, tmp_path / "m")
    assert list((tmp_path / "m").iterdir()) == []
