import gc
import json
import runpy

import keras
import numpy as np
import published_files as pf
import pytest

from keras_det import models, weights
from keras_det.weights.convert_ssd import SSD_TENSORFLOW_512

# Model, the reference's file, stand-ins, the publisher's file format, keys of the npz, step of its logit rows.
CASES = {
    "balancap_ssd300_voc": ("SSD300", "checkpoint", "zip", "loc", "logits", "anchors_cxcywh", 23),
    "amdegroot_ssd300_voc": ("SSD300", "state_dict", "legacy", "loc", "conf", "priors_cxcywh", 23),
    "torchvision_ssd300_vgg16_coco": ("SSD300", "state_dict", "torch zip", "bbox_regression", "cls_logits", None, 97),
    "torchvision_ssdlite320_mobilenet_v3_large_coco": (
        "SSDLite320",
        "state_dict",
        "torch zip",
        "bbox_regression",
        "cls_logits",
        None,
        97,
    ),
}


@pytest.fixture(scope="module")
def stand_ins(references):
    return runpy.run_path(str(references / "fake_parameters.py"))


def published(stand_ins, references, name, kind):
    """The stand-in parameters of one publisher, by the publisher's names."""
    publisher, _, rest = name.partition("_")
    shapes = json.loads((references / f"{name}.{kind}.json").read_text())
    options = (rest.removesuffix("_coco"),) if publisher == "torchvision" else ()
    return {key: stand_ins[publisher](key, tuple(shape), *options) for key, shape in shapes.items()}


def write(path, parameters, form):
    writers = {"zip": pf.write_checkpoint, "legacy": pf.write_torch_legacy, "torch zip": pf.write_torch_zip}
    writers[form](path, {key: np.asarray(array) for key, array in parameters.items()})


RECORDED = pytest.mark.parametrize("case", CASES, indirect=True)


@pytest.fixture(scope="module")
def case(request, stand_ins, references, tmp_path_factory):
    """A model with the stand-ins, from a file in the publisher's format; its outputs; the recorded outputs."""
    name, kind, form = CASES[request.param][0], CASES[request.param][1], CASES[request.param][2]
    path = tmp_path_factory.mktemp("published") / ("x.zip" if form == "zip" else "x.pth")
    write(path, published(stand_ins, references, request.param, kind), form)
    found = weights.find(name, path)
    path.unlink()
    model = getattr(models, name)(**found.config)
    weights.load(found, model)
    image = stand_ins["image"](model.image_size[0])[None]
    outputs = model(image, training=False)
    with np.load(references / f"{request.param}.npz") as file:
        recorded = dict(file)
    yield CASES[request.param][3:], model, outputs, recorded
    del model, found
    keras.backend.clear_session()
    gc.collect()


def relative(given, recorded):
    """Largest deviation, as a fraction of the recorded array's mean absolute value."""
    return np.abs(given - recorded).max() / np.abs(recorded).mean()


@RECORDED
def test_offsets_and_logits(case):
    (offsets, logits, _, step), _, outputs, recorded = case
    given = np.asarray(outputs["offsets"])[0][:, [1, 0, 3, 2]]
    assert relative(given, recorded[offsets]) < 1e-3
    given = np.asarray(outputs["logits"])[0]
    assert relative(given[::step], recorded[f"{logits}_rows"]) < 1e-3
    np.testing.assert_allclose(given.sum(-1), recorded[f"{logits}_sum"], atol=1e-3 * np.abs(given).sum(-1).mean())


@RECORDED
def test_default_boxes(case):
    (*_, anchors, _), model, _, recorded = case
    ymin, xmin, ymax, xmax = model.default_boxes.T
    if anchors is None:
        given = np.stack([xmin, ymin, xmax, ymax], -1)
        expected = recorded["anchors_xyxy_pixels"] / model.image_size[0]
    else:
        given = np.stack([(xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin], -1)
        expected = recorded[anchors]
    np.testing.assert_allclose(given, expected, atol=1e-6)


@pytest.mark.parametrize("case", [name for name in CASES if "torchvision" in name], indirect=True)
def test_detections(case):
    """Every recorded detection is found, to a tenth of a pixel; close scores may change places."""
    _, model, outputs, recorded = case
    found = {key: np.asarray(value)[0] for key, value in model.decode(outputs).items()}
    assert found["num_detections"] == len(recorded["det_boxes"])
    np.testing.assert_allclose(found["scores"], recorded["det_scores"], atol=2e-4)
    boxes = found["boxes"][:, [1, 0, 3, 2]] * model.image_size[0]
    for box, score, label in zip(recorded["det_boxes"], recorded["det_scores"], recorded["det_labels"]):
        same = (found["labels"] == label - 1) & (np.abs(found["scores"] - score) < 2e-4)
        assert np.abs(boxes[same] - box).max(-1).min(initial=np.inf) < 0.1, (box, score, label)


def ssd512_plain(parameters, image):
    """SSD512 as its TensorFlow program runs it, under its own names: loc (dcx, dcy, dw, dh) and logits."""
    import tensorflow as tf

    def conv(x, name, stride=1, padding="SAME", rate=1, activation=tf.nn.relu):
        x = tf.nn.conv2d(x, parameters[f"ssd_512_vgg/{name}/weights"], stride, padding, dilations=rate)
        return activation(x + parameters[f"ssd_512_vgg/{name}/biases"])

    def pad(x):
        return tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])

    x, maps = tf.constant(image[None], tf.float32) - [123.0, 117.0, 104.0], {}
    for block, count in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)):
        for i in range(1, count + 1):
            x = conv(x, f"conv{block}/conv{block}_{i}")
        maps[block] = x
        x = tf.nn.max_pool2d(x, *((2, 2) if block < 5 else (3, 1)), "SAME")
    maps[7] = x = conv(conv(x, "conv6", rate=6), "conv7")
    for block in range(8, 13):
        kernel, stride = ("conv4x4", 1) if block == 12 else ("conv3x3", 2)
        x = pad(conv(x, f"block{block}/conv1x1"))
        maps[block] = x = conv(x, f"block{block}/{kernel}", stride, "VALID")
    maps[4] = tf.math.l2_normalize(maps[4], -1) * parameters["ssd_512_vgg/block4_box/L2Normalization/gamma"]
    loc, logits = [], []
    for block in (4, *range(7, 13)):
        for rows, name, values in ((loc, "conv_loc", 4), (logits, "conv_cls", 21)):
            y = conv(maps[block], f"block{block}_box/{name}", activation=tf.identity)
            rows.append(tf.reshape(y, (-1, values)))
    return tf.concat(loc, 0).numpy(), tf.concat(logits, 0).numpy()


def test_ssd512(stand_ins, references, tmp_path):
    """No outputs are recorded for it, so a plain transcription of the publisher's network gives them."""
    parameters = published(stand_ins, references, "balancap_ssd512_voc", "checkpoint")
    write(tmp_path / "x.zip", parameters, "zip")
    found = weights.find("SSD512", tmp_path / "x.zip")
    assert found.entry.converter is SSD_TENSORFLOW_512
    model = models.SSD512(**found.config)
    weights.load(found, model)
    outputs = model(stand_ins["image"](512)[None], training=False)
    loc, logits = ssd512_plain(parameters, stand_ins["image"](512))
    assert relative(np.asarray(outputs["offsets"])[0][:, [1, 0, 3, 2]], loc) < 1e-4
    assert relative(np.asarray(outputs["logits"])[0], logits) < 1e-4


@pytest.fixture(scope="module")
def lite(stand_ins, references):
    """Parameters in torchvision's form of a network with three classes, and a model for them."""
    parameters = published(stand_ins, references, "torchvision_ssdlite320_mobilenet_v3_large_coco", "state_dict")
    for i in range(6):
        for kind in ("weight", "bias"):
            key = f"head.classification_head.module_list.{i}.1.{kind}"
            boxes = parameters[key].reshape(6, 91, *parameters[key].shape[1:])
            parameters[key] = boxes[:, :4].reshape(24, *parameters[key].shape[1:])
    entry = weights.get("SSDLite320", "coco")
    return parameters, entry, models.SSDLite320(**entry.constructor_arguments | {"classes": ["a", "b", "c"]})


def test_own_classes_in_a_publishers_form(lite, tmp_path):
    """A network that was trained with torchvision on classes of one's own brings everything but their names."""
    parameters, entry, model = lite
    write(tmp_path / "x.pth", parameters, "torch zip")
    found = weights.find("SSDLite320", tmp_path / "x.pth")
    assert found.entry is entry and found.config == {"box_scales": "coco"}
    weights.load(found, model)
    name = "head.classification_head.module_list.2.1.bias"
    np.testing.assert_array_equal(weights.parameters(model)["extra1_conf/bias"], parameters[name])


def test_faults_of_a_published_file_are_named(lite):
    parameters, entry, model = lite
    shapes = {name: array.shape for name, array in weights.parameters(model).items()}
    assert entry.converter.convert(parameters, shapes).keys() == shapes.keys()
    missing = "backbone.features.0.4.block.2.fc1.weight"
    misshapen = "head.classification_head.module_list.3.1.weight"
    faulty = {key: array for key, array in parameters.items() if key != missing}
    faulty |= {misshapen: np.zeros((546, 256, 1, 1), "f4"), "ema.decay": np.ones(1, "f4")}
    with pytest.raises(ValueError) as error:
        entry.converter.convert(faulty, shapes)
    described = f"misshapen: {misshapen} (546, 256, 1, 1) for extra2_conf/kernel (1, 1, 256, 24)"
    for part in (f"missing: {missing};", "unknown: ema.decay;", described):
        assert part in str(error.value)
