"""One backbone argument for every model: any backbone, started from ImageNet where there is such a network of it."""

import dataclasses

import numpy as np
import pytest

from keras_det.backbones import BACKBONES
from keras_det.models import ClassGeneric, Classifier, DetectorNet, MultiBox, OneBoxPerClass, SlidingWindows
from keras_det.weights.variables import place

NAME, SIZE = "efficientnet_lite0", 64
SHARED = {"backbone": NAME, "image_size": SIZE, "backbone_weights": "imagenet"}
MODELS = {
    "classifier": lambda **k: Classifier(classes=["cat", "dog"], **k),
    "sliding_windows": lambda **k: SlidingWindows(classifier={"classes": ["cat"], "background": True, **k}),
    "multibox": lambda **k: MultiBox(boxes=5, **k),
    "one_box_per_class": lambda **k: OneBoxPerClass(classes=["cat"], **k),
    "detectornet": lambda **k: DetectorNet(classes=["cat"], d=8, **k),
    "class_generic": lambda **k: ClassGeneric(classes=["cat"], grid_shape=(8, 8, 3, 2), **k),
}


@pytest.fixture
def imagenet(monkeypatch):
    """Stand-in parameters, as ImageNet's would be named, whose values are told apart."""
    network = BACKBONES[NAME].build((SIZE, SIZE))
    values = {place(v): np.full(v.shape, 0.01 * (k % 97), "float32") for k, v in enumerate(network.weights)}
    monkeypatch.setitem(BACKBONES, NAME, dataclasses.replace(BACKBONES[NAME], imagenet=lambda: values))
    return values


@pytest.mark.parametrize("name", MODELS)
def test_any_backbone_starts_from_imagenet(imagenet, name):
    model = MODELS[name](**SHARED)
    found = {place(v): v for v in model.weights if place(v) in imagenet}
    assert len(found) == len(imagenet)
    assert all((np.asarray(found[key]) == value).all() for key, value in imagenet.items())
    outputs = model(np.zeros((1, SIZE, SIZE, 3), "float32"))
    assert all(np.isfinite(np.asarray(value)).all() for value in outputs.values())


@pytest.mark.parametrize("backbone", ["tiny", "alexnet"])
def test_a_backbone_without_imagenet_says_so(backbone):
    with pytest.raises(
        ValueError, match=f"`backbone_weights` must be None with `backbone` '{backbone}'; got 'imagenet'"
    ):
        Classifier(classes=["cat"], backbone=backbone, image_size=96, width=0.1, backbone_weights="imagenet")
    with pytest.raises(ValueError, match="`backbone_weights` must be None or 'imagenet'; got 'coco'"):
        Classifier(classes=["cat"], backbone=NAME, image_size=64, backbone_weights="coco")


def test_detectornet_starts_from_a_classifier_of_any_backbone(tmp_path):
    options = {"backbone": NAME, "image_size": SIZE}
    classifier = Classifier(classes=["cat", "dog"], **options)
    classifier.save_weights(tmp_path / "c.weights.h5")
    theirs = {place(v): np.asarray(v) for v in classifier.features.get_layer(NAME).weights}
    started = DetectorNet(weights=tmp_path / "c.weights.h5", classes=["cat"], d=8)
    ours = {place(v): np.asarray(v) for v in started.mask_backbones[0].get_layer(NAME).weights}
    assert theirs.keys() == ours.keys() and all((theirs[key] == ours[key]).all() for key in ours)
