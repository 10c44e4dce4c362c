"""The same images under other class names."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from keras_det.data.source import Source


def relabel(source: Source, names: Mapping[str, str]) -> Source:
    """A view of a source whose classes are renamed, merged or left out.

    Args:
        source: a `Source`.
        names: new name of each class that is kept; several may share one. Objects of other classes are left out, and
            images that have none left stay as images without objects.

    Returns:
        A `Source` with the new names as classes, in order of their first mention.

    Raises:
        ValueError: a name that is no class of the source.

    >>> from keras_det.data.shapes import Shapes
    >>> relabel(Shapes(images=4), {"ring": "round", "ellipse": "round", "star": "spiky"}).classes
    ('round', 'spiky')
    """
    unknown = [name for name in names if name not in source.classes]
    if unknown:
        raise ValueError(f"`names`: {source.name} has no class {', '.join(unknown)}, only {', '.join(source.classes)}.")
    return _Relabeled(source, names)


class _Relabeled(Source):
    def __init__(self, source, names):
        self._source = source
        self.name, self.max_unreadable = source.name, source.max_unreadable
        self.classes = tuple(dict.fromkeys(names.values()))
        new = [self.classes.index(names[old]) if old in names else -1 for old in source.classes]
        self._new = np.array(new, "int32")

    def __len__(self):
        return len(self._source)

    def annotation(self, i):
        """The kept objects of image `i` with their new labels."""
        annotation = self._source.annotation(i)
        labels = self._new[annotation.labels]
        keep = labels >= 0
        rows = {k: getattr(annotation, k)[keep] for k in ("boxes", "difficult", "is_crowd", "area")}
        return dataclasses.replace(annotation, labels=labels[keep], **rows)

    def image(self, i):
        """Image `i`, as it is."""
        return self._source.image(i)

    def path(self, i):
        """The file of image `i`, if there is one."""
        return self._source.path(i)

    def file_of(self, i):
        """What image `i` is called in reports."""
        return self._source.file_of(i)

    def _issues_of(self, i):
        return self._source._issues_of(i)

    def _general_problems(self):
        return self._source._general_problems()
