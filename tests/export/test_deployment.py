"""The clients of `export/` against a server's protos and JSON, the server's part being the exported model itself."""

import base64
import importlib.util
import io
import json
import subprocess
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_det import export, models
from keras_det.data import load

grpc = pytest.importorskip("grpc")
predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
from tensorflow_serving.apis import prediction_service_pb2_grpc  # noqa: E402

SCRIPTS = Path(__file__).parents[2] / "export"
OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")


def script(name):
    """A script of the folder `export` as a module."""
    path = SCRIPTS / name
    sys.path.insert(0, str(path.parent))  # load.py imports client.py from beside it
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


@pytest.fixture(scope="module")
def model():
    return models.SSD300(weights="shapes")


@pytest.fixture(scope="module")
def encoded_images():
    """Encoded images of different sizes."""
    scenes = load("shapes", images=3, seed=41)
    images = [Image.fromarray(scenes.image(i)).resize((240 + 40 * i, 260)) for i in range(3)]
    return [encoded(image, "PNG") for image in images]


@pytest.fixture(scope="module")
def signature(model, tmp_path_factory):
    """The exported model's `serving_bytes`, and what keeps it alive."""
    loaded = tf.saved_model.load(str(export.saved_model(model, tmp_path_factory.mktemp("serving") / "ssd300")))
    return loaded.signatures["serving_bytes"], loaded


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def expected(model, image):
    found = model.detect(Image.open(io.BytesIO(image)), score_threshold=0)[0]
    return {"boxes": found.boxes, "scores": found.scores, "classes": found.labels}


def check(found, model, encoded_images):
    assert len(found) == len(encoded_images)
    for one, image in zip(found, encoded_images):
        wanted = expected(model, image)
        assert len(one["scores"]) == len(wanted["scores"]) > 0
        for key in wanted:
            np.testing.assert_allclose(one[key], wanted[key], atol=1e-5)


@pytest.fixture(scope="module")
def rest_server(signature):
    """What TF Serving's REST interface does with a request for one model, as its documentation has it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, reply = self.answer(body)
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def answer(self, body):
            if self.path not in ("/v1/models/ssd300:predict", "/v1/models/ssd300/versions/1:predict"):
                return 404, {"error": f"Servable not found for request: {self.path}"}
            assert body["signature_name"] == "serving_bytes"
            rows = "instances" in body
            values = [row["image_bytes"] for row in body["instances"]] if rows else body["inputs"]["image_bytes"]
            try:
                out = signature[0](image_bytes=tf.constant([base64.b64decode(v["b64"], validate=True) for v in values]))
            except tf.errors.InvalidArgumentError as error:
                return 400, {"error": error.message}
            out = {name: value.numpy().tolist() for name, value in out.items()}
            assert {len(value) for value in out.values()} == {len(values)}  # else the row format is refused
            if rows:
                return 200, {"predictions": [dict(zip(out, row)) for row in zip(*out.values())]}
            return 200, {"outputs": out}

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def grpc_server(signature):
    """TF Serving's PredictionService for one model."""

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            if request.model_spec.name != "ssd300":
                context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found: {request.model_spec.name}")
            assert request.model_spec.signature_name == "serving_bytes"
            given = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
            try:
                out = signature[0](**given)
            except tf.errors.InvalidArgumentError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message[-200:])
            reply = predict_pb2.PredictResponse()
            for name, value in out.items():
                reply.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return predict_pb2.PredictResponse.FromString(reply.SerializeToString())

    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0)


@pytest.mark.parametrize("columns", [False, True])
def test_rest_in_rows_and_columns(rest_server, model, encoded_images, columns):
    check(
        script("serving/client.py").detect_rest(rest_server, "ssd300", encoded_images, columns=columns),
        model,
        encoded_images,
    )


def test_grpc(grpc_server, model, encoded_images):
    check(script("serving/client.py").detect_grpc(grpc_server, "ssd300", encoded_images), model, encoded_images)


def test_the_servers_refusals_reach_the_user(rest_server, grpc_server, encoded_images):
    client = script("serving/client.py")
    for ask, address in ((client.detect_rest, rest_server), (client.detect_grpc, grpc_server)):
        with pytest.raises(RuntimeError, match="Servable not found"):
            ask(address, "other", encoded_images[:1])
        with pytest.raises(RuntimeError, match="(?i)image|input|decode"):
            ask(address, "ssd300", [b"no image"])
    with pytest.raises(ConnectionError):
        client.detect_rest("http://127.0.0.1:9", "ssd300", encoded_images[:1], timeout=3)
    with pytest.raises(ConnectionError):
        client.detect_grpc("127.0.0.1:9", "ssd300", encoded_images[:1], timeout=3)


def test_load_counts_answers_and_failures(rest_server, encoded_images):
    client, load_script = script("serving/client.py"), script("serving/load.py")
    ask = lambda batch: client.detect_rest(rest_server, "ssd300", batch)  # noqa: E731
    metrics = load_script.run(ask, [encoded_images[0], b"broken"], threads=2, requests=6)
    assert metrics["requests"] == 6 and metrics["failed"] == 3
    assert 0 < metrics["median_ms"] <= metrics["p99_ms"] and metrics["images_per_second"] > 0


def test_client_commands(rest_server, encoded_images, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded_images[0])
    command = [sys.executable, SCRIPTS / "serving" / "client.py", "--rest", rest_server]
    done = subprocess.run([*command, path], capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout)["image"] == str(path)
    done = subprocess.run([*command, tmp_path / "none.png"], capture_output=True, text=True)
    assert done.returncode == 1 and "none.png" in done.stderr and "Traceback" not in done.stderr


def jpeg_cmyk(scene):
    return encoded(scene.convert("CMYK"), "JPEG")


def png_16_bit(scene):
    return encoded(Image.fromarray(np.array(scene.convert("L")).astype("uint16") * 257), "PNG")


def animated_gif(scene):
    return encoded(scene, "GIF", save_all=True, append_images=[scene.rotate(90)])


KINDS = {
    "1x1": lambda scene: encoded(scene.resize((1, 1)), "PNG"),
    "20000x20": lambda scene: encoded(scene.resize((20000, 20)), "PNG"),
    "cmyk": jpeg_cmyk,
    "16 bit": png_16_bit,
    "animation": animated_gif,
    "alpha": lambda scene: encoded(scene.convert("RGBA"), "PNG"),
    "gray": lambda scene: encoded(scene.convert("L"), "PNG"),
    "palette": lambda scene: encoded(scene.convert("P"), "PNG"),
}
BROKEN = {
    "nothing": lambda scene: b"",
    "text": lambda scene: b"hello, world",
    "truncated png": lambda scene: encoded(scene, "PNG")[:500],
    "truncated jpeg": lambda scene: encoded(scene, "JPEG")[:3000],
}


@pytest.fixture(scope="module")
def scene():
    return Image.fromarray(load("shapes", images=1, seed=21).image(0))


@pytest.mark.parametrize("kind", KINDS)
def test_odd_images_get_the_models_answer(kind, scene, signature, model):
    image = KINDS[kind](scene)
    out = {name: value.numpy()[0] for name, value in signature[0](tf.constant([image])).items()}
    count = out["num_detections"]
    wanted = expected(model, image)
    assert count == len(wanted["scores"])
    # Pillow and TensorFlow decode JPEG and turn CMYK into RGB with different rounding.
    np.testing.assert_allclose(out["detection_scores"][:count], wanted["scores"], atol=5e-3 if kind == "cmyk" else 1e-5)


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_images_are_an_error_of_their_request_alone(kind, scene, signature):
    good = tf.constant([encoded(scene, "PNG")])
    before = signature[0](good)
    with pytest.raises(tf.errors.InvalidArgumentError):
        signature[0](tf.constant([BROKEN[kind](scene)]))
    after = signature[0](good)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_edge_script_alone(precision, model, scene, tmp_path):
    pytest.importorskip("ai_edge_litert")
    file, image = tmp_path / "model.tflite", tmp_path / "scene.png"
    scene.resize((420, 333)).save(image)
    export.tflite(model, file, precision, [np.array(scene)])
    run = "import runpy, sys; [sys.modules.__setitem__(n, None) for n in ('tensorflow', 'keras', 'keras_det')]; "
    run += f"sys.argv = sys.argv[1:]; runpy.run_path({str(SCRIPTS / 'edge' / 'detect.py')!r}, run_name='__main__')"
    arguments = [file, image, "--out", tmp_path / "drawn", "--score-threshold", "0.3"]
    done = subprocess.run([sys.executable, "-c", run, "detect.py", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    wanted = model.detect(str(image), 0.3)[0]
    assert found["names"] == list(wanted.names) and len(wanted) > 0
    if precision == "float32":
        np.testing.assert_allclose(found["scores"], wanted.scores, atol=1e-4)
        np.testing.assert_allclose(found["boxes"], wanted.boxes * [333, 420, 333, 420], atol=0.1)
    assert Image.open(tmp_path / "drawn" / "scene.png").size == (420, 333)
    bad = subprocess.run([sys.executable, SCRIPTS / "edge" / "detect.py", image, image], capture_output=True, text=True)
    assert bad.returncode == 1 and "class names" in bad.stderr and "Traceback" not in bad.stderr
