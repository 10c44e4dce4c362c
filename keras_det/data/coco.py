"""COCO: a JSON file of instances and a folder of images."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_det.data.numbers import real, reals, whole
from keras_det.data.source import (
    Annotation,
    AnnotationIssue,
    ReadSource,
    check_missing,
    find_frame,
    pixel_areas,
    report_missing,
)
from keras_det.suggestions import did_you_mean

MAX_JSON_BYTES = 2**30
"""The largest JSON file that is read, in bytes: twice COCO's own training file."""


class Coco(ReadSource):
    """COCO as it is distributed: `annotations/instances_<split>.json`, and the images in `<split>` or `images/<split>`.

    Also as labeling tools write it: Roboflow's `<split>/_annotations.coco.json` beside the images, CVAT's
    `annotations/instances_<split>.json` and `images`, Label Studio's `result.json`, or one JSON file by its name.

    Categories become the labels 0 .. C-1 in the order of their ids, which may have gaps. Ids of one name are one
    class, and a category that only groups others, being their supercategory and having no annotation, is none; both
    are reported. Boxes are x, y, width, height in pixels from 0; see `keras_det.data.source.find_frame` for the rule
    on sizes and orientations and `clean_boxes` for that on boxes. An image that cannot be read is reported as
    `"skipped"`, and its annotation then relies on the JSON's size and is empty when there is none. Numbers may be
    written as `1.0` or `"1"`. Annotations of unknown images or categories, or without four numbers as box, are reported
    and dropped; the number of an object is its place in the JSON's list of annotations. `image_id` is the JSON's id,
    exactly.

    Args:
        root: The folder, or the JSON file.
        split: Such as `"val2017"`; None where there is only one.
        missing: What to do about images without a file: `"error"`, or `"skip"` to leave them out with an
            `AnnotationIssue` each.
        rescale_boxes: Scale boxes where the JSON gives another size than the image has, instead of keeping pixels.
        annotated: False for images without annotations, such as COCO's own test sets, of which only results can be
            written: read from `annotations/image_info_<split>.json`, or from the JSON of instances without its objects.
        image_folder: The folder of the images; None looks for it.

    Attributes:
        category_ids: The JSON's id of each label, for results files.
        annotation_file: The JSON file.

    Raises:
        FileNotFoundError: no such folder or JSON, or images are missing (with their number and the first one).
        ValueError: the JSON exceeds `MAX_JSON_BYTES`, cannot be parsed, is no set of instances, has images or
            categories without an id, or names an image outside of its folder; names file and entry.
    """

    category_ids: tuple[int, ...]
    annotation_file: str

    def __init__(
        self,
        root: str | os.PathLike,
        split: str | None = None,
        missing: str = "error",
        rescale_boxes: bool = False,
        annotated: bool = True,
        image_folder: str | os.PathLike | None = None,
    ):
        check_missing(missing)
        root = os.path.expanduser(os.fspath(root))
        if os.path.isfile(root):
            split, file, folders = _named_file(root, split)
        else:
            split = _check_split(root, split, annotated)
            file, folders = _annotation_file(root, split, annotated)
        if image_folder is not None:
            folders = [os.path.expanduser(os.fspath(image_folder))]
            if not os.path.isdir(folders[0]):
                raise FileNotFoundError(f"there is no folder {folders[0]} of images")
        self.annotation_file = file
        content = _load(file, annotated)
        folder = _image_folder(folders, [entry.get("file_name") for entry in content["images"]])
        images, issues = _read_images(file, folder, content["images"])
        there = _existing([path for path, _ in images.values()])
        issues += report_missing(f"coco {split}", [path for path, _ in images.values()], there, missing)
        left_out = {number for number, exists in zip(images, there) if not exists}
        self._ids = [number for number in images if number not in left_out]
        self._files, self._sizes = zip(*(images[number] for number in self._ids))
        entries = content["annotations"]
        used = {whole(entry.get("category_id")) for entry in entries if annotated}
        labels, self.category_ids, names, of_categories = _read_categories(file, content["categories"], used)
        issues += of_categories + self._group(entries, labels, left_out)
        self._rescale = rescale_boxes
        super().__init__(f"coco {split}", names, issues)

    def _group(self, entries: list[dict], labels: Mapping[Any, int], left_out: set[int]) -> list[AnnotationIssue]:
        """Keeps the sound annotations ordered by image, and reports the others."""
        file = self.annotation_file
        places: dict[Any, int] = {number: place for place, number in enumerate(self._ids)}
        ids = [whole(entry.get("image_id")) for entry in entries]
        image = np.array([places.get(number, -1) for number in ids], np.int64)
        label = np.array([labels.get(whole(entry.get("category_id")), -1) for entry in entries], np.int64)
        xywh, boxed = reals([entry.get("bbox") for entry in entries], 4)
        crowd = [_flag(entry.get("iscrowd")) for entry in entries]
        known = (image >= 0) & (label >= 0)
        number = np.flatnonzero(known & boxed)
        number = number[np.argsort(image[number], kind="stable")]
        xywh = xywh[number]
        with np.errstate(invalid="ignore", over="ignore"):
            self._corners = np.concatenate([xywh[:, 1::-1], xywh[:, 1::-1] + xywh[:, :1:-1]], axis=1)
        self._area = np.array([real(entries[n].get("area")) for n in number], np.float64)
        self._crowd = np.array([bool(crowd[n]) for n in number], bool)
        self._number, self._labels = number, label[number]
        self._starts = np.searchsorted(image[number], np.arange(len(self._ids) + 1))
        absent = np.array([number in left_out for number in ids], bool)  # reported as the image's own issue
        issues = []
        for n in np.flatnonzero(~(known & boxed) & ~absent):
            entry = entries[n]
            if image[n] < 0:
                issue = f"its image {_shown(entry.get('image_id'))} is not among the images"
            elif label[n] < 0:
                issue = f"its category {_shown(entry.get('category_id'))} is not among the categories"
            else:
                issue = f"expected four numbers under 'bbox', got {_shown(entry.get('bbox'))}"
            issues.append(AnnotationIssue(file, int(n), issue, "dropped"))
        return issues + [
            AnnotationIssue(
                file, int(n), f"'iscrowd' is {_shown(entries[n]['iscrowd'])}, which is taken as 0", "corrected"
            )
            for n in number
            if crowd[n] is None
        ]

    def __len__(self) -> int:
        return len(self._files)

    def path(self, i: int) -> str:
        """The file of image `i`."""
        return self._files[self._check_index(i)]

    def _read(self, i: int) -> tuple[Annotation, list[AnnotationIssue]]:
        rows = slice(self._starts[i], self._starts[i + 1])
        image_id, said, file = str(self._ids[i]), self._sizes[i], self.annotation_file
        frame, issues = find_frame(self._files[i], said, file, f"image {image_id} ", self._rescale)
        height, width = frame.size
        if not height:
            return Annotation(image_id, 0, 0, np.zeros((0, 4)), [], [], [], []), issues
        boxes, kept, of_boxes = frame.clean_boxes(self._corners[rows], file, self._number[rows])
        area = pixel_areas(boxes, height, width)
        given = self._area[rows][kept] * (height * width / (frame.said[0] * frame.said[1]))
        area = np.where(np.isfinite(given) & (given >= 0), given, area)
        labels, crowd = self._labels[rows][kept], self._crowd[rows][kept]
        none = np.zeros(len(kept), bool)
        annotation = Annotation(image_id, height, width, boxes, labels, none, crowd, area, frame.orientation)
        return annotation, issues + of_boxes

    @classmethod
    def is_annotated(cls, root: str | os.PathLike, split: str | None = None) -> bool:
        """Whether there are instances of the split, and not its images alone; arguments and errors as of the class."""
        root = os.path.expanduser(os.fspath(root))
        return os.path.isfile(root) or _check_split(root, split, annotated=False) in _layouts(root, annotated=True)


def _check_split(root: str, split: str | None, annotated: bool) -> str:
    """The split, or the only one there is."""
    if not os.path.isdir(root):
        raise FileNotFoundError(f"there is no folder {root}, expected one with COCO's annotations and images")
    found = [*_layouts(root, annotated)]
    if split is None and len(found) == 1:
        return found[0]
    if split is None or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", split):
        hint = did_you_mean(split or "", found)
        raise ValueError(
            f"`split` must be like 'val2017'; got {split!r}; {root} has {', '.join(found) or 'none'}{hint}"
        )
    return split


def _layouts(root: str, annotated: bool) -> dict[str, tuple[str, list[str]]]:
    """The splits under the root, those without annotations too if they will do: their JSON, and where images may be.

    COCO's own (`annotations/instances_<split>.json`, which CVAT writes, too), Roboflow's
    (`<split>/_annotations.coco.json`) and Label Studio's (`result.json`).
    """
    found = {}
    kinds = "instances" if annotated else "instances|image_info"
    of_file = re.compile(rf"({kinds})_(.+)\.json").fullmatch
    matches = [match for match in map(of_file, _listing(os.path.join(root, "annotations"))) if match]
    for match in sorted(matches, key=lambda match: match[1] == "image_info"):  # without annotations it goes before
        parts = [part for name in (match[2], match[2].replace("-dev", "")) for part in ((name,), ("images", name))]
        folders = [os.path.join(root, *part) for part in (*parts, ("images",))]  # test-dev's are a part of test's
        found[match[2]] = os.path.join(root, "annotations", match[0]), folders
    for name in ("", *_listing(root)):
        if os.path.isfile(file := os.path.join(root, name, "_annotations.coco.json")):
            found.setdefault(name or "all", (file, [os.path.join(root, name)]))
    if os.path.isfile(file := os.path.join(root, "result.json")):
        found.setdefault("result", (file, [root, os.path.join(root, "images")]))
    return found


def _listing(folder: str) -> list[str]:
    """The names in a folder, sorted; none where there is no folder."""
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _annotation_file(root: str, split: str, annotated: bool) -> tuple[str, list[str]]:
    """The split's JSON, if it is there, and the folders that may hold its images."""
    found = _layouts(root, annotated)
    if split not in found:
        file = os.path.join(root, "annotations", f"instances_{split}.json")
        hint = did_you_mean(split, found)
        raise FileNotFoundError(f"there is no file {file}; {root} has the splits {', '.join(found) or 'none'}{hint}")
    return found[split]


def _named_file(file: str, split: str | None) -> tuple[str, str, list[str]]:
    """Of a JSON file itself: its split, the file, and the folders that may hold its images."""
    if split is not None:
        raise ValueError(f"`split` means nothing for the file {file}; got {split!r}.")
    name = re.sub(r"^(instances|image_info)_", "", os.path.splitext(os.path.basename(file))[0])
    folder = os.path.dirname(os.path.abspath(file))
    above = os.path.dirname(folder)
    return name, file, [os.path.join(place, *part) for place in (folder, above) for part in ((name,), ("images",), ())]


def _image_folder(folders: list[str], names: list[Any]) -> str:
    """The first folder that holds the first image; or the first that there is."""
    first = next((name for name in names if isinstance(name, str) and name), "")
    if first:
        for folder in folders:
            if os.path.isfile(os.path.join(folder, first)):
                return folder
    return next(filter(os.path.isdir, folders), folders[-1])


def _load(file: str, annotated: bool) -> dict[str, list]:
    """The JSON's three lists of objects, without the outlines, which are most of it."""
    if os.path.getsize(file) > MAX_JSON_BYTES:
        raise ValueError(f"{file}: {os.path.getsize(file)} bytes, at most {MAX_JSON_BYTES} are read")
    try:
        with open(file, "rb") as stream:
            content = json.loads(stream.read(), object_hook=_without_outline)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: expected an object, got {type(content).__name__}")
    content |= {} if annotated else {"annotations": []}
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


def _read_categories(
    file: str, entries: list[dict], used: set[int | None]
) -> tuple[dict[int, int], tuple[int, ...], list[str], list[AnnotationIssue]]:
    """Label of each category id, the id of each label, the names in the order of the ids, and the issues.

    Args:
        file: To name in messages.
        entries: The JSON's categories.
        used: The ids that annotations have.
    """
    names: dict[int, str] = {}
    issues = []
    for number, entry in enumerate(entries):
        place, key, name = f"{file}, categories[{number}]", _id(file, "categories", number, entry), entry.get("name")
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{place}: expected a 'name', got {_shown(name)}")
        if names.setdefault(key, name.strip()) != name.strip():
            raise ValueError(f"{place}: the id {key} is already that of {_shown(names[key])}")
    groups = [(whole(entry.get("id")), entry.get("supercategory")) for entry in entries]
    for key in sorted(names):
        if key not in used and any(group == names[key] and other != key for other, group in groups):
            message = f"the category {names.pop(key)!r} (id {key}) groups others and has no annotation"
            issues.append(AnnotationIssue(file, None, message, "corrected"))
    if not names:
        raise ValueError(f"{file}: expected categories, got none")
    classes = list(dict.fromkeys(names[key] for key in sorted(names)))
    labels = {key: classes.index(names[key]) for key in sorted(names)}
    for label, name in enumerate(classes):
        same = [key for key in labels if labels[key] == label]
        if len(same) > 1:
            message = f"the category {name!r} has the ids {', '.join(map(str, same))}, which are taken as one"
            issues.append(AnnotationIssue(file, None, message, "corrected"))
    ids = [
        min((key for key in labels if labels[key] == label), key=lambda key: (key not in used, key))
        for label in range(len(classes))
    ]
    return labels, tuple(ids), classes, issues


def _read_images(
    file: str, folder: str, entries: list[dict]
) -> tuple[dict[int, tuple[str, tuple[int, int] | None]], list[AnnotationIssue]]:
    """Path, and height and width (None where absent or no size), of each image by its id; and the issues."""
    images: dict[int, tuple[str, tuple[int, int] | None]] = {}
    issues = []
    for number, entry in enumerate(entries):
        key = _id(file, "images", number, entry)
        path = _inside(file, number, folder, entry.get("file_name"))
        if key not in images:
            size = tuple(whole(entry.get(side)) or 0 for side in ("height", "width"))
            images[key] = path, size if all(0 < side < 2**31 for side in size) else None
        elif images[key][0] == path:
            issues.append(
                AnnotationIssue(file, None, f"images[{number}] is listed before, with the same id {key}", "skipped")
            )
        else:
            raise ValueError(f"{file}, images[{number}]: the id {key} occurs twice")
    return images, issues


def _id(file: str, where: str, number: int, entry: dict) -> int:
    """The entry's id."""
    key = whole(entry.get("id"))
    if key is None:
        raise ValueError(
            f"{file}, {where}[{number}]: expected a whole number under 'id', got {_shown(entry.get('id'))}"
        )
    return key


def _flag(value: Any) -> int | None:
    """What `iscrowd` says; None for what has no known meaning. Nothing at all is no."""
    return int(value) if isinstance(value, bool) else whole(value or 0)


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


def _shown(value: Any) -> str:
    """The value for a message, cut short."""
    return repr(value)[:80]
