"""The predictors: which output belongs to which default box, and how they are saved."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_det.layers import MultiBoxHead, PriorBox

SHAPES = ((2, 4, 3, 6), (2, 2, 2, 5))  # B, H, W, channels of two source layers
PER_CELL = (4, 6)
CLASSES = 3


def maps(seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in SHAPES]


def head(**arguments):
    return MultiBoxHead(CLASSES, PER_CELL, ("fine", "coarse"), **arguments)


def weights(layer):
    return {"/".join(v.path.split("/")[-2:]): np.asarray(v) for v in layer.weights}


def plain_conv(x, kernel, bias):
    """3x3 convolution with zeros around, tap by tap."""
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = ((i, j) for i in range(3) for j in range(3))
    return bias + sum(padded[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in taps)


def test_predictions_stand_in_the_order_of_the_default_boxes():
    layer, features = head(), maps()
    offsets, logits = (np.asarray(x) for x in layer(features))
    w = weights(layer)
    assert set(w) == {f"{n}_{p}/{v}" for n in ("fine", "coarse") for p in ("loc", "conf") for v in ("kernel", "bias")}
    row = 0
    for name, x, per_cell in zip(("fine", "coarse"), features, PER_CELL):
        loc = plain_conv(x, w[f"{name}_loc/kernel"], w[f"{name}_loc/bias"])
        conf = plain_conv(x, w[f"{name}_conf/kernel"], w[f"{name}_conf/bias"])
        for r in range(x.shape[1]):
            for c in range(x.shape[2]):
                for k in range(per_cell):
                    here = slice(4 * k, 4 * k + 4), slice(CLASSES * k, CLASSES * k + CLASSES)
                    np.testing.assert_allclose(offsets[:, row], loc[:, r, c, here[0]], atol=1e-5)
                    np.testing.assert_allclose(logits[:, row], conf[:, r, c, here[1]], atol=1e-5)
                    row += 1
    assert offsets.shape == (2, row, 4) and logits.shape == (2, row, CLASSES)


def test_as_many_predictions_as_default_boxes():
    priors = [PriorBox([(0.2, 0.4)], (2,)), PriorBox([(0.4, 0.6)], (2, 3))]
    layer = MultiBoxHead(CLASSES, [p.boxes_per_cell for p in priors], ("a", "b"))
    offsets, logits = layer(maps())
    assert offsets.shape[1] == logits.shape[1] == sum(len(p.boxes(*s[1:3])) for p, s in zip(priors, SHAPES))


def test_depthwise_predictors_separate_space_from_channels():
    layer = head(depthwise=True)
    layer(maps())
    w = {name: value.shape for name, value in weights(layer).items()}
    assert w["fine_conf_dw/kernel"] == (3, 3, 6, 1) and w["fine_conf/kernel"] == (1, 1, 6, 4 * CLASSES)
    assert "fine_conf_dw/bias" not in w and w["fine_conf_bn/gamma"] == (6,)


def test_batch_normalization_learns_only_in_training():
    layer, features = head(depthwise=True), maps()
    layer(features)
    before = weights(layer)
    layer(features, training=False)
    assert all((before[name] == value).all() for name, value in weights(layer).items())
    layer(features, training=True)
    changed = {name for name, value in weights(layer).items() if (before[name] != value).any()}
    assert changed == {name for name in before if "moving" in name}


@pytest.mark.parametrize("depthwise", [False, True])
def test_predictions_stay_float32_under_mixed_precision(depthwise):
    layer = head(depthwise=depthwise, dtype="mixed_float16")
    for x in layer(maps(dtype="float16")):
        assert x.dtype == tf.float32
    kernel = next(v for v in layer.weights if v.path.endswith("fine_loc/kernel"))
    assert kernel.dtype == "float32" and layer.localization[-1].compute_dtype == "float16"


@pytest.mark.parametrize("depthwise", [False, True])
def test_saved_and_loaded_it_predicts_the_same(tmp_path, depthwise):
    inputs = [keras.Input(shape[1:]) for shape in SHAPES]
    layer = head(depthwise=depthwise, initializer=keras.initializers.RandomNormal(stddev=0.01, seed=3))
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "head.keras")
    again = keras.saving.load_model(tmp_path / "head.keras")
    for one, other in zip(model(maps()), again(maps())):
        np.testing.assert_array_equal(one, other)
    assert again.layers[-1].get_config() == layer.get_config()


def test_as_many_names_as_maps():
    with pytest.raises(ValueError, match="2 source layers.*for 1"):
        MultiBoxHead(CLASSES, (4,), ("a", "b"))
    with pytest.raises(ValueError, match="2 source layers; got 3 feature maps"):
        head()([*maps(), maps()[1]])
