"""Run an exported detector where nothing but its runtime is installed.

    python runtimes.py FORMAT MODEL IMAGES.npz DETECTIONS.npz [REPEATS]

FORMAT is saved_model, tflite or onnx. IMAGES.npz holds uint8 images `[h, w, 3]`, DETECTIONS.npz gets for each of
them, under `NAME/i`, the four outputs, and `seconds`, the times of REPEATS further runs on the first. The file imports
numpy and the runtime alone, and is run as a script by `keras-det export --check` and `keras-det benchmark`.
"""

import json
import sys
import time
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")


def load(kind: str, path: str) -> Callable[[np.ndarray], dict[str, Any]]:
    """The file as a function from one uint8 image `[h, w, 3]` to the four outputs, without the batch's axis."""
    return {"saved_model": _saved_model, "tflite": _tflite, "onnx": _onnx}[kind](path)


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, half-pixel centers, without antialiasing: float32 `[height, width, 3]`."""
    if pixels.shape[:2] == (height, width):
        return pixels.astype("float32")
    rows, columns = (_neighbors(*sides) for sides in ((pixels.shape[0], height), (pixels.shape[1], width)))
    pixels = pixels.astype("float32")
    low, high, fraction = rows
    pixels = pixels[low] + (pixels[high] - pixels[low]) * fraction[:, None, None]
    low, high, fraction = columns
    return pixels[:, low] + (pixels[:, high] - pixels[:, low]) * fraction[:, None]


def fitted(pixels: np.ndarray, height: int, width: int, how: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The network's input, and the window of the image that it shows: `[4]`, `(ymin, xmin, ymax, xmax)` of the image.

    Args:
        pixels: uint8 `[h, w, 3]`.
        height, width: of the input.
        how: `"resize"`, which is `"stretch"` or `"letterbox"`, and RGB around a letterboxed image as `"fill"`.
    """
    if how["resize"] == "stretch":
        return resize(pixels, height, width), np.array([0, 0, 1, 1], "float32")
    h, w = pixels.shape[:2]
    rows = max(min((2 * h * width + w) // (2 * w), height), 1)
    columns = max(min((2 * w * height + h) // (2 * h), width), 1)
    top, left = (height - rows) // 2, (width - columns) // 2
    image = np.empty((height, width, 3), "float32")
    image[:] = how["fill"]
    image[top : top + rows, left : left + columns] = resize(pixels, rows, columns)
    window = np.array([-top / rows, -left / columns, (height - top) / rows, (width - left) / columns], "float32")
    return image, window


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
    with zipfile.ZipFile(path) as archive:
        how = json.loads(archive.read("input.json"))

    def detect(pixels):
        image, window = fitted(pixels, height, width, how)
        image = np.rint(image) if given["dtype"] == np.uint8 else image
        found = {name: value[0] for name, value in run(images=image[None].astype(given["dtype"])).items()}
        boxes = found["detection_boxes"] * (window[2:] - window[:2])[[0, 1, 0, 1]] + window[[0, 1, 0, 1]]
        return found | {"detection_boxes": boxes.clip(0, 1)}

    return detect


def _onnx(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    run: Any = session.run  # whose results may be sparse, by their type
    return lambda pixels: {n: v[0] for n, v in zip(names, run(None, {"images": pixels[None]}))}


def main(kind: str, path: str, path_of_images: str, detections: str, repeats: str = "0") -> None:
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
