"""What the TFLite Task Library's object detector reads from a file: labels, normalization, meaning of the outputs.

The metadata is a FlatBuffer of its own (`metadata_schema.fbs` of TensorFlow Lite Support, version 1.2) in a buffer of
the model called TFLITE_METADATA, and the label file is in a zip archive appended to the model. The packages that wrote
it ended with Python 3.11, so tables are given here as dicts from the schema's field number to a value. A file of our
own in the archive, `input.json`, says how images are resized.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np

from keras_det import _compat
from keras_det.models.detector import Detector
from keras_det.weights.registry import CAFFE_MEAN

schema = _compat.tflite_schema()

NAME = b"TFLITE_METADATA"
LABELS = "labels.txt"
INPUT = "input.json"
TASK_LIBRARY_NAMES = ("location", "category", "score", "number of detections")

_IMAGE, _BOUNDING_BOX, _FEATURE = np.uint8(2), np.uint8(3), np.uint8(1)  # union ContentProperties
_RGB, _BOUNDARIES, _NORMALIZATION, _VALUE_LABELS = np.int8(1), np.int8(1), np.uint8(1), np.int8(3)


def add_metadata(model: Any, detector: Detector, outputs: Sequence[str], normalized: bool) -> bytes:
    """The file's bytes: the model with metadata, the class names appended.

    Args:
        model: `ModelT` of one input and four outputs.
        detector: the `Detector` it came from.
        outputs: names of the outputs, in the order of `TASK_LIBRARY_NAMES`.
        normalized: whether the input is float, for which the Task Library asks for mean and deviation; they are 0 and
            1, since the network's own preprocessing is inside.
    """
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(_metadata(detector, outputs, normalized), np.uint8)
    entry.name, entry.buffer = NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr(zipfile.ZipInfo(LABELS), "\n".join(detector.classes) + "\n")
        files.writestr(zipfile.ZipInfo(INPUT), json.dumps({"resize": detector.resize, "fill": CAFFE_MEAN}) + "\n")
    return bytes(builder.Output()) + archive.getvalue()


def _metadata(detector, outputs, normalized):
    """`ModelMetadata` as bytes."""
    height, width = detector.image_size
    labels = {0: LABELS, 1: "Names of the classes, one a line.", 2: _VALUE_LABELS}
    size = {0: np.uint32(width), 1: np.uint32(height)}
    image = {0: "images", 1: "RGB image.", 3: _content(_IMAGE, {0: _RGB, 1: size})}
    image[5] = {0: np.array([255], np.float32), 1: np.array([0], np.float32)}
    if normalized:
        options = {0: np.array([0], np.float32), 1: np.array([1], np.float32)}
        image[4] = [{0: _NORMALIZATION, 1: options}]
    each = {2: {0: np.int32(2), 1: np.int32(2)}}  # the values of one detection lie along axis 2
    # The Task Library's order is left, top, right, bottom; ours begins with the top.
    box = _content(_BOUNDING_BOX, {0: np.array([1, 0, 3, 2], np.uint32), 1: _BOUNDARIES}) | each
    found = [
        {0: TASK_LIBRARY_NAMES[0], 1: f"{outputs[0]}: ymin, xmin, ymax, xmax relative to the image.", 3: box},
        {0: TASK_LIBRARY_NAMES[1], 1: outputs[1], 3: _content(_FEATURE, {}) | each, 6: [labels]},
        {0: TASK_LIBRARY_NAMES[2], 1: outputs[2], 3: _content(_FEATURE, {}) | each},
        {0: TASK_LIBRARY_NAMES[3], 1: outputs[3], 3: _content(_FEATURE, {})},
    ]
    group = {0: "detection_result", 1: list(TASK_LIBRARY_NAMES[:3])}
    root = {
        0: type(detector).__name__,
        1: "Object detector with suppression inside.",
        3: [{2: [image], 3: found, 8: [group]}],
        7: "1.2.0",
    }
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, root), b"M001")
    return bytes(builder.Output())


def _content(kind, properties):
    """`Content`: what a tensor holds."""
    return {0: kind, 1: properties}


def _write(builder, value):
    """Write a string, a vector or a table; numbers stand in their tables."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, list):
        places = [_write(builder, one) for one in value]
        builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            builder.PrependUOffsetTRelative(place)
        return builder.EndVector()
    fields = {slot: one if isinstance(one, np.generic) else _write(builder, one) for slot, one in value.items()}
    builder.StartObject(max(fields, default=-1) + 1)
    for slot, one in fields.items():
        if isinstance(one, np.generic):
            getattr(builder, f"Prepend{type(one).__name__.capitalize()}Slot")(slot, one.item(), 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, one, 0)
    return builder.EndObject()
