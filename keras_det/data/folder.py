"""One's own images: a folder of images with a VOC XML file each, or with none."""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Sequence

from keras_det.data.image_files import SUFFIXES
from keras_det.data.source import Annotation, AnnotationIssue, ReadSource, without_objects
from keras_det.data.voc import VocFiles, VocItem, present, read_list, read_xml


class Folder(VocFiles):
    """Images with a VOC XML file of the same stem each, as annotation tools write them.

    The files lie beside each other (`a.jpg`, `a.xml`), or in VOC's folders (`JPEGImages/a.jpg`, `Annotations/a.xml`,
    and lists `ImageSets/Main/<split>.txt`). Pixels are VOC's, counted from 1 and inclusive. `image_id` is the stem.
    See `VocFiles` for the rule on sizes and `clean_boxes` for that on boxes.

    Args:
        root: The folder.
        split: A list in `ImageSets/Main`, or the union of several (`"train+val"`); None for all images, in the
            order of their names.
        classes: The names of the classes in the order of the labels. None for all names that occur in the
            annotations of the folder, whatever the split, sorted.
        missing: What to do about images without annotation, annotations without image and listed names without
            either: `"error"`, or `"skip"` to leave them out with an `AnnotationIssue` each.
        rescale_boxes: Scale boxes whose XML gives another size than the image has, instead of keeping their pixels.
        annotated: False for images without annotations, of which only results can be written: none is looked for, and
            `classes` must be given.

    Raises:
        FileNotFoundError: no such folder or list, or files are missing (with their number and the first one).
        ValueError: a bad split, list or class list, two images of one stem, a faulty annotation (with file and
            object), or nothing in the folder.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        missing: str = "error",
        rescale_boxes: bool = False,
        annotated: bool = True,
    ):
        root = os.path.expanduser(os.fspath(root))
        if not os.path.isdir(root):
            raise FileNotFoundError(f"there is no folder {root}, expected one of images with VOC XML")
        in_folders = any(os.path.isdir(os.path.join(root, part)) for part in ("Annotations", "JPEGImages"))
        xml_folder = os.path.join(root, "Annotations") if in_folders else root
        image_folder = os.path.join(root, "JPEGImages") if in_folders else root
        annotations = _by_stem(xml_folder, (".xml",))
        images = _by_stem(image_folder, SUFFIXES)
        name = f"folder {os.path.basename(os.path.abspath(root))}" + (f" {split}" if split else "")
        stems = sorted({*(annotations if annotated else ()), *images}) if split is None else _listed(root, split)
        if not stems:
            raise ValueError(f"{name}: no images with VOC XML in {root}")
        items = [
            VocItem(
                stem,
                os.path.join(xml_folder, annotations.get(stem, f"{stem}.xml")),
                os.path.join(image_folder, images.get(stem, f"{stem}.jpg")),
            )
            for stem in stems
        ]
        items, issues = present(items, name, missing, annotated)
        if classes is None and not annotated:
            raise ValueError(f"{name}: images without annotations tell no classes, `classes` must be given")
        if classes is None:
            files = (os.path.join(xml_folder, file) for file in annotations.values())
            classes = sorted({c for file in files for c in _names(file)})
        elif isinstance(classes, str) or not classes or len(set(classes)) != len(classes):
            raise ValueError(f"`classes` must be a sequence of different names; got {classes!r}.")
        super().__init__(name, classes, items, issues, rescale_boxes, annotated)

    @classmethod
    def is_annotated(cls, root: str | os.PathLike, split: str | None = None) -> bool:
        """Whether there is any annotation in the folder."""
        root = os.path.expanduser(os.fspath(root))
        return any(_by_stem(folder, (".xml",)) for folder in (root, os.path.join(root, "Annotations")))


class Images(ReadSource):
    """The images of a folder and of the folders in it, without annotations, in the order of their paths.

    Args:
        root: The folder.
        split: Must be None.
        annotated: Must be False.
        classes: The names of the classes that results may have.

    Raises:
        FileNotFoundError: no such folder, or one without images.
        ValueError: a `split`, or `annotated`.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str | None = None,
        annotated: bool = False,
        classes: Sequence[str] = (),
    ):
        if annotated:
            raise ValueError("`annotated` must be False for a folder of images alone.")
        root = os.path.expanduser(os.fspath(root))
        if split is not None:
            raise ValueError(f"`split` means nothing for a folder of images; got {split!r}.")
        if not os.path.isdir(root):
            raise FileNotFoundError(f"there is no folder {root}, expected one of images")
        self._files = images_below(root)
        if not self._files:
            raise FileNotFoundError(f"the folder {root} holds no images ({', '.join(SUFFIXES)}).")
        self._ids = image_ids(self._files, root)
        super().__init__(f"images {os.path.basename(os.path.abspath(root))}", classes)

    def __len__(self) -> int:
        return len(self._files)

    def path(self, i: int) -> str:
        """The file of image `i`."""
        return self._files[self._check_index(i)]

    def _read(self, i: int) -> tuple[Annotation, list[AnnotationIssue]]:
        return without_objects(self._ids[i], self._files[i])

    @classmethod
    def is_annotated(cls, root: str | os.PathLike, split: str | None = None) -> bool:
        """False."""
        return False


def images_below(folder: str) -> list[str]:
    """The images in a folder and the folders in it, but for hidden ones, in the order of their paths."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "."]
        found += [os.path.join(place, name) for name in files if name.lower().endswith(SUFFIXES) and name[0] != "."]
    return sorted(found)


def image_ids(files: Sequence[str], root: str) -> list[str]:
    """The files' paths under a folder as ids: without their endings, but for those that differ in these alone."""
    paths = [os.path.relpath(file, root).replace(os.sep, "/") for file in files]
    count = collections.Counter(os.path.splitext(path)[0] for path in paths)
    return [path if count[stem := os.path.splitext(path)[0]] > 1 else stem for path in paths]


def _listed(root: str, split: str) -> list[str]:
    """The names in the lists of the split."""
    parts = [part.strip() for part in split.split("+")]
    for part in parts:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", part):
            raise ValueError(f"`split` must be the name of a list, or several joined by +; got {split!r}.")
    if not os.path.isdir(os.path.join(root, "ImageSets", "Main")):
        raise FileNotFoundError(f"`split` must be left out: {root} has no lists ImageSets/Main/*.txt; got {split!r}.")
    lists = (read_list(os.path.join(root, "ImageSets", "Main", f"{part}.txt")) for part in parts)
    return list(dict.fromkeys(name for names in lists for name in names))


def _names(file: str) -> tuple[str, ...]:
    """The classes in an annotation; none of one that cannot be read, which its image's issue says."""
    try:
        return read_xml(file).names
    except (OSError, ValueError):
        return ()


def _by_stem(folder: str, suffixes: tuple[str, ...]) -> dict[str, str]:
    """The files of a folder with one of the suffixes, by stem."""
    found: dict[str, str] = {}
    for file in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        stem, suffix = os.path.splitext(file)
        if suffix.lower() not in suffixes or file.startswith(".") or os.path.isdir(os.path.join(folder, file)):
            continue
        if stem in found:
            raise ValueError(f"{folder} holds both {found[stem]} and {file}, expected one file per name")
        found[stem] = file
    return found
