import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_det import models
from keras_det.backbones import BACKBONES
from keras_det.weights import entries, get
from keras_det.weights.download import verify
from keras_det.weights.metadata import read_metadata
from keras_det.weights.registry import COCO_CLASSES, EMBEDDED_FOLDER, VOC_CLASSES

ENTRIES = pytest.mark.parametrize("entry", entries(), ids=lambda entry: f"{entry.model}-{entry.name}")
DIGITS = {"sha256": 64, "git_blob": 40, "sha256_prefix": 8}


def multiply_adds(model):
    """Of the layers at the input size; what torchvision counts, too."""
    return (_of_ssd(model) if hasattr(model, "sources") else _of_graph(model)) / 1e9


def _of_ssd(model):
    """From the layers, since the graph's dilated convolution works on a padded map."""
    layers = [layer for layer in model.features._flatten_layers() if hasattr(layer, "kernel")]
    total = sum(np.prod(layer.output.shape[1:3]) * np.prod(layer.kernel.shape) for layer in layers)
    for predictors in (model.head.localization, model.head.confidence):
        for source, predictor in zip(model.sources, model.head._of_each_map(predictors)):
            cells = np.prod(model.features.output[source].shape[1:3])
            total += sum(cells * np.prod(layer.kernel.shape) for layer in predictor if hasattr(layer, "kernel"))
    return total


def _of_graph(model):
    """Each output of a convolution or dense layer takes all weights of its channel."""
    random_image = tf.TensorSpec((1, *model.image_size, 3))
    graph = tf.function(lambda image: model(image)).get_concrete_function(random_image).graph
    layers = [op for op in graph.get_operations() if op.type in ("Conv2D", "MatMul", "BatchMatMulV2")]
    each = [op for op in graph.get_operations() if op.type == "DepthwiseConv2dNative"]
    total = sum(np.prod(op.outputs[0].shape) * np.prod(op.inputs[1].shape[:-1]) for op in layers)
    return total + sum(np.prod(op.outputs[0].shape) * np.prod(op.inputs[1].shape[:2]) for op in each)


def test_one_entry_for_each_name():
    keys = [(entry.model, entry.name) for entry in entries()]
    assert len(set(keys)) == len(keys)
    assert {("SSD300", "voc"), ("SSD300", "coco"), ("SSD512", "voc"), ("SSDLite320", "coco")} <= set(keys)


@ENTRIES
def test_fields(entry):
    assert re.match(r"(https://|embedded:|manual:|pypi:)", entry.source)
    assert "/master/" not in entry.source and "/main/" not in entry.source
    places = (entry.embedded, entry.url, entry.page, entry.source.startswith("pypi:") or None)
    assert sum(place is not None for place in places) == 1
    if entry.integrity:
        assert re.fullmatch(f"[0-9a-f]{{{DIGITS[entry.integrity.kind]}}}", entry.integrity.digest)
    assert entry.integrity or entry.converter
    assert 0 < entry.reported.value < 1 and entry.reported.source
    assert len(set(entry.classes)) == len(entry.classes)
    assert entry.license and entry.trained_on


@ENTRIES
def test_size_and_preprocessing_of_the_network(entry):
    model = getattr(models, entry.model)(**entry.constructor_arguments)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_weights) == entry.parameters
    assert multiply_adds(model) == pytest.approx(entry.gflops, abs=5e-4 if entry.gflops > 0.1 else 5e-5)
    if entry.model.startswith("SSD"):
        backbone = BACKBONES[model.backbone_name]
        np.testing.assert_allclose(backbone.mean, entry.preprocessing.mean, atol=1e-3)
        assert backbone.scale == pytest.approx(entry.preprocessing.scale)
    keras.backend.clear_session()


@pytest.mark.parametrize("entry", [one for one in entries() if one.embedded], ids=lambda entry: entry.model)
def test_arguments_are_those_in_the_file(entry):
    stored = read_metadata(entry.embedded)["config"]
    stored.setdefault("classes", ["object"])  # MultiBox has no other
    assert stored == stored | json.loads(json.dumps(entry.constructor_arguments))


def test_published_counts():
    """As torchvision states them."""
    assert get("SSD300", "coco").parameters == 35_641_826 and get("SSD300", "coco").gflops == 34.858
    assert get("SSDLite320", "coco").parameters == 3_440_060 and get("SSDLite320", "coco").gflops == 0.583


def test_embedded_files_and_entries_agree():
    embedded = [entry for entry in entries() if entry.embedded]
    for entry in embedded:
        verify(entry.embedded, entry)
    present = {path.name for path in EMBEDDED_FOLDER.glob("*.h5")}
    assert present == {entry.filename for entry in embedded}


def test_classes():
    assert len(VOC_CLASSES) == 20 and len(COCO_CLASSES) == 90
    assert COCO_CLASSES[0] == "person" and COCO_CLASSES[89] == "toothbrush"
    assert sum(name.startswith("unused ") for name in COCO_CLASSES) == 10


def test_coco_classes_have_the_places_of_their_ids(shared):
    import json

    path = next((shared / "data" / "coco_tiny").rglob("*instances*.json"))
    categories = json.loads(path.read_text())["categories"]
    assert len(categories) == 80
    assert all(COCO_CLASSES[category["id"] - 1] == category["name"] for category in categories)


def test_unknown_name():
    with pytest.raises(ValueError, match="`weights` of SSD300 must be one of: shapes, voc, .*coco.*; got 'nothing'"):
        get("SSD300", "nothing")
    assert get("ssd300", "voc") is get("SSD300", "voc")
