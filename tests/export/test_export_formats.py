"""Every format gives the model's detections in a process of its own, of built-in operations, with its metadata."""

import ast
import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from keras_det import _compat, export, models
from keras_det.cli import main
from keras_det.data import load, relabel
from keras_det.data.resize import resize
from keras_det.export import checks, runtimes
from keras_det.export.to_tflite import OUTPUTS, PRECISIONS, _suppress

Interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
pytest.importorskip("tf2onnx")
schema = _compat.tflite_schema()


@pytest.fixture(scope="module")
def model():
    return models.SSD300(weights="shapes")


@pytest.fixture(scope="module")
def scenes():
    return load("shapes", images=24, seed=31, size=280)


@pytest.fixture(scope="module")
def files(model, scenes, tmp_path_factory):
    """The TFLite files by precision."""
    folder = tmp_path_factory.mktemp("tflite")
    images = [scenes.image(i) for i in range(12)]
    return {p: export.tflite(model, folder / f"{p}.tflite", p, images if p == "int8" else None) for p in PRECISIONS}


@pytest.fixture(scope="module")
def onnx_file(model, tmp_path_factory):
    return export.onnx(model, tmp_path_factory.mktemp("onnx") / "model.onnx")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tflite_gives_the_detections_of_the_model(model, scenes, files, precision):
    report = export.check(model, "tflite", files[precision], precision, scenes)
    assert report.failure is None
    assert report.map50 > report.map50_model - 0.02 > 0.8
    if precision == "float32":
        assert report.unmatched == 0 and report.score_difference < 1e-5
    assert report.megabytes < {"float32": 4, "float16": 2.1, "dynamic": 1.2, "int8": 1.2}[precision]


def test_onnx_gives_the_detections_of_the_model(model, scenes, onnx_file):
    report = export.check(model, "onnx", onnx_file, "float32", scenes)
    assert report.failure is None and report.unmatched == 0 and report.score_difference < 1e-4


def test_the_saved_model_passes_the_same_check(model, scenes, tmp_path):
    path = export.export(model, "saved_model", tmp_path / "m")
    others = relabel(scenes.take(4), {n: n for n in scenes.classes} | {"star": "a class that the model lacks"})
    report = export.check(model, "saved_model", path, "float32", others)
    assert report.failure is None and report.map50 == pytest.approx(report.map50_model) and report.map50 > 0.8


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        pytest.param("ssd512", "tiny", marks=pytest.mark.slow),
        pytest.param("ssdlite320", "mobilenet_v3_large", marks=pytest.mark.long),
    ],
)
def test_every_model_leaves_in_every_format(name, backbone, scenes, tmp_path):
    """Random weights find nothing, but give scores and boxes to compare; larger predictors make them differ."""
    network = models.get(name)(classes=list(scenes.classes), backbone=backbone)
    image = resize(tf.constant(scenes.image(0)[None]), network.image_size)
    spread = float(np.std(network(image)["logits"]))
    for layer in network.head.confidence:
        if layer.name.endswith("_conf"):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * 2 / spread, bias])
    for format, precision in (("onnx", "float32"), ("tflite", "float32"), ("tflite", "int8")):
        path = export.export(network, format, tmp_path / f"{precision}.{format}", precision, [scenes.image(0)])
        report = export.check(network, format, path, precision, scenes.take(2))
        assert report.failure is None
        if precision == "float32":
            assert report.unmatched == 0


def test_onnx_takes_batches_of_any_size_of_image(model, onnx_file):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(onnx_file))
    for shape in ((3, 40, 70, 3), (1, 1, 1, 3), (2, 500, 31, 3)):
        images = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
        found = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"images": images})))
        expected = model.detections(images)
        np.testing.assert_array_equal(found["num_detections"], expected["num_detections"])
        np.testing.assert_allclose(found["detection_scores"], expected["scores"], atol=1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tflite_is_one_graph_of_builtin_operations(files, precision):
    packed = schema.ModelT.InitFromPackedBuf(files[precision].read_bytes(), 0)
    assert len(packed.subgraphs) == 1  # the Task Library and MediaPipe take no more
    codes = {max(code.builtinCode, code.deprecatedBuiltinCode) for code in packed.operatorCodes}
    custom = {schema.BuiltinOperator.CUSTOM, schema.BuiltinOperator.WHILE}
    assert not codes & custom and schema.BuiltinOperator.NON_MAX_SUPPRESSION_V4 in codes
    kinds = {tensor.type for tensor in packed.subgraphs[0].tensors}
    assert (schema.TensorType.INT8 in kinds) == (precision in ("dynamic", "int8"))


def test_tflite_inputs_and_outputs_in_their_order(files):
    for precision, path in files.items():
        interpreter = Interpreter(str(path))
        (given,) = interpreter.get_input_details()
        assert given["name"] == "images" and given["shape"].tolist() == [1, 300, 300, 3]
        assert given["dtype"] == (np.uint8 if precision == "int8" else np.float32)
        if precision == "int8":
            assert given["quantization"] == (1.0, 0)  # bytes of an image go in as they are
        found = interpreter.get_output_details()
        assert [f["name"] for f in found] == list(OUTPUTS)
        assert [f["shape"].tolist() for f in found] == [[1, 200, 4], [1, 200], [1, 200], [1]]
        assert all(f["dtype"] == np.float32 for f in found)


def test_tflite_metadata_and_labels(files, model):
    for path in files.values():
        data = path.read_bytes()
        labels = zipfile.ZipFile(io.BytesIO(data)).read("labels.txt").decode()
        assert labels.split() == list(model.classes)
        packed = schema.ModelT.InitFromPackedBuf(data, 0)
        (entry,) = [m for m in packed.metadata if m.name == b"TFLITE_METADATA"]
        metadata = bytes(packed.buffers[entry.buffer].data)
        assert metadata[4:8] == b"M001"
        for word in (b"location", b"category", b"score", b"number of detections", b"labels.txt", b"detection_result"):
            assert word in metadata


MEDIAPIPE = """
import sys
import mediapipe as mp, numpy as np
from mediapipe.tasks.python import BaseOptions, vision
options = vision.ObjectDetectorOptions(BaseOptions(model_asset_path=sys.argv[1]), score_threshold=0.3)
detector = vision.ObjectDetector.create_from_options(options)
found = detector.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=np.load(sys.argv[2]))).detections
print([(f.categories[0].category_name, round(f.categories[0].score, 4)) for f in found])
"""


@pytest.mark.needs("mediapipe")
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_mediapipe_reads_the_metadata(precision, model, files, tmp_path):
    """The Task Library's successor takes the file as it is; not among the test requirements, since it is large."""
    image = load("shapes", images=1, seed=21).image(0)
    np.save(tmp_path / "image.npy", image)
    command = [sys.executable, "-c", MEDIAPIPE, files[precision], tmp_path / "image.npy"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found, wanted = ast.literal_eval(done.stdout), model.detect(image, 0.3)[0]
    assert [name for name, _ in found] == list(wanted.names)
    scores = [score for _, score in found]
    np.testing.assert_allclose(scores, wanted.scores, atol=1e-3 if precision == "float32" else 0.1)


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_suppression_of_tflite_is_that_of_the_package(seed, class_agnostic):
    from keras_det.boxes import nms

    g = np.random.default_rng(seed)
    count, classes = int(g.integers(1, 300)), int(g.integers(1, 6))
    corners = g.random((count, 2), "float32") * 0.7
    boxes = np.concatenate([corners, corners + g.random((count, 2), "float32") * 0.3], 1)
    boxes[:: max(count // 5, 1)] = boxes[0]  # identical ones
    boxes[1::7, 2:] = boxes[1::7, :2]  # and ones without area
    scores = np.round(g.random((count, classes), "float32") ** 3, 2)  # with ties, and some below the threshold
    nms_options = {"score_threshold": 0.1, "iou_threshold": 0.45, "max_per_class": 60, "max_detections": 40}
    nms_options["class_agnostic"] = class_agnostic
    expected = {key: np.asarray(value[0]) for key, value in nms(boxes[None], scores[None], **nms_options).items()}
    found_boxes, labels, found_scores, number = (
        np.asarray(x) for x in _suppress(boxes, tf.constant(scores), **nms_options)
    )
    assert number == expected["num_detections"]
    np.testing.assert_array_equal(found_scores, expected["scores"])
    np.testing.assert_array_equal(labels, expected["labels"])
    np.testing.assert_array_equal(found_boxes, expected["boxes"])


@pytest.mark.parametrize("shape", [(375, 500), (20, 2000), (1, 1), (300, 300), (299, 301), (7, 3)])
def test_the_runtimes_resize_is_the_packages(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype("uint8")
    np.testing.assert_allclose(runtimes.resize(image, 300, 300), resize(tf.constant(image), (300, 300)), atol=1e-3)


def _detections(scores, boxes, labels):
    return {"scores": np.array(scores, "float32"), "boxes": np.array(boxes, "float32"),
            "labels": np.array(labels, "int32"), "num_detections": np.sum(np.array(labels) >= 0)}  # fmt: skip


BOX, MOVED = [0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.51]


@pytest.mark.parametrize(
    ("other", "fraction"),
    [
        (([0.9, 0.0], [BOX, [0] * 4], [1, -1]), 0.0),
        (([0.90005, 0.0], [BOX, [0] * 4], [1, -1]), 0.0),
        (([0.9002, 0.0], [BOX, [0] * 4], [1, -1]), 1.0),
        (([0.9, 0.0], [MOVED, [0] * 4], [1, -1]), 1.0),
        (([0.9, 0.0], [BOX, [0] * 4], [0, -1]), 1.0),
        (([0.0, 0.0], [[0] * 4] * 2, [-1, -1]), 1.0),
        (([0.9, 0.5], [BOX, [0, 0, 1, 1]], [1, 1]), 1 / 3),  # a full list is safe only above its last score
        (([0.9, 0.01005], [BOX, [0, 0, 1, 1]], [1, 1]), 0.0),  # so near the threshold that it may be missing
    ],
)
def test_compare_sees_each_difference(other, fraction):
    mine = _detections([0.9, 0.0], [BOX, [0] * 4], [1, -1])
    theirs = _detections([*other[0], 0.0], [*other[1], [0] * 4], [*other[2], -1])
    assert checks.compare([mine], [theirs])[1] == pytest.approx(fraction)


def test_a_file_of_other_weights_fails_the_check(scenes, files):
    other = models.SSD300(weights="shapes")
    other.head.set_weights([w * 0.9 for w in other.head.get_weights()])
    assert "differ" in export.check(other, "tflite", files["float32"], "float32", scenes.take(4)).failure


def test_a_damaged_file_is_a_failure_with_its_reason(model, scenes, files, tmp_path):
    path = tmp_path / "damaged.tflite"
    path.write_bytes(files["float32"].read_bytes()[:1000])
    assert export.check(model, "tflite", path, "float32", scenes.take(2)).failure.startswith("the runtime failed")


def test_benchmark_goes_on_after_a_failure(model, scenes, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no such operation\nsecond line")

    monkeypatch.setattr(checks, "onnx", broken)
    rows = list(export.benchmark(model, scenes.take(4), (("onnx", "float32"), ("tflite", "float32"))))
    assert [(row.format, row.failure) for row in rows] == [
        ("keras", None), ("onnx", "RuntimeError: no such operation"), ("tflite", None)]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (("tflite", "x", "int4"), "precision"),
        (("onnx", "x", "int8"), "precision"),
        (("pdf", "x"), "--format"),
        (("tflite", "x", "int8"), "images"),
    ],
)
def test_bad_arguments_are_named(model, config, words):
    with pytest.raises(ValueError, match=words):
        export.export(model, *config)


def test_images_of_other_classes_are_refused(scenes, files):
    other = models.SSD300(backbone="tiny", classes=["cat"])
    with pytest.raises(ValueError, match="--data"):
        export.check(other, "tflite", files["float32"], "float32", scenes)


def test_a_file_is_never_overwritten(model, onnx_file):
    with pytest.raises(FileExistsError, match="exists"):
        export.onnx(model, onnx_file)


def test_the_command(tmp_path, capsys, monkeypatch):
    out = tmp_path / "m.tflite"
    line = f"keras-det export --format tflite --precision int8 --check --images 12 --json --out {out}"
    monkeypatch.setattr("sys.argv", line.split())
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    printed = json.loads(capsys.readouterr().out)
    assert printed["failure"] is None and printed["path"] == str(out) and out.is_file()
