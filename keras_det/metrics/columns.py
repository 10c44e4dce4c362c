"""Truth and results as columns: one row per object or detection, in pixels of the original images.

Every metric of this package reads these two. Boxes are float64 `xyxy` (xmin, ymin, xmax, ymax) with the origin at the
image's upper left corner, so a width is xmax - xmin. VOC's inclusive pixels and COCO's `xywh` become that in the
readers of `voc` and `coco`, which shift no box's overlap with another; so both protocols share one overlap.
"""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_det.data.image_files import SIDEWAYS, turn_boxes

_COLUMN_TYPES = {
    "image": np.int64,
    "boxes": np.float64,
    "scores": np.float64,
    "labels": np.int64,
    "difficult": np.bool_,
    "is_crowd": np.bool_,
    "area": np.float64,
}


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """The annotated objects of a set of images.

    Attributes:
        classes: The C class names, in label order.
        image_ids: The I image names. An image without objects stands here too, and so is counted.
        sizes: `[I, 2]` int64, height and width of the original images.
        image: `[N]` int64, the object's image as an index into `image_ids`.
        boxes: `[N, 4]` float64 `xyxy` in original pixels.
        labels: `[N]` int64 in `0 .. C-1`.
        difficult: `[N]` bool, VOC's flag; all False when left out.
        is_crowd: `[N]` bool, COCO's flag; all False when left out.
        area: `[N]` float64, pixels squared, COCO's size of an object (its mask's); the box's when left out.
        category_ids: The C ids that stand for the classes in COCO's files; 1 .. C when left out.
        names: The I images' file names, by which results files may name them, too; empty where there are none.
        orientation: `[I]` int64, the EXIF orientation by which the boxes of the annotation's file were turned upright,
            and those of results files are; 1 for not at all.

    Raises:
        ValueError: A column has another length than the rest, a label or an image index is out of range, a box is not
            finite or has no area, or an image id occurs twice.

    >>> truth = GroundTruth(("cat",), ("a", "b"), [[50, 80], [50, 80]], [0], [[10, 10, 30, 40]], [0])
    >>> truth.area.tolist()
    [600.0]
    """

    classes: tuple[str, ...]
    image_ids: tuple[str, ...]
    sizes: np.ndarray
    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray = None  # pyright: ignore[reportAssignmentType]
    is_crowd: np.ndarray = None  # pyright: ignore[reportAssignmentType]
    area: np.ndarray = None  # pyright: ignore[reportAssignmentType]
    category_ids: tuple[int, ...] = None  # pyright: ignore[reportAssignmentType]
    names: tuple[str, ...] = None  # pyright: ignore[reportAssignmentType]
    orientation: np.ndarray = None  # pyright: ignore[reportAssignmentType]

    def __post_init__(self):
        _set(self, classes=tuple(self.classes), image_ids=tuple(str(i) for i in self.image_ids))
        _set(self, sizes=np.asarray(self.sizes, np.int64).reshape(-1, 2))
        count = len(np.atleast_1d(self.image))
        if self.difficult is None:
            _set(self, difficult=np.zeros(count, bool))
        if self.is_crowd is None:
            _set(self, is_crowd=np.zeros(count, bool))
        if self.area is None:
            _set(self, area=box_area(np.asarray(self.boxes, np.float64).reshape(-1, 4)))
        if self.category_ids is None:
            _set(self, category_ids=range(1, len(self.classes) + 1))
        _set(self, category_ids=tuple(int(i) for i in self.category_ids))
        _set(self, names=("",) * len(self.image_ids) if self.names is None else tuple(self.names))
        turned = np.ones(len(self.image_ids), np.int64) if self.orientation is None else self.orientation
        _set(self, orientation=np.asarray(turned, np.int64))
        _cast_columns(self)
        _check_columns(self, "truth", self.image_ids, len(self.classes))
        _check_unique("truth.image_ids", self.image_ids)
        _check_unique("truth.category_ids", self.category_ids)
        if {len(self.names), len(self.orientation)} != {len(self.image_ids)}:
            raise ValueError(f"truth has {len(self.image_ids)} image_ids but {len(self.names)} names.")
        if len(self.sizes) != len(self.image_ids) or len(self.category_ids) != len(self.classes):
            raise ValueError(
                f"truth has {len(self.image_ids)} image_ids but {len(self.sizes)} sizes, "
                f"and {len(self.classes)} classes but {len(self.category_ids)} category_ids; each pair must agree."
            )
        flat = np.flatnonzero(box_area(self.boxes) <= 0)
        if flat.size:
            raise ValueError(f"truth object {flat[0]} has no area: box {self.boxes[flat[0]].tolist()} (xyxy).")

    @property
    def ignored(self) -> np.ndarray:
        """`[N]` bool: difficult objects and crowds, which count neither as missed nor as found under VOC's rules."""
        return self.difficult | self.is_crowd

    def image_of(self) -> dict[str, int]:
        """The index of each image by all that a results file may call it: its id, its file name, and that's stem."""
        table: dict[str, int] = {}
        for names in (self.image_ids, self.names, [os.path.splitext(name)[0] for name in self.names]):
            new: dict[str, list[int]] = {}
            for index, name in enumerate(names):
                new.setdefault(name, []).append(index)
            table = {name: rows[0] for name, rows in new.items() if name and len(rows) == 1} | table
        return table

    def turn(self, image: np.ndarray, boxes: np.ndarray, upright: bool) -> np.ndarray:
        """Boxes of results files to boxes of the upright images, or back: images that no EXIF turns keep theirs.

        Args:
            image: `[D]` the boxes' images.
            boxes: `[D, 4]` float64 `xyxy` in pixels.
            upright: To the upright images; else to the frame of the annotation's file.
        """
        boxes = np.array(boxes, np.float64)
        for orientation in np.unique(self.orientation[image]):
            if orientation == 1:
                continue
            rows = np.flatnonzero(self.orientation[image] == orientation)
            after = self.sizes[image[rows]]
            before = after[:, ::-1] if orientation in SIDEWAYS else after
            source, target = (before, after) if upright else (after, before)
            undo = {6: 8, 8: 6}.get(int(orientation), int(orientation))
            fractions = boxes[rows][:, [1, 0, 3, 2]] / source[:, [0, 1, 0, 1]]
            boxes[rows] = to_pixels(turn_boxes(fractions, int(orientation) if upright else undo), target)
        return boxes

    @classmethod
    def from_annotations(
        cls,
        annotations: Iterable[Any],
        classes: Sequence[str],
        category_ids: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
    ) -> "GroundTruth":
        """Collect `keras_det.data` annotations; their relative float32 boxes go back to original pixels.

        Args:
            annotations: Objects with `image_id`, `height`, `width`, `boxes` (`rel_yxyx`), `labels`, `difficult`,
                `is_crowd` and `area`.
            classes: Class names in label order.
            category_ids: COCO's ids of the classes.
            names: The images' file names.
        """
        rows = list(annotations)
        sizes = np.array([(a.height, a.width) for a in rows], np.int64).reshape(-1, 2)
        image = np.repeat(np.arange(len(rows)), [len(a.labels) for a in rows])
        boxes = to_pixels(_stack([a.boxes for a in rows], (0, 4)), sizes[image])
        return cls(
            classes=tuple(classes),
            image_ids=tuple(a.image_id for a in rows),
            sizes=sizes,
            image=image,
            boxes=restore_hundredths(boxes, sizes[image]),
            labels=_stack([a.labels for a in rows], (0,)),
            difficult=_stack([a.difficult for a in rows], (0,)),
            is_crowd=_stack([a.is_crowd for a in rows], (0,)),
            area=_stack([a.area for a in rows], (0,)),
            category_ids=category_ids,
            names=names,
            orientation=[getattr(a, "orientation", 1) for a in rows],
        )

    @classmethod
    def from_source(cls, source: Any) -> "GroundTruth":
        """Read the annotations of a whole data source; no pixels are read.

        Args:
            source: Anything with `classes`, `__len__` and `annotation(i)`, as `keras_det.data.Source`. Its
                `category_ids`, where it has them, are kept for COCO's files.
        """
        annotations = (source.annotation(i) for i in range(len(source)))
        path = getattr(source, "path", lambda i: None)
        names = [os.path.basename(path(i) or "") for i in range(len(source))]
        return cls.from_annotations(annotations, source.classes, getattr(source, "category_ids", None), names)


@dataclasses.dataclass(frozen=True)
class Predictions:
    """A detector's detections on the images of one `GroundTruth`.

    Attributes:
        image: `[D]` int64, the image as an index into `GroundTruth.image_ids`.
        boxes: `[D, 4]` float64 `xyxy` in original pixels; they may leave the image.
        scores: `[D]` float64, higher is surer.
        labels: `[D]` int64 in `0 .. C-1`.

    Raises:
        ValueError: The columns differ in length, or a score or box is not finite. The entry is named.

    >>> Predictions([0, 0], [[0, 0, 9, 9], [5, 5, 9, 9]], [0.9, 0.8], [0, 1]).labels.tolist()
    [0, 1]
    """

    image: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        _cast_columns(self)
        _check_lengths(self, "results")
        for name, column, finite in (
            ("score", self.scores, np.isfinite(self.scores)),
            ("box", self.boxes, np.isfinite(self.boxes).all(-1)),
        ):
            bad = np.flatnonzero(~finite)
            if bad.size:
                raise ValueError(f"results entry {bad[0]} has a {name} that is not finite: {column[bad[0]].tolist()}.")

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: np.ndarray) -> "Predictions":
        """The detections at `rows` (indexes or a mask), in that order."""
        return Predictions(self.image[rows], self.boxes[rows], self.scores[rows], self.labels[rows])

    def check_against(self, truth: GroundTruth) -> None:
        """Raise ValueError when an image index or a label does not exist in `truth`."""
        _check_columns(self, "results", truth.image_ids, len(truth.classes))


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Area of `xyxy` boxes `[..., 4]`; zero where a box is inverted."""
    return np.maximum(boxes[..., 2] - boxes[..., 0], 0) * np.maximum(boxes[..., 3] - boxes[..., 1], 0)


def to_pixels(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """`rel_yxyx` boxes `[N, 4]` on images of `sizes` `[N, 2]` (height, width) as float64 `xyxy` pixels.

    >>> to_pixels(np.array([[0.5, 0.0, 1.0, 0.25]]), np.array([[10, 40]])).tolist()
    [[0.0, 5.0, 10.0, 10.0]]
    """
    return np.asarray(boxes, np.float64)[:, [1, 0, 3, 2]] * np.asarray(sizes)[:, [1, 0, 1, 0]]


def restore_hundredths(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Undo float32 rounding: a pixel coordinate within that rounding of a hundredth becomes that hundredth.

    Data sets record whole pixels (VOC) or hundredths (COCO). A coordinate that came back from float32 `rel_yxyx` a hair
    off would flip overlaps that lie exactly on a threshold, and the official tools would give another metric.
    """
    hundredths = np.round(boxes, 2)
    rounding = np.asarray(sizes)[:, [1, 0, 1, 0]] * np.finfo(np.float32).eps
    restored = np.where(np.abs(hundredths - boxes) <= rounding, hundredths, boxes)
    return np.where(box_area(restored)[:, None] > 0, restored, boxes)


def _set(record, **values):
    """Assign to a frozen dataclass while it is being made."""
    for name, value in values.items():
        object.__setattr__(record, name, value)


def _cast_columns(record):
    """Give each column its type and shape."""
    for name, dtype in _COLUMN_TYPES.items():
        if hasattr(record, name):
            shape = (-1, 4) if name == "boxes" else (-1,)
            _set(record, **{name: np.asarray(getattr(record, name), dtype).reshape(shape)})


def _check_lengths(record, what):
    lengths = {name: len(getattr(record, name)) for name in _COLUMN_TYPES if hasattr(record, name)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{what} columns must have one length, got {lengths}.")


def _check_columns(record, what, image_ids, class_count):
    """Lengths, finite boxes, and indexes within the images and classes."""
    _check_lengths(record, what)
    bad = np.flatnonzero(~np.isfinite(record.boxes).all(-1))
    if bad.size:
        raise ValueError(f"{what} entry {bad[0]} has a box that is not finite: {record.boxes[bad[0]].tolist()}.")
    for name, values, limit in (("image", record.image, len(image_ids)), ("label", record.labels, class_count)):
        bad = np.flatnonzero((values < 0) | (values >= limit))
        if bad.size:
            raise ValueError(f"{what} entry {bad[0]} has {name} {values[bad[0]]}, expected 0 to {limit - 1}.")


def _check_unique(name, values):
    if len(set(values)) < len(values):
        seen = set()
        twice = next(v for v in values if v in seen or seen.add(v))
        raise ValueError(f"{name} holds {twice!r} twice.")


def _stack(parts, empty_shape):
    return np.concatenate(parts) if parts else np.zeros(empty_shape)
