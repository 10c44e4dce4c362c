"""DeepMultiBox (Erhan, Szegedy, Toshev, Anguelov 2014, "Scalable Object Detection using Deep Neural Networks").

One network predicts K boxes of "object" and how sure it is of each; a second one names the few best of them.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers, ops

from keras_det import boxes as box_ops
from keras_det.backbones import VECTOR_BACKBONES, last_vector
from keras_det.losses import MATCHING, match_objects, matching_losses
from keras_det.models.classifier import RESIZED, Classifier
from keras_det.models.detector import Detector
from keras_det.models.network import objects_of
from keras_det.models.registry import register
from keras_det.types import Dataset, Tensor
from keras_det.weights.registry import VOC_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from keras_det.data.source import Source

WINDOW = 0.6  # side of the second scale's windows, of the image's shorter side; each further scale is smaller by this
SIDE = 3  # windows of a further scale along each axis
REGIONS = ("maximum", "minimum")
_RARE = -4.0  # first logit of the confidences: few of the boxes are objects, and training need not find that out


@register("multibox", small={"backbone": "tiny", "boxes": 12, "image_size": 64, "max_detections": 12})
class MultiBox(Detector):
    """The localizer: K class-agnostic boxes and their confidences from one pass (section 3).

    Reference: Erhan et al., "Scalable Object Detection using Deep Neural Networks", CVPR 2014. Preprocessing is part of
    the network. Labels are not looked at: whatever the classes of the data, an object is an object.

    Args:
        weights: `None`, a registered name, or a file saved by this package. Weights bring their own arguments.
        boxes: K, the number of boxes; the paper has 100 and 200.
        priors: `[K, 4]` rel_yxyx boxes that the predictions are residuals to, see `cluster_priors`; by default clusters
            of random boxes.
        matching: `"priors"` matches objects to the priors ("Training Details"), `"predictions"` to the predictions,
            by the loss itself (equation 3).
        alpha: weight of the matching loss; the paper has 0.3.
        backbone: `"alexnet"` (the paper's), or one of `keras_det.backbones.BACKBONES`, such as `"tiny"` (for CPUs).
        image_size: side of the square input in pixels.
        width: factor of the numbers of filters and units, see `keras_det.backbones.last_vector`.
        scales: of the windows that `serve` looks at: 1 is the max-center square crop, 2 adds 3 x 3 windows of 60 % of
            the image's shorter side, 3 adds 3 x 3 of 36 % (Figure 1), larger where these would leave gaps, see
            `square_windows`.
        iou_threshold: overlap that suppresses; the paper has 0.5 for VOC and 0.4 for ILSVRC.
        max_detections: boxes of an image at most.
        backbone_weights: `"imagenet"` starts the backbone from a network trained on ImageNet, where there is one of it.

    Raises:
        ValueError: an argument is out of range, or `priors` are not K boxes.

    Call with `[B, H, W, 3]` RGB images in 0 .. 255 of the input size; `detect` takes images of any size.

    >>> model = MultiBox(boxes=20, backbone="tiny", image_size=64)
    >>> model.priors.shape, model.classes
    ((20, 4), ('object',))
    """

    loss_terms = ("matching", "confidence")
    class_agnostic = True
    choices = {"matching": MATCHING, "scales": (1, 2, 3), "backbone": VECTOR_BACKBONES}
    counts = ("boxes", "max_detections")
    fractions = ("iou_threshold",)

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        boxes: int = 100,
        priors: Any = None,
        matching: str = "priors",
        alpha: float = 0.3,
        backbone: str = "alexnet",
        image_size: int = 220,
        width: float = 1.0,
        scales: int = 1,
        iou_threshold: float = 0.5,
        max_detections: int = 100,
        classes: Sequence[str] | None = None,  # every detector takes them; here they are "object"
        backbone_weights: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(weights, **kwargs)
        config = self.config
        priors = _as_priors(config.priors, config.boxes)
        self.priors = priors.astype("float32")
        self.config = dataclasses.replace(config, priors=priors, classes=None)
        self.features = last_vector(config.backbone, self.image_size, config.width)
        k, small = config.boxes, keras.initializers.RandomNormal(stddev=0.01)
        self.locations = layers.Dense(4 * k, kernel_initializer=small, dtype="float32", name="locations")
        rare = keras.initializers.Constant(_RARE)
        self.confidences = layers.Dense(
            k, kernel_initializer=small, bias_initializer=rare, dtype="float32", name="confidences"
        )
        self.build((None, *self.image_size, 3))
        self.load_trained_backbone([self.features], self.config.backbone, backbone_weights)
        self.load_checkpoint()

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the two output layers; the rest is built by the constructor."""
        shape = self.features.output["features"].shape
        self.locations.build(shape)
        self.confidences.build(shape)
        self.built = True

    def call(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        """The network.

        Args:
            images: `[B, H, W, 3]` RGB in 0 .. 255 of the model's `image_size`.
            training: whether dropout works and batch normalization uses the batch's statistics.

        Returns:
            `{"boxes": [B, K, 4], "logits": [B, K]}` float32: l, the priors plus one linear layer's residuals, not
            limited to the image, and the logits of the confidences c.
        """
        features = self.features(ops.cast(images, self.compute_dtype), training=training)["features"]
        residuals = ops.reshape(self.locations(features), (-1, *self.priors.shape))
        return {"boxes": residuals + ops.convert_to_tensor(self.priors), "logits": self.confidences(features)}

    # Training, section 3

    def encode_targets(self, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """The objects, and with prior matching their boxes.

        Args:
            labels: padded labels dict; M may be 0 or unknown until the graph runs. Crowd regions are no objects.

        Returns:
            `{"boxes": [B, M, 4], "valid": [B, M] bool}`, with prior matching `"matched_prior" [B, M]` int32 too: the
            box of each object, -1 for none. Of more objects than boxes those are left out that fit the boxes worst.
        """
        objects, _, valid = objects_of(labels)
        targets = {"boxes": objects, "valid": valid}
        if self.config.matching == "priors":
            targets["matched_prior"] = match_objects(None, None, self.priors, objects, valid, "priors", None)
        return targets

    def compute_losses(self, targets: dict[str, Tensor], outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """F = alpha F_match + F_conf (equation 2), the mean over the images of the global batch."""
        boxes, logits, alpha = outputs["boxes"], outputs["logits"], self.config.alpha
        matched_prior = targets.get("matched_prior")
        if matched_prior is None:
            matched_prior = match_objects(
                boxes, logits, self.priors, targets["boxes"], targets["valid"], "predictions", alpha
            )
        f_match, f_conf = matching_losses(boxes, logits, targets["boxes"], matched_prior)
        images = self.sum_over_replicas(ops.cast(ops.shape(logits)[0], "float32"))
        return {"matching": alpha * ops.sum(f_match) / images, "confidence": ops.sum(f_conf) / images}

    def augmentation(self) -> Callable | None:
        """Square crops, equally many of each bucket of covered fraction (section 4.1)."""
        from keras_det.data import SquareCrops

        return SquareCrops(self.image_size)

    @classmethod
    def fit_config(cls, config: dict[str, Any], source: Source, augment: Any = True, seed: int = 0) -> dict[str, Any]:
        """The arguments with priors clustered from the source, where they have none."""
        if "priors" in config:
            return dict(config)
        priors = cls.cluster_priors(source, config.get("boxes", cls.Config().boxes), seed, crops=augment)
        return config | {"priors": priors.tolist()}

    @classmethod
    def cluster_priors(
        cls, source: Source, boxes: int, seed: int = 0, samples: int = 5000, crops: bool = True
    ) -> np.ndarray:
        """K-means on training boxes in the coordinates of the samples ("Training Details").

        Args:
            source: a `keras_det.data.Source`.
            boxes: K.
            seed: of the samples and of k-means.
            samples: images looked at, each once; annotations alone are read.
            crops: whether training is on `SquareCrops`; else on whole images.

        Returns:
            `[K, 4]` float32 rel_yxyx.

        Raises:
            ValueError: the samples have no objects.
        """
        from keras_det.data.crops import sampled_boxes

        found = sampled_boxes(source, seed, samples, crops)
        if not len(found):
            raise ValueError(f"{source.name} has no objects to cluster priors of.")
        return box_ops.kmeans(found, boxes, seed).astype("float32")

    # Inference, sections 4.1 and 4.2

    def scored_boxes(self, outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Boxes and confidences before suppression: `[B, K, 4]` limited to the window, `[B, K, 1]` in 0 .. 1."""
        return _truncated(outputs["boxes"], ops.sigmoid(outputs["logits"]))

    @property
    def nms_options(self) -> dict[str, Any]:
        """The arguments of `keras_det.boxes.nms` that this model suppresses with."""
        every = self.config.boxes * windows_of(self.config.scales)
        return super().nms_options | {"score_threshold": 0.0, "max_per_class": every}

    def serve(self, images: Tensor) -> dict[str, Tensor]:
        """All windows of all scales in one batch, their boxes mapped back, truncated and suppressed together.

        Args:
            images: `[B, h, w, 3]` RGB, uint8 or float in 0 .. 255, of any size.

        Returns:
            Detections dict with boxes relative to these images.
        """
        windows = square_windows(ops.shape(images)[1], ops.shape(images)[2], self.config.scales)
        count = windows_of(self.config.scales)
        each = ops.repeat(ops.expand_dims(windows, 0), ops.shape(images)[0], axis=0)
        crops = box_ops.crop_and_resize(images, each, self.image_size)
        outputs = self(ops.reshape(crops, (-1, *self.image_size, 3)), training=False)
        boxes = ops.reshape(outputs["boxes"], (-1, count, self.config.boxes, 4))
        low, size = windows[:, None, :2], windows[:, None, 2:] - windows[:, None, :2]
        boxes = boxes * ops.tile(size, (1, 1, 2)) + ops.tile(low, (1, 1, 2))
        total = count * self.config.boxes
        scores = ops.reshape(ops.sigmoid(outputs["logits"]), (-1, total))
        return box_ops.nms(*_truncated(ops.reshape(boxes, (-1, total, 4)), scores), **self.nms_options)


@register("one_box_per_class", small={"backbone": "tiny", "image_size": 64})
class OneBoxPerClass(Detector):
    """The baseline of Table 2: one box for every class, beside a softmax over the classes.

    The paper reimplements the network that won ILSVRC 2012's localization. Its target for an image of several classes,
    which the paper does not state, is the same fraction for each of them, and each has the box of its largest object.
    As that network it is trained on random crops and their horizontal flips, of images whose shorter side is 256 / 224
    of the crop's, and starts from a classification network, whose layers are those of `Classifier`.

    Args:
        weights, backbone, image_size, width, backbone_weights: as of `MultiBox`; a `Classifier`'s weights give all
            layers but the boxes'.
        classes: names, in label order.
        alpha: weight of the boxes' loss.
        iou_threshold: overlap that suppresses, whatever the class (Figure 5, footnote 2); 1 suppresses nothing, as
            Table 2's single box of each class needs.

    >>> model = OneBoxPerClass(classes=["cat", "dog"], backbone="tiny", image_size=64)
    >>> {name: value.shape for name, value in model(np.zeros((1, 64, 64, 3), "float32")).items()}
    {'boxes': TensorShape([1, 2, 4]), 'logits': TensorShape([1, 2])}
    """

    loss_terms = ("matching", "classification")
    class_predictors = ("locations", "logits")
    starts_from_classifier = True
    choices = {"backbone": VECTOR_BACKBONES}
    fractions = ("iou_threshold",)

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        classes: Sequence[str] = VOC_CLASSES,
        alpha: float = 0.3,
        backbone: str = "alexnet",
        image_size: int = 220,
        width: float = 1.0,
        iou_threshold: float = 0.5,
        backbone_weights: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(weights, **kwargs)
        config = self.config
        self.features = last_vector(config.backbone, self.image_size, config.width)
        self.locations = layers.Dense(4 * len(self.classes), dtype="float32", name="locations")
        self.head = layers.Dense(len(self.classes), dtype="float32", name="logits")
        self.build((None, *self.image_size, 3))
        self.load_trained_backbone([self.features], self.config.backbone, backbone_weights)
        self.load_checkpoint()

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the two output layers; the rest is built by the constructor."""
        shape = self.features.output["features"].shape
        self.locations.build(shape)
        self.head.build(shape)
        self.built = True

    def call(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        """The network: `{"boxes": [B, C, 4], "logits": [B, C]}` float32 of `[B, H, W, 3]` images in 0 .. 255."""
        features = self.features(ops.cast(images, self.compute_dtype), training=training)["features"]
        return {
            "boxes": ops.reshape(self.locations(features), (-1, len(self.classes), 4)),
            "logits": self.head(features),
        }

    def class_entries(self, layer: str) -> tuple[int, int]:
        """Four edges of a box, one logit."""
        return 0, 4 if layer == "locations" else 1

    def encode_targets(self, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of each class its fraction of the image's label and what the crop shows of its largest object's box.

        Args:
            labels: padded labels dict; boxes may leave 0 .. 1, and crowd regions are no objects.

        Returns:
            `{"fractions": [B, C], "boxes": [B, C, 4], "seen": [B, C] bool}`; fractions are 0 in an image without
            objects, and a class none of whose objects the crop shows has no box.
        """
        objects, classes, valid = objects_of(labels)
        objects = ops.clip(objects, 0.0, 1.0)
        index = ops.reshape(ops.arange(len(self.classes), dtype="int32"), (1, -1, 1))
        mine = ops.logical_and(ops.expand_dims(classes, 1) == index, ops.expand_dims(valid, 1))
        areas = ops.where(mine, ops.expand_dims(box_ops.area(objects), 1), -1.0)
        largest = ops.expand_dims(ops.argmax(areas, axis=2), 2)
        present = ops.cast(ops.any(mine, axis=2), "float32")
        fractions = present / ops.maximum(ops.sum(present, axis=1, keepdims=True), 1.0)
        boxes = ops.take_along_axis(objects, ops.cast(largest, "int32"), axis=1)
        return {"fractions": fractions, "boxes": boxes, "seen": ops.max(areas, axis=2) > 0}

    def compute_losses(self, targets: dict[str, Tensor], outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy of the classes, and half the squared distance of the boxes of those that are seen."""
        fractions, images = targets["fractions"], ops.cast(ops.shape(outputs["logits"])[0], "float32")
        images = self.sum_over_replicas(images)
        distances = ops.sum(ops.square(outputs["boxes"] - targets["boxes"]), axis=-1)
        matching = ops.sum(ops.where(targets["seen"], distances, 0.0)) / 2
        classification = -ops.sum(fractions * ops.log_softmax(outputs["logits"]))
        return {"matching": self.config.alpha * matching / images, "classification": classification / images}

    def augmentation(self) -> Callable | None:
        """Random crops and horizontal flips, as the winner of ILSVRC 2012 was trained."""
        from keras_det.data import ScaledCrops

        return ScaledCrops(self.image_size, (self.image_size[0] * RESIZED,))

    def serve(self, images: Tensor) -> dict[str, Tensor]:
        """The max-center square crop, of the kind that training shows.

        Args:
            images: `[B, h, w, 3]` RGB, uint8 or float in 0 .. 255, of any size.

        Returns:
            Detections dict with boxes relative to these images.
        """
        window = square_windows(ops.shape(images)[1], ops.shape(images)[2], 1)
        each = ops.repeat(ops.expand_dims(window, 0), ops.shape(images)[0], axis=0)
        outputs = self(box_ops.crop_and_resize(images, each, self.image_size)[:, 0])
        low, size = window[:, :2], window[:, 2:] - window[:, :2]
        return self.decode(outputs | {"boxes": outputs["boxes"] * ops.tile(size, (1, 2)) + ops.tile(low, (1, 2))})

    def scored_boxes(self, outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """`[B, C, 4]` boxes limited to the image and `[B, C, C]` scores, of each box its own class's alone."""
        boxes, scores = _truncated(outputs["boxes"], ops.softmax(outputs["logits"]))
        return boxes, scores * ops.eye(len(self.classes))

    @property
    def nms_options(self) -> dict[str, Any]:
        """The arguments of `keras_det.boxes.nms`: those that overlap a surer one of any class are left out."""
        own = {"score_threshold": 0.0, "max_per_class": 1, "max_detections": len(self.classes), "class_agnostic": True}
        return super().nms_options | own


@register(
    "multibox_detector",
    small={
        "localizer": {"backbone": "tiny", "boxes": 12, "image_size": 64, "max_detections": 12},
        "classifier": {"backbone": "tiny", "image_size": 64, "background": True},
        "windows": 4,
    },
)
class MultiBoxDetector(Detector):
    """The two-stage detector: a localizer's best boxes, each named by a classifier (section 4.2).

    The score of a class is the localizer's confidence times the classifier's probability on the square around the box.
    A box goes through a classifier without background too, as ILSVRC's protocol has it (section 4.4): its probabilities
    then say which class, and the confidence alone whether there is an object. The two networks are trained apart, each
    by its own recipe.

    Args:
        weights: `None`, a registered name, or a file saved by this package, which holds both networks.
        localizer: a `MultiBox`, or its arguments.
        classifier: a `Classifier`, or its arguments.
        windows: boxes that are classified; the paper has 10.
        region: `"maximum"` classifies the square of the longer side around the box (VOC), `"minimum"` that of the
            shorter side (ILSVRC). A classifier of crops is to be trained on the same, see `Classifier`.
        best_per_class: keep the best pair of box and class for each class alone (ILSVRC).

    Raises:
        ValueError: an argument is out of range.

    >>> model = MultiBoxDetector(
    ...     localizer={"boxes": 10, "backbone": "tiny", "image_size": 64},
    ...     classifier={"classes": ["cat", "dog"], "background": True, "backbone": "tiny", "image_size": 64},
    ... )
    >>> model.classes
    ('cat', 'dog')
    """

    class_predictors = ("logits",)
    choices = {"region": REGIONS}
    single_pass = False

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        localizer: Any = None,
        classifier: Any = None,
        windows: int = 10,
        region: str = "maximum",
        best_per_class: bool = False,
        classes: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(weights, **kwargs)
        networks = {"localizer": self.localizer.config.to_dict(), "classifier": self.classifier.config.to_dict()}
        self.config = dataclasses.replace(self.config, classes=self.classes, **networks)
        most = self.localizer.config.max_detections
        if not 1 <= self.config.windows <= most:
            raise ValueError(f"`windows` must be 1 to {most}, the localizer's boxes; got {self.config.windows!r}.")
        self.built = True
        self.load_checkpoint()

    def class_list(self) -> Sequence[str]:
        """The classifier's classes; it is built here."""
        classifier, classes = self.config.classifier or {"background": True}, self.config.classes
        if isinstance(classifier, dict):
            classifier = Classifier(**classifier | ({} if classes is None else {"classes": classes}))
        self.classifier = classifier
        return classifier.classes

    def input_size(self) -> tuple[int, int]:
        """The localizer's input; it is built here."""
        localizer = self.config.localizer or {}
        self.localizer = MultiBox(**localizer) if isinstance(localizer, dict) else localizer
        return self.localizer.image_size

    def class_entries(self, layer: str) -> tuple[int, int]:
        """As of the classifier."""
        return self.classifier.class_entries(layer)

    @classmethod
    def fit_config(cls, config: dict[str, Any], source: Source, augment: Any = True, seed: int = 0) -> dict[str, Any]:
        """Refuse to train both networks together."""
        raise ValueError("the two-stage detector is trained as `multibox` and as `classifier`, each by its own recipe.")

    def batches(self, source: Source, batch_size: int, training: bool, **options: Any) -> Dataset:
        """As of every detector, without training."""
        if training:
            self.fit_config({}, source)
        return super().batches(source, batch_size, training, **options)

    def call(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        """The localizer's outputs on `[B, H, W, 3]` images of its size."""
        return self.localizer(images, training=training)

    def serve(self, images: Tensor) -> dict[str, Tensor]:
        """Boxes of the localizer, the best `windows` of them classified in one batch.

        Args:
            images: `[B, h, w, 3]` RGB, uint8 or float in 0 .. 255, of any size.

        Returns:
            Detections dict with boxes relative to these images.
        """
        windows, classes = self.config.windows, len(self.classes)
        found = self.localizer.serve(images)
        boxes, confidences = found["boxes"][:, :windows], found["scores"][:, :windows]
        squares = square_regions(boxes, ops.shape(images)[1], ops.shape(images)[2], self.config.region)
        crops = box_ops.crop_and_resize(images, squares, self.classifier.image_size)
        probabilities = self.classifier.probabilities(ops.reshape(crops, (-1, *self.classifier.image_size, 3)))
        scores = ops.reshape(probabilities, (-1, windows, classes)) * ops.expand_dims(confidences, 2)
        if self.config.best_per_class:
            scores = scores * ops.cast(scores >= ops.max(scores, axis=1, keepdims=True), "float32")
        return _pairs(boxes, scores)


def square_windows(height: int | Tensor, width: int | Tensor, scales: int) -> Tensor:
    """The windows of all scales of an image, squares in pixels.

    The first is the max-center square crop. Those of scale s > 1 have 0.6^(s - 1) of the shorter side and stand in
    3 x 3 places from edge to edge. The paper gives the second scale ("3 x 3 windows of size 60% of the image size") and
    names a third without saying what it is: here it is as much smaller than the second as that is than the first. Where
    three windows of that side would not reach along the longer side, they are a third of the longer side each, so that
    every place of the image is looked at; in images more than three times as long as wide they reach over the edges.

    Args:
        height, width: of the image in pixels, numbers or scalar tensors.
        scales: 1, 2 or 3.

    Returns:
        `[1 + 9 (scales - 1), 4]` float32 rel_yxyx.
    """
    size = ops.cast(ops.stack([height, width]), "float32")
    fractions = ops.min(size) / size
    windows = [ops.concatenate([(1 - fractions) / 2, (1 + fractions) / 2])[None]]
    places = np.stack(np.meshgrid(*2 * [np.linspace(0, 1, SIDE)], indexing="ij"), -1).reshape(-1, 2)
    for scale in range(1, scales):
        side = ops.maximum(ops.min(size) * WINDOW**scale, ops.max(size) / SIDE) / size
        low = ops.convert_to_tensor(places, "float32") * (1 - side)
        windows.append(ops.concatenate([low, low + side], axis=1))
    return ops.concatenate(windows)


def windows_of(scales: int) -> int:
    """How many windows that many scales have."""
    return 1 + SIDE**2 * (scales - 1)


def square_regions(boxes: Tensor, height: int | Tensor, width: int | Tensor, region: str) -> Tensor:
    """The square around the center of each box, of its longer (maximum) or shorter (minimum) side in pixels.

    Args:
        boxes: `[..., 4]` rel_yxyx. A box of no extent gets a square of one pixel.
        height, width: of the image in pixels.
        region: `"maximum"` or `"minimum"`.

    Returns:
        `[..., 4]` rel_yxyx; squares may leave the image.
    """
    size = ops.cast(ops.stack([height, width]), "float32")
    sides = (boxes[..., 2:] - boxes[..., :2]) * size
    side = (ops.max if region == "maximum" else ops.min)(sides, axis=-1, keepdims=True)
    half = ops.maximum(side, 1.0) / 2 / size
    center = (boxes[..., 2:] + boxes[..., :2]) / 2
    return ops.concatenate([center - half, center + half], axis=-1)


def _pairs(boxes, scores):
    """Every pair of box and class as a detection, the best first; pairs of score 0 are padding."""
    windows, classes = scores.shape[1:]
    best, index = ops.top_k(ops.reshape(scores, (-1, windows * classes)), windows * classes)
    index = ops.cast(index, "int32")
    found = best > 0
    boxes = ops.take_along_axis(boxes, ops.expand_dims(index // classes, 2), axis=1)
    return {
        "boxes": ops.where(ops.expand_dims(found, 2), boxes, 0.0),
        "scores": best,
        "labels": ops.where(found, index % classes, -1),
        "num_detections": ops.sum(ops.cast(found, "int32"), axis=1),
    }


def _truncated(boxes, scores):
    """Boxes limited to the image, corners in order, `[B, N, 4]`, and `[B, N, 1]` scores, 0 where nothing is left."""
    low, high = ops.minimum(boxes[..., :2], boxes[..., 2:]), ops.maximum(boxes[..., :2], boxes[..., 2:])
    boxes = ops.clip(ops.concatenate([low, high], axis=-1), 0.0, 1.0)
    return boxes, ops.expand_dims(ops.where(box_ops.area(boxes) > 0, scores, 0.0), 2)


@functools.cache
def _random_priors(count):
    """Clusters of random boxes with log-uniform sides, for want of training boxes."""
    rng = np.random.default_rng(0)
    side = 0.05 ** rng.random((10_000, 2))
    low = rng.random((10_000, 2)) * (1 - side)
    return box_ops.kmeans(np.concatenate([low, low + side], axis=1), count)


def _as_priors(priors, count):
    """The priors as `[K, 4]` in millionths of the image, so that those of K = 1000 fit a file's attribute."""
    priors = np.round(_random_priors(count) if priors is None else np.asarray(priors, "float64"), 6)
    if priors.shape != (count, 4) or not np.isfinite(priors).all() or (priors[:, 2:] < priors[:, :2]).any():
        raise ValueError(f"`priors` must be {count} boxes (ymin, xmin, ymax, xmax); got shape {priors.shape}.")
    return priors
