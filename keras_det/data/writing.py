"""Data in another form: COCO's JSON, VOC's XML or YOLO's text files, checked by reading them again."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from keras_det.data.coco import Coco
from keras_det.data.folder import Folder
from keras_det.data.image_files import SUFFIXES
from keras_det.data.source import Source
from keras_det.data.yolo import SPLITS, Yolo
from keras_det.files import whole

FORMATS = ("coco", "voc", "yolo")
MOST_OFF = 0.02  # pixels between a box and itself, written and read again


def write(sources: Mapping[str, Source], format: str, folder: str | os.PathLike) -> dict[str, Any]:
    """Write sources to a new folder, which appears whole or not at all, and read it again.

    Images are copied as they are; those that are no files become PNG. What the format has no place for is not passed
    over in silence: the answer says it.

    Args:
        sources: dict from a split's name to its `Source`, all with the same classes.
        format: `"coco"` (`annotations/instances_<split>.json` and `<split>`), `"voc"` (`JPEGImages`, `Annotations` and
            `ImageSets/Main/<split>.txt`) or `"yolo"` (`images/<split>`, `labels/<split>` and `data.yaml`).
        folder: where to; must not be there.

    Returns:
        `images`, how many were written of each split; `left_out`, the sources' issues by which images or objects are
        not there, and `flags`, what the format has no place for: both sentences.

    Raises:
        FileExistsError: the folder is there.
        ValueError: another format, splits of other classes, a split's name that the format cannot have, or what was
            written reads otherwise.
    """
    folder = Path(folder)
    if format not in FORMATS:
        raise ValueError(f"`format` must be one of {', '.join(FORMATS)}; got {format!r}.")
    if folder.exists():
        raise FileExistsError(f"{folder} exists; name another folder.")
    if format == "yolo":
        renamed = {"val" if split in ("valid", "validation") else split: source for split, source in sources.items()}
        if len(renamed) < len(sources):
            raise ValueError(f"two of the splits {', '.join(sources)} are YOLO's val; convert one of them.")
        sources = renamed
    classes = next(iter(sources.values())).classes
    if not classes:
        raise ValueError(f"{next(iter(sources.values())).name} has no classes, so there is nothing to convert.")
    for split, source in sources.items():
        if source.classes != classes:
            raise ValueError(f"the split {split} has other classes than the first one.")
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", split):
            raise ValueError(f"a split must have a plain name, such as train; got {split!r}.")
        if format == "yolo" and split not in SPLITS:
            raise ValueError(f"a split of YOLO's must be one of {', '.join(SPLITS)}; got {split!r}.")
    writer = {"coco": _write_coco, "voc": _write_voc, "yolo": _write_yolo}[format]
    prefixed = format == "voc"  # whose splits share a folder
    left_out = [sentence for source in sources.values() for sentence in _left_out(source)]
    flags = []
    with whole(folder) as temporary:
        temporary.mkdir(parents=True)
        kept = {split: _readable(source) for split, source in sources.items()}
        names = {split: _names(source, f"{split}_" if prefixed else "") for split, source in kept.items()}
        for split, source in kept.items():
            flags += writer(source, names[split], split, temporary)
        for split, source in kept.items():
            again = Folder(temporary, split, classes=classes) if prefixed else _READERS[format](temporary, split)
            _compare(source, names[split], again, split)
    if prefixed:
        flags += _other_classes(kept.values(), classes)
    return {"images": {split: len(source) for split, source in kept.items()}, "left_out": left_out, "flags": flags}


def _readable(source):
    """The images that can be read."""
    skipped = {issue.file for issue in source.issues if issue.action == "skipped"}
    return source.subset([i for i in range(len(source)) if source.file_of(i) not in skipped])


def _other_classes(sources, classes):
    """The sentence on classes that VOC's XML, which lists none, gives otherwise."""
    found = {classes[label] for source in sources for one in _annotations(source) for label in one.labels}
    read = tuple(sorted(found))
    if read == classes:
        return []
    return [
        f"VOC's XML has no list of classes: they are read as {', '.join(read) or 'none'}, not as {', '.join(classes)}; "
        "Folder(..., classes=[...]) gives their order"
    ]


def _left_out(source):
    """What the source's own issues left out."""
    left_out = [issue for issue in source.issues if issue.action in ("dropped", "skipped")]
    return [f"{source.name}: {issue}" for issue in left_out]


def _names(source, prefix):
    """A plain file name without ending for each image, each once, behind the prefix."""
    names, taken = [], set()
    for i in range(len(source)):
        path = source.path(i)
        own = os.path.splitext(os.path.basename(path))[0] if path else source.annotation(i).image_id
        stem = re.sub(r"[^\w.-]+", "_", own).strip("._") or "image"
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        names.append(prefix + name)
    return names


def _copy(source, i, stem):
    """Put image `i` beside others under this name, its ending chosen by where it comes from; the path."""
    path = source.path(i)
    if path is None or not path.lower().endswith(SUFFIXES):
        Image.fromarray(source.image(i)).save(stem.with_name(f"{stem.name}.png"))
        return stem.with_name(f"{stem.name}.png")
    target = stem.with_name(stem.name + os.path.splitext(path)[1].lower())
    shutil.copyfile(path, target)
    return target


def _pixels(annotation):
    """Boxes as `[n, 4]` ymin, xmin, ymax, xmax in pixels from 0."""
    return annotation.boxes.astype(np.float64) * np.tile([annotation.height, annotation.width], 2)


def _flags(sources_name, what, values):
    """The sentence on a flag that the format lacks."""
    count = sum(int(value.sum()) for value in values)
    return [f"{sources_name}: {count} objects lose their flag {what}, which the format does not have"] if count else []


def _annotations(source):
    return [source.annotation(i) for i in range(len(source))]


def _write_coco(source, names, split, folder):
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / split).mkdir()
    images, entries = [], []
    for i, (one, name) in enumerate(zip(_annotations(source), names)):
        file = _copy(source, i, folder / split / name)
        images.append({"id": i + 1, "file_name": file.name, "height": one.height, "width": one.width})
        for box, label, crowd, area in zip(_pixels(one), one.labels, one.is_crowd, one.area):
            ymin, xmin, ymax, xmax = box.tolist()
            xywh = [round(value, 3) for value in (xmin, ymin, xmax - xmin, ymax - ymin)]
            entry = {"id": len(entries) + 1, "image_id": i + 1, "category_id": int(label) + 1, "bbox": xywh}
            entries.append(entry | {"area": round(float(area), 3), "iscrowd": int(crowd)})
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(source.classes)]
    text = json.dumps({"images": images, "annotations": entries, "categories": categories}, ensure_ascii=False)
    (folder / "annotations" / f"instances_{split}.json").write_text(text, encoding="utf-8")
    return _flags(source.name, "difficult", [one.difficult for one in _annotations(source)])


def _write_voc(source, names, split, folder):
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for i, (one, name) in enumerate(zip(_annotations(source), names)):
        file = _copy(source, i, folder / "JPEGImages" / name)
        size = f"<size><width>{one.width}</width><height>{one.height}</height><depth>3</depth></size>"
        rows = zip(_pixels(one), one.labels, one.difficult)
        objects = "".join(_voc_object(box, source.classes[label], difficult) for box, label, difficult in rows)
        text = f"<annotation>\n<filename>{escape(file.name)}</filename>\n{size}\n{objects}</annotation>\n"
        (folder / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(
        "".join(f"{name}\n" for name in names), encoding="utf-8"
    )
    return _flags(source.name, "crowd", [one.is_crowd for one in _annotations(source)])


def _voc_object(box, name, difficult):
    """An `<object>`: pixels are counted from 1, both ends included."""
    sides = zip(("ymin", "xmin", "ymax", "xmax"), box + [1, 1, 0, 0])
    corners = "".join(f"<{side}>{value:.3f}</{side}>".replace(".000", "") for side, value in sides)
    flag = f"<difficult>{int(difficult)}</difficult>"
    return f"<object><name>{escape(name)}</name>{flag}<bndbox>{corners}</bndbox></object>\n"


def _write_yolo(source, names, split, folder):
    for part in ("images", "labels"):
        (folder / part / split).mkdir(parents=True)
    for i, (one, name) in enumerate(zip(_annotations(source), names)):
        _copy(source, i, folder / "images" / split / name)
        low, high = one.boxes[:, :2].astype(np.float64), one.boxes[:, 2:].astype(np.float64)
        rows = zip(one.labels, (low + high) / 2, high - low)
        lines = (
            f"{label} {center[1]:.7f} {center[0]:.7f} {size[1]:.7f} {size[0]:.7f}\n" for label, center, size in rows
        )
        (folder / "labels" / split / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    places = "".join(f"{path.name}: images/{path.name}\n" for path in sorted((folder / "images").iterdir()))
    classes = "".join(f"  {k}: {json.dumps(name, ensure_ascii=False)}\n" for k, name in enumerate(source.classes))
    text = f"{places}nc: {len(source.classes)}\nnames:\n{classes}"
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    lost = _flags(source.name, "difficult", [one.difficult for one in _annotations(source)])
    return lost + _flags(source.name, "crowd", [one.is_crowd for one in _annotations(source)])


_READERS = {"coco": Coco, "yolo": Yolo}


def _compare(source, names, again, split):
    """Refuse where what was written reads otherwise."""
    if len(source) != len(again) or source.classes != again.classes:
        raise ValueError(f"{split}: {len(source)} images were written, {len(again)} with {again.classes} read again.")
    places = {Path(again.path(i)).stem: i for i in range(len(again))}
    for i, name in enumerate(names):
        one, other = source.annotation(i), again.annotation(places[name])
        same = (one.height, one.width, one.labels.tolist()) == (other.height, other.width, other.labels.tolist())
        if not same or (np.abs(_pixels(one) - _pixels(other)) > MOST_OFF).any():
            raise ValueError(f"{split}: the image {name} has other objects when it is read again.")
