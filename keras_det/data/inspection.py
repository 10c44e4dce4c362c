"""A look at data before training: counts, sizes, images that stand in two splits, boxes that repeat."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_det.data.source import Source
from keras_det.metrics.matching import paired_iou

REPEATED_IOU = 0.95
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


def summarize(source: Source) -> dict[str, Any]:
    """What a source holds, as JSON values; every annotation is read, no pixels are.

    Returns:
        `images`, `without_objects`, `objects`, `difficult`, `crowds`, `classes` (objects by name), `image_width`,
        `image_height` and `object_size` (`min`, `p5`, `median`, `p95` and `max`; pixels, and the square root of a box's
        fraction of its image), `repeated_boxes` (`[file, number, number]`: pairs of objects of one class in one image
        whose IoU is over 0.95) and `issues` (texts).
    """
    annotations = [source.annotation(i) for i in range(len(source))]
    labels = np.concatenate([one.labels for one in annotations] or [np.zeros(0, int)])
    counts = np.bincount(labels, minlength=len(source.classes))
    sizes = image_sizes(source)
    return {
        "name": source.name,
        "images": len(source),
        "without_objects": sum(len(one) == 0 for one in annotations),
        "objects": len(labels),
        "difficult": sum(int(one.difficult.sum()) for one in annotations),
        "crowds": sum(int(one.is_crowd.sum()) for one in annotations),
        "classes": dict(zip(source.classes, counts.tolist())),
        "image_width": _quantiles(sizes[:, 1]),
        "image_height": _quantiles(sizes[:, 0]),
        "object_size": _quantiles(object_sizes(source)),
        "repeated_boxes": [[source.file_of(i), *pair] for i, one in enumerate(annotations) for pair in _repeated(one)],
        "issues": [str(issue) for issue in source.issues],
    }


def image_sizes(source: Source) -> np.ndarray:
    """The height and width of each image whose size is known, `[n, 2]` int64, pixels."""
    sizes = [(one.height, one.width) for one in map(source.annotation, range(len(source))) if one.height]
    return np.array(sizes, np.int64).reshape(-1, 2)


def object_sizes(source: Source) -> np.ndarray:
    """The square root of each object's fraction of its image, `[n]` float64 in 0 .. 1."""
    boxes = np.concatenate([np.zeros((0, 4)), *(source.annotation(i).boxes for i in range(len(source)))])
    return np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))


def shared_images(sources: Mapping[str, Source]) -> list[list[str]]:
    """Files of the same content in different sources, such as splits, which must not share images.

    Args:
        sources: dict from a split's name to its `Source`; images that are no files are not looked at.

    Returns:
        Lists of files, a list for each content that stands in several sources.
    """
    found = collections.defaultdict(list)
    for name, source in sources.items():
        for path in filter(None, map(source.path, range(len(source)))):
            try:
                with open(path, "rb") as file:
                    found[_digest(file)].append((name, path))
            except OSError:  # is among the issues
                continue
    return [[path for _, path in files] for files in found.values() if len({name for name, _ in files}) > 1]


def _digest(file):
    """SHA-256 of an open file, by parts."""
    digest = hashlib.sha256()
    while part := file.read(2**20):
        digest.update(part)
    return digest.digest()


def _quantiles(values):
    """The least, 5 %, 50 %, 95 % and the largest of the values; none of nothing."""
    if not len(values):
        return {}
    found = np.quantile(np.asarray(values, float), QUANTILES)
    return {name: round(float(value), 4) for name, value in zip(("min", "p5", "median", "p95", "max"), found)}


def _repeated(annotation):
    """Pairs of objects of one class that are nearly the same box."""
    boxes, labels = annotation.boxes.astype(np.float64), annotation.labels
    first, second = np.triu_indices(len(boxes), 1)
    same = (labels[first] == labels[second]) & (paired_iou(boxes[first], boxes[second]) > REPEATED_IOU)
    return np.stack([first[same], second[same]], axis=1).tolist()
