"""Boxes in one table: a CSV file of paths, corners and labels."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence

import numpy as np

from keras_det.data.image_files import SUFFIXES
from keras_det.data.numbers import real, whole
from keras_det.data.source import (
    Annotation,
    AnnotationIssue,
    Frame,
    ReadSource,
    check_missing,
    find_frame,
    pixel_areas,
    report_missing,
    upright_size,
)
from keras_det.data.voc import decode, flag_of
from keras_det.suggestions import did_you_mean

MAX_BYTES = 2**31
MAX_SIDE = 2**31  # pixels of an image's width or height
# Headers of the columns, in lower case without underscores and blanks; Open Images' among them.
COLUMNS = {
    "path": ("path", "filename", "image", "imagepath", "imageid", "file"),
    "xmin": ("xmin", "x1", "left"),
    "ymin": ("ymin", "y1", "top"),
    "xmax": ("xmax", "x2", "right"),
    "ymax": ("ymax", "y2", "bottom"),
    "label": ("label", "class", "classname", "labelname", "name"),
}
FURTHER = {
    "split": ("split", "subset", "set"),
    "width": ("width", "imagewidth"),
    "height": ("height", "imageheight"),
    "crowd": ("isgroupof", "iscrowd"),
}
BOX = ("ymin", "xmin", "ymax", "xmax")


class Csv(ReadSource):
    """A table with a row for each object, `path,xmin,ymin,xmax,ymax,label`, in this order or by a header's names.

    Boxes are in pixels from 0; in Open Images' files, whose images are named by `ImageID`, relative to the image. A row
    with a path alone is an image without objects. Paths are relative to the file's folder, or absolute; an `ImageID`
    is looked for in the folder, in `images` and in the split's. Columns `split` (or `subset`), `width`, `height` and
    `is_crowd` (or `IsGroupOf`) are used where a header names them; others are not. Classes are the labels that occur,
    sorted. `image_id` is the path as it is written. See `find_frame` of `keras_det.data.source` for the rule on sizes
    and `clean_boxes` for that on boxes.

    Args:
        path: The file.
        split: A value of the column `split`; None for all rows.
        classes: The names of the classes in the order of the labels; None for all that occur in the file.
        missing: What to do about images that are not there: `"error"`, or `"skip"` to leave them out with an
            `AnnotationIssue` each.
        rescale_boxes: Scale boxes where `width` and `height` are not the image's, instead of keeping their pixels.

    Raises:
        FileNotFoundError: no such file, or images are missing (with their number and the first one).
        ValueError: a file that is too large, has no such columns or no rows, or a split that does not occur.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        missing: str = "error",
        rescale_boxes: bool = False,
    ):
        check_missing(missing)
        self._file = file = os.path.expanduser(os.fspath(path))
        rows, self._relative = _read_table(file)
        names = sorted({row["label"] for _, row in rows if row["label"]})
        if classes is not None and (isinstance(classes, str) or not classes or len({*classes}) != len(classes)):
            raise ValueError(f"`classes` must be a sequence of different names; got {classes!r}.")
        rows = _of_split(file, rows, split)
        name = f"csv {os.path.splitext(os.path.basename(file))[0]}" + (f" {split}" if split else "")
        self._rows: dict[str, list] = {}
        for number, row in rows:
            self._rows.setdefault(row["path"], []).append((number, row))
        folder = os.path.dirname(os.path.abspath(file))
        begin = re.match(
            r"(train|validation|test)[-_]", os.path.basename(file)
        )  # Open Images' file names say the split
        parts = ("", "images", *([split] if split else []), *([begin[1]] if begin else []))
        folders = [os.path.join(folder, part) for part in parts]
        found = {written: _find(written, folders) for written in self._rows}
        issues = report_missing(name, [*found], [image is not None for image in found.values()], missing)
        self._images = [(written, image) for written, image in found.items() if image is not None]
        self._rescale = rescale_boxes
        super().__init__(name, names if classes is None else classes, issues)

    def __len__(self) -> int:
        return len(self._images)

    def path(self, i: int) -> str:
        """The file of image `i`."""
        return self._images[self._check_index(i)][1]

    def _read(self, i: int) -> tuple[Annotation, list[AnnotationIssue]]:
        image_id, image = self._images[i]
        rows = self._rows[image_id]
        said = tuple(whole(rows[0][1].get(side)) or 0 for side in ("height", "width"))
        if all(0 < side < MAX_SIDE for side in said):
            frame, issues = find_frame(image, said, self._file, f"image {image_id} ", self._rescale)
        else:
            frame, issues = upright_size(image)
        if not frame.size[0]:
            return Annotation(image_id, 0, 0, np.zeros((0, 4)), [], [], [], []), issues
        rows, of_rows = self._sound(rows)
        corners = np.array([[real(row[side]) for side in BOX] for _, row in rows]).reshape(-1, 4)
        if self._relative:
            frame = Frame(frame.size, frame.size)
            corners = corners * np.tile(frame.size, 2)
        boxes, kept, of_boxes = frame.clean_boxes(corners, self._file, [number for number, _ in rows])
        labels = np.array([self.classes.index(row["label"]) for _, row in rows], int)[kept]
        flags = [_crowd(row.get("crowd", "")) for _, row in rows]
        of_rows += [
            AnnotationIssue(self._file, number, f"its crowd flag is {row['crowd'][:40]!r}, taken as none", "corrected")
            for flag, (number, row) in zip(flags, rows)
            if flag is None
        ]
        crowd = np.array([bool(flag) for flag in flags], bool)[kept]
        height, width = frame.size
        area = pixel_areas(boxes, height, width)
        none = np.zeros(len(kept), bool)
        annotation = Annotation(image_id, height, width, boxes, labels, none, crowd, area, frame.orientation)
        return annotation, issues + of_rows + of_boxes

    def _sound(self, rows):
        """The rows that are objects of known classes, and the issues of others; a path alone is no object."""
        kept, issues = [], []
        for number, row in rows:
            if not any(row[name] for name in (*BOX, "label")):
                continue
            if row["label"] in self.classes:
                kept.append((number, row))
            else:
                message = f"its label {row['label'][:40]!r} is not among the classes"
                issues.append(AnnotationIssue(self._file, number, message, "dropped"))
        return kept, issues


def _crowd(text: str) -> bool | None:
    """What the flag says; None for what has no known meaning. Open Images' -1, not known, is no."""
    return False if real(text) == -1 else flag_of(text)


def _read_table(file: str) -> tuple[list[tuple[int, dict[str, str]]], bool]:
    """Numbers and values of the rows, and whether boxes are relative to the image."""
    if not os.path.isfile(file):
        raise FileNotFoundError(f"there is no file {file}, expected a table of boxes (CSV)")
    if os.path.getsize(file) > MAX_BYTES:
        raise ValueError(f"{file}: {os.path.getsize(file)} bytes, at most {MAX_BYTES} are read")
    with open(file, "rb") as stream:
        text = decode(stream.read())[0]
    separator = max(",;\t", key=text.partition("\n")[0].count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        table = [[value.strip() for value in row] for row in reader if any(row)]
    except csv.Error as error:
        raise ValueError(f"{file}: cannot be read as CSV: {error}") from error
    if not table:
        raise ValueError(f"{file}: holds no rows")
    places, relative = _columns(file, table[0])
    table = table if places is None else table[1:]
    places = dict(zip(COLUMNS, range(6))) if places is None else places
    rows = [
        (number, {name: row[k] if k < len(row) else "" for name, k in places.items()})
        for number, row in enumerate(table)
    ]
    rows = [(number, row) for number, row in rows if row["path"]]
    if not rows:
        raise ValueError(f"{file}: holds no rows")
    return rows, relative


def _columns(file: str, header: Sequence[str]) -> tuple[dict[str, int] | None, bool]:
    """The place of each column by the header, None where the first row is no header; and whether boxes are relative."""
    plain = [name.lower().replace("_", "").replace(" ", "") for name in header]
    places = {
        name: next((plain.index(one) for one in known if one in plain), None)
        for name, known in (COLUMNS | FURTHER).items()
    }
    lacking = [name for name in COLUMNS if places[name] is None]
    if not lacking:
        relative = plain[places["path"] or 0] == "imageid"
        return {name: place for name, place in places.items() if place is not None}, relative
    if len(lacking) == len(COLUMNS) and len(header) == len(COLUMNS):
        return None, False
    raise ValueError(
        f"{file}: the first row names no {lacking[0]}; expected {','.join(COLUMNS)}, got {','.join(header)[:120]}"
    )


def _of_split(file: str, rows: list, split: str | None) -> list:
    """The rows of a split."""
    if not split:
        return rows
    if not any("split" in row for _, row in rows):
        raise ValueError(f"`split` means nothing for {file}, which has no column split; got {split!r}.")
    found: Mapping[str, None] = dict.fromkeys(row.get("split", "") for _, row in rows)
    if split not in found:
        known = ", ".join(name for name in found if name)
        hint = did_you_mean(split, found)
        raise ValueError(f"`split` must be one of {known or 'none'} in the column split of {file}; got {split!r}{hint}")
    return [(number, row) for number, row in rows if row["split"] == split]


def _find(written: str, folders: Sequence[str]) -> str | None:
    """The file of an image, whose ending may be left out; None where there is none."""
    for folder in folders:
        path = os.path.join(folder, os.path.expanduser(written))
        endings = () if written.lower().endswith(SUFFIXES) else SUFFIXES
        for candidate in (path, *(path + ending for ending in endings)):
            if os.path.isfile(candidate):
                return candidate
    return None
