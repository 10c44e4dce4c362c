"""A classifier of images or of crops, the second network of the detectors before SSD.

DeepMultiBox classifies the boxes it proposes, DetectorNet prunes with it, and both start from one that was trained on
classification; all with the network of Krizhevsky et al. 2012.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import layers, ops

from keras_det.backbones import VECTOR_BACKBONES, last_vector
from keras_det.models.config import Config
from keras_det.models.network import Network
from keras_det.models.registry import register
from keras_det.types import Tensor
from keras_det.weights.registry import VOC_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

CROPS = ("boxes", "maximum", "minimum", "images")
RESIZED = 256 / 224  # shorter side of an image over that of a crop of it, of the winner of ILSVRC 2012


@register("classifier", small={"backbone": "tiny", "image_size": 64, "background": True})
class Classifier(Network):
    """A backbone and a softmax over the classes, with "background" before them where crops may show no object.

    Args:
        weights: `None`, a registered name, or a file saved by this package.
        classes: Names, without background.
        background: Whether there is a class 0 for crops without an object.
        backbone: `"alexnet"`, or one of `keras_det.backbones.BACKBONES`: of `"efficientnet_lite0"` `weights="imagenet"`
            names ImageNet's 1000 classes, `"tiny"` is for CPUs.
        image_size: Side of the square input in pixels; the paper of DeepMultiBox has 220.
        width: Factor of the numbers of filters and units, see `keras_det.backbones.last_vector`.
        crops: What training shows. `"boxes"` are moved boxes of objects, and of background, brought to the input's
            shape, as DetectorNet prunes; `"maximum"` and `"minimum"` the squares around such boxes, as
            `MultiBoxDetector` classifies; `"images"` random crops of whole images with the image's label and their
            horizontal flips, as a classification network is trained, without background.
        positive_iou: A training crop with at least this overlap with some object has the class of the most similar one.
        negative_iou: One with at most this overlap with all objects is background.
        positive_fraction: Fraction of positive crops in training with background; DeepMultiBox has a third.
        backbone_weights: `"imagenet"` starts the backbone from a network trained on ImageNet, where there is one of it.

    Raises:
        ValueError: another `crops`, or background with `"images"`, which have none.

    Call with `[B, H, W, 3]` RGB images in 0 .. 255.

    >>> model = Classifier(classes=["cat", "dog"], background=True, backbone="tiny", image_size=64)
    >>> model.count_params() > 0, model.head.units
    (True, 3)
    """

    loss_terms = ("classification",)
    class_predictors = ("logits",)
    choices = {"crops": CROPS, "backbone": VECTOR_BACKBONES}

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        classes: Sequence[str] = VOC_CLASSES,
        background: bool = False,
        backbone: str = "alexnet",
        image_size: int = 220,
        width: float = 1.0,
        crops: str = "boxes",
        positive_iou: float = 0.5,
        negative_iou: float = 0.2,
        positive_fraction: float = 1 / 3,
        backbone_weights: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(weights, **kwargs)
        self.background = self.config.background
        self.features = last_vector(self.config.backbone, self.image_size, self.config.width, pooled=True)
        self.head = layers.Dense(len(self.classes) + self.background, dtype="float32", name="logits")
        self.build((None, *self.image_size, 3))
        self.load_trained_backbone([self.features], self.config.backbone, backbone_weights)
        self.load_checkpoint()

    def check_config(self, config: Config) -> None:
        """As of every network, and images have no background."""
        super().check_config(config)
        if config.crops == "images" and config.background:
            raise ValueError("`crops` of images have no background; build the classifier with `background=False`.")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the last layer; the rest is built by the constructor."""
        self.head.build(self.features.output["features"].shape)
        self.built = True

    def call(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        """The network.

        Args:
            images: `[B, H, W, 3]` RGB in 0 .. 255 of the model's `image_size`.
            training: whether dropout works and batch normalization uses the batch's statistics.

        Returns:
            `{"logits": [B, C]}` float32, `[B, 1 + C]` with background first.
        """
        features = self.features(ops.cast(images, self.compute_dtype), training=training)["features"]
        return {"logits": self.head(features)}

    def class_entries(self, layer: str) -> tuple[int, int]:
        """The first logit may be background's."""
        return int(self.background), 1

    def probabilities(self, images: Tensor) -> Tensor:
        """Softmax of the network's outputs, background left out: `[B, C]` in 0 .. 1."""
        return ops.softmax(self(images)["logits"])[:, int(self.background) :]

    def encode_targets(self, labels: dict[str, Tensor]) -> Tensor:
        """The class of each image: its first object's.

        Args:
            labels: padded labels dict. An image without objects is background, or takes no part where
                there is no such class.

        Returns:
            `[B]` int32, -1 for an image that takes no part.
        """
        classes = ops.cast(labels["labels"], "int32")
        if not classes.shape[1]:
            classes = ops.pad(classes, ((0, 0), (0, 1)), constant_values=-1)
        return classes[:, 0] + int(self.background)

    def compute_losses(self, targets: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean cross-entropy over the images of the global batch that take part."""
        valid = ops.cast(targets >= 0, "float32")
        losses = keras.losses.sparse_categorical_crossentropy(
            ops.maximum(targets, 0), outputs["logits"], from_logits=True
        )
        n = ops.maximum(self.sum_over_replicas(ops.sum(valid)), 1.0)
        return {"classification": ops.sum(losses * valid) / n}

    def augmentation(self) -> Callable | None:
        """Crops around objects, and of background where that is a class; or of whole images."""
        from keras_det.data import ObjectCrops, ScaledCrops

        crops = self.config.crops
        if crops == "images":
            return ScaledCrops(self.image_size, (self.image_size[0] * RESIZED,))
        names = ("positive_iou", "negative_iou", "positive_fraction")
        options = {name: getattr(self.config, name) for name in names} | {"region": None if crops == "boxes" else crops}
        return ObjectCrops(self.image_size, **(options if self.background else options | {"positive_fraction": 1.0}))
