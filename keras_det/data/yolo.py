"""YOLO's text files: images, a `.txt` of relative boxes for each, and a file that names folders and classes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from keras_det.data.folder import image_ids, images_below
from keras_det.data.numbers import real, whole
from keras_det.data.source import (
    AnnotatedFiles,
    Annotation,
    AnnotationIssue,
    check_missing,
    pixel_areas,
    report_missing,
    upright_size,
)
from keras_det.data.voc import decode
from keras_det.suggestions import did_you_mean

MAX_CONFIG_BYTES = 2**20
MAX_LABEL_BYTES = 2**24
MAX_LIST_BYTES = 2**28
SPLITS = ("train", "val", "test")
NAMES = ("classes.txt", "obj.names", "names.txt", "_darknet.labels")  # where no other file gives the classes


class Yolo(AnnotatedFiles):
    """Images with a text file each, as Ultralytics', Darknet's and Roboflow's tools write them.

    A line of the text is an object: the class's number, then center, width and height of its box relative to the
    image, or the corners of a polygon, whose box is taken. The file of `images/train/a.jpg` is `labels/train/a.txt`;
    where there is no folder `labels`, it lies beside the image. An empty file, or none, is an image without objects;
    none is reported. Boxes are relative to the upright image. `image_id` is the image's path under the root, without
    its ending. See `clean_boxes` of `keras_det.data.source` for the rule on boxes.

    Args:
        path: Ultralytics' `data.yaml` (`path`, `train`, `val`, `test`: a folder, a list file or several; `names`: a
            list or a mapping; `nc`), Darknet's `obj.data`, or a folder: one that holds such a file, or images and
            labels with `classes.txt`.
        split: `"train"`, `"val"` or `"test"`; None for all that the file names, or all images of a folder.
        missing: What to do about images that a list names and that are not there: `"error"`, or `"skip"` to leave
            them out with an `AnnotationIssue` each.

    Raises:
        FileNotFoundError: no such file or folder, or images are missing (with their number and the first one).
        ValueError: a file that cannot be parsed or is too large, no class names, a split that is not there, or no
            images; names the file.
    """

    def __init__(self, path: str | os.PathLike, split: str | None = None, missing: str = "error"):
        check_missing(missing)
        path = os.path.expanduser(os.fspath(path))
        file = config_file(path)
        root = os.path.dirname(os.path.abspath(file)) if file else os.path.abspath(path)
        config = _read_config(file) if file else {}
        classes = _class_names(config, file, root)
        root = _root(config, root)
        images = _images(config, file, root, split)
        name = f"yolo {os.path.basename(root)}" + (f" {split}" if split else "")
        if not images:
            raise ValueError(f"{name}: no images in {root}")
        there = [os.path.isfile(image) for image in images]
        issues = report_missing(name, images, there, missing)
        present = [image for image, exists in zip(images, there) if exists]
        self._images, self._ids = tuple(present), image_ids(present, root)
        super().__init__(name, classes, issues)

    def __len__(self) -> int:
        return len(self._images)

    def _file(self, i: int) -> str:
        return self._images[i]

    def _read(self, i: int) -> tuple[Annotation, list[AnnotationIssue]]:
        image = self._images[i]
        file = label_file(image)
        try:
            numbers, labels, corners, of_lines = _read_labels(file, len(self.classes))
        except (OSError, ValueError) as error:
            return self._leave_out(i, self._ids[i], file, error)
        frame, issues = upright_size(image)
        height, width = frame.size
        if not height:
            numbers, labels, corners = numbers[:0], labels[:0], corners[:0]
        boxes, kept, of_boxes = frame.clean_boxes(corners * np.tile([height, width], 2), file, numbers)
        area = pixel_areas(boxes, height, width)
        none = np.zeros(len(kept), bool)
        return Annotation(
            self._ids[i], height, width, boxes, labels[kept], none, none, area
        ), issues + of_lines + of_boxes


def config_file(path: str) -> str | None:
    """The file that says where images are and what classes are called; None for a folder without one.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a folder with several such files.
    """
    if os.path.isfile(path):
        return path
    if not os.path.isdir(path):
        raise FileNotFoundError(f"there is no file or folder {path}, expected YOLO's data.yaml or a folder of images")
    for endings in ((".yaml", ".yml"), (".data",)):
        found = sorted(name for name in os.listdir(path) if name.endswith(endings) and name[0] != ".")
        named = [name for name in found if name.startswith(("data.", "dataset."))]
        found = named if len(named) == 1 else found
        if len(found) > 1:
            raise ValueError(f"{path} holds {', '.join(found)}: name one of them")
        if found:
            return os.path.join(path, found[0])
    return None


def label_file(image: str) -> str:
    """The text of an image's objects: in `labels` where the image is in `images`, else beside it."""
    stem = os.path.splitext(image)[0] + ".txt"
    before, found, after = stem.rpartition(f"{os.sep}images{os.sep}")
    inside = f"{before}{os.sep}labels{os.sep}{after}" if found else ""
    return inside if inside and not os.path.isfile(stem) else stem


def _read_bounded(file, most):
    """The text of a file of a bearable size."""
    if os.path.getsize(file) > most:
        raise ValueError(f"{file}: {os.path.getsize(file)} bytes, at most {most} are read")
    with open(file, "rb") as stream:
        return decode(stream.read(most))[0]


def _read_config(file: str) -> dict[str, Any]:
    """What the YAML or Darknet's file of `key = value` lines says."""
    text = _read_bounded(file, MAX_CONFIG_BYTES)
    if not file.endswith((".yaml", ".yml")):
        pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#"))
        found = {key.strip(): value.strip() for key, _, value in pairs}
        return found | ({"val": found["valid"]} if "valid" in found else {})
    import yaml

    try:
        found = yaml.load(text, Loader=_plain_loader(yaml))
    except Exception as error:  # PyYAML's constructors raise nearly anything on values that are none of their tag
        raise ValueError(f"{file}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file}: expected a mapping with 'train' and 'names', got {type(found).__name__}")
    return found | ({"val": found["valid"]} if "valid" in found and "val" not in found else {})


def _plain_loader(yaml):
    """Reads plain values alone, and no aliases, by which a small file can stand for a huge one."""

    class Loader(yaml.SafeLoader):
        """As `yaml.SafeLoader`."""

        def compose_node(self, parent, index):
            """Refuse what refers to another place of the file."""
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not read")
            return super().compose_node(parent, index)

    return Loader


def _class_names(config: Mapping[str, Any], file: str | None, root: str) -> tuple[str, ...]:
    """The classes in the order of their numbers."""
    names = config.get("names")
    where = file or root
    if isinstance(names, str) and not names.endswith((".yaml", ".yml")):
        # Darknet's: a file, relative to the folder of the program, which is unknown
        places = (names, os.path.join(root, names), os.path.join(root, os.path.basename(names)))
        found = next(filter(os.path.isfile, places), None)
        if found is None:
            raise FileNotFoundError(f"{where}: there is no file of class names {names}")
        where, names = found, _lines(found, MAX_CONFIG_BYTES)
    if names is None:
        places = (os.path.join(root, folder, name) for folder in ("", "labels") for name in NAMES)  # LabelImg's: labels
        found = next(filter(os.path.isfile, places), None)
        if found is None:
            raise FileNotFoundError(f"{where} names no classes: data.yaml with 'names', or {NAMES[0]}, is needed")
        where, names = found, _lines(found, MAX_CONFIG_BYTES)
    if isinstance(names, dict):
        numbers = {whole(key): value for key, value in names.items()}
        if {*numbers} != {*range(len(names))}:
            raise ValueError(f"{where}: the classes' numbers must be 0 .. {len(names) - 1}, got {[*names][:9]}")
        names = [numbers[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise ValueError(f"{where}: expected 'names' to be a list or a mapping, got {str(names)[:80]!r}")
    odd = [name for name in names if isinstance(name, bool) or not isinstance(name, str | int | float)]
    if odd:  # YAML takes yes, no, on and off for truth values
        raise ValueError(f"{where}: class names must be texts, in quotes if need be; got {str(odd[0])[:80]!r}")
    names = tuple(str(name).strip() for name in names)
    if not all(names) or len({*names}) != len(names):
        raise ValueError(f"{where}: class names must be different and not empty, got {', '.join(names)[:200]}")
    count = config.get("nc", config.get("classes"))
    if count is not None and whole(count) != len(names):
        raise ValueError(f"{where}: says that there are {count} classes and names {len(names)}")
    return names


def _root(config: Mapping[str, Any], folder: str) -> str:
    """The folder that the splits' paths are relative to."""
    path = config.get("path")
    if path is None:
        return folder
    if not isinstance(path, str):
        raise ValueError(f"'path' must be a folder, got {str(path)[:80]!r}")
    inside = os.path.normpath(os.path.join(folder, os.path.expanduser(path)))
    return inside if os.path.isdir(inside) else folder  # written for another machine: the file lies with its images


def _images(config: Mapping[str, Any], file: str | None, root: str, split: str | None) -> list[str]:
    """The images of the split, or of all."""
    named = {name: config[name] for name in SPLITS if config.get(name)}
    if file is None:
        named = {name: name for name in SPLITS if os.path.isdir(os.path.join(root, "images", name))}
        named = {name: os.path.join("images", name) for name in named}
        if split is None or not named:
            if split is not None:
                raise ValueError(f"`split` means nothing for {root}, whose images are in one folder; got {split!r}.")
            images = os.path.join(root, "images")
            return images_below(images if os.path.isdir(images) else root)
    split = "val" if split == "valid" else split
    if split is not None and split not in named:
        hint = did_you_mean(split, named)
        raise ValueError(f"`split` must be one of {', '.join(named) or 'none'} of {file or root}; got {split!r}{hint}")
    if not named:
        raise ValueError(f"{file or root} names no images: expected 'train', 'val' or 'test'")
    parts = named.values() if split is None else [named[split]]
    places = [place for part in parts for place in (part if isinstance(part, list) else [part])]
    return list(dict.fromkeys(image for place in places for image in _of_place(place, root, file or root)))


def _of_place(place: Any, root: str, where: str) -> Iterable[str]:
    """The images of a folder or of a list file, which are named relative to the root."""
    if not isinstance(place, str):
        raise ValueError(f"{where}: expected folders or list files of images, got {str(place)[:80]!r}")
    plain = place.replace("\\", "/")
    # Roboflow writes ../train/images for folders that lie beside its file.
    tries = [os.path.normpath(os.path.join(root, path)) for path in (place, plain, re.sub(r"^(\.\./)+", "", plain))]
    found = next(filter(os.path.exists, tries), None)
    if found is None and plain.endswith(".txt"):
        found = _somewhere(plain, [root])
    if found is None:
        raise FileNotFoundError(f"{where} names {place}, but there is no {tries[0]}")
    if os.path.isdir(found):
        return images_below(found)
    lines = _lines(found, MAX_LIST_BYTES)
    folders = (root, os.path.dirname(found))
    return [_existing(line, folders) for line in lines]


def _existing(line, folders):
    """The path of an image that a list names, under the first folder where it is."""
    paths = [os.path.normpath(os.path.join(folder, line)) for folder in folders]
    found = next(filter(os.path.isfile, paths), None)
    return found or _somewhere(line.replace("\\", "/"), folders) or paths[0]


def _somewhere(path, folders):
    """A file by a path that begins elsewhere: Darknet's are relative to the program's folder, or another machine's."""
    parts = path.split("/")
    tries = (os.path.join(folder, *parts[first:]) for first in range(len(parts)) for folder in folders)
    return next(filter(os.path.isfile, map(os.path.normpath, tries)), None)


def _lines(file: str, most: int) -> list[str]:
    """The lines of a file that are not empty."""
    return [line.strip() for line in _read_bounded(file, most).splitlines() if line.strip()]


def _read_labels(file: str, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[AnnotationIssue]]:
    """Numbers of the lines `[n]`, classes `[n]` and corners `[n, 4]` relative to the image, and the issues."""
    if not os.path.isfile(file):
        issue = AnnotationIssue(file, None, "there is no such file: the image is taken as one without objects", "kept")
        return np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4)), [issue]
    rows, issues = [], []
    for number, line in enumerate(_lines(file, MAX_LABEL_BYTES)):
        label, corners, message = _read_line(line.split(), classes)
        if message:
            issues.append(AnnotationIssue(file, number, message, "dropped"))
        else:
            rows.append((number, label, *corners))
    values = np.array(rows, np.float64).reshape(-1, 6)
    return values[:, 0].astype(int), values[:, 1].astype(int), values[:, 2:], issues


def _read_line(words: list[str], classes: int) -> tuple[int, tuple[float, ...], str]:
    """Class, and ymin, xmin, ymax, xmax of a line, and what is wrong with it, empty for nothing."""
    label, values = whole(words[0]), [real(word) for word in words[1:]]
    if label is None or not 0 <= label < classes:
        return 0, (), f"expected a class in 0 .. {classes - 1}, got {words[0][:40]!r}"
    if len(values) == 4:
        x, y, width, height = values
        return label, (y - height / 2, x - width / 2, y + height / 2, x + width / 2), ""
    if len(values) < 6 or len(values) % 2:
        return 0, (), f"expected 4 numbers, or pairs of a polygon's corners, behind the class; got {len(values)}"
    x, y = np.array(values[::2]), np.array(values[1::2])
    return label, (float(y.min()), float(x.min()), float(y.max()), float(x.max())), ""
