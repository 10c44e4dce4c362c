"""Run an exported detector where nothing but its runtime is installed.

    python runtimes.py FORMAT MODEL IMAGES.npz DETECTIONS.npz [REPEATS]

FORMAT is saved_model, tflite or onnx. IMAGES.npz holds uint8 images `[h, w, 3]`, DETECTIONS.npz gets for each of
them, under `NAME/i`, the four outputs, and `seconds`, the times of REPEATS further runs on the first. The file imports
numpy and the runtime alone, and is run as a script by `keras-det export --check` and `keras-det benchmark`.
"""

import sys
import time
from typing import Any

import numpy as np

OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")


def load(kind, path):
    """The file as a function from one uint8 image `[h, w, 3]` to the four outputs, without the batch's axis."""
    return {"saved_model": _saved_model, "tflite": _tflite, "onnx": _onnx}[kind](path)


def resize(pixels, height, width):
    """Bilinear, half-pixel centers, without antialiasing: float32 `[height, width, 3]`."""
    if pixels.shape[:2] == (height, width):
        return pixels.astype("float32")
    rows, columns = (_neighbors(*sides) for sides in ((pixels.shape[0], height), (pixels.shape[1], width)))
    pixels = pixels.astype("float32")
    low, high, fraction = rows
    pixels = pixels[low] + (pixels[high] - pixels[low]) * fraction[:, None, None]
    low, high, fraction = columns
    return pixels[:, low] + (pixels[:, high] - pixels[:, low]) * fraction[:, None]


def _neighbors(old, new):
    """Of each new pixel, the two old ones beside it and how near the second is."""
    place = np.maximum((np.arange(new, dtype="float32") + 0.5) * np.float32(old / new) - 0.5, 0)
    low = np.minimum(place.astype("int64"), old - 1)
    return low, np.minimum(low + 1, old - 1), (place - low).astype("float32")


def _saved_model(path):
    import tensorflow as tf

    model = tf.saved_model.load(path)
    run = model.signatures["serving_default"]
    return lambda pixels: (
        {name: value.numpy()[0] for name, value in run(tf.constant(pixels[None])).items()}
        | {
            "_": model  # the signature works only while its model lives
        }
    )


def _tflite(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=2)
    run = interpreter.get_signature_runner()
    given = run.get_input_details()["images"]
    height, width = given["shape"][1:3]

    def detect(pixels):
        image = resize(pixels, height, width)
        image = np.rint(image) if given["dtype"] == np.uint8 else image
        return {name: value[0] for name, value in run(images=image[None].astype(given["dtype"])).items()}

    return detect


def _onnx(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    run: Any = session.run  # whose results may be sparse, by their type
    return lambda pixels: {n: v[0] for n, v in zip(names, run(None, {"images": pixels[None]}))}


def main(kind, path, path_of_images, detections, repeats="0"):
    """Run the file on all images; the arguments are the command line's."""
    sys.modules["keras"] = None  # TensorFlow would import it where it is installed; the file must not need it
    with np.load(path_of_images) as archive:
        images = [archive[name] for name in archive.files]
    detect = load(kind, path)
    found = {}
    for i, image in enumerate(images):
        result = detect(image)
        found |= {f"{name}/{i}": result[name] for name in OUTPUTS}
    seconds = []
    for _ in range(int(repeats)):
        start = time.perf_counter()
        detect(images[0])
        seconds.append(time.perf_counter() - start)
    np.savez(detections, seconds=np.array(seconds), **found)
    foreign = {"keras_det", "torch", "jax", *(() if kind == "saved_model" else ("tensorflow",))} & set(sys.modules)
    if foreign:
        sys.exit(f"running {kind} imported {', '.join(sorted(foreign))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
