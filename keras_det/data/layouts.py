"""What kind of data lies in a folder or file that was given without saying so."""

from __future__ import annotations

import os

from keras_det.data.folder import images_below


def kind_of(place: str | os.PathLike) -> str:
    """The kind of a folder or file of data, by the names in it; nothing is read.

    Args:
        place: The folder or file.

    Returns:
        `"yolo"`, `"coco"`, `"csv"`, `"voc"`, `"ilsvrc"`, `"folder"` or `"images"`.

    Raises:
        FileNotFoundError: there is nothing of this name.
        ValueError: nothing in it is known.
    """
    place = os.path.expanduser(os.fspath(place))
    if os.path.isfile(place):
        kinds = {".yaml": "yolo", ".yml": "yolo", ".data": "yolo", ".csv": "csv", ".json": "coco"}
        kind = kinds.get(os.path.splitext(place)[1].lower())
    elif os.path.isdir(place):
        kind = next((kind for kind, found in _SIGNS.items() if found(place)), None)
    else:
        raise FileNotFoundError(f"there is no file or folder {place}")
    if kind is None:
        raise ValueError(f"{place} holds no annotations or images of a known kind")
    return kind


def _has(place, *parts):
    return os.path.exists(os.path.join(place, *parts))


def _ends(place, *endings):
    return any(name.endswith(endings) and name[0] != "." for name in os.listdir(place))


def _folders(place):
    return [os.path.join(place, name) for name in sorted(os.listdir(place)) if os.path.isdir(os.path.join(place, name))]


# In this order: what is rarer goes before what others hold, too.
_SIGNS = {
    "voc": lambda place: any(os.path.basename(f)[:3] == "VOC" and _has(f, "Annotations") for f in _folders(place)),
    "ilsvrc": lambda place: _has(place, "Data") and _has(place, "ImageSets"),
    "coco": lambda place: (
        any(_has(folder, "_annotations.coco.json") for folder in (place, *_folders(place)))
        or _has(place, "annotations")
        and _ends(os.path.join(place, "annotations"), ".json")
        or _has(place, "result.json")
    ),
    "yolo": lambda place: _ends(place, ".yaml", ".yml", ".data") or _has(place, "labels") or _has(place, "classes.txt"),
    "folder": lambda place: _has(place, "Annotations") or _ends(place, ".xml"),
    "images": lambda place: bool(images_below(place)),
}
