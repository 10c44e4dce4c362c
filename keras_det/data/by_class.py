"""Parts of a source by the classes that its images show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_det.suggestions import did_you_mean

if TYPE_CHECKING:
    from keras_det.data.source import Source


def chosen_classes(classes: Sequence[str], wanted: Sequence[str] | int) -> tuple[str, ...]:
    """Names of some classes, in label order.

    Args:
        classes: all names.
        wanted: names, or how many of them, drawn at random, always the same ones.

    Raises:
        ValueError: a name that is no class, or a number that is not in 1 .. the number of classes.

    >>> chosen_classes(["cat", "dog", "owl"], ["owl", "cat"]), len(chosen_classes(["cat", "dog", "owl"], 2))
    (('cat', 'owl'), 2)
    """
    if isinstance(wanted, int):
        if not 1 <= wanted <= len(classes):
            raise ValueError(f"`classes` must be 1 to {len(classes)} of the data's classes; got {wanted}.")
        drawn = np.random.default_rng(0).choice(len(classes), wanted, replace=False)
        wanted = [classes[int(k)] for k in drawn]
    unknown = [name for name in wanted if name not in classes]
    if unknown:
        hint = did_you_mean(unknown[0], classes)
        raise ValueError(f"`classes` must be among {', '.join(classes)}; got {unknown[0]!r}{hint}")
    return tuple(name for name in classes if name in wanted)


def images_without(source: Source, classes: Sequence[str] | int) -> Source:
    """The images that show no object of some classes, as ClassGeneric (section 4.2) trains without their boxes.

    Args:
        source: a `keras_det.data.Source`.
        classes: names, or how many, as `chosen_classes` takes them.

    Returns:
        A view of the source, whose classes stay the same.

    Raises:
        ValueError: a name that is no class of the source, or no such image.
    """
    left_out = [source.classes.index(name) for name in chosen_classes(source.classes, classes)]
    kept = [i for i in range(len(source)) if not np.isin(source.annotation(i).labels, left_out).any()]
    if not kept:
        raise ValueError(f"every image of {source.name} shows one of {len(left_out)} left-out classes.")
    return source.subset(kept)


def images_of(source: Source, classes: Sequence[str] | int) -> Source:
    """The images that show objects of some classes and of no others, as ClassGeneric (section 4.2) evaluates.

    Args:
        source: a `keras_det.data.Source`.
        classes: names, or how many, as `chosen_classes` takes them.

    Returns:
        A view of the source.

    Raises:
        ValueError: a name that is no class of the source, or no such image.
    """
    names = chosen_classes(source.classes, classes)
    wanted = {source.classes.index(name) for name in names}
    shown = (set(source.annotation(i).labels.tolist()) for i in range(len(source)))
    indexes = [i for i, labels in enumerate(shown) if labels and labels <= wanted]
    if not indexes:
        raise ValueError(f"{source.name} has no image that shows only {', '.join(names)}.")
    return source.subset(indexes)
