"""ClassGeneric: deep networks for class-generic detection (Huval, Coates, Ng 2013, arXiv:1312.6885).

A softmax, not over classes but over a discretized space of boxes. It is trained with Gaussians around the objects,
whatever their class, and finds objects of classes whose boxes it never saw. The same network names classes, so that
images with class labels alone train it too.
"""

from __future__ import annotations

import dataclasses
import os
from collections import ChainMap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers, ops

from keras_det.backbones import BACKBONES, fine_map, tiny
from keras_det.backbones.alexnet_lcn import alexnet_lcn
from keras_det.backbones.common import conv_bn
from keras_det.layers import BoxGrid
from keras_det.losses import box_grid_targets, cross_entropy, entropy
from keras_det.models.config import Config
from keras_det.models.detector import Detector, compiled
from keras_det.models.network import check_classes, is_object
from keras_det.models.pretrained import Checkpoint, carry_over
from keras_det.models.registry import register
from keras_det.types import Dataset, Tensor
from keras_det.weights.registry import CAFFE_MEAN, VOC_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from keras_det.data.source import Source
    from keras_det.models.pretrained import Checkpoint

HIDDEN = 128  # channels of the hidden layer on a map


@register("class_generic", small={"backbone": "tiny", "image_size": 64, "grid_shape": (8, 8, 3, 2)})
class ClassGeneric(Detector):
    """Boxes of objects of any class from one softmax over a grid of boxes.

    Reference: Huval, Coates, Ng, "Deep Learning for Class-Generic Object Detection", 2013.

    The default grid of 12 x 12 places, 7 scales and 5 aspect ratios has 4452 of its 5040 cells in use, some four times
    the outcomes of ImageNet's classification: after a feature of 4096 values a last layer of 18 M parameters. The box
    of an object's nearest cell overlaps it by 0.69 or more for the largest objects, 0.61 for those of a middle scale,
    and 0.38 for the smallest. Finer grids suit small objects; they have fewer images for each outcome.

    Every other backbone, such as `"tiny"` for CPUs, gives a map of stride 8 (`keras_det.backbones.fine_map`). Its dense
    layers share their weights over the places of the map (a hidden layer of 3 x 3 cells and 128 channels, then the
    softmax layer): dense layers proper, which the paper's network has, would hold most of the parameters and need far
    more images than a CPU can go through.

    Args:
        weights: `None`, a registered name, or a file saved by this package. Weights bring their own arguments.
        classes: Names of the recognition layer's classes, in label order. Others than those of `weights` keep
            everything but that layer. Detections have one class, "object", as has the detector's `classes`.
        backbone: `"alexnet_lcn"`, the paper's five convolutions and two dense layers, or one of
            `keras_det.backbones.BACKBONES`.
        image_size: Side of the square input in pixels.
        width: Factor of the numbers of filters and units of alexnet_lcn.
        grid_shape: Cells `(Y, X, S, A)` over place, scale and aspect ratio, see `keras_det.layers.BoxGrid`.
        scales: Smallest and largest scale of the grid, the root of a box's area relative to the image.
        aspect_ratios: Smallest and largest ratio of the grid, width over height.
        min_inside: Least fraction of a cell's box that must lie in the image.
        widths: Standard deviations of the targets' Gaussians in cells, over y, x, scale and ratio.
        sub_cell: Beyond the paper: the Gaussians stand at the objects, not at their nearest cells, and a detection is
            the mean of the distribution around its cell, instead of the cell's box.
        score_threshold: A detection's probability is higher than this. Every threshold cuts the tail of the
            precision-recall curve, of whose area Tables 1 and 2 are; `detect` shows what has `detect_threshold`.
        iou_threshold: Overlap that suppresses.
        max_candidates: Local maxima that enter suppression.
        max_detections: Detections of an image at most.
        backbone_weights: `"imagenet"` starts the backbone from a network trained on ImageNet, where there is one of it.

    Call with `[B, H, W, 3]` RGB images in 0 .. 255 of the input size; `detect` takes images of any size.

    Raises:
        ValueError: an argument out of range; it is named.

    >>> model = ClassGeneric(backbone="tiny", classes=["cat", "dog"], image_size=64, grid_shape=(8, 8, 3, 2))
    >>> model(np.zeros((1, 64, 64, 3)))["boxes"].shape[1] == model.grid.size
    True
    """

    class_agnostic = True
    class_predictors = ("recognition",)
    supervisions = ("both", "boxes", "classes")
    detect_threshold = 0.01  # the probabilities of all boxes of an image add up to 1
    loss_terms = ("localization", "recognition")
    choices = {"backbone": ChainMap({"alexnet_lcn": None}, BACKBONES)}
    counts = ("image_size", "max_candidates", "max_detections")
    fractions = ("score_threshold", "iou_threshold")

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        classes: Sequence[str] = VOC_CLASSES,
        backbone: str = "alexnet_lcn",
        image_size: int = 224,
        width: float = 1.0,
        grid_shape: tuple = (12, 12, 7, 5),
        scales: tuple = (0.15, 1.0),
        aspect_ratios: tuple = (0.33, 3.0),
        min_inside: float = 0.5,
        widths: tuple = (1.0, 1.0, 1.0, 1.0),
        sub_cell: bool = False,
        score_threshold: float = 0.0,
        iou_threshold: float = 0.45,
        max_candidates: int = 200,
        max_detections: int = 100,
        backbone_weights: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(weights, **kwargs)
        self._compiled_recognition = None
        self.class_names = check_classes(self.config.classes)
        grid = {name: getattr(self.config, name) for name in ("scales", "aspect_ratios", "min_inside")}
        self.grid = BoxGrid(self.config.grid_shape, **grid, dtype="float32", name="grid")
        self.features = self._features()
        cells = self.grid.size
        if self.by_place:
            cells = self.grid.shape[2] * self.grid.shape[3]
        self.boxes = layers.Dense(cells, kernel_initializer="glorot_uniform", name="boxes")
        self.recognition = layers.Dense(len(self.class_names), name="recognition")
        self.build((None, *self.image_size, 3))
        self.load_trained_backbone([self.features], self.config.backbone, backbone_weights)
        self.load_checkpoint()

    def check_config(self, config: Config) -> None:
        """As of every network, and the objects' Gaussians have an extent; the grid checks its own numbers."""
        super().check_config(config)
        if len(config.widths) != 4 or min(config.widths) <= 0:
            raise ValueError(f"`widths` must be four positive numbers; got {config.widths!r}.")

    def start_from(self, checkpoint: Checkpoint) -> None:
        """Put weights in; where they name other classes, all but the recognition layer."""
        names = checkpoint.config.get("classes", self.class_names)
        weights = dataclasses.replace(checkpoint, config={})  # of which `classes` would be compared with "object"
        if tuple(names) == self.class_names:
            weights.load_into(self)
            return
        donor = type(self)(**self.get_config() | {"classes": names})
        weights.load_into(donor)
        weights.report_classes(names, self.class_names, carry_over(donor, self, names, self.class_names))

    # Network, section 3.1

    @property
    def by_place(self) -> bool:
        """Whether the features are a map, whose places share the last layers."""
        return self.config.backbone != "alexnet_lcn"

    def _features(self):
        """The network up to the features: `[B, 4096 width]`, of all but alexnet_lcn a map `[B, Y, X, 128]`."""
        if not self.by_place:
            return alexnet_lcn(self.image_size, self.config.width)
        if self.config.backbone == "tiny":
            network = tiny(self.image_size)
            fine = network.output["stage3"]
        else:
            network = fine_map(self.config.backbone, self.image_size)
            fine = network.output
        x = conv_bn(fine, HIDDEN, 3, "hidden")
        if x.shape[1:3] != self.grid.shape[:2]:
            x = layers.Resizing(*self.grid.shape[:2], name="to_grid")(x)
        return keras.Model(network.input, x, name="features")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the last layers; the rest is built by the constructor."""
        shape = self.features.output.shape
        self.boxes.build(shape)
        self.recognition.build((None, shape[-1]))
        self.built = True

    def call(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        """The network.

        Args:
            images: `[B, H, W, 3]` RGB in 0 .. 255 of the model's `image_size`.
            training: whether dropout works and batch normalization uses the batch's statistics.

        Returns:
            `{"boxes": [B, N], "classes": [B, C]}` float32 logits: of the grid's N cells in use and of `class_names`.
        """
        by_place, x = self.by_place, ops.cast(images, "float32")
        if self.config.backbone == "tiny":
            x = x / 127.5 - 1.0
        elif not by_place:
            x = x - ops.convert_to_tensor(CAFFE_MEAN)
        x = self.features(ops.cast(x, self.compute_dtype), training=training)
        boxes = self.boxes(x)
        boxes = self.grid.gather(boxes) if by_place else boxes
        vector = ops.max(x, axis=(1, 2)) if by_place else x
        return {"boxes": ops.cast(boxes, "float32"), "classes": ops.cast(self.recognition(vector), "float32")}

    # Training, sections 3.2 and 3.3

    def encode_targets(self, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """Distributions over boxes and over classes.

        Args:
            labels: padded labels dict. Crowd regions are no objects. `"classes"` `[B, M]`, the objects' numbers in
                `class_names` or -1, stands for `"labels"` where these are of other classes. `"has_boxes"` and
                `"has_classes"` `[B]` bool tell which labels an image has; without them it has both.

        Returns:
            `{"boxes": [B, N], "classes": [B, C], "has_boxes": [B], "has_classes": [B]}` float32. An image of several
            classes has the fractions of its objects; one whose objects have no class has no class label.
        """
        valid = is_object(labels)
        sizes = {name: getattr(self.config, name) for name in ("widths", "sub_cell")}
        classes = ops.cast(labels.get("classes", labels["labels"]), "int32")
        counts = ops.one_hot(ops.where(valid, classes, -1), len(self.class_names))
        counts = ops.sum(counts, axis=1)
        total = ops.sum(counts, axis=-1, keepdims=True)
        has_classes = ops.cast(total[:, 0] > 0, "float32")
        everywhere = ops.ones_like(has_classes)
        return {
            "boxes": box_grid_targets(self.grid, ops.cast(labels["boxes"], "float32"), valid, **sizes),
            "classes": counts / ops.maximum(total, 1.0),
            "has_boxes": ops.cast(labels.get("has_boxes", everywhere), "float32"),
            "has_classes": has_classes * ops.cast(labels.get("has_classes", everywhere), "float32"),
        }

    def compute_losses(self, targets: dict[str, Tensor], outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross entropies less the targets' entropies, which no network can go below: 0 is perfect.

        Each is the mean over the images of the global batch that have such labels. Without the entropy the gradients
        are the same.
        """
        losses = {}
        for term, name in (("localization", "boxes"), ("recognition", "classes")):
            excess = cross_entropy(targets[name], outputs[name]) - entropy(targets[name])
            has = targets[f"has_{name}"]
            labeled = ops.maximum(self.sum_over_replicas(ops.sum(has)), 1.0)
            losses[term] = ops.sum(excess * has) / labeled
        return losses

    def augmentation(self) -> Callable | None:
        """Krizhevsky's crops and flips."""
        from keras_det.data.large_crops import LargeCrops

        return LargeCrops(self.image_size)

    def batches(
        self,
        source: Source,
        batch_size: int,
        training: bool,
        seed: int = 0,
        augment: Any = True,
        supervision: str = "both",
        **options: Any,
    ) -> Dataset:
        """Batches of a data source, whose classes may be any; arguments as in `Detector.batches`, and

        Args:
            source: a `keras_det.data.Source`.
            batch_size: images in a batch.
            training: sample and shuffle; else every image once, in order, only resized.
            seed: seed of order and augmentation.
            augment: whether training images are augmented, or by what, as of `Detector.batches`.
            supervision: labels that train: `"boxes"`, `"classes"`, or `"both"`, which is boxes alone where the source
                has other classes than `class_names`.
            **options: further arguments of `keras_det.data.batches`.

        Returns:
            `tf.data.Dataset` of `(images, labels)`; in training the labels also have what `encode_targets` takes.

        Raises:
            ValueError: class labels are asked for and the source's classes are not `class_names`.
        """
        from keras_det.data import batches

        if supervision not in self.supervisions:
            raise ValueError(f"`supervision` must be one of {', '.join(self.supervisions)}; got {supervision!r}.")
        known = tuple(source.classes) == self.class_names
        if supervision == "classes" and not known:
            raise ValueError(f"the source's classes {tuple(source.classes)} are not `class_names` {self.class_names}.")
        sample = (self.augmentation() if augment is True else augment or None) if training else None
        options = (self._shard(batch_size) if training else {}) | options | {"class_agnostic": not training}
        dataset = batches(source, batch_size, self.image_size, training, augment=sample, seed=seed, **options)
        if not training:
            return dataset
        has = {"has_boxes": supervision != "classes", "has_classes": known and supervision != "boxes"}

        def tell(images, labels):
            shape = ops.shape(images)[:1]
            return images, labels | {name: ops.full(shape, value, "bool") for name, value in has.items()}

        return dataset.map(tell)

    def label_names(self, source: Source) -> Sequence[str]:
        """The source's classes: those of `batches` that train boxes alone may be any."""
        return source.classes

    def mixed_batches(
        self, box_source: Source, class_source: Source, batch_size: int, max_objects: int, **options: Any
    ) -> Dataset:
        """Training batches of which one half has box labels alone and the other class labels alone.

        Args:
            box_source: a source whose boxes train; its class labels are not looked at.
            class_source: a source whose class labels train; its boxes are not looked at. Its classes are `class_names`.
            batch_size: images in a batch, an even number.
            max_objects: M, to which the labels of both are padded.
            **options: further arguments of `batches`.

        Returns:
            `tf.data.Dataset` of `(images, labels)`.

        Raises:
            ValueError: an odd batch size, or classes as in `batches`.
        """
        if batch_size % 2:
            raise ValueError(f"`batch_size` must be even; got {batch_size}.")
        # Of several machines each reads the whole: parts of the halves, joined, would not be a part of the batch.
        options = options | {"training": True, "max_objects": max_objects, "shard": (0, 1)}
        halves = [
            self.batches(source, batch_size // 2, supervision=supervision, **options)
            for source, supervision in ((box_source, "boxes"), (class_source, "classes"))
        ]

        def join(first, second):
            (images, labels), (others, other_labels) = first, second
            both = {name: ops.concatenate([labels[name], other_labels[name]]) for name in labels}
            return ops.concatenate([images, others]), both

        return halves[0].zip(tuple(halves)).map(join)

    # Inference, section 3.2

    def scored_boxes(self, outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The best local maxima of the distribution, which is suppressed without leaving it.

        A cell is a candidate if no neighbor in the four dimensions is more probable; of the best candidates, those
        that overlap a more probable one by more than `iou_threshold` are suppressed. The score is the cell's
        probability: with n objects alike in the image, each has 1/n of what a single one would have.

        Args:
            outputs: what `call` gives.

        Returns:
            `[B, K, 4]` rel_yxyx boxes limited to the image, and `[B, K, 1]` scores, 0 where there are fewer maxima.
        """
        distribution = self.grid(outputs["boxes"])
        peaks = self.grid.gather(self.grid.local_maxima(distribution))
        scores, index = ops.top_k(peaks, min(self.config.max_candidates, self.grid.size))
        boxes = self._boxes(distribution, ops.cast(index, "int32"))
        return ops.clip(boxes, 0.0, 1.0), ops.expand_dims(scores, -1)

    def class_probabilities(self, images: Tensor) -> np.ndarray:
        """What the recognition layer says of whole images.

        Args:
            images: `[B, h, w, 3]` RGB, uint8 or float in 0 .. 255, of any size.

        Returns:
            `[B, C]` numpy array, probabilities of `class_names`.
        """
        if self._compiled_recognition is None:
            self._compiled_recognition = compiled(self._recognize, self)
        return np.asarray(self._compiled_recognition(images))

    def _recognize(self, images):
        """`class_probabilities`, not compiled."""
        images = ops.image.resize(ops.cast(images, "float32"), self.image_size, interpolation="bilinear")
        return ops.softmax(self(images, training=False)["classes"])

    @property
    def nms_options(self) -> dict[str, Any]:
        """The arguments of `keras_det.boxes.nms` that this model suppresses with."""
        return super().nms_options | {"max_per_class": self.config.max_candidates}

    def _boxes(self, distribution, index):
        """Boxes of cells in use, `[B, K]` to `[B, K, 4]`: the cells' own, or refined."""
        if not self.config.sub_cell:
            return ops.take(ops.convert_to_tensor(self.grid.boxes), index, axis=0)
        radius = tuple(int(np.ceil(2 * width)) for width in self.config.widths)
        return self.grid.boxes_at(self.grid.local_means(distribution, index, radius))
