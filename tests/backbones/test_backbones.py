"""Backbones: sizes of their maps, their parameters, and the subsampling of VGG16's classifier."""

import math

import keras
import numpy as np
import pytest

from keras_det.backbones import (
    BACKBONES,
    alexnet,
    fine_map,
    last_vector,
    mobilenet_v2,
    mobilenet_v3_large,
    tiny,
    vgg16,
)
from keras_det.backbones.common import subsample
from keras_det.backbones.mobilenet import v1_from_application, v2_from_application, v3_from_application
from keras_det.backbones.vgg import from_application
from keras_det.models.pretrained import load_backbone


def sizes(model):
    return {name: tuple(output.shape[1:]) for name, output in model.output.items()}


@pytest.mark.parametrize("size", [300, 512])
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "tiny"])
def test_maps_of_stride_8_16_and_32_round_up(name, size):
    entry = BACKBONES[name]
    found = sizes(entry.build((size, size)))
    assert tuple(found) == entry.sources
    assert [shape[0] for shape in found.values()] == [math.ceil(size / stride) for stride in (8, 16, 32)]


def test_maps_need_not_be_square():
    assert [shape[:2] for shape in sizes(tiny((100, 203))).values()] == [(13, 26), (7, 13), (4, 7)]


def test_vgg16_of_300_pixels_gives_38_and_19_cells():
    model = vgg16((300, 300))
    assert sizes(model) == {"conv4_3": (38, 38, 512), "conv5_3": (19, 19, 512), "fc7": (19, 19, 1024)}
    convolutions = 14_714_688  # Simonyan and Zisserman's configuration D without its classifier
    assert model.count_params() == convolutions + (9 * 512 + 1) * 1024 + (1024 + 1) * 1024


def test_the_full_vgg16_has_the_classifier_of_4096():
    model = vgg16((300, 300), atrous=False)
    assert sizes(model)["fc7"] == (10, 10, 4096)
    assert model.count_params() == 14_714_688 + (49 * 512 + 1) * 4096 + (4096 + 1) * 4096


def test_fc6_sees_holes_of_six():
    """A single bright cell reaches the nine cells 6 apart, through a pooling that reaches one further."""
    inputs, kernel = keras.Input((25, 25, 1)), np.ones((3, 3, 1, 1), "float32")
    source = vgg16((300, 300))
    pool, fc6 = (type(layer).from_config(layer.get_config()) for layer in map(source.get_layer, ("pool5", "fc6")))
    fc6.filters = 1
    model = keras.Model(inputs, fc6(pool(inputs)))
    fc6.set_weights([kernel, np.zeros(1, "float32")])
    x = np.zeros((1, 25, 25, 1), "float32")
    x[0, 12, 12] = 1
    lit = np.unique(np.argwhere(np.asarray(model(x))[0, :, :, 0])[:, 0])
    assert lit.tolist() == [5, 6, 7, 11, 12, 13, 17, 18, 19]


def test_parameters_of_mobilenets_are_those_of_keras():
    for ours, theirs in (
        (mobilenet_v3_large, keras.applications.MobileNetV3Large),
        (mobilenet_v2, keras.applications.MobileNetV2),
    ):
        expected = theirs((96, 96, 3), include_top=False, weights=None).count_params()
        assert ours((96, 96)).count_params() == expected


def test_the_reduced_tail_halves_what_comes_after_stride_16():
    whole, reduced = (sizes(mobilenet_v3_large((320, 320), reduced_tail=r)) for r in (False, True))
    assert whole == {"block7_expand": (40, 40, 240), "block13_expand": (20, 20, 672), "last_conv": (10, 10, 960)}
    assert reduced == whole | {"last_conv": (10, 10, 480)}


def test_tiny_is_tiny():
    assert tiny((300, 300)).count_params() == 541_520


class Classifier:
    """As much of `keras.applications.VGG16` as `from_application` reads; few outputs, and every value its own index."""

    def get_layer(self, name):
        shape = {"fc1": (7 * 7 * 512, 8), "fc2": (4096, 8)}.get(name, (3, 3, 1, 2))
        kernel = np.arange(math.prod(shape), dtype="float64").reshape(shape)
        layer = type("Layer", (), {})()
        layer.get_weights = lambda: [kernel, np.arange(shape[-1], dtype="float64")]
        return layer


def test_vgg16_is_subsampled_as_the_authors_did():
    parameters = from_application(Classifier())
    fc1, fc2 = (Classifier().get_layer(name).get_weights()[0] for name in ("fc1", "fc2"))
    assert parameters["fc6/kernel"].shape == (3, 3, 512, 2) and parameters["fc7/kernel"].shape == (1, 1, 1024, 2)
    for row in range(3):
        for column in range(3):
            for channel in (0, 1, 100, 511):
                for out in range(2):
                    flat = (3 * row * 7 + 3 * column) * 512 + channel  # the classifier flattens row, column, channel
                    assert parameters["fc6/kernel"][row, column, channel, out] == fc1[flat, 4 * out]
    for channel in (0, 1, 77, 1023):
        assert parameters["fc7/kernel"][0, 0, channel].tolist() == fc2[4 * channel, ::4].tolist()
    assert parameters["fc6/bias"].tolist() == parameters["fc7/bias"].tolist() == [0, 4]


def test_the_full_vgg16_keeps_every_parameter():
    parameters = from_application(Classifier(), atrous=False)
    fc1 = Classifier().get_layer("fc1").get_weights()[0]
    np.testing.assert_array_equal(parameters["fc6/kernel"], fc1.reshape(7, 7, 512, 8))
    assert parameters["fc7/kernel"].shape == (1, 1, 4096, 8)
    layers = {layer.name for layer in vgg16((32, 32)).layers if layer.weights}
    assert {name.split("/")[0] for name in parameters} == layers


def filled(network):
    """A network of Keras's with random weights of the size that training leaves, statistics of batches included."""
    rng = np.random.default_rng(5)
    for variable in network.weights:
        fan = np.prod(variable.shape[:-1]) if len(variable.shape) > 1 else 1
        value = rng.normal(size=variable.shape) * (2 / fan) ** 0.5 if fan > 1 else rng.uniform(0.5, 1.5, variable.shape)
        variable.assign(value)
    return network


def published_features(network, preprocess, image):
    """What Keras's network and its own preprocessing make of an image, layer by layer."""
    outputs = {layer.name: layer.output for layer in network.layers}
    return keras.Model(network.input, outputs)(preprocess(image.copy()[None]))


def our_features(name, parameters, image, layers):
    """What the backbone with converted parameters makes of it, preprocessed as the detectors do."""
    entry = BACKBONES[name]
    model = entry.build(image.shape[:2])
    load_backbone(model, parameters)
    x = (image[None] - np.array(entry.mean, "float32")) * entry.scale
    return keras.Model(model.input, {layer: model.get_layer(layer).output for layer in layers})(x)


def assert_alike(ours, theirs, tolerance):
    """Equal within a fraction of the mean magnitude."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert np.abs(ours - theirs).mean() <= tolerance * np.abs(theirs).mean()


IMAGE = np.random.default_rng(3).integers(0, 256, (65, 97, 3)).astype("float32")
IMAGE[..., 0] *= 0.3  # red and blue are to be told apart
VGG_LAYERS = {f"conv{b}_{i}": f"block{b}_conv{i}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)}


class Top:
    """The dense layers that `from_application` reads besides, as small as they may be."""

    def __init__(self, convolutions):
        self.convolutions = convolutions

    def get_layer(self, name):
        return Classifier().get_layer(name) if name.startswith("fc") else self.convolutions.get_layer(name)


def test_vgg16_sees_what_keras_own_vgg16_sees():
    """The means differ by less than one level: 104, 117, 123 here, 103.939, 116.779, 123.68 there."""
    image = IMAGE[:64, :96]  # Keras's poolings round down
    network = filled(keras.applications.VGG16(include_top=False, weights=None, input_shape=image.shape))
    theirs = published_features(network, keras.applications.vgg16.preprocess_input, image)
    parameters = {k: v for k, v in from_application(Top(network)).items() if not k.startswith("fc")}
    ours = our_features("vgg16", parameters, image, VGG_LAYERS)
    for mine, other in VGG_LAYERS.items():
        assert_alike(ours[mine], theirs[other], 0.02)


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large"])
def test_mobilenets_see_what_keras_own_see(name):
    image = IMAGE[:64, :96] if name == "mobilenet_v1" else IMAGE  # at odd sides Keras's maps are one cell larger
    application, preprocess, convert = {
        "mobilenet_v1": ("MobileNet", keras.applications.mobilenet.preprocess_input, v1_from_application),
        "mobilenet_v2": ("MobileNetV2", keras.applications.mobilenet_v2.preprocess_input, v2_from_application),
        "mobilenet_v3_large": (
            "MobileNetV3Large",
            keras.applications.mobilenet_v3.preprocess_input,
            v3_from_application,
        ),
    }[name]
    build = getattr(keras.applications, application)
    network = filled(build(include_top=False, weights=None, input_shape=image.shape))
    theirs = published_features(network, preprocess, image)
    made = [layer.name for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    mine = [
        layer.name
        for layer in BACKBONES[name].build(image.shape[:2]).layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(made) == len(mine)
    ours = our_features(name, convert(network), image, mine)
    for a, b in zip(mine, made):
        assert_alike(ours[a], theirs[b], 1e-4)


def test_subsample_takes_every_nth_entry():
    array = np.arange(35).reshape(5, 7)
    assert subsample(array, (2, 3)).tolist() == [[0, 3, 6], [14, 17, 20], [28, 31, 34]]


def test_alexnet_is_krizhevskys_network_in_one_column():
    model = alexnet((227, 227))
    assert sizes(model) == {"pool5": (6, 6, 256), "fc7": (4096,)}
    convolutions = sum((k * k * i + 1) * o for k, i, o in [(11, 3, 96), (5, 96, 256), (3, 256, 384)])
    convolutions += (9 * 384 + 1) * 384 + (9 * 384 + 1) * 256
    assert model.count_params() == convolutions + (6 * 6 * 256 + 1) * 4096 + (4096 + 1) * 4096
    assert sizes(alexnet((220, 220), width=0.25)) == {"pool5": (5, 5, 64), "fc7": (1024,)}
    with pytest.raises(ValueError, match="at least 67 x 67"):
        alexnet((66, 100))
    assert sizes(alexnet((67, 67), width=0.1))["pool5"][:2] == (1, 1)


@pytest.mark.parametrize("name", ["alexnet", "efficientnet_lite0", "tiny", "vgg16"])
def test_a_backbone_holds_its_preprocessing(name):
    model = last_vector(name, (96, 96), width=0.25)
    caffe = [123.0, 117.0, 104.0]
    mean = {"alexnet": caffe, "vgg16": caffe, "efficientnet_lite0": 127.0, "tiny": 127.5}[name]
    gray = np.full((1, 96, 96, 3), mean, "float32")

    first = keras.Model(model.input, model.layers[1].output)
    np.testing.assert_allclose(first(gray), 0.0, atol=1e-5)
    units = {"alexnet": 1024, "efficientnet_lite0": 3 * 3 * 16, "tiny": 6 * 6 * 4, "vgg16": 6 * 6 * 16}[name]
    assert model.output["features"].shape == (None, units)
    for wrong in ({"name": "resnet"}, {"width": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong)).replace("name", "backbone")):
            last_vector(**{"name": name, "image_size": (96, 96)} | wrong)


@pytest.mark.parametrize("size", [(100, 72), (97, 101)])
def test_a_fine_map_adds_coarser_ones_of_any_size(size):
    model = fine_map("mobilenet_v2", size)
    assert model.output.shape == (None, math.ceil(size[0] / 8), math.ceil(size[1] / 8), 128)
    seen = {layer.name for layer in model.layers if layer.name.endswith("_sum")}
    assert seen == {"block_6_expand_relu_sum", "block_13_expand_relu_sum"}
