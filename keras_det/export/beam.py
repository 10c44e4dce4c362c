"""Detection over more images than one machine takes: an Apache Beam pipeline around an exported SavedModel.

`python -m keras_det.export.beam --input 'images/*.jpg' --model exported/ssd300/1 --output found`, followed by the
options of any Beam runner. The workers need apache-beam and tensorflow, neither this package nor Keras: so this file
imports nothing of the two.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

try:
    import apache_beam as beam
except ImportError as error:
    raise ImportError("detection with Apache Beam needs apache-beam: pip install 'keras_det[beam]'") from error
import tensorflow as tf
from apache_beam.io import fileio, filesystems
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

BAD = "bad"
ENCODED, NAMES = "image/encoded", ("image/filename", "image/source_id")  # features of TensorFlow's detection records


class Detector(ModelHandler):
    """`RunInference`'s model handler of an exported detector.

    An example is the bytes of a JPEG, PNG, GIF or BMP; its result the list of detections, or a text that says why the
    image cannot be read.

    Args:
        folder: a version's folder as `keras_det.export.saved_model` writes it, where every worker can read it.
        score_threshold: detections below are left out.
        batch_size: images at most in one call.
    """

    def __init__(self, folder: str, score_threshold: float = 0.5, batch_size: int = 16):
        super().__init__(min_batch_size=1, max_batch_size=batch_size)
        self.folder = folder
        self.score_threshold = score_threshold

    def load_model(self) -> Any:
        """The SavedModel, with the names of its classes."""
        model = tf.saved_model.load(self.folder)
        path = filesystems.FileSystems.join(self.folder, "assets", "labels.txt")
        model.classes = tf.io.gfile.GFile(path).read().splitlines()
        return model

    def run_inference(
        self, batch: Sequence[bytes], model: Any, inference_args: dict[str, Any] | None = None
    ) -> list[Any]:
        """Results of the images, in their order. A batch with a bad image is gone through one by one."""
        try:
            return self._detect(batch, model)
        except tf.errors.InvalidArgumentError as error:
            if len(batch) == 1:
                reason = error.message.split("\n\t [[")[0].splitlines()[-1]  # without the trace around it
                return [f"the image cannot be read: {reason}"]
            return [self.run_inference([one], model)[0] for one in batch]

    def _detect(self, batch, model):
        found = {k: v.numpy() for k, v in model.signatures["serving_bytes"](image_bytes=tf.constant(batch)).items()}
        rows = zip(found["detection_boxes"], found["detection_scores"], found["detection_classes"])
        return [
            [
                {"box": box.tolist(), "score": float(score), "label": int(label), "name": model.classes[label]}
                for box, score, label in zip(*row)
                if label >= 0 and score >= self.score_threshold
            ]
            for row in rows
        ]


class Detect(beam.PTransform):
    """`(name, bytes)` of images to two collections of JSON lines, `detections` and `bad`.

    Args:
        handler: a `Detector`.
    """

    def __init__(self, handler: Detector):
        super().__init__()
        self.handler = handler

    def expand(self, images: Any) -> Any:
        """The two collections, a dict."""
        results = images | "Detect" >> RunInference(KeyedModelHandler(self.handler))
        lines = results | "Lines" >> beam.FlatMap(_line).with_outputs(BAD, main="detections")
        return {"detections": lines.detections, BAD: lines[BAD]}


def _line(result):
    """The JSON line of an image, at the output where it belongs."""
    name, found = result
    if isinstance(found, str):
        yield beam.pvalue.TaggedOutput(BAD, json.dumps({"image": name, "reason": found}))
    else:
        yield json.dumps({"image": name, "detections": found})


def read(pipeline: Any, patterns: Sequence[str]) -> Any:
    """`(name, bytes)` of all images that the patterns name.

    Args:
        pipeline: a `beam.Pipeline`.
        patterns: globs of image files, or, where `.tfrecord` is in them, of TFRecord files of `tf.train.Example` with
            `image/encoded` and `image/filename` or `image/source_id`.
    """
    parts = []
    for pattern in patterns:
        if ".tfrecord" in pattern:
            records = pipeline | f"Records {pattern}" >> beam.io.ReadFromTFRecord(pattern)
            parts.append(records | f"Examples {pattern}" >> beam.Map(_example))
        else:
            strict = fileio.EmptyMatchTreatment.DISALLOW
            files = (
                pipeline
                | f"Files {pattern}" >> fileio.MatchFiles(pattern, strict)
                | f"Spread {pattern}" >> beam.Reshuffle()
            )
            parts.append(files | f"Open {pattern}" >> fileio.ReadMatches() | f"Read {pattern}" >> beam.Map(_contents))
    return parts | "All images" >> beam.Flatten()


def _contents(file):
    return file.metadata.path, file.read()


def _example(record):
    """Name and bytes of a record; without an image the bytes are empty, which is a bad image later on."""
    features = tf.train.Example.FromString(record).features.feature

    def first(name):
        values = features[name].bytes_list.value if name in features else ()
        return values[0] if values else b""

    return next((first(name).decode() for name in NAMES if first(name)), ""), first(ENCODED)


def main(config: Sequence[str] | None = None) -> None:
    """The command: its own options, and those of Beam's runners."""
    parser = argparse.ArgumentParser("python -m keras_det.export.beam", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--input", nargs="+", required=True, help="globs of images or of *.tfrecord* files")
    parser.add_argument("--model", required=True, help="version folder of `keras-det export --format saved_model`")
    parser.add_argument("--output", required=True, help="folder for detections-*.jsonl and bad-*.jsonl")
    parser.add_argument("--score_threshold", type=float, default=0.5)
    parser.add_argument("--batch_size", type=int, default=16)
    options, rest = parser.parse_known_args(config)
    join = filesystems.FileSystems.join
    if not filesystems.FileSystems.exists(join(options.model, "saved_model.pb")):
        parser.error(f"--model must be the folder of a SavedModel, with saved_model.pb in it; got {options.model}")
    handler = Detector(options.model, options.score_threshold, options.batch_size)
    with beam.Pipeline(options=PipelineOptions(rest, save_main_session=True)) as pipeline:
        for name, lines in (read(pipeline, options.input) | "Images" >> Detect(handler)).items():
            _ = lines | f"Write {name}" >> beam.io.WriteToText(join(options.output, name), ".jsonl")


if __name__ == "__main__":
    main()
