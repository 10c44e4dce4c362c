"""Letterboxing: one rectangle for the data, the network and the runtimes, and boxes there and back."""

import json
import pathlib
import runpy
import zipfile

import numpy as np
import pytest
import small_models
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from PIL import Image

from keras_det import export, models
from keras_det.boxes import canvas_window, from_window, letterbox
from keras_det.data import HorizontalFlip, SSDAugmentation, load
from keras_det.data.batching import OriginalImage
from keras_det.data.resize import fitted, resize
from keras_det.export import runtimes
from keras_det.export.checks import compare
from keras_det.export.to_saved_model import NAMES
from keras_det.weights.registry import CAFFE_MEAN

SIDES = st.integers(1, 4000)
HOW = {"resize": "letterbox", "fill": CAFFE_MEAN}


@given(height=SIDES, width=SIDES, rows=st.integers(1, 600), columns=st.integers(1, 600))
@settings(max_examples=300, deadline=None)
def test_an_image_is_as_large_as_fits_and_keeps_its_shape(height, width, rows, columns):
    top, left, here, across = (int(edge) for edge in letterbox(height, width, (rows, columns), np))
    scale = min(rows / height, columns / width)
    assert here == rows or across == columns
    assert abs(here - max(height * scale, 1)) <= 0.5 + 1e-6 and abs(across - max(width * scale, 1)) <= 0.5 + 1e-6
    assert 0 <= top <= rows - here - top <= top + 1 and 0 <= left <= columns - across - left <= left + 1
    for xp in (tf, ops):
        assert [int(edge) for edge in letterbox(height, width, (rows, columns), xp)] == [top, left, here, across]


@given(height=SIDES, width=SIDES, seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_boxes_go_there_and_come_back(height, width, seed):
    low = np.random.default_rng(seed).uniform(0, 0.5, (5, 2))
    boxes = np.concatenate([low, low + 0.4], axis=1).astype("float32")
    top, left, rows, columns = (int(edge) for edge in letterbox(height, width, (300, 200), np))
    there = (boxes * [rows, columns, rows, columns] + [top, left, top, left]) / [300, 200, 300, 200]
    back = from_window(there.astype("float32"), canvas_window(height, width, (300, 200)))
    np.testing.assert_allclose(back, boxes, atol=3e-3 if min(rows, columns) == 1 else 2e-5)


@pytest.mark.parametrize("shape", [(90, 210), (210, 90), (64, 64), (7, 500), (128, 96)])
def test_data_network_and_runtimes_see_the_same_pixels(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype="uint8")
    model = small_models.build("ssd300", resize="letterbox")
    boxes = np.array([[0.1, 0.2, 0.6, 0.7]], "float32")
    data, moved = fitted(image, boxes, model.image_size, "letterbox")
    network, window = model.fitted(image[None])
    runtime, runtime_window = runtimes.fitted(image, *model.image_size, HOW)
    np.testing.assert_allclose(network[0], data, atol=2e-2)  # places in float32, in images of noise
    np.testing.assert_allclose(runtime, data, atol=1e-3)
    np.testing.assert_allclose(window, runtime_window, atol=1e-6)
    np.testing.assert_allclose(from_window(np.asarray(moved), window), boxes, atol=1e-5)
    top, left, rows, columns = (int(edge) for edge in letterbox(*shape, model.image_size, np))
    inside = np.zeros(model.image_size, bool)
    inside[top : top + rows, left : left + columns] = True
    np.testing.assert_allclose(np.asarray(data)[inside].reshape(rows, columns, 3), resize(image, (rows, columns)))
    assert (np.asarray(data)[~inside] == CAFFE_MEAN).all()


def bright(image):
    """The box of the bright pixels of a dark image, in fractions of its sides."""
    y, x = np.nonzero(np.asarray(image).min(axis=-1) > 128)
    return np.array([y.min(), x.min(), y.max() + 1, x.max() + 1]) / np.tile(image.shape[:2], 2)


@pytest.mark.parametrize("kind", ["plain", "flip", "ssd"])
def test_boxes_lie_where_the_pixels_do(kind):
    image = np.zeros((120, 300, 3), "uint8")
    image[30:90, 200:260] = 255
    box = np.array([[30 / 120, 200 / 300, 90 / 120, 260 / 300]], "float32")
    augment = {
        "plain": None,
        "flip": HorizontalFlip((96, 128), "letterbox"),
        "ssd": SSDAugmentation((96, 128), expand=True, mean=(0.0, 0.0, 0.0), resize="letterbox"),
    }[kind]
    if augment is None:
        found, boxes = fitted(image, box, (96, 128), "letterbox")
        found = np.where(np.asarray(found) == CAFFE_MEAN, 0, found)
        np.testing.assert_allclose(bright(found), boxes[0], atol=1.5 / 96)
        return
    original = OriginalImage(tf.constant(b""), tf.constant(image), tf.constant(image.shape[:2], tf.int32))
    objects = {
        "boxes": tf.constant(box),
        "labels": tf.constant([0]),
        "difficult": tf.constant([False]),
        "is_crowd": tf.constant([False]),
    }
    seen = 0
    for seed in range(30):
        found, kept = augment(original, dict(objects), tf.constant([seed, 1], tf.int64))
        if len(kept["boxes"]) == 0:
            continue
        found = np.where(np.asarray(found) == CAFFE_MEAN, 0, found) if kind == "flip" else np.asarray(found)
        height, width = (kept["boxes"][0, 2:] - kept["boxes"][0, :2]).numpy() * (96, 128)
        if found.max() > 200 and min(height, width) > 8:
            np.testing.assert_allclose(bright(found), kept["boxes"][0], atol=2.5 / 96)
            if kind == "flip" or (kept["boxes"].numpy() > 0.01).all() and (kept["boxes"].numpy() < 0.99).all():
                seen += 1
    assert seen > 4


def test_training_evaluation_and_detection_agree():
    scenes = load("shapes", images=4, seed=3)
    wide = scenes.image(0)[:150]
    model = small_models.build("ssd300", classes=scenes.classes, resize="letterbox", score_threshold=0.0)
    found = model.detections(wide[None])
    shown, window = model.fitted(wide[None])
    own = model.decode(model(shown))
    count = int(found["num_detections"][0])
    np.testing.assert_allclose(from_window(own["boxes"], window)[0, :count], found["boxes"][0, :count], atol=1e-5)
    images, labels = next(iter(model.batches(scenes, 4, training=False)))
    np.testing.assert_allclose(images[0], model.fitted(scenes.image(0)[None])[0][0], atol=2e-2)


@pytest.mark.slow
def test_saved_model_onnx_and_tflite_letterbox(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("ai_edge_litert.interpreter")
    model = models.SSD300(weights="shapes", resize="letterbox")
    image = load("shapes", images=1, seed=5).image(0)[60:210]
    expected = {key: value[0] for key, value in model.detections(image[None]).items()}

    def check(found):
        ours = {key: np.asarray(found[name]) for key, name in NAMES.items()}
        difference, unmatched = compare([expected], [ours], "float32", model.config.score_threshold)
        assert difference < 1e-4 and unmatched == 0

    served = tf.saved_model.load(str(export.saved_model(model, tmp_path / "m"))).signatures
    check({k: v[0] for k, v in served["serving_default"](tf.constant(image[None])).items()})
    encoded = tf.constant([tf.io.encode_png(image).numpy()] * 2)
    check({k: v[1] for k, v in served["serving_bytes"](encoded).items()})
    session = runtime.InferenceSession(str(export.onnx(model, tmp_path / "m.onnx")))
    outputs = zip([o.name for o in session.get_outputs()], session.run(None, {"images": image[None]}))
    check({name: value[0] for name, value in outputs})
    path = str(export.tflite(model, tmp_path / "m.tflite"))
    check(runtimes.load("tflite", path)(image))
    edge = runpy.run_path(str(pathlib.Path(export.__file__).parents[2] / "export" / "edge" / "detect.py"))
    found = edge["Detector"](path)(Image.fromarray(image), score_threshold=0.0)
    first = np.array(found[0][0]) / np.tile(image.shape[:2], 2)
    np.testing.assert_allclose(first, expected["boxes"][0], atol=1e-4)
    assert json.loads(zipfile.ZipFile(path).read("input.json"))["resize"] == "letterbox"
