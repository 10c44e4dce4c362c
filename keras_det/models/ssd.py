"""SSD: Single Shot MultiBox Detector (Liu et al. 2016, arXiv:1512.02325).

Default boxes of several scales and aspect ratios stand on several feature maps; small convolutions predict, for each of
them, its class and its offset to the object. One pass, no proposals.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers, ops

from keras_det import boxes as box_ops
from keras_det.backbones import BACKBONES
from keras_det.backbones.common import conv_bn, depthwise_bn, norm_act, same, symmetric
from keras_det.layers import L2Norm, MultiBoxHead, PriorBox
from keras_det.losses import multibox_loss
from keras_det.models.config import Config
from keras_det.models.detector import Detector
from keras_det.models.network import RESIZE, objects_of
from keras_det.models.registry import register
from keras_det.types import Tensor
from keras_det.weights.registry import VOC_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

CONV4_3_LENGTH = 20.0  # of the feature vectors after L2Norm, section 3.1
# Of the predictors on other backbones than the paper's: xavier on their larger features makes wild first predictions.
SMALL = keras.initializers.RandomNormal(stddev=0.01)


@dataclass(frozen=True)
class Tiling:
    """Feature maps of one input size and the default boxes on them.

    Attributes:
        steps: distance of the cells of each map in pixels, as the authors rounded it; `None` for 1 / |f_k|.
        extras: the layers after the backbone: name, filters of the 1x1 convolution, of the 3x3 (or 4x4) convolution,
            and how that shrinks the map.
        ratios: aspect ratios of each map.
        scales: by name, s_1 .. s_m+1 relative to the image's side; map k has squares of s_k and sqrt(s_k s_k+1).
    """

    steps: tuple[float, ...] | None
    extras: tuple[tuple[str, int, int, str], ...]
    ratios: tuple[tuple[int, ...], ...]
    scales: dict[str, tuple[float, ...]]


def _pixels(size, *sides):
    return tuple(side / size for side in sides)


# Equation 4 as the authors' code rounds it: conv4_3 apart, then steps of 17 or 18 % rounded down to whole percents.
TILING_300 = Tiling(
    steps=(8, 16, 32, 64, 100, 300),
    extras=(
        ("conv8", 256, 512, "stride 2"),
        ("conv9", 128, 256, "stride 2"),
        ("conv10", 128, 256, "valid"),
        ("conv11", 128, 256, "valid"),
    ),
    ratios=((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    scales={
        "voc": _pixels(300, 30, 60, 111, 162, 213, 264, 315),
        "coco": _pixels(300, 21, 45, 99, 153, 207, 261, 315),
    },
)
TILING_512 = Tiling(
    steps=(8, 16, 32, 64, 128, 256, 512),
    extras=(
        ("conv8", 256, 512, "stride 2"),
        ("conv9", 128, 256, "stride 2"),
        ("conv10", 128, 256, "stride 2"),
        ("conv11", 128, 256, "stride 2"),
        ("conv12", 128, 256, "valid 4x4"),
    ),
    ratios=((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    scales={
        "voc": _pixels(512, 35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6),
        "coco": _pixels(512, 20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72),
    },
)
TILING_LITE = Tiling(
    steps=None,
    extras=(
        ("extra1", 256, 512, "separable"),
        ("extra2", 128, 256, "separable"),
        ("extra3", 128, 256, "separable"),
        ("extra4", 64, 128, "separable"),
    ),
    ratios=((2, 3),) * 6,
    scales={"coco": (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)},
)


_ARGUMENTS = """

    Args:
        weights: `None`, a registered name (see `keras_det.models.list()`), or a file saved by this package. Weights
            bring their own constructor arguments.
        classes: names of the classes, without background. Of the classes of `weights` those of the same name
            keep their predictors (VOC's and COCO's spellings are one); those of other classes start anew.
        backbone: `"vgg16"`, `"mobilenet_v2"`, `"mobilenet_v3_large"`, `"efficientnet_lite0"` (for phones and 8 bits) or
            `"tiny"` (0.7 M parameters, for CPUs).
        box_scales: scales of the default boxes: `"voc"` (section 3.1), `"coco"` (section 3.4), one number more than
            there are maps, or for each source layer a list of `(s_k, s_k+1)` pairs.
        aspect_ratios: ratios in use beside 1, such as `(2,)` or `()` (Table 2), or a tuple of ratios for each source
            layer; `None` is the paper's choice.
        sources: names of the source layers in use (Table 3); `None` uses all.
        atrous: the subsampled VGG16 with dilated fc6; false is the full VGG16 with conv5_3 as a further source layer
            (Table 2).
        boundary_boxes: whether default boxes that leave the image are trained; if not, they are neither positive nor
            negative (Table 3). As in the authors' code, detection keeps them, clipped.
        localization_weight: alpha, weight of the localization loss (equation 1).
        matching_iou: IoU over which default boxes are matched to an object, beside its best one (section 2.2).
        negative_iou: IoU up to which default boxes that are matched to no object are negatives; above it they are
            ignored. `None`, as in the paper, ignores none.
        negative_ratio: hard negatives for each positive at most (section 2.2).
        mining: where they are chosen: `"image"`, of each image for its own positives as the paper does, so that an
            image without objects teaches nothing; or `"batch"`, of all images of a batch (of one replica) together,
            those without objects included.
        sampling: whether training takes patches and distorts colors (section 2.2); if not, it sees the original
            images and their horizontal flips (Table 2).
        expand: whether training images are also zoomed out (section 3.6).
        freeze: name of a layer; it and all before it are not trained (for fine-tuning on few images).
        resize: `"stretch"` gives every image the shape of the network's input, as the paper does; `"letterbox"` keeps
            its aspect ratio and surrounds it with the mean color, in training, detection and exports alike.
        clip: limit the default boxes to the image as published conversions do, see `PriorBox`; the paper does not.
        score_threshold: lowest score that enters non-maximum suppression.
        iou_threshold: overlap that suppresses, per class.
        max_per_class: candidates of a class that enter suppression.
        max_detections: detections of an image at most.
        backbone_weights: `"imagenet"` starts the backbone from a network trained on ImageNet, as the paper does: from
            Keras's, and `"efficientnet_lite0"` from its authors'. Of VGG16's dense layers every third row and column
            and every fourth channel is kept.

    Call with `[B, H, W, 3]` RGB images in 0 .. 255 of the input size; `detect` takes images of any size.
"""


class SSD(Detector):
    """What SSD300, SSD512 and SSDLite320 share; use those."""

    loss_terms = ("localization", "confidence")
    counters = ("matched",)
    choices = {"backbone": BACKBONES, "mining": ("image", "batch"), "resize": RESIZE}
    counts = ("max_per_class", "max_detections")
    fractions = ("score_threshold", "iou_threshold", "matching_iou")
    from_zero = ("localization_weight", "negative_ratio")
    size: int
    tiling: Tiling
    lite = False  # SSDLite: separable extra layers and predictors
    first_source = 0  # of the backbone's maps of stride 8, 16, 32 the first in use
    predictor_kernel = 3

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.__doc__ = (cls.__doc__ or "").rstrip() + _ARGUMENTS  # one text for the arguments that all share

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        classes: Sequence[str] = VOC_CLASSES,
        backbone: str = "vgg16",
        box_scales: str | tuple = "voc",
        aspect_ratios: tuple | None = None,
        sources: tuple | None = None,
        atrous: bool = True,
        boundary_boxes: bool = True,
        localization_weight: float = 1.0,
        matching_iou: float = 0.5,
        negative_iou: float | None = None,
        negative_ratio: float = 3,
        mining: str = "image",
        sampling: bool = True,
        expand: bool = True,
        freeze: str | None = None,
        resize: str = "stretch",
        clip: str | None = None,
        score_threshold: float = 0.01,
        iou_threshold: float = 0.45,
        max_per_class: int = 400,
        max_detections: int = 200,
        backbone_weights: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(weights, **kwargs)
        self.backbone_name = self.config.backbone
        self.features, self.sources = self._features()
        self.priors = self._prior_boxes()
        self.head = MultiBoxHead(
            len(self.classes) + 1,  # class 0 is background
            [prior.boxes_per_cell for prior in self.priors],
            self.sources,
            depthwise=self.lite,
            kernel_size=self.predictor_kernel,
            initializer="glorot_uniform" if self.backbone_name == "vgg16" else SMALL,
            name="head",
        )
        maps = [self.features.output[name].shape[1:3] for name in self.sources]
        self.default_boxes = np.concatenate([prior.boxes(*shape) for prior, shape in zip(self.priors, maps)])
        self.build((None, *self.image_size, 3))
        options = {"atrous": self.config.atrous} if self.backbone_name == "vgg16" else {}
        self.load_trained_backbone([self.features], self.backbone_name, backbone_weights, **options)
        self.load_checkpoint()
        self._freeze(self.config.freeze)

    def check_config(self, config: Config) -> None:
        """As of every network, and negatives do not overlap objects more than positives do."""
        super().check_config(config)
        if config.negative_iou is not None and not 0 <= config.negative_iou <= config.matching_iou:
            most = f"`matching_iou`, {config.matching_iou}"
            raise ValueError(f"`negative_iou` must be None or in 0 .. {most}; got {config.negative_iou!r}.")

    def input_size(self) -> tuple[int, int]:
        """A square of `size`."""
        return self.size, self.size

    # Network, sections 2.1 and 3

    def _features(self):
        """Backbone and extra layers as one Keras model to a dict of source layers, and the names used of them."""
        backbone = self._backbone()
        maps = dict(backbone.output)
        x = list(maps.values())[-1]
        if "conv4_3" in maps:
            maps["conv4_3"] = L2Norm(CONV4_3_LENGTH, name="conv4_3_norm")(maps["conv4_3"])
        width = 0.25 if self.backbone_name == "tiny" else 1.0
        for name, squeeze, filters, shrink in self.tiling.extras[len(maps) - len(self.tiling.ratios) :]:
            x = _extra(x, name, int(squeeze * width), int(filters * width), shrink, self.backbone_name == "vgg16")
            maps[name if self.first_source else f"{name}_2"] = x
        self.all_sources = tuple(maps)
        sources = tuple(maps if self.config.sources is None else self.config.sources)
        if not sources or not set(sources) <= set(maps) or len(set(sources)) < len(sources):
            raise ValueError(f"`sources` must be some of {', '.join(maps)}, each once; got {sources}.")
        return keras.Model(backbone.input, {name: maps[name] for name in sources}, name="features"), sources

    def _backbone(self):
        """The backbone with the outputs that are source layers, finest first."""
        name, entry, options = self.backbone_name, BACKBONES[self.backbone_name], {}
        names = entry.sources
        if name == "vgg16":
            options["atrous"] = self.config.atrous
            names = names if self.config.atrous else ("conv4_3", "conv5_3", "fc7")
        if self.first_source:
            if name == "vgg16":
                raise ValueError(f"`backbone` 'vgg16' has no map of stride 32, which {type(self).__name__} needs.")
            names = names[self.first_source :]
        if self.lite:
            options |= {"reduced_tail": True} if name == "mobilenet_v3_large" else {}
        network = entry.build(self.image_size, **options)
        return keras.Model(network.input, {n: network.output[n] for n in names}, name=name)

    def _freeze(self, last):
        """Keep the layers up to `last` as they are in training."""
        if last is None:
            return
        names = [layer.name for layer in self.features.layers]
        if last not in names:
            raise ValueError(f"`freeze` must name a layer such as {names[1]}, ..., {names[-1]}; got {last!r}.")
        for layer in self.features.layers[: names.index(last) + 1]:
            layer.trainable = False

    def _prior_boxes(self):
        """A `PriorBox` for each source layer, section 2.2."""
        index = [self.all_sources.index(name) for name in self.sources]
        box_scales, aspect_ratios = self.config.box_scales, self.config.aspect_ratios
        if isinstance(box_scales, str) and box_scales not in self.tiling.scales:
            raise ValueError(f"`box_scales` must be one of {', '.join(self.tiling.scales)}; got {box_scales!r}.")
        scales = self.tiling.scales[box_scales] if isinstance(box_scales, str) else box_scales
        if all(np.ndim(s) == 0 for s in scales):
            if len(scales) != len(self.all_sources) + 1:
                raise ValueError(f"`box_scales` must be {len(self.all_sources) + 1} numbers; got {len(scales)}.")
            scales = [((scales[k], scales[k + 1]),) for k in index]
        ratios = aspect_ratios
        if aspect_ratios is None or all(np.ndim(a) == 0 for a in aspect_ratios):
            used = (2, 3) if aspect_ratios is None else aspect_ratios
            if not set(used) <= {2, 3}:
                raise ValueError(f"`aspect_ratios` must be of 2 and 3, or a tuple for each source layer; got {used}.")
            ratios = [tuple(a for a in self.tiling.ratios[k] if a in used) for k in index]
        for argument, value in (("box_scales", scales), ("aspect_ratios", ratios)):
            if len(value) != len(index):
                raise ValueError(f"`{argument}` must be given for {len(index)} source layers; got {len(value)}.")
        steps = self.tiling.steps
        return [
            PriorBox(s, r, steps[k] / self.size if steps else None, self.config.clip, name=f"{name}_priors")
            for s, r, k, name in zip(scales, ratios, index, self.sources)
        ]

    @property
    def class_predictors(self) -> tuple[str, ...]:
        """Names of the layers whose meaning depends on the classes."""
        return tuple(f"{source}_conf" for source in self.sources)

    def class_entries(self, layer: str) -> tuple[int, int]:
        """The first logit of each default box is background's."""
        return 1, 1

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the predictors; the rest is built by the constructor."""
        self.head.build([self.features.output[name].shape for name in self.sources])
        self.built = True

    def call(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        """The network.

        Args:
            images: `[B, H, W, 3]` RGB in 0 .. 255 of the model's `image_size`.
            training: whether batch normalization uses the batch's statistics.

        Returns:
            `{"offsets": [B, A, 4], "logits": [B, A, C + 1]}` float32; class 0 is background.
        """
        x = BACKBONES[self.backbone_name].preprocessed(images)
        features = self.features(ops.cast(x, self.compute_dtype), training=training)
        offsets, logits = self.head([features[name] for name in self.sources], training=training)
        return {"offsets": offsets, "logits": logits}

    # Training, section 2.2

    @property
    def _valid_boxes(self):
        """`[A]` bool: the default boxes that are trained: all, or those inside the image (Table 3)."""
        if self.config.boundary_boxes:
            return np.ones(len(self.default_boxes), bool)
        return (self.default_boxes[:, :2] >= 0).all(1) & (self.default_boxes[:, 2:] <= 1).all(1)

    def encode_targets(self, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """Match default boxes to objects.

        Args:
            labels: padded labels dict; M may be 0 or unknown until the graph runs. Crowd regions are no objects.
                Difficult objects are, as in the authors' code.

        Returns:
            `{"offsets": [B, A, 4] float32, "classes": [B, A] int32}`, class 0 for background, -1 for default boxes that
            are neither positive nor negative.
        """
        boxes, classes, valid = objects_of(labels)
        ious = box_ops.iou(boxes, self.default_boxes[None])
        c = self.config
        matched = box_ops.match(ious, valid, c.matching_iou, self._valid_boxes, negative_threshold=c.negative_iou)
        positive, index = matched >= 0, ops.maximum(matched, 0)
        boxes = ops.take_along_axis(boxes, ops.expand_dims(index, -1), axis=1)
        offsets = box_ops.encode_offsets(boxes, self.default_boxes[None])
        return {
            "offsets": ops.where(ops.expand_dims(positive, -1), offsets, 0.0),
            "classes": ops.where(
                positive, ops.take_along_axis(classes, index, axis=1) + 1, ops.minimum(matched + 1, 0)
            ),
        }

    def compute_losses(self, targets: dict[str, Tensor], outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation 1: both terms divided by N, the matched boxes of the global batch; 0 where N is 0."""
        over_batch = self.config.mining == "batch"
        terms = multibox_loss(targets, outputs, self.config.negative_ratio, self._valid_boxes, over_batch)
        terms["localization"] = self.config.localization_weight * terms["localization"]
        n = ops.maximum(self.sum_over_replicas(ops.sum(terms.pop("matched"))), 1.0)
        return {name: ops.sum(term) / n for name, term in terms.items()}

    def count_targets(self, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Matched default boxes of the batch."""
        return {"matched": ops.sum(ops.cast(targets["classes"] > 0, "float32"))}

    def augmentation(self) -> Callable | None:
        """Patches, expansion, photometric distortion and flips of sections 2.2 and 3.6, or flips alone."""
        from keras_det.data import HorizontalFlip, SSDAugmentation

        if not self.config.sampling:
            return HorizontalFlip(self.image_size, self.resize)
        return SSDAugmentation(self.image_size, expand=self.config.expand, resize=self.resize)

    # Inference, section 3.7

    def scored_boxes(self, outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Boxes and class scores before suppression.

        Args:
            outputs: what `call` gives.

        Returns:
            `[B, A, 4]` rel_yxyx boxes limited to the image, and `[B, A, C]` scores in 0 .. 1, without background.
        """
        scores = ops.softmax(outputs["logits"])[..., 1:]
        return ops.clip(box_ops.decode_offsets(outputs["offsets"], self.default_boxes[None]), 0.0, 1.0), scores


def _extra(x, name, squeeze, filters, shrink, plain):
    """One extra layer: a 1x1 convolution, then one that shrinks the map; `plain` as in VGG16, without normalization."""
    pad = same if shrink.endswith("same") else symmetric
    if shrink == "same":
        x = conv_bn(x, squeeze, 1, f"{name}_squeeze", activation="relu6")
        return conv_bn(x, filters, 3, f"{name}_shrink", stride=2, activation="relu6", pad=pad)
    if shrink.startswith("separable"):
        x = conv_bn(x, squeeze, 1, f"{name}_squeeze", activation="relu6")
        x = depthwise_bn(x, 3, f"{name}_depthwise", stride=2, activation="relu6", pad=pad)
        return conv_bn(x, filters, 1, f"{name}_project", activation="relu6")
    x = _convolution(x, squeeze, 1, 1, f"{name}_1", plain)
    if shrink != "valid":
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    return _convolution(
        x, filters, 4 if shrink == "valid 4x4" else 3, 2 if shrink == "stride 2" else 1, f"{name}_2", plain
    )


def _convolution(x, filters, kernel, stride, name, plain):
    """A valid convolution and ReLU, with batch normalization between them unless `plain`."""
    x = layers.Conv2D(filters, kernel, stride, use_bias=plain, activation="relu" if plain else None, name=name)(x)
    return x if plain else norm_act(x, name, "relu", momentum=0.97)


@register("ssd300", small={"backbone": "tiny", "sources": ("stage5",)})
class SSD300(SSD):
    """SSD with an input of 300 x 300 pixels: 8732 default boxes on six maps.

    Reference: Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016. Preprocessing, the subtraction of the mean,
    is part of the network.

    >>> model = SSD300(backbone="tiny", classes=["cat", "dog"])
    >>> model.default_boxes.shape
    (8732, 4)
    """

    size = 300
    tiling = TILING_300


@register("ssd512", small={"backbone": "tiny", "sources": ("conv12_2",)})
class SSD512(SSD):
    """SSD with an input of 512 x 512 pixels: 24564 default boxes on seven maps.

    Reference: Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016. Preprocessing, the subtraction of the mean,
    is part of the network.

    >>> model = SSD512(backbone="tiny", classes=["cat", "dog"])
    >>> model.default_boxes.shape
    (24564, 4)
    """

    size = 512
    tiling = TILING_512


@register("ssdlite320", small={"backbone": "tiny", "sources": ("stage5", "extra4")})
class SSDLite320(SSD):
    """SSDLite with an input of 320 x 320 pixels on MobileNetV3-Large: 3234 default boxes on six maps.

    Reference: Sandler et al., "MobileNetV2", CVPR 2018, section 6.2 (SSDLite), and Howard et al., "Searching for
    MobileNetV3", ICCV 2019, section 6.3, in torchvision's form: separable predictors and extra layers, default boxes of
    scale 0.2 to 0.95, thresholds 0.001 and 0.55. Preprocessing, scaling to -1 .. 1, is part of the network.

    >>> model = SSDLite320(backbone="tiny", classes=["cat", "dog"])
    >>> model.default_boxes.shape
    (3234, 4)
    """

    size = 320
    tiling = TILING_LITE
    lite = True
    first_source = 1

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        classes: Sequence[str] = VOC_CLASSES,
        backbone: str = "mobilenet_v3_large",
        box_scales: str | tuple = "coco",
        clip: str | None = "sides",
        score_threshold: float = 0.001,
        iou_threshold: float = 0.55,
        max_per_class: int = 300,
        max_detections: int = 300,
        **kwargs: Any,
    ):
        super().__init__(weights, **kwargs)
