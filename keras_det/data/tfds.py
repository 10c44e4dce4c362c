"""TensorFlow Datasets: `voc/2007`, `coco/2017` and others of the same features."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_det.data.image_files import read_image, stored_size
from keras_det.data.source import Annotation, AnnotationIssue, ReadSource, pixel_areas, unreadable, upright_frame

_OBJECT_FIELDS = ("bbox", "label")

# A TFRecord: length (8 bytes), its checksum (4), the record, its checksum (4).
_HEADER, _FOOTER = 12, 4
# VOC's coordinates are whole pixels, or a few decimals: what float32 adds to them is less than this many decimals.
_DECIMALS = 3


class Tfds(ReadSource):
    """A data set of TensorFlow Datasets with the features `image` and `objects` (`bbox`, `label`).

    Of the objects, `is_difficult` (VOC), `is_crowd` and `area` (COCO) are used where the data set has them.
    `image_id` is `image/id` (COCO), else the stem of `image/filename`, else the image's number. The images come in
    the order of the files, which is not that of the original data set. Any image can be read at any time: records of
    `tfrecord` files, the usual ones, are found by their offsets, others by the format's own access.

    TFDS divides VOC's 1-based corners by the image's size as they are; here they are turned back into pixels, so
    that the boxes are those of `Voc`. TFDS does not heed EXIF orientations: its boxes are of the image as it is stored,
    and are turned upright with it. See `clean_boxes` for the rule on boxes.

    Args:
        name: Of the data set, with its configuration: `"voc/2007"`.
        split: In TFDS's notation: `"train+validation"`, `"test[:10%]"`.
        data_dir: Where TFDS keeps its data; None for its own default. What is not there yet is downloaded.

    Raises:
        ImportError: TensorFlow Datasets is not installed; names the extra that brings it.
        ValueError: no such data set or split, or the data set has no images with objects.
    """

    def __init__(self, name: str, split: str | None = None, data_dir: str | os.PathLike | None = None):
        tfds = _import_tfds()
        try:
            builder = tfds.builder(name, data_dir=data_dir and os.path.expanduser(os.fspath(data_dir)))
        except ValueError as error:
            raise ValueError(f"TensorFlow Datasets has no {name!r}: {_first_line(error)}") from error
        builder.download_and_prepare()
        features = builder.info.features
        _check_features(name, features)
        splits = builder.info.splits
        expected = f"split of {name} must be one of {', '.join(splits)}, a part of one or several joined by +"
        if not split:
            raise ValueError(f"{expected}, got {split!r}")
        try:
            instructions = splits[split].file_instructions
        except (KeyError, ValueError) as error:
            raise ValueError(f"{expected}, got {split!r}: {_first_line(error)}") from error
        decoders = {"image": tfds.decode.SkipDecoding()}
        if builder.info.file_format.value == "tfrecord":
            decode = functools.partial(features.deserialize_example_np, decoders=decoders)
            self._records: Sequence[dict[str, Any]] = _TfRecords(instructions, decode)
        else:
            self._records = builder.as_data_source(split, decoders=decoders)
        self._first_pixel = 1 if builder.name == "voc" else 0
        super().__init__(f"tfds {name} {split}", features["objects"]["label"].names)

    def __len__(self) -> int:
        return len(self._records)

    def image(self, i: int) -> np.ndarray:
        """Image `i`: uint8 RGB `[H, W, 3]`, upright by its EXIF orientation. Raises ValueError for a corrupt record."""
        record = self._records[self._check_index(i)]
        try:
            return read_image(_bytes(record["image"]))
        except ValueError as error:
            raise ValueError(f"{self._file(record, i)}: {error}") from error

    def _file(self, record: dict[str, Any], i: int) -> str:
        """What the image is called in reports."""
        return f"{self.name}: {_text(record.get('image/filename', f'image {i}'))}"

    def _read(self, i: int) -> tuple[Annotation, list[AnnotationIssue]]:
        record = self._records[i]
        objects, file = record["objects"], self._file(record, i)
        name = _text(record.get("image/filename", str(i)))
        image_id = str(int(record["image/id"])) if "image/id" in record else os.path.splitext(name)[0]
        try:
            frame = upright_frame(*stored_size(_bytes(record["image"])))
        except ValueError as error:
            empty = Annotation(image_id, 0, 0, np.zeros((0, 4)), [], [], [], [])
            return empty, [unreadable(file, error)]
        height, width = frame.size
        corners = np.asarray(objects["bbox"], np.float64).reshape(-1, 4) * [*frame.said, *frame.said]
        if self._first_pixel:
            corners = np.round(corners, _DECIMALS)
        boxes, kept, issues = frame.clean_boxes(corners, file, first_pixel=self._first_pixel)
        none = np.zeros(len(corners), bool)
        box_area = pixel_areas(boxes, height, width)
        annotation = Annotation(
            image_id,
            height,
            width,
            boxes,
            np.asarray(objects["label"])[kept],
            np.asarray(objects.get("is_difficult", none))[kept],
            np.asarray(objects.get("is_crowd", none))[kept],
            np.asarray(objects["area"])[kept] if "area" in objects else box_area,
            frame.orientation,
        )
        return annotation, issues


def _import_tfds():
    """The package, which only this source needs."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            "the source 'tfds' needs TensorFlow Datasets: pip install 'keras_det[tfds]' "
            f"(importing tensorflow_datasets failed: {error})"
        ) from error
    return tensorflow_datasets


def _check_features(name: str, features) -> None:
    """Raises ValueError for a data set that holds no images with objects."""
    lacking = [key for key in ("image", "objects") if key not in features]
    lacking = lacking or [f"objects/{key}" for key in _OBJECT_FIELDS if key not in features["objects"]]
    if lacking:
        raise ValueError(f"{name} is no data set for detection: it has no feature {', '.join(lacking)}")


def _bytes(value: Any) -> bytes:
    """The encoded image of a record that was not decoded."""
    return value if isinstance(value, bytes) else bytes(np.asarray(value).item())


def _first_line(error: Exception) -> str:
    """The point of a message of TFDS, which continues with lists of names."""
    return str(error).strip().partition("\n")[0]


def _text(value: Any) -> str:
    """A text feature, which comes as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


class _TfRecords(Sequence):
    """The records of some TFRecord files, by number: only their lengths are read beforehand."""

    def __init__(self, instructions: Sequence, decode: Callable[[bytes], dict[str, Any]]):
        self._decode = decode
        self._places: list[tuple[str, int, int]] = []
        for part in instructions:
            file = os.fspath(part.filename)
            spans = _spans(file)
            stop = len(spans) if part.take < 0 else part.skip + part.take
            if len(spans) < stop:
                raise ValueError(f"{file}: {len(spans)} records, expected at least {stop}")
            self._places += [(file, start, length) for start, length in spans[part.skip : stop]]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, i: int) -> dict[str, Any]:
        file, start, length = self._places[i]
        with open(file, "rb") as stream:
            stream.seek(start)
            return self._decode(stream.read(length))


def _spans(file: str) -> list[tuple[int, int]]:
    """Start and length of each record of a TFRecord file."""
    spans, place, size = [], 0, os.path.getsize(file)
    with open(file, "rb") as stream:
        while place < size:
            stream.seek(place)
            header = stream.read(_HEADER)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == _HEADER else size
            if place + _HEADER + length + _FOOTER > size:
                raise ValueError(f"{file}: the TFRecord file is cut short or corrupt at byte {place}")
            spans.append((place + _HEADER, length))
            place += _HEADER + length + _FOOTER
    return spans
