"""Detect objects in images with an exported TFLite file; needs numpy, pillow and ai-edge-litert alone.

    pip install numpy pillow ai-edge-litert
    python detect.py model.tflite image.jpg ... [--score-threshold 0.5] [--out FOLDER] [--threads 4]

Prints a line of JSON for each image: boxes as (ymin, xmin, ymax, xmax) in pixels, scores, names.
"""

import argparse
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageDraw, ImageOps


class Detector:
    """An exported file.

    Args:
        path: the .tflite file; its class names are in it.
        threads: CPU threads.

    Raises:
        ValueError: the file is no TFLite model with class names.
    """

    def __init__(self, path, threads=2):
        try:
            with zipfile.ZipFile(path) as files:
                self.names = files.read("labels.txt").decode().split("\n")[:-1]
                self.resizing = json.loads(files.read("input.json"))
        except (zipfile.BadZipFile, KeyError):
            raise ValueError(f"{path} holds no class names: was it exported by keras_det?") from None
        interpreter = Interpreter(str(path), num_threads=threads)
        self._run = interpreter.get_signature_runner()
        self._input = self._run.get_input_details()["images"]

    def __call__(self, image, score_threshold=0.5):
        """Detect in a PIL image, upright; a list of `(box in pixels, score, name)`, the best first."""
        pixels = np.asarray(image.convert("RGB"))
        network, window = fitted(pixels, *self._input["shape"][1:3], self.resizing)
        network = np.rint(network) if self._input["dtype"] == np.uint8 else network
        found = self._run(images=network[None].astype(self._input["dtype"]))
        count = int(found["num_detections"][0])
        boxes = found["detection_boxes"][0, :count] * np.tile(window[2:] - window[:2], 2) + np.tile(window[:2], 2)
        boxes = boxes.clip(0, 1) * [*pixels.shape[:2], *pixels.shape[:2]]
        scores, classes = found["detection_scores"][0, :count], found["detection_classes"][0, :count].astype(int)
        return [
            (box.tolist(), float(score), self.names[label])
            for box, score, label in zip(boxes, scores, classes)
            if score >= score_threshold
        ]


def fitted(pixels, height, width, resizing):
    """The network's input and the window of the image that it shows, `(ymin, xmin, ymax, xmax)` relative to the image.

    The image is stretched to the input, or keeps its aspect ratio in the middle of it, as the file says.
    """
    if resizing["resize"] == "stretch":
        return resize(pixels, height, width), np.array([0, 0, 1, 1], "float32")
    h, w = pixels.shape[:2]
    rows = max(min((2 * h * width + w) // (2 * w), height), 1)
    columns = max(min((2 * w * height + h) // (2 * h), width), 1)
    top, left = (height - rows) // 2, (width - columns) // 2
    image = np.empty((height, width, 3), "float32")
    image[:] = resizing["fill"]
    image[top : top + rows, left : left + columns] = resize(pixels, rows, columns)
    window = np.array([-top / rows, -left / columns, (height - top) / rows, (width - left) / columns], "float32")
    return image, window


def resize(pixels, height, width):
    """Bilinear with half-pixel centers and no antialiasing, as in training; Pillow's own resizing has antialiasing."""
    for axis, new in ((0, height), (1, width)):
        old = pixels.shape[axis]
        place = np.clip((np.arange(new, dtype="float32") + 0.5) * np.float32(old / new) - 0.5, 0, old - 1)
        low = place.astype(int)
        fraction = (place - low).astype("float32").reshape([-1, 1, 1] if axis == 0 else [-1, 1])
        first, second = (np.take(pixels, i, axis).astype("float32") for i in (low, np.minimum(low + 1, old - 1)))
        pixels = first + (second - first) * fraction
    return pixels


def draw(image, found):
    """The image with boxes and names."""
    canvas = ImageDraw.Draw(image)
    for (ymin, xmin, ymax, xmax), score, name in found:
        canvas.rectangle([xmin, ymin, xmax, ymax], outline=(255, 80, 0), width=2)
        text, place = f"{name} {score:.2f}", (xmin + 3, ymin + 2)
        left, top, right, bottom = canvas.textbbox(place, text)
        canvas.rectangle([left - 3, top - 2, right + 3, bottom + 2], fill=(255, 80, 0))
        canvas.text(place, text, fill=(255, 255, 255))
    return image


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--score-threshold", type=float, default=0.5)
    parser.add_argument("--out", type=Path, help="folder for the images with boxes")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    try:
        detect = Detector(arguments.model, arguments.threads)
        for path in arguments.images:
            image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
            found = detect(image, arguments.score_threshold)
            boxes, scores, names = zip(*found) if found else ((), (), ())
            print(json.dumps({"image": str(path), "boxes": boxes, "scores": scores, "names": names}))
            if arguments.out:
                arguments.out.mkdir(parents=True, exist_ok=True)
                draw(image, found).save(arguments.out / f"{path.stem}.png")
    except (OSError, ValueError) as error:
        sys.exit(f"detect.py: {error}")


if __name__ == "__main__":
    main()
