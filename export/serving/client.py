"""Ask a detector behind TensorFlow Serving.

    python client.py --rest http://localhost:8501 --model ssd300 image.jpg ...
    python client.py --grpc localhost:8500 --model ssd300 image.jpg ...

REST needs Python alone, gRPC the package tensorflow-serving-api. Images are sent as they lie on the disk (JPEG, PNG,
GIF or BMP) to the signature `serving_bytes`.
"""

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")


def detect_rest(address, model, images, timeout=30.0, columns=False):
    """Detect in encoded images over REST.

    Args:
        address: such as `http://localhost:8501`.
        model: the model's name in models.config; `name/versions/3` pins a version.
        images: list of bytes.
        timeout: seconds.
        columns: use the column format, where each output comes as one list, instead of one dict for each image.

    Returns:
        For each image a dict of lists: `boxes` as (ymin, xmin, ymax, xmax) relative to the image, `scores`,
        `classes` as indexes into the model's labels.txt.

    Raises:
        RuntimeError: the server refused the request; with its message.
        ConnectionError: there is no server.
    """
    encoded = [{"b64": base64.b64encode(image).decode()} for image in images]
    body = {"signature_name": "serving_bytes"}
    body |= {"inputs": {"image_bytes": encoded}} if columns else {"instances": [{"image_bytes": e} for e in encoded]}
    request = urllib.request.Request(
        f"{address.rstrip('/')}/v1/models/{model}:predict",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            reply = json.load(response)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{address}: {_message(error)}") from error
    except OSError as error:
        raise ConnectionError(f"cannot reach {address}: {error}") from error
    if columns:
        outputs = reply["outputs"]
        return [_found({name: outputs[name][i] for name in OUTPUTS}) for i in range(len(images))]
    return [_found(row) for row in reply["predictions"]]


def detect_grpc(address, model, images, timeout=30.0, version=None):
    """Detect in encoded images over gRPC; arguments, results and errors as of `detect_rest`, address `host:port`."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "serving_bytes"
    if version is not None:
        request.model_spec.version.value = version
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images, tf.string, [len(images)]))
    with grpc.insecure_channel(address, [("grpc.max_send_message_length", -1)]) as channel:
        try:
            reply = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout)
        except grpc.RpcError as error:
            kind = ConnectionError if error.code() == grpc.StatusCode.UNAVAILABLE else RuntimeError
            raise kind(f"{address}: {error.details()}") from error
    outputs = {name: tf.make_ndarray(reply.outputs[name]).tolist() for name in OUTPUTS}
    return [_found({name: values[i] for name, values in outputs.items()}) for i in range(len(images))]


def _found(outputs):
    """One image's detections without the padding."""
    boxes, scores, classes, count = (outputs[name] for name in OUTPUTS)
    count = int(count)
    return {"boxes": boxes[:count], "scores": scores[:count], "classes": [int(c) for c in classes[:count]]}


def _message(error):
    """What the server says in its JSON, or the status line."""
    try:
        return json.load(error)["error"]
    except (ValueError, KeyError):
        return f"{error.code} {error.reason}"


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--rest", metavar="URL")
    server.add_argument("--grpc", metavar="HOST:PORT")
    parser.add_argument("--model", default="ssd300")
    parser.add_argument("--score-threshold", type=float, default=0.5)
    parser.add_argument("images", nargs="+", type=Path)
    arguments = parser.parse_args()
    try:
        for path in arguments.images:  # one request each: an image that cannot be read spoils no other's
            ask, address = (detect_rest, arguments.rest) if arguments.rest else (detect_grpc, arguments.grpc)
            (found,) = ask(address, arguments.model, [path.read_bytes()])
            keep = [i for i, score in enumerate(found["scores"]) if score >= arguments.score_threshold]
            print(json.dumps({"image": str(path)} | {key: [values[i] for i in keep] for key, values in found.items()}))
    except (OSError, RuntimeError) as error:
        sys.exit(f"client.py: {error}")


if __name__ == "__main__":
    main()
