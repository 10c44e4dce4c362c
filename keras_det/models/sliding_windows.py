"""The sliding window classifier that DetectorNet is compared with (Szegedy et al. 2013, section 7)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from keras_det import boxes as box_ops
from keras_det.models.classifier import Classifier
from keras_det.models.config import Config, check_ratios
from keras_det.models.detector import Detector
from keras_det.models.pretrained import Checkpoint
from keras_det.models.registry import register
from keras_det.types import Dataset, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from keras_det.data.negatives import Negatives
    from keras_det.data.source import Source
    from keras_det.models.config import Config

ASPECT_RATIOS = tuple(np.geomspace(1 / 3, 3.0, 8).round(4).tolist())
SCALES = 10
BATCH = 128  # crops that go through the network together


@register(
    "sliding_windows",
    small={
        "classifier": {"backbone": "tiny", "image_size": 64, "background": True},
        "aspect_ratios": (1.0,),
        "stride": 48,
    },
)
class SlidingWindows(Detector):
    """A classifier on every box of a dense grid.

    Ten scales, from a tenth of the image to all of it, eight aspect ratios, the same distance in pixels everywhere:
    153,154 boxes of an image of 500 x 375 at the paper's 5 pixels ("approximately 150,000"). Each is resized to the
    classifier's input; its scores are the softmax.

    Args:
        weights: `None`, a registered name, or a file saved by this package, of this model or of its `Classifier`.
        classifier: a `Classifier` with background, or its arguments. Training this model trains the classifier.
        classes: names of the classes, instead of the classifier's where that is given by its arguments.
        stride: pixels from a box to the next along either axis.
        aspect_ratios: width over height relative to the image.
        score_threshold: lowest probability that counts.
        iou_threshold: overlap that suppresses, per class.
        max_detections: detections of an image at most.

    Raises:
        ValueError: an argument is out of range, or the classifier has no background.

    >>> classifier = {"classes": ["cat"], "background": True, "backbone": "tiny", "image_size": 64}
    >>> SlidingWindows(classifier=classifier).count(375, 500)
    153154
    """

    class_predictors = ("logits",)
    loss_terms = Classifier.loss_terms
    starts_from_classifier = True
    single_pass = False
    any_size = False  # the number of windows is part of the program
    counts = ("stride", "max_detections")
    fractions = ("score_threshold", "iou_threshold")

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        classifier: Any = None,
        classes: Sequence[str] | None = None,
        stride: int = 5,
        aspect_ratios: tuple = ASPECT_RATIOS,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        max_detections: int = 100,
        **kwargs: Any,
    ):
        super().__init__(weights, **kwargs)
        own = {"classifier": self.classifier.config.to_dict(), "classes": self.classes}
        self.config = dataclasses.replace(self.config, **own)
        self.built = True
        self.load_checkpoint()

    def class_list(self) -> Sequence[str]:
        """The classifier's classes; it is built here."""
        classifier, classes = self.config.classifier or {"background": True}, self.config.classes
        checkpoint = self._checkpoint
        if checkpoint is not None and checkpoint.from_classifier:
            classifier = {"weights": checkpoint.path}
        if isinstance(classifier, dict):
            classifier = Classifier(**classifier | ({} if classes is None else {"classes": classes}))
        if not classifier.background:
            raise ValueError("`classifier` must have been built with `background=True`: most boxes show no object.")
        self.classifier = classifier
        return classifier.classes

    def input_size(self) -> tuple[int, int]:
        """The classifier's input."""
        return self.classifier.image_size

    def check_config(self, config: Config) -> None:
        """As of every network, and ratios are positive."""
        super().check_config(config)
        check_ratios(config.aspect_ratios)

    def start_from(self, checkpoint: Checkpoint) -> None:
        """Put weights in; a classifier's file is in the classifier already."""
        if not checkpoint.from_classifier:
            super().start_from(checkpoint)

    def class_entries(self, layer: str) -> tuple[int, int]:
        """As of the classifier."""
        return self.classifier.class_entries(layer)

    # Training is the classifier's

    def call(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        """The classifier's outputs on `[B, H, W, 3]` crops of its size."""
        return self.classifier(images, training=training)

    def encode_targets(self, labels: dict[str, Tensor]) -> Tensor:
        """As `Classifier.encode_targets`."""
        return self.classifier.encode_targets(labels)

    def compute_losses(self, targets: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """As `Classifier.compute_losses`."""
        return self.classifier.compute_losses(targets, outputs)

    def augmentation(self) -> Callable | None:
        """Crops of objects and of background."""
        return self.classifier.augmentation()

    def batches(
        self,
        source: Source,
        batch_size: int,
        training: bool,
        seed: int = 0,
        augment: Any = True,
        negatives: Negatives | None = None,
        negative_fraction: float = 0.25,
        **options: Any,
    ) -> Dataset:
        """As `Detector.batches`, with hard negatives among the training samples.

        Args:
            source: a `keras_det.data.Source`.
            batch_size: images in a batch.
            training: sample and shuffle.
            seed: seed of order and augmentation.
            augment: whether training images are augmented, or by what, as of `Detector.batches`.
            negatives: `keras_det.data.Negatives`, or `None`.
            negative_fraction: of each batch that they take.
            **options: further arguments of `keras_det.data.batches`.

        Returns:
            `tf.data.Dataset` of `(images, labels)`.
        """
        from keras_det.data import with_negatives

        dataset = super().batches(source, batch_size, training, seed, augment, **options)
        if not training or negatives is None:
            return dataset
        part = self._shard(batch_size).get("shard", (0, 1))[0]  # of several machines each has windows of its own
        return with_negatives(dataset, negatives, negative_fraction, self.image_size, seed + part)

    # Inference

    def windows(self, height: int, width: int) -> np.ndarray:
        """The grid's boxes in an image of so many pixels: `[N, 4]` float32 rel_yxyx, size by size, row by row.

        A size is a scale s, the square root of its fraction of the image's area, and an aspect ratio a: s / sqrt(a) of
        the height and s sqrt(a) of the width, and no more than all of them.
        """
        found, stride = [], self.config.stride
        for scale in np.linspace(1 / SCALES, 1, SCALES):
            for ratio in self.config.aspect_ratios:
                sides = np.minimum([scale / ratio**0.5, scale * ratio**0.5], 1.0)
                low = [
                    np.arange(int((1 - fraction) * side // stride) + 1) * stride / side
                    for fraction, side in zip(sides, (height, width))
                ]
                corners = np.stack(np.meshgrid(*low, indexing="ij"), -1).reshape(-1, 2)
                found.append(np.concatenate([corners, np.minimum(corners + sides, 1.0)], axis=1))
        return np.concatenate(found).astype("float32")

    def count(self, height: int, width: int) -> int:
        """How many boxes of an image of so many pixels are classified."""
        return len(self.windows(height, width))

    def serve(self, images: Tensor) -> dict[str, Tensor]:
        """Every box classified, then suppression.

        Args:
            images: `[B, h, w, 3]` RGB, uint8 or float in 0 .. 255, of a size that is known when this is compiled.

        Returns:
            Detections dict with boxes relative to these images.

        Raises:
            ValueError: the size is not known.
        """
        height, width = images.shape[1:3]
        if height is None or width is None:
            raise ValueError("sliding windows need a size of `images` that is known when they are compiled.")
        windows = self.windows(height, width)
        boxes = ops.broadcast_to(ops.convert_to_tensor(windows)[None], (ops.shape(images)[0], *windows.shape))
        return box_ops.nms(boxes, self.window_scores(images, windows), **self.nms_options)

    def window_scores(self, images: Tensor, windows: np.ndarray) -> Tensor:
        """`[B, N, C]` probabilities of the classes, without background, of `[N, 4]` windows of each image."""
        missing = -len(windows) % BATCH
        parts = np.concatenate([windows, np.tile(windows[:1], (missing, 1))]).reshape(-1, BATCH, 4)

        def of_image(image):
            def of_part(part):
                crops = box_ops.crop_and_resize(image[None], part[None], self.classifier.image_size)[0]
                return self.classifier.probabilities(crops)

            return ops.map(of_part, ops.convert_to_tensor(parts))

        scores = ops.map(of_image, ops.cast(images, "float32"))
        return ops.reshape(scores, (-1, parts.size // 4, len(self.classes)))[:, : len(windows)]
