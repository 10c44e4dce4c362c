"""FCOS: Fully Convolutional One-Stage Object Detection (Tian, Shen, Chen, He 2019, arXiv:1904.01355).

No default boxes: every place of five feature maps says of what class the object around it is, how far the four edges of
its box are, and how near it is to the box's center.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_det.backbones import BACKBONES
from keras_det.models.config import Config
from keras_det.models.detector import Detector
from keras_det.models.network import RESIZE, objects_of
from keras_det.models.registry import register
from keras_det.types import Tensor
from keras_det.weights.registry import VOC_CLASSES

STRIDES = (8, 16, 32, 64, 128)  # of P3 to P7
GROUP = 8  # channels that the heads normalize together
PRIOR = 0.01  # probability of each class before training, as in RetinaNet
NO_OBJECT = 1e8  # larger than any area
EPSILON = 1e-6


@register("fcos", small={"backbone": "tiny", "image_size": 96, "channels": 8, "convolutions": 1})
class FCOS(Detector):
    """A detector without default boxes: classes, distances to the four edges and center-ness at every place.

    Reference: Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", ICCV 2019, with what its authors
    added afterwards (arXiv:2006.09214): places near an object's center alone are positive, center-ness weighs the
    boxes' loss (GIoU) and is predicted beside them, scores are its geometric mean with the class's. Preprocessing is
    part of the network.

    Args:
        weights: `None`, a registered name, or a file saved by this package. Weights bring their own arguments.
        classes: names, in label order.
        backbone: a name of `keras_det.backbones.BACKBONES`; the paper has ResNet-50.
        image_size: side of the square input in pixels, a multiple of 32; the paper's shorter side is 800.
        channels: of the feature pyramid and the heads, a multiple of 8.
        convolutions: of each head before its predictors.
        center_radius: half the side, in strides, of the square around an object's center in which places are positive.
        resize: `"letterbox"` keeps an image's aspect ratio, as the paper does; `"stretch"` does not.
        score_threshold: lowest score that enters non-maximum suppression.
        iou_threshold: overlap that suppresses, per class.
        max_per_class: candidates of a class that enter suppression.
        max_detections: detections of an image at most.
        backbone_weights: `"imagenet"` starts the backbone from a network trained on ImageNet.

    Raises:
        ValueError: an argument is out of range.

    Call with `[B, H, W, 3]` RGB images in 0 .. 255 of the input size; `detect` takes images of any size.

    >>> model = FCOS(backbone="tiny", classes=["cat", "dog"], image_size=128, channels=32, convolutions=1)
    >>> model.places.shape
    (341, 2)
    """

    loss_terms = ("classification", "localization", "center_ness")
    counters = ("matched",)
    class_predictors = ("class_predictor",)
    choices = {"backbone": BACKBONES, "resize": RESIZE}
    counts = ("channels", "convolutions", "max_per_class", "max_detections")
    fractions = ("score_threshold", "iou_threshold")

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        classes: Sequence[str] = VOC_CLASSES,
        backbone: str = "mobilenet_v2",
        image_size: int = 512,
        channels: int = 256,
        convolutions: int = 4,
        center_radius: float = 1.5,
        resize: str = "letterbox",
        score_threshold: float = 0.05,
        iou_threshold: float = 0.6,
        max_per_class: int = 400,
        max_detections: int = 100,
        backbone_weights: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(weights, **kwargs)
        self.features = self._pyramid()
        self.places, self.strides = _places([x.shape[1:3] for x in self.features.output.values()])
        rare = keras.initializers.Constant(-np.log((1 - PRIOR) / PRIOR))
        self.class_head = self._head("class", len(self.classes), rare)
        self.box_head = self._head("box", 5, "zeros")  # four distances and center-ness
        self.scales = [self.add_weight(name=f"scale_P{k}", initializer="ones") for k in range(3, 8)]
        self.build((None, *self.image_size, 3))
        self.load_trained_backbone([self.features], self.config.backbone, backbone_weights)
        self.load_checkpoint()

    def check_config(self, config: Config) -> None:
        """As of every network, and strides divide the input, groups the channels."""
        super().check_config(config)
        for name, divisor in (("image_size", STRIDES[2]), ("channels", GROUP)):
            value = getattr(config, name)
            if value % divisor:
                raise ValueError(f"`{name}` must be a multiple of {divisor}; got {value}.")

    # Network, section 3 and figure 2

    def _pyramid(self):
        """The backbone and P3 to P7: sums from the coarsest map down, then further maps of half the size each."""
        entry, width = BACKBONES[self.config.backbone], self.config.channels
        backbone, maps, coarser = entry.build(self.image_size), {}, None
        for k, source in reversed([*enumerate(entry.sources, start=3)]):
            x = layers.Conv2D(width, 1, name=f"P{k}_lateral")(backbone.output[source])
            if coarser is not None:
                x = layers.Add(name=f"P{k}_sum")([x, layers.UpSampling2D(2, name=f"P{k}_up")(coarser)])
            maps[k], coarser = layers.Conv2D(width, 3, padding="same", name=f"P{k}")(x), x
        for k in range(3 + len(maps), 8):
            x = layers.ReLU(name=f"P{k}_relu")(maps[k - 1])
            maps[k] = layers.Conv2D(width, 3, 2, padding="same", name=f"P{k}")(x)
        return keras.Model(backbone.input, {f"P{k}": maps[k] for k in range(3, 8)}, name="features")

    def _head(self, name, outputs, bias):
        """Convolutions and a predictor, which all maps share."""
        width, steps = self.config.channels, []
        for i in range(1, self.config.convolutions + 1):
            convolution = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_conv{i}")
            steps += [convolution, layers.GroupNormalization(width // GROUP, name=f"{name}_norm{i}"), layers.ReLU()]
        options = {"kernel_initializer": keras.initializers.RandomNormal(stddev=0.01), "bias_initializer": bias}
        steps.append(layers.Conv2D(outputs, 3, padding="same", dtype="float32", name=f"{name}_predictor", **options))
        return keras.Sequential([keras.Input((None, None, width)), *steps], name=f"{name}_head")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """The constructor builds all."""
        self.built = True

    def call(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        """The network.

        Args:
            images: `[B, H, W, 3]` RGB in 0 .. 255 of the model's `image_size`.
            training: whether batch normalization uses the batch's statistics.

        Returns:
            `{"logits": [B, N, C], "distances": [B, N, 4], "center_ness": [B, N]}` float32: of the classes, to the top,
            left, bottom and right edge in pixels, and of center-ness, of N places on five maps.
        """
        x = BACKBONES[self.config.backbone].preprocessed(images)
        maps = self.features(ops.cast(x, self.compute_dtype), training=training)
        logits, boxes = [], []
        for stride, scale, x in zip(STRIDES, self.scales, maps.values()):
            count = x.shape[1] * x.shape[2]
            logits.append(ops.reshape(self.class_head(x, training=training), (-1, count, len(self.classes))))
            found = ops.reshape(self.box_head(x, training=training), (-1, count, 5))
            # exp(s_i x) of section 3.2 grows too fast for a network that is not trained yet.
            distances = ops.softplus(found[..., :4] * ops.cast(scale, "float32")) * stride
            boxes.append(ops.concatenate([distances, found[..., 4:]], axis=-1))
        boxes = ops.concatenate(boxes, axis=1)
        return {"logits": ops.concatenate(logits, axis=1), "distances": boxes[..., :4], "center_ness": boxes[..., 4]}

    # Training, sections 3.1 to 3.3

    def encode_targets(self, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """The object of each place: of those whose center is near, and that this map is for, the smallest.

        Args:
            labels: padded labels dict. Crowd regions are no objects.

        Returns:
            `{"classes": [B, N] int32, "distances": [B, N, 4] float32, "center_ness": [B, N] float32}`; class -1 for
            background, where the others mean nothing.
        """
        boxes, classes, valid = objects_of(labels)
        boxes = ops.expand_dims(boxes * self.image_size[0], 2)
        places, strides = self.places[None, None], self.strides[None, None]
        edges = ops.concatenate([places - boxes[..., :2], boxes[..., 2:] - places], axis=-1)  # equation 1, [B, M, N, 4]
        off_center = ops.max(ops.abs(places - (boxes[..., :2] + boxes[..., 2:]) / 2), axis=-1)
        near = ops.logical_and(off_center < self.config.center_radius * strides, ops.min(edges, axis=-1) > 0)
        farthest = ops.max(edges, axis=-1)
        least = np.where(self.strides == STRIDES[0], 0.0, 4 * self.strides)[None, None]  # m_2 .. m_7, section 3.2
        most = np.where(self.strides == STRIDES[-1], np.inf, 8 * self.strides)[None, None]
        mine = ops.logical_and(near, ops.logical_and(farthest > least, farthest <= most))
        mine = ops.logical_and(mine, ops.expand_dims(valid, -1))
        area = ops.where(mine, ops.prod(boxes[..., 2:] - boxes[..., :2], axis=-1), NO_OBJECT)
        owner = ops.argmin(area, axis=1)
        distances = ops.take_along_axis(edges, owner[:, None, :, None], axis=1)[:, 0]
        classes = ops.where(ops.any(mine, axis=1), ops.take_along_axis(classes, owner, axis=1), -1)
        return {"classes": classes, "distances": distances, "center_ness": _center_ness(distances)}

    def compute_losses(self, targets: dict[str, Tensor], outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation 2: focal loss, GIoU loss weighed by center-ness, and binary cross-entropy of center-ness."""
        positive = ops.cast(targets["classes"] >= 0, "float32")
        n = ops.maximum(self.sum_over_replicas(ops.sum(positive)), 1.0)
        weights = targets["center_ness"] * positive
        total = ops.maximum(self.sum_over_replicas(ops.sum(weights)), EPSILON)
        classes = ops.one_hot(targets["classes"], len(self.classes))
        focal = keras.losses.BinaryFocalCrossentropy(True, from_logits=True, reduction="sum")
        giou = _giou_losses(targets["distances"], outputs["distances"], positive)
        center = ops.binary_crossentropy(targets["center_ness"], outputs["center_ness"], from_logits=True)
        return {
            "classification": focal(classes, outputs["logits"]) * len(self.classes) / n,
            "localization": ops.sum(giou * weights) / total,
            "center_ness": ops.sum(center * positive) / n,
        }

    def count_targets(self, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Positive places of the batch."""
        return {"matched": ops.sum(ops.cast(targets["classes"] >= 0, "float32"))}

    def augmentation(self) -> Callable | None:
        """Horizontal flips (section 4)."""
        from keras_det.data import HorizontalFlip

        return HorizontalFlip(self.image_size, self.resize)

    # Inference

    def scored_boxes(self, outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """`[B, N, 4]` rel_yxyx boxes limited to the input, and `[B, N, C]` scores in 0 .. 1."""
        distances, places = outputs["distances"], self.places[None]
        boxes = ops.concatenate([places - distances[..., :2], places + distances[..., 2:]], axis=-1)
        center = ops.expand_dims(ops.sigmoid(outputs["center_ness"]), -1)
        return ops.clip(boxes / self.image_size[0], 0.0, 1.0), ops.sqrt(ops.sigmoid(outputs["logits"]) * center)


def _places(shapes):
    """`[N, 2]` float32 y and x of each place in pixels, map after map, and `[N]` the stride of its map."""
    places = [np.indices(shape).reshape(2, -1).T + 0.5 for shape in shapes]
    strides = np.concatenate([np.full(len(part), stride) for part, stride in zip(places, STRIDES)])
    return (np.concatenate(places) * strides[:, None]).astype("float32"), strides.astype("float32")


def _center_ness(distances):
    """Equation 3, of distances to the top, left, bottom and right edge; 0 outside the box."""
    pairs = [(distances[..., k], distances[..., k + 2]) for k in (0, 1)]
    ratios = [ops.maximum(ops.minimum(*pair), 0.0) / ops.maximum(ops.maximum(*pair), EPSILON) for pair in pairs]
    return ops.sqrt(ratios[0] * ratios[1])


def _giou_losses(targets, distances, positive):
    """1 - GIoU of two boxes around one place, both by their distances `[B, N, 4]`; 0 where not positive."""
    targets = ops.where(ops.expand_dims(positive, -1) > 0, targets, 1.0)  # a box of finite area

    def area(edges):
        return (edges[..., 0] + edges[..., 2]) * (edges[..., 1] + edges[..., 3])

    both = area(ops.minimum(targets, distances))
    either = area(targets) + area(distances) - both
    around = area(ops.maximum(targets, distances))
    return ops.where(positive > 0, 1 - both / either + (around - either) / around, 0.0)
