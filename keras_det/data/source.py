"""What every data source is: numbered images, their objects, and the issues found in their annotations."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Sequence

import numpy as np

from keras_det.data.image_files import SIDEWAYS, read_image, stored_size, turn_boxes

MAX_FAULTY = 0.1
"""The fraction of objects that may be dropped as faulty, and of images that may be annotated at another size than they
have, before a source is refused."""

# COCO rounds coordinates to a hundredth of a pixel: leaving the image by less than this part of its side is no issue.
_ROUNDING = 1e-4


@dataclasses.dataclass(frozen=True)
class AnnotationIssue:
    """An issue found while reading a data set, and what was done about it.

    Attributes:
        file: The file with the issue.
        object: Number of the object within the file, from 0 and counting the dropped ones; None when the issue is the
            file's or the image's.
        message: What is wrong, in words.
        action: `"clipped"` (the box was cut at the image's border), `"dropped"` (the object is left out), `"skipped"`
            (the image is left out), `"corrected"` (the sensible value was taken), `"kept"` (boxes stay as they are),
            `"mismatched"` (the same, though their size is not the image's), `"rescaled"` (boxes were scaled to the
            image's size) or `"turned"` (boxes were turned upright with it).

    >>> print(AnnotationIssue("a.xml", 2, "the box is inverted", "dropped"))
    a.xml, object 2: the box is inverted (dropped)
    """

    file: str
    object: int | None
    message: str
    action: str

    def __str__(self) -> str:
        number = "" if self.object is None else f", object {self.object}"
        return f"{self.file}{number}: {self.message} ({self.action})"


@dataclasses.dataclass(frozen=True, eq=False)
class Annotation:
    """The objects of one image. The arrays are read-only: they are shared by all who ask for the same image.

    Attributes:
        image_id: VOC and folder: the file's stem; COCO: the decimal id; shapes: `shapes-<seed>-<index>`.
        height: Of the image, upright by its EXIF orientation, in pixels; 0 where it is not known.
        width: The same.
        boxes: `[n, 4]` float32, `rel_yxyx`, inside 0..1, each of positive area.
        labels: `[n]` int32, 0 .. C-1.
        difficult: `[n]` bool, VOC's flag; False where the format has none.
        is_crowd: `[n]` bool, COCO's flag; False where the format has none.
        area: `[n]` float32, pixels squared: COCO's area of the segmentation, else the box's.
        orientation: EXIF's, by which the boxes of the annotation's file were turned upright; 1 for not at all.

    Raises:
        ValueError: an array's shape does not fit the number of boxes.

    >>> import numpy as np
    >>> boxes = np.float32([[0, 0, 0.5, 1]])
    >>> one = Annotation("a", 10, 20, boxes, [3], [False], [False], [100.0])
    >>> one.labels.dtype, len(one)
    (dtype('int32'), 1)
    """

    image_id: str
    height: int
    width: int
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    is_crowd: np.ndarray
    area: np.ndarray
    orientation: int = 1

    def __post_init__(self):
        for name, dtype in _ARRAYS.items():
            array = np.asarray(getattr(self, name), dtype).view()
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        count = len(self.boxes)
        for name in _ARRAYS:
            shape, expected = getattr(self, name).shape, (count, 4) if name == "boxes" else (count,)
            if shape != expected:
                raise ValueError(f"{name} of image {self.image_id!r} must have shape {expected}, got {shape}")

    def __len__(self) -> int:
        """The number of objects."""
        return len(self.boxes)


_ARRAYS = {"boxes": np.float32, "labels": np.int32, "difficult": bool, "is_crowd": bool, "area": np.float32}


class Source:
    """Numbered images with their annotations: the base of `Voc`, `Coco`, `Tfds`, `Folder` and `Shapes`.

    A subclass sets `name` and `classes` and defines `__len__`, `annotation` and `image`, and `path` where its images
    are files. All methods may be called from several threads at a time.

    Attributes:
        name: What the source is called in reports, such as `"voc 2007_test"`.
        classes: The names of the classes, in the order of the labels.
        max_unreadable: The fraction of the images over which unreadable ones end a training or an evaluation; up to it
            they are skipped, and one is in any case.
    """

    name: str
    classes: tuple[str, ...]
    max_unreadable: float = 0.01

    def __len__(self) -> int:
        raise NotImplementedError

    def annotation(self, i: int) -> Annotation:
        """The objects of image `i`; no pixels are read. Raises IndexError outside `0 .. len - 1`."""
        raise NotImplementedError

    def image(self, i: int) -> np.ndarray:
        """Image `i`: uint8 RGB `[H, W, 3]`, upright by its EXIF orientation. Raises ValueError for a corrupt file."""
        raise NotImplementedError

    def path(self, i: int) -> str | None:
        """The file of image `i`, or None where the source renders or decodes its images itself."""
        return None

    def file_of(self, i: int) -> str:
        """What image `i` is called in reports."""
        return self.path(i) or f"{self.name}, image {i}"

    @property
    def issues(self) -> list[AnnotationIssue]:
        """The issues found in the annotations, in the images' order. The first use reads every annotation."""
        found = (self._issues_of(i) for i in range(len(self)))
        return [*self._general_issues(), *itertools.chain.from_iterable(found)]

    def check(self) -> None:
        """Raises ValueError where too much is wrong; reads every annotation and every image's header.

        That is more than one object, and over `MAX_FAULTY` of them, that had to be dropped, as many of the images that
        are annotated at another size than they have, or more than one image, and over `max_unreadable` of them, that
        cannot be read.
        """
        self.check_unreadable([p for i in range(len(self)) for p in self._issues_of(i) if p.action == "skipped"])
        issues = self.issues
        mismatched, dropped = ([p for p in issues if p.action == action] for action in ("mismatched", "dropped"))
        self._check_faulty(mismatched, len(self), "images are annotated at another size than they have")
        if dropped:
            objects = len(dropped) + sum(len(self.annotation(i)) for i in range(len(self)))
            self._check_faulty(dropped, objects, "objects are faulty")

    def _check_faulty(self, faulty: Sequence[AnnotationIssue], count: int, words: str) -> None:
        """Raises ValueError where more than one of `count` images or objects, and over `MAX_FAULTY`, are faulty."""
        if len(faulty) > max(1, MAX_FAULTY * count):
            raise ValueError(
                f"{self.name}: {len(faulty)} of {count} {words}, more than {MAX_FAULTY:.0%}; the first: {faulty[0]}"
            )

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self)} images, {len(self.classes)} classes>"

    def check_unreadable(self, skipped: Sequence[AnnotationIssue]) -> None:
        """Raises ValueError where these unreadable images are too many."""
        if not 0 <= self.max_unreadable <= 1:
            raise ValueError(f"max_unreadable must be a fraction in 0 .. 1, got {self.max_unreadable}")
        if len(skipped) > max(1, self.max_unreadable * len(self)):
            names = ", ".join(issue.file for issue in skipped[:5])
            raise ValueError(
                f"{len(skipped)} of the {len(self)} images of {self.name} cannot be read, more than "
                f"{self.max_unreadable:.3g} of them (--max-unreadable, or max_unreadable of the source, allows more): "
                f"{names}"
            )

    def _issues_of(self, i: int) -> Sequence[AnnotationIssue]:
        """The issues of image `i`."""
        return ()

    def _general_issues(self) -> Sequence[AnnotationIssue]:
        """The issues that belong to no image of the source, such as images left out."""
        return ()

    def _check_index(self, i: int) -> int:
        """`i` itself where it is the number of an image."""
        if not 0 <= i < len(self):
            raise IndexError(f"{self.name} has images 0 to {len(self) - 1}, asked for {i}")
        return int(i)

    def without(self, other: Source) -> Source:
        """A view without the images whose files `other` has, too; itself where there are none."""
        files = {os.path.realpath(path) for i in range(len(other)) if (path := other.path(i)) is not None}
        kept = [i for i in range(len(self)) if (path := self.path(i)) is None or os.path.realpath(path) not in files]
        return self if len(kept) == len(self) else self.subset(kept)

    def take(self, n: int) -> Source:
        """A view of the first `n` images, or of all when there are fewer. Raises ValueError for a negative `n`."""
        if n < 0:
            raise ValueError(f"take needs a number of images of at least 0, got {n}")
        return self.subset(range(min(n, len(self))))

    def readable(self) -> Source:
        """A view of the images that can be decoded; all are. Raises ValueError where too many cannot, as `check`."""
        good, bad = [], []
        for i in range(len(self)):
            try:
                self.image(i)
                good.append(i)
            except (OSError, ValueError) as error:
                bad.append(unreadable(self.file_of(i), error))
                self.check_unreadable(bad)
        return self.subset(good)

    def subset(self, indexes: Iterable[int]) -> Source:
        """A view of the images with these numbers, in this order; nothing is read or copied.

        The view has the attributes of the source itself (such as `Coco.category_ids`). Raises IndexError for a
        number that the source does not have.
        """
        return _View(self, indexes)


class _View(Source):
    """Some images of another source."""

    def __init__(self, source: Source, indexes: Iterable[int]):
        self._source = source
        self.max_unreadable = source.max_unreadable
        self._indexes = [source._check_index(i) for i in indexes]

    def __getattr__(self, name: str):
        # Copying looks attributes up before __init__ ran, when there is no source to ask.
        if name == "_source":
            raise AttributeError(name)
        return getattr(self._source, name)

    def __len__(self) -> int:
        return len(self._indexes)

    def annotation(self, i: int) -> Annotation:
        return self._source.annotation(self._indexes[self._check_index(i)])

    def image(self, i: int) -> np.ndarray:
        return self._source.image(self._indexes[self._check_index(i)])

    def path(self, i: int) -> str | None:
        return self._source.path(self._indexes[self._check_index(i)])

    def file_of(self, i: int) -> str:
        return self._source.file_of(self._indexes[self._check_index(i)])

    def _issues_of(self, i: int) -> Sequence[AnnotationIssue]:
        return self._source._issues_of(self._indexes[i])

    def _general_issues(self) -> Sequence[AnnotationIssue]:
        return self._source._general_issues()


class ReadSource(Source):
    """A source that reads the annotation of an image when it is first asked for, and keeps it.

    A subclass defines `__len__`, `path` (or `image`), and `_read` instead of `annotation`.
    """

    def __init__(self, name: str, classes: Sequence[str], general_issues: Sequence[AnnotationIssue] = ()):
        self.name = name
        self.classes = tuple(classes)
        self._general = tuple(general_issues)
        self._kept: dict[int, tuple[Annotation, tuple[AnnotationIssue, ...]]] = {}

    def image(self, i: int) -> np.ndarray:
        """Image `i`: uint8 RGB `[H, W, 3]`, upright by its EXIF orientation. Raises ValueError for a corrupt file."""
        return read_image(self.path(i))

    def _read(self, i: int) -> tuple[Annotation, Sequence[AnnotationIssue]]:
        """The annotation of image `i`, and the issues in it."""
        raise NotImplementedError

    def annotation(self, i: int) -> Annotation:
        """The objects of image `i`, read once. Raises ValueError naming file and entry for a wrong structure."""
        return self._entry(self._check_index(i))[0]

    def _issues_of(self, i: int) -> Sequence[AnnotationIssue]:
        return self._entry(i)[1]

    def _general_issues(self) -> Sequence[AnnotationIssue]:
        return self._general

    def _entry(self, i: int) -> tuple[Annotation, tuple[AnnotationIssue, ...]]:
        if i not in self._kept:
            annotation, issues = self._read(i)
            self._kept[i] = annotation, tuple(issues)
        return self._kept[i]


class AnnotatedFiles(ReadSource):
    """Image files with a file of annotations each; an image whose annotations cannot be read is left out.

    It is reported and left out like one that cannot be read itself. A subclass defines `_file`, the image's file, and
    its `_read` calls `_leave_out` for such an image.
    """

    def __init__(self, name: str, classes: Sequence[str], general_issues: Sequence[AnnotationIssue] = ()):
        super().__init__(name, classes, general_issues)
        self._unusable: dict[int, AnnotationIssue] = {}

    def _file(self, i: int) -> str:
        """The file of image `i`."""
        raise NotImplementedError

    def path(self, i: int) -> str | None:
        """The file of image `i`; None once its annotation was found to be unreadable."""
        return None if i in self._unusable else self._file(self._check_index(i))

    def file_of(self, i: int) -> str:
        """What image `i` is called in reports: the file that cannot be read, where that is its annotation."""
        return self._unusable[i].file if i in self._unusable else self._file(self._check_index(i))

    def image(self, i: int) -> np.ndarray:
        """As `Source.image`; an image whose annotation cannot be read is refused, too."""
        self.annotation(i)
        if i in self._unusable:
            raise ValueError(f"{self._unusable[i].file}: {self._unusable[i].message}")
        return super().image(i)

    def _leave_out(self, i: int, image_id: str, file: str, error: Exception):
        """What `_read` gives for an image whose annotation's file cannot be read."""
        self._unusable[i] = unreadable(file, error)
        return without_objects(image_id, self._file(i))[0], [self._unusable[i]]


def check_missing(missing: str) -> None:
    """Raises ValueError where what to do about missing files is neither `"error"` nor `"skip"`."""
    if missing not in ("error", "skip"):
        raise ValueError(f"`missing` must be 'error' or 'skip'; got {missing!r}.")


def report_missing(name: str, files: Sequence[str], there: Sequence[bool], missing: str) -> list[AnnotationIssue]:
    """An issue for each image without a file, or the error where they may not be missing, or all are.

    Args:
        name: Of the source.
        files: Of the images.
        there: Whether each of them is there.
        missing: `"error"` or `"skip"`.
    """
    absent = [file for file, exists in zip(files, there) if not exists]
    if absent and missing == "error":
        raise FileNotFoundError(
            f"{name}: {len(absent)} of {len(files)} images have no file, the first is {absent[0]}; "
            "--missing skip, or missing='skip', leaves them out"
        )
    if len(absent) == len(files):
        raise ValueError(f"{name}: none of the {len(files)} images is there")
    return [AnnotationIssue(file, None, f"listed in {name}, but there is no such file", "skipped") for file in absent]


def unreadable(file: str, error: Exception) -> AnnotationIssue:
    """The issue of an image that is left out; the error may begin with the file's name."""
    return AnnotationIssue(file, None, str(error).removeprefix(f"{file}: "), "skipped")


def without_objects(image_id: str, image: str) -> tuple[Annotation, list[AnnotationIssue]]:
    """The annotation of an image that has none, and the issue where it cannot be read."""
    frame, issues = Frame((0, 0), (0, 0)), []
    try:
        frame = upright_frame(*stored_size(image))
    except (OSError, ValueError) as error:
        issues = [unreadable(image, error)]
    return Annotation(image_id, *frame.size, np.zeros((0, 4)), [], [], [], [], frame.orientation), issues


def pixel_areas(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """`[n]` areas in pixels squared of `[n, 4]` `rel_yxyx` boxes."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * height * width


@dataclasses.dataclass(frozen=True)
class Frame:
    """What an annotation's boxes are relative to, and what the image has.

    Attributes:
        size: Height and width of the upright image; of an unreadable one those of its annotation, or `(0, 0)`.
        said: Height and width that the boxes' pixels are divided by.
        orientation: EXIF's, by which the boxes are turned to those of the upright image; 1 for not at all.
    """

    size: tuple[int, int]
    said: tuple[int, int]
    orientation: int = 1

    def clean_boxes(
        self, corners: np.ndarray, file: str, numbers: Sequence[int] | None = None, first_pixel: int = 0
    ) -> tuple[np.ndarray, np.ndarray, list[AnnotationIssue]]:
        """`clean_boxes` of this module, and the boxes turned upright."""
        boxes, kept, issues = clean_boxes(corners, *self.said, file, numbers, first_pixel)
        if self.orientation == 1:
            return boxes, kept, issues
        boxes = turn_boxes(boxes, self.orientation)
        flat = (boxes[:, 2:] <= boxes[:, :2]).any(-1)  # 1 - x of a sliver's two sides may be one number
        lost = kept[flat] if numbers is None else np.asarray(numbers)[kept[flat]]
        issues += [AnnotationIssue(file, int(number), "the turned box has no area", "dropped") for number in lost]
        return boxes[~flat], kept[~flat], issues


def upright_frame(stored: tuple[int, int], orientation: int) -> Frame:
    """The frame of boxes of an image as it is stored."""
    return Frame(stored[::-1] if orientation in SIDEWAYS else stored, stored, orientation)


def upright_size(image: str) -> tuple[Frame, list[AnnotationIssue]]:
    """The frame of boxes whose annotation gives no size: the upright image; and the issue where it is unreadable."""
    try:
        size = upright_frame(*stored_size(image)).size
    except (OSError, ValueError) as error:
        return Frame((0, 0), (0, 0)), [unreadable(image, error)]
    return Frame(size, size), []


def find_frame(
    image: str, said: tuple[int, int] | None, file: str, entry: str = "", rescale: bool = False
) -> tuple[Frame, list[AnnotationIssue]]:
    """The frame of an image's boxes: one rule for sizes and orientations.

    The image is upright. Boxes are taken as pixels of the upright image where the annotated size is its size, and
    turned upright where that size fits only the image as it is stored. Where it fits neither, they are taken as pixels
    of the upright image all the same, or scaled with `rescale`. All but the first is reported; so is an orientation
    that changes no size and of which the annotation therefore tells nothing.

    Args:
        image: The image's file.
        said: Height and width in the annotation, None where it gives none.
        file: The annotation's file, to name in the report.
        entry: The words for the image's place in that file, where it holds several.
        rescale: Scale boxes from the annotated size to the image's.

    Returns:
        The frame and the issues.
    """
    try:
        stored, orientation = stored_size(image)
    except (OSError, ValueError) as error:
        return Frame(said or (0, 0), said or (0, 0)), [unreadable(image, error)]
    turned = upright_frame(stored, orientation)
    size = turned.size
    numbers = f"{size[0]} x {size[1]}"
    if said == size:
        if orientation == 1 or said != stored:
            return Frame(size, size), []
        message = f"{entry}the image has EXIF orientation {orientation}, of which the size tells nothing"
        return Frame(size, size), [
            AnnotationIssue(file, None, f"{message}: boxes are taken as of the upright image", "kept")
        ]
    if said is None:
        message = f"{entry}gives no size, but the image has {numbers} (height x width)"
        return Frame(size, size), [AnnotationIssue(file, None, message, "corrected")]
    words = f"{entry}gives a size of {said[0]} x {said[1]}, but the image has {numbers} (height x width)"
    if said == stored:
        message = f"{words} when it is turned upright by its EXIF orientation {orientation}"
        return turned, [AnnotationIssue(file, None, message, "turned")]
    if rescale:
        return Frame(size, said), [AnnotationIssue(file, None, words, "rescaled")]
    advice = "boxes are taken as pixels of the image as it is; --rescale-boxes, or rescale_boxes=True, scales them"
    return Frame(size, size), [AnnotationIssue(file, None, f"{words}: {advice}", "mismatched")]


def clean_boxes(
    corners: np.ndarray,
    height: float,
    width: float,
    file: str,
    numbers: Sequence[int] | None = None,
    first_pixel: int = 0,
) -> tuple[np.ndarray, np.ndarray, list[AnnotationIssue]]:
    """Boxes as a data set gives them to valid `rel_yxyx` boxes: the one rule for faulty boxes.

    A box with a coordinate that is not finite, an inverted box, and a box without area as annotated (`ymax <= ymin`
    or `xmax <= xmin`, which with VOC's inclusive pixels is a stray click of one pixel's width) are dropped. A box
    that leaves the image is clipped at its border, and dropped when nothing of it is left. Each is reported, but
    for a box that leaves the image by less than 1e-4 of its side, which is rounding: it is clipped without a word.

    Args:
        corners: `[n, 4]` ymin, xmin, ymax, xmax in the unit of `height` and `width`.
        height: Of the image, positive.
        width: Of the image, positive.
        file: The file to name in the reports.
        numbers: `[n]` numbers of the objects in the reports; None for 0 .. n-1.
        first_pixel: 1 where pixels are counted from 1 and `ymax`, `xmax` are inclusive, as VOC's; else 0.

    Returns:
        Boxes `[k, 4]` float32 in 0..1, the rows of `corners` that they come from `[k]` int64, the issues.

    >>> boxes, kept, issues = clean_boxes([[1, 1, 50, 120], [9, 9, 9, 9]], 50, 100, "a.xml", first_pixel=1)
    >>> boxes.tolist(), kept.tolist()
    ([[0.0, 0.0, 1.0, 1.0]], [0])
    >>> print(*issues, sep="\\n")
    a.xml, object 0: the box (ymin 1, xmin 1, ymax 50, xmax 120) leaves the image (50 high, 100 wide) (clipped)
    a.xml, object 1: the box (ymin 9, xmin 9, ymax 9, xmax 9) has no area (dropped)
    """
    corners = np.asarray(corners, np.float64).reshape(-1, 4)
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.all(np.isfinite(corners), axis=-1)
        extent = corners[:, 2:] - corners[:, :2]
        raw = (corners - [first_pixel, first_pixel, 0, 0]) / [height, width, height, width]
        boxes = np.clip(raw, 0.0, 1.0).astype(np.float32)
        leaves = np.any(np.abs(raw - np.clip(raw, 0.0, 1.0)) > _ROUNDING, axis=-1)
        valid = finite & np.all(extent > 0, axis=-1)
        keep = valid & np.all(boxes[:, 2:] > boxes[:, :2], axis=-1)
    issues = []
    for row in np.flatnonzero(~keep | leaves):
        if not finite[row]:
            message = "has a coordinate that is not finite"
        elif not valid[row]:
            message = "is inverted" if (extent[row] < 0).any() else "has no area"
        elif leaves[row]:
            inside = "leaves" if keep[row] else "lies outside"
            message = f"{inside} the image ({height:g} high, {width:g} wide)"
        else:
            message = "has no area"
        values = ", ".join(f"{k} {v:g}" for k, v in zip(("ymin", "xmin", "ymax", "xmax"), corners[row]))
        number = int(row if numbers is None else numbers[int(row)])
        action = "clipped" if keep[row] else "dropped"
        issues.append(AnnotationIssue(str(file), number, f"the box ({values}) {message}", action))
    return boxes[keep], np.flatnonzero(keep), issues
