"""ILSVRC as it is distributed: DET and CLS-LOC, with WordNet ids for classes and lists of paths."""

from __future__ import annotations

import collections
import os
import re

import numpy as np

from keras_det.data.source import Annotation, AnnotationIssue, find_frame
from keras_det.data.voc import VocFiles, VocItem, VocXml, decode, present
from keras_det.suggestions import did_you_mean

MAX_LIST_BYTES = 256 * 2**20
"""The largest list that is read, in bytes: CLS-LOC's training list has 50 MB."""

_PART = re.compile(r"(DET|CLS-LOC)/((train|val|test)[\w.-]*)")
_PATH = re.compile(r"(?:[\w-][\w.-]*/)*[\w-][\w.-]*")  # no part of it begins with a dot, so it leads nowhere else
_WNID = re.compile(r"n\d{8}")
_EXTRA = re.compile(r"ILSVRC\d+_train_extra\d+/")  # DET's images that show none of its classes
_NAMES = {"DET": ("devkit/data/map_det.txt", "map_det.txt"), "CLS-LOC": ("LOC_synset_mapping.txt",)}


class Ilsvrc(VocFiles):
    """ILSVRC's detection (DET) or classification and localization (CLS-LOC) data.

    The folder holds `Data/TASK/SET/PATH.JPEG`, `Annotations/TASK/SET/PATH.xml` and `ImageSets/TASK/LIST.txt`; a folder
    that holds it as `ILSVRC` is taken, too. Classes are in the order of the file that names them
    (`LOC_synset_mapping.txt` for CLS-LOC, the development kit's `devkit/data/map_det.txt` for DET), each by its first
    name, with its id behind it where two share one.

    Boxes are edges in pixels from 0 to the image's sides, as TensorFlow's preparation of ImageNet takes them; see
    `clean_boxes` for those that leave the image. A training image of CLS-LOC without a file of boxes, of which
    `train_cls` has half a million, has one object of its folder's class: the whole image. `train_loc` lists those with
    boxes alone. DET's training images of the folders `ILSVRC2013_train_extra0` to `10`, which show no object of its
    classes, need no such file. Images of the test sets have no annotations.

    Args:
        root: The folder.
        split: `"TASK/LIST"`, or several of one task: `"CLS-LOC/train_loc"`, `"DET/train+DET/val1"`. DET's `train` is
            the union of `train_1` to `train_200` where there is no list of that name. An image listed twice is taken
            once.
        missing: What to do about listed images without a file or annotation: `"error"`, or `"skip"` to leave them out
            with an `AnnotationIssue` each.
        rescale_boxes: Scale boxes whose XML gives another size than the image has, instead of keeping their pixels.

    Raises:
        FileNotFoundError: no such folder or list, no names, or images are missing (with their number and the first).
        ValueError: a bad split, list or file of names.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str | None = None,
        missing: str = "error",
        rescale_boxes: bool = False,
    ):
        root = os.path.expanduser(os.fspath(root))
        folder = os.path.join(root, "ILSVRC") if os.path.isdir(os.path.join(root, "ILSVRC", "ImageSets")) else root
        parts = _parse_split(folder, split)
        task = parts[0][0]
        self._wnids, classes = _read_classes(folder, task)
        listed = dict.fromkeys((part, path) for _, name, part in parts for path in _read_split(folder, task, name))
        present_xml = _Listing()
        items = [_item(folder, task, part, path, present_xml) for part, path in listed]
        name = f"ilsvrc {split}"
        items, issues = present(items, name, missing)
        super().__init__(name, classes, items, issues, rescale_boxes)

    def _read(self, i: int) -> tuple[Annotation, list[AnnotationIssue]]:
        item = self._items[i]
        if item.xml != item.image:
            return super()._read(i)
        frame, issues = find_frame(item.image, None, item.image)
        (height, width), wnid = frame.size, _folder_of(item.image)
        issues = [issue for issue in issues if issue.action == "skipped"]  # there is no size to be corrected
        if not height or wnid not in self._wnids:
            return Annotation(item.stem, height, width, np.zeros((0, 4)), [], [], [], []), issues
        label, whole = self._wnids[wnid], [[0.0, 0.0, 1.0, 1.0]]
        return Annotation(item.stem, height, width, whole, [label], [False], [False], [height * width]), issues

    first_pixel = 0

    def _labels(self, file: str, xml: VocXml) -> np.ndarray:
        """The labels of the objects' WordNet ids."""
        for number, wnid in zip(xml.numbers, xml.names):
            if wnid not in self._wnids:
                raise ValueError(f"{file}, object {number}: {wnid!r} is none of the {len(self._wnids)} classes' ids")
        return np.array([self._wnids[wnid] for wnid in xml.names], np.int32)


class _Listing:
    """Which files there are, each folder read once."""

    def __init__(self):
        self.folders: dict[str, frozenset[str]] = {}

    def __contains__(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self.folders:
            self.folders[folder] = frozenset(os.listdir(folder)) if os.path.isdir(folder) else frozenset()
        return name in self.folders[folder]


def _item(folder, task, part, path, listing):
    """An image with its XML; with itself in the XML's place where none is expected."""
    image = os.path.join(folder, "Data", task, part, f"{path}.JPEG")
    xml = os.path.join(folder, "Annotations", task, part, f"{path}.xml")
    named = task == "CLS-LOC" and part == "train" and _folder_of(image)
    negative = task == "DET" and part == "train" and _EXTRA.match(path)
    unboxed = part == "test" or ((named or negative) and xml not in listing)
    return VocItem(os.path.basename(path), image if unboxed else xml, image)


def _folder_of(image: str) -> str | None:
    """The WordNet id that the image's folder is called by, if any."""
    name = os.path.basename(os.path.dirname(image))
    return name if _WNID.fullmatch(name) else None


def _parse_split(folder: str, split: str | None) -> list[tuple[str, str, str]]:
    """Task, list, and the folder of its images, of each part of the split."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"there is no folder {folder}, expected one that holds ILSVRC's Data and ImageSets")
    parts = [_PART.fullmatch(part.strip()) for part in (split or "").split("+")]
    sound = [part for part in parts if part]
    if len(sound) < len(parts) or len({part[1] for part in sound}) != 1:
        example = "'CLS-LOC/train_loc' or 'DET/train+DET/val1', of one task"
        raise ValueError(f"`split` must be like {example}; got {split!r}; {_splits_there(folder, split or '')}")
    return [(part[1], part[2], part[3]) for part in sound]


def _splits_there(folder: str, asked: str) -> str:
    """Says which lists of images the folder has, and which one may be meant; not those of DET's single classes."""
    found = []
    for task in _NAMES:
        lists = os.path.join(folder, "ImageSets", task)
        names = sorted(os.listdir(lists)) if os.path.isdir(lists) else []
        found += [f"{task}/{n[:-4]}" for n in names if n.endswith(".txt") and not re.search(r"_\d+\.txt$", n)]
    if not found:
        return f"{folder} holds no ImageSets/DET or CLS-LOC."
    return f"{folder} has the splits {', '.join(found)}{did_you_mean(asked, found)}"


def _read_split(folder: str, task: str, name: str) -> list[str]:
    """The paths in a list, or in those of all classes where DET has no list of the whole."""
    lists = os.path.join(folder, "ImageSets", task)
    file = os.path.join(lists, f"{name}.txt")
    if not os.path.isfile(file) and task == "DET" and os.path.isdir(lists):
        of_class = re.compile(rf"{re.escape(name)}_(\d+)\.txt")
        found = sorted(filter(None, map(of_class.fullmatch, os.listdir(lists))), key=lambda match: int(match[1]))
        if found:
            return [path for match in found for path in _read_paths(os.path.join(lists, match[0]))]
    if not os.path.isfile(file):
        raise FileNotFoundError(f"there is no list {file}; {_splits_there(folder, f'{task}/{name}')}")
    return _read_paths(file)


def _read_paths(file: str) -> list[str]:
    """The paths in an `ImageSets` list, whose lines end in a counter or in the flag of a class."""
    paths = []
    for number, line in enumerate(_lines(file), 1):
        words = line.split()
        if words and (len(words) > 2 or not _PATH.fullmatch(words[0])):
            raise ValueError(f"{file}, line {number}: expected an image's path and a number, got {line[:80]!r}")
        paths += words[:1]
    return paths


def _read_classes(folder: str, task: str) -> tuple[dict[str, int], list[str]]:
    """Labels by WordNet id, and the classes' names."""
    places = [
        os.path.join(base, name) for base in (folder, os.path.dirname(os.path.abspath(folder))) for name in _NAMES[task]
    ]
    file = next(filter(os.path.isfile, places), None)
    if file is None:
        raise FileNotFoundError(f"there is no {places[0]}, which names the classes of {task}")
    rows = []
    for number, line in enumerate(_lines(file), 1):
        wnid, _, name = line.strip().partition(" ")
        name = re.sub(r"^\d+ ", "", name).split(",")[0].strip()  # the development kit has a number between
        if line.strip() and (not _WNID.fullmatch(wnid) or not name):
            raise ValueError(f"{file}, line {number}: expected an id like n01440764 and a name, got {line[:80]!r}")
        rows += [(wnid, name)] if line.strip() else []
    if not rows or len({wnid for wnid, _ in rows}) != len(rows):
        raise ValueError(f"{file}: expected different ids, one a line")
    often = collections.Counter(name for _, name in rows)
    classes = [f"{name} ({wnid})" if often[name] > 1 else name for wnid, name in rows]
    return {wnid: label for label, (wnid, _) in enumerate(rows)}, classes


def _lines(file: str) -> list[str]:
    if os.path.getsize(file) > MAX_LIST_BYTES:
        raise ValueError(f"{file}: {os.path.getsize(file)} bytes, at most {MAX_LIST_BYTES} are read")
    with open(file, "rb") as stream:
        return decode(stream.read())[0].splitlines()
