"""Export as one ONNX file, resizing and suppression inside."""

import tempfile
from pathlib import Path

import tensorflow as tf

from keras_det.export.files import write_whole
from keras_det.export.to_saved_model import NAMES, check_any_size
from keras_det.models.detector import Detector

OPSET = 17


def onnx(model: Detector, path: str | Path) -> Path:
    """Write `path`, a model for ONNX Runtime and others, opset 17.

    The input `images` is `[B, h, w, 3]` RGB uint8 of any size; outputs are those of the SavedModel's `serving_default`,
    by name.

    Args:
        model: a `Detector`.
        path: the file to write.

    Returns:
        The path.

    Raises:
        FileExistsError: the file is there already.
        ModuleNotFoundError: tf2onnx is not installed.
        ValueError: a model whose graph is of one size of image.
    """
    check_any_size(model)
    try:
        import tf2onnx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("ONNX export needs tf2onnx: pip install 'keras_det[onnx]'.") from error
    spec = [tf.TensorSpec([None, None, None, 3], tf.uint8, "images")]

    @tf.function(input_signature=spec)
    def serve(images):
        return {NAMES[name]: value for name, value in model.serve(images).items()}

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        tf2onnx.convert.from_function(serve, input_signature=spec, opset=OPSET, output_path=str(file))
        return write_whole(path, file.read_bytes())
