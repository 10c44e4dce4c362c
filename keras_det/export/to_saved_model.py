"""Export as a TensorFlow SavedModel in TF Serving's layout."""

import json
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from keras_det.data.resize import resize
from keras_det.export.upright import decode_upright
from keras_det.files import whole
from keras_det.models.detector import Detector
from keras_det.version import __version__

NAMES = {
    "boxes": "detection_boxes",
    "scores": "detection_scores",
    "labels": "detection_classes",
    "num_detections": "num_detections",
}


def saved_model(model: Detector, path: str | Path, version: int = 1) -> Path:
    """Write `path/VERSION/`, a SavedModel that TensorFlow alone runs.

    Signatures:

    - `serving_default`: `images` `[B, h, w, 3]` uint8 RGB of any size, resized inside.
    - `serving_bytes`: `image_bytes` `[B]` strings, JPEG or PNG of any sizes (REST: `{"b64": ...}`), upright by their
      EXIF orientation as in `detect`.
    - `raw`: `images` `[B, H, W, 3]` float32 of the network's size, to the network's outputs.

    The first two give `detection_boxes [B, D, 4]` as `(ymin, xmin, ymax, xmax)` relative to the image,
    `detection_scores [B, D]`, `detection_classes [B, D]` int32 from 0, -1 where there is no detection, and
    `num_detections [B]`. Class names are in `assets/labels.txt`, the model's description in `assets/model.json`.

    Args:
        model: a `Detector`.
        path: folder of the model; `version` is a folder in it.
        version: a positive integer, as TF Serving numbers versions.

    Returns:
        The path of the version's folder.

    Raises:
        FileExistsError: this version is there already.
        ValueError: a version that is no positive integer, or a model whose graph is of one size of image.
    """
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"`version` must be a positive integer; got {version!r}.")
    check_any_size(model)
    target = Path(path) / str(version)
    if target.exists():
        raise FileExistsError(f"{target} exists; choose another --out or --version.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole(target) as temporary:
        _write(model, temporary)
    return target


def check_any_size(model: Detector) -> None:
    """Refuse a model that is compiled anew for each size of image."""
    if not model.any_size:
        raise ValueError(f"{type(model).__name__} is compiled anew for each size of image, so no file can hold it.")


def _write(model, folder):
    """Write the SavedModel with its signatures and assets."""
    module = tf.Module()
    module.variables_ = [variable.value for variable in model.weights]  # what the signatures' graphs refer to

    def named(found):
        return {NAMES[name]: value for name, value in found.items()}

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "images")])
    def serving_default(images):
        return named(model.serve(images))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def serving_bytes(image_bytes):
        size = model.image_size
        spec = tf.TensorSpec([*size, 3], tf.float32)
        if model.resize == "stretch":
            return named(
                model.serve(tf.map_fn(lambda b: resize(decode_upright(b), size), image_bytes, fn_output_signature=spec))
            )

        def fitted(data):
            image, window = model.fitted(decode_upright(data)[None])
            return tf.ensure_shape(image[0], spec.shape), window

        specs = spec, tf.TensorSpec([4], tf.float32)
        images, windows = tf.map_fn(fitted, image_bytes, fn_output_signature=specs)
        return named(model.decoded_in(windows, model(images, training=False)))

    @tf.function(input_signature=[tf.TensorSpec([None, *model.image_size, 3], tf.float32, "images")])
    def raw(images):
        return dict(model(images, training=False))

    module.serving_default, module.serving_bytes, module.raw = serving_default, serving_bytes, raw
    with tempfile.TemporaryDirectory() as assets:
        module.assets = [tf.saved_model.Asset(str(p)) for p in _write_assets(model, Path(assets))]
        signatures = {"serving_default": serving_default, "serving_bytes": serving_bytes, "raw": raw}
        tf.saved_model.save(module, str(folder), signatures=signatures)


def _write_assets(model, folder):
    """Class names, one a line, and what the model is."""
    description = {
        "model": type(model).__name__,
        "config": model.config.to_dict(),
        "classes": list(model.classes),
        "image_size": list(model.image_size),
        "parameters": model.count_params(),
        "versions": {"keras_det": __version__, "keras": keras.__version__, "tensorflow": tf.__version__},
    }
    files = {"labels.txt": "\n".join(model.classes) + "\n", "model.json": json.dumps(description, indent=2) + "\n"}
    for name, text in files.items():
        (folder / name).write_bytes(text.encode("utf-8"))  # whatever the locale, and with these line ends
    return [folder / name for name in files]
