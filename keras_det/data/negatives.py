"""Hard negatives: windows of background in a source's images, kept as places, and batches that hold some of them."""

from __future__ import annotations

import os
import zipfile

import numpy as np
import tensorflow as tf

from keras_det.data.batching import batches
from keras_det.data.crops import GivenCrops
from keras_det.data.source import Annotation, Source
from keras_det.files import whole


class Negatives(Source):
    """Windows of background, each an image of its own; their pixels stay in the source's files until they are needed.

    A window takes 24 bytes, so that two million, as many as DetectorNet's section 7 mined, take 48 MB, not the 304 GB
    of their crops of 225 pixels.

    Args:
        source: the `Source` whose images they are of.
        images: `[N]` numbers of its images.
        boxes: `[N, 4]` rel_yxyx windows, of positive area, inside their images.

    Attributes:
        skipped: list that gets an `AnnotationIssue` for each window whose image `with_negatives` could not read.

    Raises:
        ValueError: arrays of other shapes, or a box that is no window.
        IndexError: an image that the source does not have.
    """

    classes = ("background",)

    def __init__(self, source: Source, images: np.ndarray, boxes: np.ndarray):
        self.source, self.name, self.max_unreadable = source, f"negatives of {source.name}", source.max_unreadable
        self.images, self.boxes = np.asarray(images, np.int64), np.asarray(boxes, np.float32)
        self.skipped = []
        if self.boxes.shape != (len(self.images), 4):
            raise ValueError(f"`boxes` must be [{len(self.images)}, 4]; got {list(self.boxes.shape)}.")
        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        if not ((low >= 0) & (low < high) & (high <= 1)).all():
            raise ValueError("`boxes` must have positive areas in the image, their sides in 0 .. 1.")
        for i in self.images[[self.images.argmin(), self.images.argmax()]] if len(self.images) else ():
            source._check_index(int(i))

    def __len__(self):
        return len(self.images)

    def annotation(self, i: int) -> Annotation:
        """The window as the image's only object."""
        i = self._check_index(i)
        image = self.source.annotation(int(self.images[i]))
        box = self.boxes[i : i + 1]
        return Annotation(image.image_id, image.height, image.width, box, [0], [False], [False], [0.0])

    def image(self, i: int) -> np.ndarray:
        """The whole image of window `i`."""
        return self.source.image(int(self.images[self._check_index(i)]))

    def path(self, i: int) -> str | None:
        """The file of that image, if there is one."""
        return self.source.path(int(self.images[self._check_index(i)]))

    def __add__(self, other):
        """These windows and others of the same source."""
        boxes = np.concatenate([self.boxes, other.boxes])
        return Negatives(self.source, np.concatenate([self.images, other.images]), boxes)

    def save(self, path: str | os.PathLike) -> None:
        """Write the places to an `.npz` file, whole or not at all."""
        with whole(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, images=self.images, boxes=self.boxes)

    @classmethod
    def load(cls, path: str | os.PathLike, source: Source) -> Negatives:
        """The windows of a file that `save` wrote, of the same source.

        Raises:
            ValueError: another file, or of another source.
        """
        try:
            with np.load(path) as file:
                return cls(source, file["images"], file["boxes"])
        except (KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} holds no windows of {source.name}: {error}") from error


def with_negatives(
    dataset: tf.data.Dataset, negatives: Negatives, fraction: float, image_size: tuple[int, int], seed: int = 0
) -> tf.data.Dataset:
    """Batches of which a fraction are windows of background, in random order, flipped half of the time.

    Args:
        dataset: `tf.data.Dataset` of `(images, labels)` with one size of batch, as `keras_det.data.batches` gives them.
        negatives: `Negatives`, at least one.
        fraction: of each batch, in 0 .. 1.
        image_size: `(height, width)` of the batches in pixels.
        seed: of the windows' order.

    Returns:
        `tf.data.Dataset` as `dataset`; the first rows of a batch are the windows, without objects.

    Raises:
        ValueError: no windows, or a fraction that is none.
    """
    if not len(negatives) or not 0 <= fraction <= 1:
        raise ValueError(f"`negatives` must hold some, `fraction` be in 0 .. 1; got {len(negatives)} and {fraction}.")
    count = round(fraction * dataset.element_spec[1]["labels"].shape[0])
    if not count:
        return dataset
    enough = negatives
    if len(negatives) < count:
        enough = negatives.subset(np.resize(np.arange(len(negatives)), count))
    options = {"augment": GivenCrops(image_size), "seed": seed, "repeat": True, "max_objects": 1}
    options["skipped"] = negatives.skipped
    mined = batches(enough, count, image_size, training=True, **options)

    def mix(batch, negatives):
        images, labels = batch
        images = tf.concat([negatives[0], images[count:]], 0)
        empty = tf.fill([count, labels["labels"].shape[1]], tf.constant(-1, labels["labels"].dtype))
        return images, labels | {"labels": tf.concat([empty, labels["labels"][count:]], 0)}

    return tf.data.Dataset.zip(dataset, mined).map(mix).prefetch(2)
