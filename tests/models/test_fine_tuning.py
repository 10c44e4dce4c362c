"""Starting from a backbone trained on ImageNet, and keeping layers as they are."""

import functools

import keras
import numpy as np
import pytest

from keras_det import models

CLASSES = ["helmet", "vest"]


@pytest.fixture
def applications(monkeypatch):
    """Keras's networks with random weights in the place of the downloaded ones, and what was built of them."""
    built = {}

    def stand_in(name, original):
        @functools.wraps(original)
        def build(*positional, weights, **config):
            if weights is None:
                return original(*positional, weights=None, **config)
            assert weights == "imagenet"
            built[name] = original(*positional, weights=None, **config)
            for variable in built[name].weights:
                variable.assign(np.random.default_rng(len(variable.shape)).normal(size=variable.shape) * 0.05)
            return built[name]

        return build

    for name in ("VGG16", "MobileNetV2", "MobileNetV3Large"):
        monkeypatch.setattr(keras.applications, name, stand_in(name, getattr(keras.applications, name)))
    return built


def layer(model, name):
    return [np.asarray(w) for w in model.features.get_layer(name).weights]


@pytest.mark.slow
def test_vgg16_is_reduced_by_subsampling(applications):
    model = models.SSD300(classes=CLASSES, backbone_weights="imagenet")
    source = applications["VGG16"]
    np.testing.assert_array_equal(layer(model, "conv3_2")[0], source.get_layer("block3_conv2").get_weights()[0])
    dense, bias = source.get_layer("fc1").get_weights()
    kernel = dense.reshape(7, 7, 512, 4096)
    for at in ((0, 0), (1, 2), (2, 2)):
        np.testing.assert_array_equal(layer(model, "fc6")[0][at], kernel[3 * at[0], 3 * at[1]][:, ::4])
    np.testing.assert_array_equal(layer(model, "fc6")[1], bias[::4])
    np.testing.assert_array_equal(layer(model, "fc7")[0][0, 0], source.get_layer("fc2").get_weights()[0][::4, ::4])


@pytest.mark.slow
def test_mobilenets_take_over_every_layer(applications, caplog):
    model = models.SSD300(backbone="mobilenet_v3_large", classes=CLASSES, backbone_weights="imagenet")
    source = applications["MobileNetV3Large"]
    np.testing.assert_array_equal(layer(model, "conv")[0], source.get_layer("conv").get_weights()[0])
    last = [layer_.get_weights() for layer_ in source.layers if layer_.get_weights()][-2]
    np.testing.assert_array_equal(layer(model, "last_conv")[0], last[0])
    assert "have no place" not in caplog.text
    lite = models.SSDLite320(classes=CLASSES, backbone_weights="imagenet")  # its tail is half as wide
    np.testing.assert_array_equal(layer(lite, "block12_project")[0], layer(model, "block12_project")[0])
    assert "have no place" in caplog.text
    model = models.SSD300(backbone="mobilenet_v2", classes=CLASSES, backbone_weights="imagenet")
    expected = applications["MobileNetV2"].get_layer("block_13_expand").get_weights()[0]
    np.testing.assert_array_equal(layer(model, "block_13_expand")[0], expected)


def test_there_is_no_other_start():
    with pytest.raises(ValueError, match="imagenet"):
        models.SSD300(backbone="tiny", classes=CLASSES, backbone_weights="imagenet")
    with pytest.raises(ValueError, match="imagenet"):
        models.SSD300(backbone="mobilenet_v2", classes=CLASSES, backbone_weights="places")


def test_frozen_layers_do_not_move(tmp_path):
    model = models.SSD300(weights="shapes", classes=CLASSES, freeze="stage4_conv1_bn")
    names = [one.name for one in model.features.layers]
    frozen = set(names[: names.index("stage4_conv1_bn") + 1])
    before = {name: layer(model, name) for name in names}
    images = np.random.default_rng(0).integers(0, 256, (2, 300, 300, 3)).astype("float32")
    labels = {"boxes": np.array([[[0.1, 0.1, 0.6, 0.5]]] * 2, "float32"), "labels": np.array([[0], [1]], "int32")}
    model.compile(optimizer=keras.optimizers.SGD(1e-2))
    model.train_on_batch(images, labels)
    moved = {n for n in names if any((a != b).any() for a, b in zip(before[n], layer(model, n)))}
    assert not moved & frozen
    assert {"stage4_conv2", "stage4_conv2_bn", "stage5_conv1"} <= moved
    model.save_weights(tmp_path / "a.weights.h5")
    assert models.SSD300(weights=tmp_path / "a.weights.h5").config.freeze == "stage4_conv1_bn"


def test_an_unknown_layer_cannot_be_frozen():
    with pytest.raises(ValueError, match="`freeze`.*conv99"):
        models.SSD300(backbone="tiny", classes=CLASSES, freeze="conv99")
