"""EfficientNet-Lite0 with its ImageNet parameters, beside what its authors' network gave."""

import keras
import numpy as np
import pytest

from keras_det import models
from keras_det.backbones import BACKBONES
from keras_det.weights.registry import IMAGENET_CLASSES


@pytest.fixture(scope="module")
def reference(shared):
    with np.load(shared / "reference" / "efficientnet_lite0.npz") as found:
        return dict(found)


@pytest.fixture(scope="module")
def classifier(package_index):
    return models.Classifier(weights="imagenet")


def relative(found, expected):
    """The length of the difference beside that of what is expected."""
    return np.linalg.norm(np.ravel(np.asarray(found) - expected)) / np.linalg.norm(np.ravel(expected))


def test_logits_and_features_are_those_recorded(classifier, reference):
    features = keras.Model(classifier.features.input, classifier.features.output["map"])(reference["images"])
    assert relative(features[0], reference["features_first"]) < 1e-4
    assert relative(np.mean(features, axis=(1, 2)), reference["features_mean"]) < 1e-4
    assert relative(classifier(reference["images"].astype("float32"))["logits"], reference["logits"]) < 1e-4


def test_an_odd_size_too(classifier, reference):
    """Sides of 300 and 333 are odd after one or two halvings."""
    backbone = BACKBONES["efficientnet_lite0"].build(reference["odd_image"].shape[1:3])
    backbone.set_weights(classifier.features.get_layer("efficientnet_lite0").get_weights())
    image = (reference["odd_image"].astype("float32") - 127) / 128
    last = np.asarray(backbone(image)["head"])
    assert last.shape == tuple(reference["odd_features_shape"])
    mean = last.mean(axis=(1, 2))
    assert relative(mean, reference["odd_features_mean"]) < 1e-4
    kernel, bias = classifier.head.get_weights()
    assert relative(mean @ kernel + bias, reference["odd_logits"]) < 1e-4


def test_ssds_start_from_it(classifier):
    expected = classifier.features.get_layer("efficientnet_lite0").get_layer("block3_expand").get_weights()[0]
    for model in (models.SSD300, models.SSDLite320):
        network = model(classes=["a"], backbone="efficientnet_lite0", backbone_weights="imagenet")
        np.testing.assert_array_equal(network.features.get_layer("block3_expand").get_weights()[0], expected)
        cells = {name: tuple(value.shape[1:3]) for name, value in network.features.output.items()}
        assert cells["head"] == ((9, 9) if network.size == 300 else (10, 10))


def test_the_thousand_classes_have_names():
    assert len(set(IMAGENET_CLASSES)) == 1000 and IMAGENET_CLASSES[0] == "tench"
    assert IMAGENET_CLASSES[999] == "toilet tissue"
