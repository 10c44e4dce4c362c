"""COCO: a JSON file of instances and a folder of images."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import numpy as np

from keras_det.data.source import Annotation, Problem, ReadSource, clean_boxes, true_size

MAX_JSON_BYTES = 2**30
"""The largest JSON file that is read, in bytes: twice COCO's own training file."""

# Beyond it, numbers in JSON are not exact.
_MAX_INTEGER = 2**53


class Coco(ReadSource):
    """COCO as it is distributed: `annotations/instances_<split>.json`, and the images in `<split>` or `images/<split>`.

    Categories become the labels 0 .. C-1 in the order of their ids, which may have gaps. Boxes are x, y, width,
    height in pixels from 0, relative to the picture as it is stored: its own size counts, and EXIF does not rotate
    it. Where the JSON gives another size, or none, that is reported as `"corrected"`; a picture that cannot be read
    is reported as `"skipped"`, and its annotation then relies on the JSON's size and is empty when there is none.
    Annotations of unknown images or categories are reported and dropped. See `clean_boxes` for the rule on boxes;
    the number of an object is its place in the JSON's list of annotations. `image_id` is the JSON's id.

    Args:
        root: The folder.
        split: Such as `"val2017"`; None where there is only one.
        missing: What to do about images without a file: `"error"`, or `"skip"` to leave them out with a `Problem` each.

    Attributes:
        category_ids: The JSON's id of each label, for results files.
        annotation_file: The JSON file.

    Raises:
        FileNotFoundError: no such folder or JSON, or images are missing (with their number and the first one).
        ValueError: the JSON exceeds `MAX_JSON_BYTES`, cannot be parsed, is no set of instances, or names an image
            outside of its folder; names file and entry.
    """

    category_ids: tuple[int, ...]
    annotation_file: str

    def __init__(self, root: str | os.PathLike, split: str | None = None, missing: str = "error"):
        if missing not in ("error", "skip"):
            raise ValueError(f"missing must be 'error' or 'skip', got {missing!r}")
        root = os.path.expanduser(os.fspath(root))
        split = _check_split(root, split)
        self.annotation_file = _annotation_file(root, split)
        content = _load(self.annotation_file)
        self.category_ids, names = _read_categories(self.annotation_file, content["categories"])
        folder = os.path.join(root, split)
        if not os.path.isdir(folder):
            folder = os.path.join(root, "images", split)
        ids, self._files, self._sizes = _read_images(self.annotation_file, folder, content["images"])
        there = _existing(self._files)
        problems = _report_missing(f"coco {split}", self._files, there, missing)
        self._ids, self._sizes = ids[there], self._sizes[there]
        self._files = [file for file, exists in zip(self._files, there) if exists]
        problems += self._group(content["annotations"], ids[~there])
        super().__init__(f"coco {split}", names, problems)

    def _group(self, entries: list, left_out: np.ndarray) -> list[Problem]:
        """Keeps the annotations ordered by image, and reports those of unknown images and categories."""
        file = self.annotation_file
        image_ids = _column(file, entries, "image_id", integer=True)
        category_ids = _column(file, entries, "category_id", integer=True)
        image, label = _positions(self._ids, image_ids), _positions(np.array(self.category_ids), category_ids)
        number = np.flatnonzero((image >= 0) & (label >= 0))
        number = number[np.argsort(image[number], kind="stable")]
        xywh = _column(file, entries, "bbox", shape=(4,))[number]
        with np.errstate(invalid="ignore", over="ignore"):
            self._corners = np.concatenate([xywh[:, 1::-1], xywh[:, 1::-1] + xywh[:, :1:-1]], axis=1)
        self._area = _column(file, entries, "area", default=np.nan)[number]
        self._crowd = _column(file, entries, "iscrowd", integer=True, default=0)[number] != 0
        self._number, self._labels = number, label[number]
        self._starts = np.searchsorted(image[number], np.arange(len(self._ids) + 1))
        no_image = (image < 0) & ~np.isin(image_ids, left_out)
        return [
            Problem(file, int(n), f"its image {image_ids[n]} is not among the images", "dropped")
            if no_image[n]
            else Problem(file, int(n), f"its category {category_ids[n]} is not among the categories", "dropped")
            for n in np.flatnonzero(no_image | ((image >= 0) & (label < 0)))
        ]

    def __len__(self) -> int:
        return len(self._files)

    def path(self, i: int) -> str:
        """The file of picture `i`."""
        return self._files[self._check_index(i)]

    def _read(self, i: int) -> tuple[Annotation, list[Problem]]:
        rows = slice(self._starts[i], self._starts[i + 1])
        image_id = str(self._ids[i])
        said = tuple(self._sizes[i].tolist()) if self._sizes[i].all() else None
        (height, width), problems = true_size(self._files[i], said, self.annotation_file, f"image {image_id} ")
        if not height:
            return Annotation(image_id, 0, 0, np.zeros((0, 4)), [], [], [], []), problems
        boxes, kept, faults = clean_boxes(self._corners[rows], height, width, self.annotation_file, self._number[rows])
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * height * width
        given = self._area[rows][kept]
        area = np.where(np.isfinite(given) & (given >= 0), given, area)
        labels, crowd = self._labels[rows][kept], self._crowd[rows][kept]
        annotation = Annotation(image_id, height, width, boxes, labels, np.zeros(len(kept), bool), crowd, area)
        return annotation, problems + faults


def _check_split(root: str, split: str | None) -> str:
    """The split, or the only one there is."""
    if not os.path.isdir(root):
        raise FileNotFoundError(f"there is no folder {root}, expected one with COCO's annotations and images")
    found = _splits(root)
    if split is None and len(found) == 1:
        return found[0]
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", split or ""):
        raise ValueError(f"split must be like 'val2017', got {split!r}; {root} has {', '.join(found) or 'none'}")
    return split


def _splits(root: str) -> list[str]:
    """The splits with instances under the root."""
    folder = os.path.join(root, "annotations")
    files = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [match[1] for match in map(re.compile(r"instances_(.+)\.json").fullmatch, files) if match]


def _annotation_file(root: str, split: str) -> str:
    """The split's JSON, if it is there and of a bearable size."""
    file = os.path.join(root, "annotations", f"instances_{split}.json")
    if not os.path.isfile(file):
        raise FileNotFoundError(f"there is no file {file}; {root} has the splits {', '.join(_splits(root)) or 'none'}")
    if os.path.getsize(file) > MAX_JSON_BYTES:
        raise ValueError(f"{file}: {os.path.getsize(file)} bytes, at most {MAX_JSON_BYTES} are read")
    return file


def _load(file: str) -> dict[str, list]:
    """The JSON's three lists of objects, without the outlines, which are most of it."""
    try:
        with open(file, "rb") as stream:
            content = json.loads(stream.read(), object_hook=_without_outline)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: expected an object, got {type(content).__name__}")
    for key in ("images", "annotations", "categories"):
        entries = content.get(key)
        if not isinstance(entries, list):
            raise ValueError(f"{file}: expected a list under {key!r}, got {_shown(entries)}")
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise ValueError(f"{file}, {key}[{number}]: expected an object, got {_shown(entry)}")
    return content


def _without_outline(entry: dict[str, Any]) -> dict[str, Any]:
    """Frees an annotation's polygons while the file is read."""
    entry.pop("segmentation", None)
    return entry


def _read_categories(file: str, entries: list[dict]) -> tuple[tuple[int, ...], list[str]]:
    """Ids and names of the categories, in the order of the ids."""
    ids = _column(file, entries, "id", integer=True, where="categories")
    for number, entry in enumerate(entries):
        if not isinstance(entry.get("name"), str):
            raise ValueError(f"{file}, categories[{number}]: expected a 'name', got {_shown(entry.get('name'))}")
    names = [entry["name"] for entry in entries]
    if not names or len(set(names)) < len(names) or len(set(ids.tolist())) < len(names):
        raise ValueError(f"{file}: expected categories of different ids and names, got {len(names)} with repetitions")
    order = np.argsort(ids)
    return tuple(ids[order].tolist()), [names[k] for k in order]


def _read_images(file: str, folder: str, entries: list[dict]) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Ids, paths, and heights and widths (0 where absent or no size) of the images."""
    ids = _column(file, entries, "id", integer=True, where="images")
    _, first = np.unique(ids, return_index=True)
    if len(first) < len(ids):
        number = int(np.setdiff1d(np.arange(len(ids)), first)[0])
        raise ValueError(f"{file}, images[{number}]: the id {ids[number]} occurs twice")
    files = [_inside(file, number, folder, entry.get("file_name")) for number, entry in enumerate(entries)]
    sizes = [[_size(entry.get("height")), _size(entry.get("width"))] for entry in entries]
    return ids, files, np.array(sizes, np.int64).reshape(-1, 2)


def _size(value: Any) -> int:
    """A side in pixels, 0 for anything that is none."""
    return value if isinstance(value, int) and 0 < value < 2**31 else 0


def _inside(file: str, number: int, folder: str, name: Any) -> str:
    """The path of an image, which must lie in the folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"{file}, images[{number}]: expected a 'file_name', got {_shown(name)}")
    path = os.path.normpath(os.path.join(folder, name))
    if not path.startswith(os.path.normpath(folder) + os.sep):
        raise ValueError(f"{file}, images[{number}]: the file_name {_shown(name)} leads out of {folder}")
    return path


def _existing(files: list[str]) -> np.ndarray:
    """Which of the files exist, `[n]` bool; each folder is listed once."""
    there = {}
    for folder in {os.path.dirname(file) for file in files}:
        there[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    return np.array([os.path.basename(file) in there[os.path.dirname(file)] for file in files], bool)


def _report_missing(name: str, files: list[str], there: np.ndarray, missing: str) -> list[Problem]:
    """A problem for each image without a file, or the error."""
    absent = [file for file, exists in zip(files, there) if not exists]
    if absent and missing == "error":
        raise FileNotFoundError(
            f"{name}: {len(absent)} of {len(files)} images have no file, the first is {absent[0]}; "
            "missing='skip' leaves them out"
        )
    if not there.any():
        raise ValueError(f"{name}: none of the {len(files)} images is there")
    return [Problem(file, None, f"listed in {name}, but there is no such file", "skipped") for file in absent]


def _positions(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each of `wanted` stands in `ids`, -1 where it does not."""
    order = np.argsort(ids)
    place = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
    return np.where(ids[order[place]] == wanted, order[place], -1)


def _column(
    file: str,
    entries: list[dict],
    key: str,
    shape: tuple[int, ...] = (),
    integer: bool = False,
    default: float | None = None,
    where: str = "annotations",
) -> np.ndarray:
    """One number, or a list of numbers, of each entry: int64 or float64; `default` where the key is absent."""
    try:
        array = np.array([entry.get(key, default) for entry in entries])
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if not entries:
        array = np.zeros((0, *shape), np.int64)
    whole = array.dtype.kind in "biu"
    if array.shape != (len(entries), *shape) or not (whole or (array.dtype.kind == "f" and not integer)):
        _blame(file, entries, key, shape, integer, default, where)
    if integer and (np.abs(array) > _MAX_INTEGER).any():
        _blame(file, entries, key, shape, integer, default, where)
    return array.astype(np.int64 if integer else np.float64)


def _blame(file, entries, key, shape, integer, default, where):
    """Raises the ValueError that names the first entry whose value is none of the kind expected."""
    kind = int if integer else (int, float)
    expected = ("a whole number" if integer else "a number") if not shape else f"a list of {shape[0]} numbers"
    for number, entry in enumerate(entries):
        value = entry.get(key, default)
        parts = value if shape and isinstance(value, list) and len(value) == shape[0] else [value]
        if len(parts) != (shape[0] if shape else 1) or not all(
            isinstance(p, kind) and not (isinstance(p, int) and abs(p) > _MAX_INTEGER) for p in parts
        ):
            raise ValueError(f"{file}, {where}[{number}]: expected {expected} under {key!r}, got {_shown(value)}")
    raise ValueError(f"{file}: expected {expected} under {key!r} of all {where}")


def _shown(value: Any) -> str:
    """The value for a message, cut short."""
    return repr(value)[:80]
