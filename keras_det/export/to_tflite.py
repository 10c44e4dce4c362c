"""Export as one TFLite (LiteRT) file with suppression inside, of built-in operations only.

The network is converted in the wanted precision and what follows it, decoding and suppression, always in float32: boxes
that are rounded to 8 or 16 bits are no longer the model's. The two are then joined into one graph. Suppression is
TFLite's own operation here and not `keras_det.boxes.nms`, whose loops would be further subgraphs, which the Task
Library refuses.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_det import _compat
from keras_det.data.resize import fitted
from keras_det.export.files import write_whole
from keras_det.export.tflite_metadata import add_metadata
from keras_det.models.detector import Detector

schema = _compat.tflite_schema()

PRECISIONS = ("float32", "float16", "dynamic", "int8")
OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
"""In this order, which is that of the Task Library: location, category, score, number of detections."""

REPRESENTATIVE_IMAGES = 100


def tflite(
    model: Detector, path: str | Path, precision: str = "float32", images: Iterable[np.ndarray] | None = None
) -> Path:
    """Write `path`, a file for the TFLite / LiteRT runtimes.

    The input `images` is `[1, H, W, 3]` RGB of the network's size, float32 in 0 .. 255, or uint8 if the precision is
    `"int8"`. Outputs, all float32: `detection_boxes [1, D, 4]` as `(ymin, xmin, ymax, xmax)` relative to that input,
    `detection_classes [1, D]` from 0, -1 where there is no detection, `detection_scores [1, D]`, `num_detections [1]`.
    Class names and what the Task Library asks for stand in the file's metadata, and how images become the input: where
    they are letterboxed, whoever runs the file letterboxes them and takes the boxes back, as `export/edge/detect.py`
    does.

    Args:
        model: a `Detector` of one pass (`single_pass`).
        path: the file to write.
        precision: `"float32"`; `"float16"` rounds the weights; `"dynamic"` has 8-bit weights, computed with in float
            or 8 bits as the runtime chooses; `"int8"` computes the whole network in 8 bits.
        images: for `"int8"`, uint8 images `[h, w, 3]` like those to come; the first 100 are used.

    Returns:
        The path.

    Raises:
        ValueError: another precision, no images for `"int8"`, or a model of several passes.
        FileExistsError: the file is there already.
    """
    if not model.single_pass:
        raise ValueError(
            f"{type(model).__name__} looks at an image several times, which TFLite's one graph cannot hold."
        )
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}; got {precision!r}.")
    images = [] if images is None else [pixels for pixels, _ in zip(images, range(REPRESENTATIVE_IMAGES))]
    if precision == "int8" and not images:
        raise ValueError("`images` must hold some images like those to come, to choose the 8-bit ranges by.")
    network = _convert(model, *_network(model), precision, images)
    rest = _convert(model, *_rest(model), "float32", ())
    joined = _join(network, rest)
    data = add_metadata(joined, model, OUTPUTS, normalized=precision != "int8")
    return write_whole(path, data)


def _network(model):
    """The network as a function and the specification of its inputs."""
    spec = tf.TensorSpec([1, *model.image_size, 3], tf.float32, "images")
    return (lambda images: dict(model(images, training=False))), [spec]


def _rest(model):
    """What turns the network's outputs into detections."""
    function, specs = _network(model)
    outputs = tf.function(function, input_signature=specs).get_concrete_function().structured_outputs
    names = sorted(outputs)

    def decode(*values):
        boxes, scores = model.scored_boxes(dict(zip(names, values)))
        found = _suppress(boxes[0], scores[0], **model.nms_options)
        return {name: tf.cast(value, tf.float32)[None] for name, value in zip(OUTPUTS, found)}

    return decode, [tf.TensorSpec(outputs[name].shape, tf.float32, name) for name in names]


def _suppress(boxes, scores, score_threshold, iou_threshold, max_per_class, max_detections, class_agnostic=False):
    """What `keras_det.boxes.nms` does, for one image, by TFLite's operation: boxes, labels, scores, their number."""
    candidates, index = tf.math.top_k(tf.transpose(scores), min(max_per_class, scores.shape[0]))
    labels = tf.repeat(tf.range(candidates.shape[0])[:, None], candidates.shape[1], axis=1)
    groups = [candidates, index, labels]
    if class_agnostic:  # one group of all classes
        groups = [tf.reshape(part, [1, -1]) for part in groups]
    kept_boxes, kept_scores, kept_labels = [], [], []
    for group_scores, index, labels in zip(*map(tf.unstack, groups)):
        group_boxes, size = tf.gather(boxes, index), min(max_detections, group_scores.shape[0])
        kept, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=group_boxes,
            scores=group_scores,
            max_output_size=size,
            iou_threshold=iou_threshold,
            score_threshold=score_threshold,
            pad_to_max_output_size=True,
        )
        kept_boxes.append(tf.gather(group_boxes, kept))
        kept_scores.append(tf.where(tf.range(size) < count, tf.gather(group_scores, kept), 0.0))
        kept_labels.append(tf.gather(labels, kept))
    kept_boxes, kept_scores, kept_labels = (tf.concat(x, 0) for x in (kept_boxes, kept_scores, kept_labels))
    missing = max(max_detections - kept_scores.shape[0], 0)
    best, order = tf.math.top_k(tf.pad(kept_scores, [[0, missing]]), max_detections)
    order = tf.minimum(order, kept_scores.shape[0] - 1)
    found = best > 0
    boxes = tf.where(found[:, None], tf.clip_by_value(tf.gather(kept_boxes, order), 0.0, 1.0), 0.0)
    labels = tf.where(found, tf.gather(kept_labels, order), -1)
    return boxes, labels, best, tf.reduce_sum(tf.cast(found, tf.float32))


def _convert(model, function, specs, precision, images):
    """A function as a TFLite model, with its signature."""
    module = tf.Module()
    module.variables_ = [variable.value for variable in model.weights]
    module.function = tf.function(function, input_signature=specs)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": module.function})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
            converter.representative_dataset = lambda: _representative(images, model)
        return schema.ModelT.InitFromPackedBuf(converter.convert(), 0)


def _representative(images, model):
    """Images at the network's size; one black and one white pixel in each make the input's range 0 .. 255."""
    for pixels in images:
        image = fitted(tf.constant(pixels), tf.zeros([0, 4]), model.image_size, model.resize)[0].numpy()
        image[0, 0], image[0, 1] = 0.0, 255.0
        yield [image[None].astype("float32")]


# Joining


def _join(first, second):
    """One model that feeds the outputs of `first` to the inputs of `second` by their names in the signatures."""
    graph, rest = first.subgraphs[0], second.subgraphs[0]
    ends = {end.name.decode(): end.tensorIndex for end in first.signatureDefs[0].outputs}
    starts = {start.name.decode(): start.tensorIndex for start in second.signatureDefs[0].inputs}
    tensors = {starts[name]: ends[name] for name in starts}
    tensors |= {i: i + len(graph.tensors) for i in range(len(rest.tensors)) if i not in tensors}
    codes, buffers = len(first.operatorCodes), len(first.buffers)
    for tensor in rest.tensors:
        tensor.buffer += buffers
    for operator in rest.operators:
        operator.opcodeIndex += codes
        operator.inputs = _moved(operator.inputs, tensors)
        operator.outputs = _moved(operator.outputs, tensors)
    ends = {end.name.decode(): tensors[end.tensorIndex] for end in second.signatureDefs[0].outputs}
    graph.tensors += rest.tensors
    graph.operators += rest.operators
    graph.outputs = np.array([ends[name] for name in OUTPUTS], np.int32)
    first.operatorCodes += second.operatorCodes
    first.buffers += second.buffers
    first.signatureDefs[0].outputs = [_named(name, ends[name]) for name in OUTPUTS]
    for name in OUTPUTS:
        graph.tensors[ends[name]].name = name.encode()
    graph.tensors[graph.inputs[0]].name = b"images"
    return first


def _moved(indexes, table):
    """Tensor indexes after the join; -1 stands for an input left out."""
    return np.array([table.get(int(i), -1) for i in indexes], np.int32)


def _named(name, index):
    """An entry of a signature."""
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), index
    return entry
