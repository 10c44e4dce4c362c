"""Data sources: Pascal VOC, COCO, YOLO, CSV, ILSVRC, TensorFlow Datasets, one's own images, and rendered scenes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from keras_det.data.by_class import images_of, images_without
from keras_det.data.coco import Coco
from keras_det.data.csv_file import Csv
from keras_det.data.folder import Folder, Images
from keras_det.data.ilsvrc import Ilsvrc
from keras_det.data.image_files import read_image, read_image_size
from keras_det.data.layouts import kind_of
from keras_det.data.relabeling import relabel
from keras_det.data.shapes import Shapes
from keras_det.data.source import Annotation, AnnotationIssue, Source, clean_boxes
from keras_det.data.tfds import Tfds
from keras_det.data.voc import Voc
from keras_det.data.yolo import Yolo
from keras_det.suggestions import did_you_mean

if TYPE_CHECKING:  # else in `__getattr__`
    from keras_det.data.augment import HorizontalFlip, SSDAugmentation
    from keras_det.data.batching import batches, whole_images
    from keras_det.data.crops import ObjectCrops, SquareCrops
    from keras_det.data.negatives import Negatives, with_negatives

__all__ = [
    "Annotation",
    "Coco",
    "Csv",
    "Folder",
    "Images",
    "Ilsvrc",
    "HorizontalFlip",
    "Negatives",
    "ObjectCrops",
    "AnnotationIssue",
    "SSDAugmentation",
    "Shapes",
    "Source",
    "SquareCrops",
    "Tfds",
    "Voc",
    "Yolo",
    "batches",
    "clean_boxes",
    "images_of",
    "images_without",
    "is_annotated",
    "kind_of",
    "load",
    "parse_spec",
    "read_image_size",
    "read_image",
    "relabel",
    "whole_images",
    "with_negatives",
]

_KINDS = {
    "voc": Voc,
    "coco": Coco,
    "yolo": Yolo,
    "csv": Csv,
    "folder": Folder,
    "images": Images,
    "ilsvrc": Ilsvrc,
    "tfds": Tfds,
}
_FORMS = (
    "shapes, voc:/path/VOCdevkit, coco:/path, yolo:/path/data.yaml, csv:/path/boxes.csv, folder:/path, images:/path, "
    "ilsvrc:/path or tfds:voc/2007"
)


def load(spec: str, split: str | None = None, **options: Any) -> Source:
    """The data source that a short text names, as `--data` and `--split` of the command do.

    Args:
        spec: `"shapes"`, `"voc:/path/VOCdevkit"`, `"coco:/path"`, `"yolo:/path/data.yaml"`, `"csv:/path/boxes.csv"`,
            `"folder:/path"`, `"images:/path"`, `"ilsvrc:/path"` or `"tfds:voc/2007"`.
            A file or folder alone is taken for what `kind_of` says.
        split: In the source's notation: `"2007_trainval+2012_trainval"`, `"val2017"`, `"train"`,
            `"CLS-LOC/train_loc"`, `"train+validation"`; shapes have none.
        **options: The source's own, such as `missing="skip"` of `Voc`, `Coco` and `Folder`, `classes` of `Folder`,
            `data_dir` of `Tfds`, `images`, `seed` and `size` of `Shapes`.

    Raises:
        ValueError: the text names no kind of source, or the source cannot be read.
        TypeError: the source has no such option.
        FileNotFoundError: a folder, list or image is missing.
        ImportError: `tfds` without TensorFlow Datasets.

    >>> source = load("shapes", images=3, size=64)
    >>> len(source), source.image(0).shape
    (3, (64, 64, 3))
    """
    kind, place = parse_spec(spec)
    if spec == "shapes":
        if split is not None:
            raise ValueError(f"`split` means nothing for shapes, whose scenes their seed chooses; got {split!r}.")
        return Shapes(**options)
    if kind not in _KINDS or not place:
        raise ValueError(f"`spec` must be {_FORMS}; got {spec!r}{did_you_mean(kind, ('shapes', *_KINDS))}")
    return _KINDS[kind](place, split, **options)


def parse_spec(spec: str) -> tuple[str, str]:
    """The kind and the place that a text names; of a file or folder alone the kind is what `kind_of` says.

    >>> parse_spec("voc:/data/VOCdevkit"), parse_spec("shapes")
    (('voc', '/data/VOCdevkit'), ('shapes', ''))
    """
    kind, _, place = spec.partition(":")
    if spec != "shapes" and kind not in _KINDS and os.path.exists(os.path.expanduser(spec)):
        return kind_of(spec), spec
    return kind, place


def is_annotated(spec: str, split: str | None = None) -> bool:
    """Whether the images that a text names have any annotation, as those of a challenge's test set have not.

    Args:
        spec: As of `load`.
        split: As of `load`.

    Raises:
        ValueError, FileNotFoundError: the split or its list is not there.

    >>> is_annotated("shapes")
    True
    """
    kind, place = parse_spec(spec)
    found = getattr(_KINDS.get(kind), "is_annotated", None)
    return found is None or not place or found(place, split)


def __getattr__(name: str):
    """What needs TensorFlow is imported when it is used, so that detection on JAX does without."""
    import importlib

    modules = {
        "batches": "batching",
        "whole_images": "batching",
        "HorizontalFlip": "augment",
        "SSDAugmentation": "augment",
        "SquareCrops": "crops",
        "ObjectCrops": "crops",
        "Negatives": "negatives",
        "with_negatives": "negatives",
        "ScaledCrops": "scaled_crops",
    }
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"keras_det.data.{modules[name]}"), name)
