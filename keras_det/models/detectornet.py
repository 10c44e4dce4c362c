"""DetectorNet (Szegedy, Toshev, Erhan 2013, "Deep Neural Networks for Object Detection").

A network regresses masks of the objects of a class and of their halves; the boxes that agree best with all five masks
are searched exhaustively, at three scales, and refined by looking at each of them again.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_det import boxes as box_ops
from keras_det.backbones import VECTOR_BACKBONES, fine_map, last_vector
from keras_det.boxes.integral import MASKS, STEPS, box_sizes, search
from keras_det.layers import MaskRegression
from keras_det.losses.mask import LAMBDA, mask_losses, mask_targets
from keras_det.models.classifier import Classifier
from keras_det.models.config import Config, check_ratios
from keras_det.models.detector import Detector, compiled
from keras_det.models.network import objects_of
from keras_det.models.pretrained import Checkpoint, copy_fitting
from keras_det.models.registry import register
from keras_det.types import Tensor
from keras_det.weights.registry import VOC_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from keras_det.data.source import Source
    from keras_det.models.config import Config
    from keras_det.models.pretrained import Checkpoint

ASPECT_RATIOS = tuple(np.geomspace(0.3, 3.0, 10).round(3).tolist())
MODES = ("mask", "class", "all")
SCALES = 3
OVERLAP = 0.2  # of a window with its neighbor at least
ENLARGED = 1.2  # a box's sides for refinement
KEPT = 5  # boxes of a scale and class
AT_ONCE = 32  # windows of an image that are refined or classified together: they bound the memory
RASTER = 2 * STEPS  # cells on a side of the merged masks
_COVERED = 0.5  # least fraction of a box that the full mask covers, equation 2


@register(
    "detectornet",
    small={"backbone": "tiny", "image_size": 64, "d": 8, "aspect_ratios": (0.5, 1.0, 2.0)},
    extra_metrics="keras_det.training.detectornet:first_stage_metrics",
)
class DetectorNet(Detector):
    """Detection as regression of masks.

    Reference: Szegedy, Toshev, Erhan, "Deep Neural Networks for Object Detection", NIPS 2013. Preprocessing is part of
    the network.

    Args:
        weights: `None`, a registered name, or a file saved by this package, of this model or of a `Classifier` to start
            from.
        classes: names, in label order.
        mode: `"mask"`: a network for each class and mask type (section 5.1), `"class"`: one for the five masks of each
            class (its suggestion), `"all"`: one for all masks of all classes (its future work).
        d: cells on a side of a mask; the paper has 24.
        backbone: `"alexnet"` (the paper's), or one of `keras_det.backbones.BACKBONES`, such as `"tiny"` (for CPUs),
            which regress each cell from a map of stride 8.
        image_size: side of the square input in pixels; the paper has 225.
        width: factor of AlexNet's numbers of filters and units.
        aspect_ratios: width over height, relative to the image, of the boxes that are searched: ten clusters of the
            training boxes, see `cluster_aspect_ratios`.
        mask_weight: lambda, the weight of cells outside objects.
        negative_fraction: of training crops without any object; the paper has 0.6 for a network of one class, see
            `keras_det.data.mask_crops.MaskCrops` for those of several.
        refine: whether boxes are refined by a second look (section 5.3).
        classifier: a `Classifier` with background that knows these classes, or its arguments: boxes that it does not
            give the detector's class are dropped (section 5.2). `None` drops none.
        iou_threshold: overlap that suppresses, per class.
        max_detections: detections of an image at most.
        backbone_weights: `"imagenet"` starts the backbone from a network trained on ImageNet, where there is one of it.

    Raises:
        ValueError: an argument is out of range.

    Call with `[B, H, W, 3]` RGB images in 0 .. 255 of the input size; `detect` takes images of any size. Windows have
    the image's aspect ratio and are as many for every image, 35, so that a panorama of 1:20 is searched too, its
    objects squeezed; an image smaller than the input is enlarged.

    >>> model = DetectorNet(classes=["cat"], backbone="tiny", image_size=64, d=8)
    >>> model(np.zeros((1, 64, 64, 3), "float32"))["masks"].shape
    TensorShape([1, 1, 5, 8, 8])
    """

    loss_terms = MASKS
    single_pass = False
    starts_from_classifier = True
    choices = {"mode": MODES, "backbone": VECTOR_BACKBONES}
    counts = ("d", "max_detections")
    fractions = ("iou_threshold", "negative_fraction")

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        classes: Sequence[str] = VOC_CLASSES,
        mode: str = "all",
        d: int = 24,
        backbone: str = "alexnet",
        image_size: int = 225,
        width: float = 1.0,
        aspect_ratios: tuple = ASPECT_RATIOS,
        mask_weight: float = LAMBDA,
        negative_fraction: float = 0.6,
        refine: bool = True,
        classifier: Any = None,
        iou_threshold: float = 0.5,
        max_detections: int = 100,
        backbone_weights: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(weights, **kwargs)
        config = self.config
        self.classifier = Classifier(**config.classifier) if isinstance(config.classifier, dict) else config.classifier
        self.config = dataclasses.replace(config, classifier=self.classifier and self._checked_classifier())
        self.d, self.sizes = config.d, box_sizes(config.aspect_ratios)
        self._quick_search, self._compiled_first_stage = None, None
        count = {"mask": 5 * len(self.classes), "class": len(self.classes), "all": 1}[config.mode]
        self.mask_backbones = [self._backbone() for _ in range(count)]
        each = 5 * len(self.classes) // count
        self.regressions = [MaskRegression(each, self.d, name=f"masks{k or ''}") for k in range(count)]
        self.build((None, *self.image_size, 3))
        self.load_trained_backbone(self.mask_backbones, config.backbone, backbone_weights)
        self.load_checkpoint()

    def check_config(self, config: Config) -> None:
        """As of every network, and what is searched has an extent and a weight."""
        super().check_config(config)
        if not config.mask_weight > 0:
            raise ValueError(f"`mask_weight` must be positive; got {config.mask_weight!r}.")
        check_ratios(config.aspect_ratios)

    def start_from(self, checkpoint: Checkpoint) -> None:
        """Put weights in; of a classifier's file the layers up to the masks."""
        if checkpoint.from_classifier:
            self.load_backbone(Classifier(weights=checkpoint.path))
        else:
            super().start_from(checkpoint)

    def _backbone(self):
        """A network up to what masks are regressed from: the last hidden layer of AlexNet, of others a fine map."""
        if self.config.backbone == "alexnet":
            network = last_vector("alexnet", self.image_size, self.config.width)
            return keras.Model(network.input, network.output["features"], name="backbone")
        return fine_map(self.config.backbone, self.image_size)

    def _checked_classifier(self):
        """The classifier's arguments, if it can tell these classes from background."""
        if not (set(self.classes) <= set(self.classifier.classes) and self.classifier.background):
            raise ValueError("`classifier` must have this detector's classes, and `background=True`.")
        return self.classifier.config.to_dict()

    def pruned_by(self, classifier: Any) -> DetectorNet:
        """The same detector with a classifier that prunes, and is saved along.

        Args:
            classifier: as the constructor takes it.

        Raises:
            ValueError: it has no background, or lacks a class.
        """
        pruned = type(self)(**self.get_config() | {"classifier": classifier})
        ours, theirs = (model.mask_backbones + model.regressions for model in (pruned, self))
        for part, weights in zip(ours, theirs, strict=True):
            part.set_weights(weights.get_weights())
        return pruned

    @property
    def class_predictors(self) -> tuple[str, ...]:
        """Names of the layers whose meaning depends on the classes."""
        return ("masks", "logits")

    def class_entries(self, layer: str) -> tuple[int, int]:
        """Five masks, of a linear layer all their cells; the pruning classifier has logits, the first of background."""
        if layer == "logits":
            return self.classifier.class_entries(layer)
        return 0, 5 * (self.d**2 if self.config.backbone == "alexnet" else 1)

    def class_networks(self) -> list[list[Any]]:
        """The variables of each class's own networks; none where one network has all masks."""
        if self.config.mode == "all":
            return []
        each = len(self.mask_backbones) // len(self.classes)
        whole = [[*network.weights, *head.weights] for network, head in zip(self.mask_backbones, self.regressions)]
        return [sum(whole[k : k + each], []) for k in range(0, len(whole), each)]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the last layers; the rest is built by the constructor."""
        for network, regression in zip(self.mask_backbones, self.regressions):
            regression.build(network.output.shape)
        self.built = True

    def load_backbone(self, classifier: Classifier) -> None:
        """Start from a network trained for classification: all its layers but the last (section 6).

        A file of a `Classifier` as `weights` does the same. Of all but AlexNet, whose masks come from a finer map than
        the classes, the layers up to the classifier's map are taken.

        Args:
            classifier: a `Classifier` of the same backbone, image size and width.

        Raises:
            ValueError: its layers do not fit.
        """
        same = all(
            getattr(classifier.config, name) == getattr(self.config, name)
            for name in ("backbone", "image_size", "width")
        )
        for network in self.mask_backbones if same else ():
            missing = copy_fitting(classifier.features, network)
            same = same and (not missing or self.config.backbone != "alexnet")
        if not same:
            raise ValueError("`classifier` must have this network's backbone, image_size and width.")

    def call(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        """The network, `DNN^h(x)` for all classes.

        Args:
            images: `[B, H, W, 3]` RGB in 0 .. 255 of the model's `image_size`.
            training: whether dropout works and batch normalization uses the batch's statistics.

        Returns:
            `{"masks": [B, C, 5, d, d]}` float32, types in the order full, bottom, top, left, right, not limited to
            0 .. 1.
        """
        images = ops.cast(images, self.compute_dtype)
        pairs = zip(self.mask_backbones, self.regressions)
        masks = [regression(network(images, training=training)) for network, regression in pairs]
        return {"masks": ops.reshape(ops.concatenate(masks, axis=1), (-1, len(self.classes), 5, self.d, self.d))}

    # Training, sections 4 to 6

    def encode_targets(self, labels: dict[str, Tensor]) -> Tensor:
        """Equation 1 for every class.

        Args:
            labels: padded labels dict; boxes may leave the image. Crowd regions are no objects.

        Returns:
            `[B, C, 5, d, d]` float32 in 0 .. 1.
        """
        boxes, classes, valid = objects_of(labels)
        each = [mask_targets(boxes, ops.logical_and(valid, classes == k), self.d) for k in range(len(self.classes))]
        return ops.stack(each, axis=1)

    def compute_losses(self, targets: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weighted L2 loss of section 4 as a term for each mask type: sums over classes, means over images."""
        losses = ops.sum(mask_losses(targets, outputs["masks"], self.config.mask_weight), axis=1)
        images = self.sum_over_replicas(ops.cast(ops.shape(losses)[0], "float32"))
        return {name: ops.sum(losses[:, k]) / images for k, name in enumerate(MASKS)}

    def augmentation(self) -> Callable | None:
        """Crops without objects and crops that cover one (section 6)."""
        from keras_det.data.mask_crops import MaskCrops

        return MaskCrops(self.image_size, self.config.negative_fraction)

    @classmethod
    def fit_config(cls, config: dict[str, Any], source: Source, augment: Any = True, seed: int = 0) -> dict[str, Any]:
        """The arguments with aspect ratios clustered from the source, where they have none."""
        if "aspect_ratios" in config:
            return dict(config)
        return config | {"aspect_ratios": cls.cluster_aspect_ratios(source, seed=seed)}

    @staticmethod
    def cluster_aspect_ratios(source: Source, count: int = 10, seed: int = 0, samples: int = 5000) -> list[float]:
        """K-means of the logarithms of the training boxes' aspect ratios (section 5.2).

        Args:
            source: a `keras_det.data.Source`.
            count: how many.
            seed: of the images looked at and of k-means.
            samples: images looked at; annotations alone are read.

        Returns:
            List of `count` ratios, width over height relative to the image, ascending.
        """
        from keras_det.data.crops import sampled_boxes

        sides = sampled_boxes(source, seed, samples, crops=False)
        sides = sides[:, 2:] - sides[:, :2]
        if not len(sides):
            raise ValueError(f"{source.name} has no objects to cluster aspect ratios of.")
        return np.exp(box_ops.kmeans(np.log(sides[:, 1:] / sides[:, :1]), count, seed))[:, 0].round(4).tolist()

    # Inference, section 5 and algorithm 1

    def decode(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Boxes of one window: the search of section 5.2 on its masks alone.

        Args:
            outputs: as `call` returns them.

        Returns:
            Detections dict.
        """
        return self._suppressed(*_flat(*self._boxes_of(outputs["masks"], KEPT, self._all_boxes)))

    def serve(self, images: Tensor) -> dict[str, Tensor]:
        """Algorithm 1: masks of all windows of three scales, boxes, and their refinement.

        Args:
            images: `[B, h, w, 3]` RGB, uint8 or float in 0 .. 255, of any size.

        Returns:
            Detections dict with boxes relative to these images; scores are equation 3 divided by its highest value,
            which is 5.
        """
        return self._serve(images, self._all_boxes)

    def _serve(self, images, find):
        """`serve` with a function that does `_all_boxes`' search."""
        boxes, scores, labels = self._first_stage(images, find)
        if self.config.refine:
            boxes, scores, labels = self._refined(images, find, boxes, scores, labels)
        if self.classifier is not None:
            boxes, scores, labels = self._pruned(images, boxes, scores, labels)
        return self._suppressed(boxes, scores, labels)

    def _compile(self, procedure=None):
        """`serve`, compiled, the search by XLA: eight times faster; exports have it in plain operations.

        Images go one by one, each with its 35 windows in one batch: XLA makes a program for each number of masks, and
        that takes longer than many searches.
        """
        if self._quick_search is None:
            self._quick_search = compiled(self._all_boxes, self, xla=True)

        def one(image):
            found = (procedure or self._serve)(image[None], self._quick_search)
            return {name: value[0] for name, value in found.items()}

        return compiled(lambda images: ops.map(one, images), self)

    def _all_boxes(self, masks):
        """Section 5.2's search among all boxes of all sizes."""
        return search(masks, self.sizes)

    def first_stage_detections(self, images: Tensor) -> dict[str, np.ndarray]:
        """What `detections` gives without refinement and pruning, whatever the model has of them."""
        if self._compiled_first_stage is None:
            self._compiled_first_stage = self._compile(lambda *given: self._suppressed(*self._first_stage(*given)))
        return {key: np.asarray(value) for key, value in self._compiled_first_stage(images).items()}

    def scale_masks(self, images: Tensor) -> list[Tensor]:
        """The merged masks of each scale: a list of three `[B, C, 5, RASTER, RASTER]`, all windows in one batch."""
        grids = [window_grid(scale) for scale in range(SCALES)]
        windows = np.concatenate([windows_of(grid) for grid in grids])
        batch = ops.shape(images)[0]
        each = ops.repeat(ops.convert_to_tensor(windows, "float32")[None], batch, axis=0)
        crops = box_ops.crop_and_resize(images, each, self.image_size)
        masks = self(ops.reshape(crops, (-1, *self.image_size, 3)), training=False)["masks"]
        masks = ops.reshape(masks, (-1, len(windows), 5 * len(self.classes), self.d, self.d))
        merged, first = [], 0
        for grid in grids:
            count = len(grid) ** 2
            whole = merge_masks(masks[:, first : first + count], grid)
            merged.append(ops.reshape(whole, (-1, len(self.classes), 5, RASTER, RASTER)))
            first += count
        return merged

    def _first_stage(self, images, find):
        """`[B, N, 4]` boxes of all scales and classes, `[B, N]` scores, 0 for padding, and labels."""
        # All scales are searched at once, since the search is a large graph, which takes longer to make than to run.
        found = self._boxes_of(ops.concatenate(self.scale_masks(images), axis=0), KEPT, find)
        return _flat(*(ops.concatenate(ops.split(part, SCALES, axis=0), axis=2) for part in found))

    def _boxes_of(self, masks, count, find):
        """Section 5.2 on `[B, C, 5, h, w]` masks: `[B, C, count, 4]` boxes and `[B, C, count]` scores in 0 .. 1."""
        classes = len(self.classes)
        boxes, scores, coverage = find(_limited(ops.reshape(masks, (-1, 5, *masks.shape[3:]))))
        scores = ops.where(coverage > _COVERED, ops.clip(scores / 5, 0.0, 1.0), 0.0)
        found = box_ops.nms(
            boxes,
            ops.expand_dims(scores, 2),
            score_threshold=0.0,
            iou_threshold=self.config.iou_threshold,
            max_per_class=256,
            max_detections=count,
        )
        return ops.reshape(found["boxes"], (-1, classes, count, 4)), ops.reshape(found["scores"], (-1, classes, count))

    def _refined(self, images, find, boxes, scores, labels):
        """Every box of the first stage looked at again, the 15 of each class: `[B, N, 4]`, `[B, N]`, `[B, N]`."""
        return _in_blocks(lambda *block: self._looked_at_again(images, find, *block), boxes, scores, labels)

    def _looked_at_again(self, images, find, boxes, scores, labels):
        """Of each box a window 1.2 times as large, its masks, and the best box in them with its score."""
        windows = enlarged(boxes)
        crops = box_ops.crop_and_resize(images, windows, self.image_size)
        masks = self(ops.reshape(crops, (-1, *self.image_size, 3)), training=False)["masks"]
        own = ops.expand_dims(ops.one_hot(ops.reshape(labels, (-1,)), len(self.classes)), (2, 3, 4))
        found, again, coverage = find(_limited(ops.sum(masks * own, axis=1)))
        again = ops.where(coverage > _COVERED, ops.clip(again / 5, 0.0, 1.0), 0.0)
        again, best = ops.top_k(again, 1)  # not argmax, whose handling of negative zeros has no ONNX operations
        best = ops.cast(ops.expand_dims(best, 2), "int32")
        found = ops.reshape(ops.take_along_axis(found, best, axis=1), (-1, AT_ONCE, 4))
        again = ops.reshape(again, (-1, AT_ONCE))
        size = ops.tile(windows[..., 2:] - windows[..., :2], (1, 1, 2))
        found = ops.clip(found * size + ops.tile(windows[..., :2], (1, 1, 2)), 0.0, 1.0)
        return found, ops.where(scores > 0, again, 0.0)

    def _pruned(self, images, boxes, scores, labels):
        """The boxes to which the classifier gives their class; of the others the score is 0."""
        return _in_blocks(lambda *block: self._classified(images, *block), boxes, scores, labels)

    def _classified(self, images, boxes, scores, labels):
        """The boxes, and the scores of those that the classifier gives their class."""
        flat = ops.any(boxes[..., 2:] <= boxes[..., :2], axis=-1, keepdims=True)
        windows = ops.where(flat, ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0]), boxes)
        crops = box_ops.crop_and_resize(images, windows, self.classifier.image_size)
        logits = self.classifier(ops.reshape(crops, (-1, *self.classifier.image_size, 3)))["logits"]
        named = ops.reshape(ops.cast(ops.top_k(logits, 1)[1], "int32"), (-1, AT_ONCE))
        theirs = ops.convert_to_tensor([1 + self.classifier.classes.index(name) for name in self.classes], "int32")
        return boxes, ops.where(named == ops.take(theirs, labels, axis=0), scores, 0.0)

    def _suppressed(self, boxes, scores, labels):
        """Non-maximum suppression per class of `[B, N, 4]` boxes with `[B, N]` scores and labels."""
        return box_ops.nms(
            boxes, ops.expand_dims(scores, 2) * ops.one_hot(labels, len(self.classes)), **self.nms_options
        )

    @property
    def nms_options(self) -> dict[str, Any]:
        """The arguments of `keras_det.boxes.nms` that this model suppresses with."""
        return super().nms_options | {"score_threshold": 0.0, "max_per_class": SCALES * KEPT}


def _in_blocks(look, boxes, scores, labels):
    """What `look` gives for all boxes, `AT_ONCE` of each image at a time, the best first, as long as there are any.

    Args:
        look: of `[B, n, 4]` boxes, `[B, n]` scores and `[B, n]` labels; gives other boxes and scores.
        boxes: `[B, N, 4]`.
        scores: `[B, N]`, 0 for padding.
        labels: `[B, N]` int32.

    Returns:
        Boxes, scores and labels as they came, of descending old scores, N rounded up to a whole number of blocks.
    """
    count = scores.shape[1]
    blocks = -(-count // AT_ONCE)
    scores, order = ops.top_k(scores, count)
    order = ops.cast(order, "int32")
    more = ((0, 0), (0, blocks * AT_ONCE - count))
    boxes = ops.pad(ops.take_along_axis(boxes, ops.expand_dims(order, 2), axis=1), (*more, (0, 0)))
    scores, labels = ops.pad(scores, more), ops.pad(ops.take_along_axis(labels, order, axis=1), more)
    block_of = ops.arange(blocks * AT_ONCE, dtype="int32") // AT_ONCE

    def work_left(block, found, again):
        best = ops.take(scores, ops.minimum(block, blocks - 1) * AT_ONCE, axis=1)
        return ops.logical_and(block < blocks, ops.any(best > 0))

    def look_at_block(block, found, again):
        here = block * AT_ONCE + ops.arange(AT_ONCE, dtype="int32")
        new, value = look(*(ops.take(part, here, axis=1) for part in (boxes, scores, labels)))
        now = block_of == block
        found = ops.where(now[None, :, None], ops.tile(new, (1, blocks, 1)), found)
        return block + 1, found, ops.where(now[None], ops.tile(value, (1, blocks)), again)

    nothing = ops.zeros_like(boxes), ops.zeros_like(scores)
    _, found, again = ops.while_loop(work_left, look_at_block, (ops.convert_to_tensor(0, "int32"), *nothing))
    return found, again, labels


def _flat(boxes, scores):
    """`[B, C, K, 4]` boxes and `[B, C, K]` scores as one list for each image, with the labels."""
    classes, count = scores.shape[1:]
    labels = ops.repeat(ops.arange(classes, dtype="int32"), count)
    scores = ops.reshape(scores, (-1, classes * count))
    labels = ops.broadcast_to(labels[None], ops.shape(scores))
    return ops.reshape(boxes, (-1, classes * count, 4)), scores, labels


def window_grid(scale: int) -> np.ndarray:
    """Where the windows of a scale begin, on either axis: `[n]` cells of `RASTER`, of windows of `RASTER / 2^scale`.

    Each window is half as wide as those of the scale before. As few as can cover the image with the paper's overlap
    of 20 % stand at even distances: 1, 3 and 5 on an axis, 35 in all ("usually less than 40"). As windows of a half and
    a quarter do not go into the image with just 20 %, neighbors share more: 50 % of a window along the axis at the
    second scale, 25 % at the third.
    """
    side = 0.5**scale
    count = 1 if scale == 0 else int(np.ceil((1 - side) / (side * (1 - OVERLAP)) - 1e-9)) + 1
    return np.round(np.linspace(0, 1 - side, count) * RASTER).astype(int)


def windows_of(grid: np.ndarray) -> np.ndarray:
    """`[n^2, 4]` rel_yxyx windows of a grid, row by row."""
    side = RASTER - grid[-1]
    low = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    return np.concatenate([low, low + side], axis=1) / RASTER


def merge_masks(masks: Tensor, grid: np.ndarray) -> Tensor:
    """The masks of a scale's windows as one, by maximum.

    Args:
        masks: `[B, n^2, K, d, d]` of the windows of `windows_of(grid)`.
        grid: `[n]` of `window_grid`.

    Returns:
        `[B, K, RASTER, RASTER]`: each window's cells as they lie in the image, a raster's cell being the mean over
        its area, and where windows overlap the higher value; negative values count as 0.
    """
    side, d = RASTER - int(grid[-1]), masks.shape[-1]
    places = np.arange(side + 1) / side
    fractions = np.diff(np.clip(places[:, None] - np.arange(d) / d, 0, 1 / d), axis=0) * side
    fractions = ops.convert_to_tensor(fractions, "float32")
    fine = ops.matmul(ops.matmul(fractions, ops.maximum(masks, 0.0)), ops.transpose(fractions))
    fine = ops.reshape(fine, (-1, len(grid), len(grid), *fine.shape[2:]))
    rows = [_overlaid([fine[:, i, j] for j in range(len(grid))], grid, axis=-1) for i in range(len(grid))]
    return _overlaid(rows, grid, axis=-2)


def _overlaid(pieces, grid, axis):
    """Pieces at their places along an axis of `RASTER` cells, by maximum."""
    whole = None
    for first, piece in zip(grid, pieces):
        pads = [(0, 0)] * len(piece.shape)
        pads[axis] = (int(first), RASTER - int(first) - piece.shape[axis])
        piece = ops.pad(piece, pads)
        whole = piece if whole is None else ops.maximum(whole, piece)
    return whole


def enlarged(boxes: Tensor) -> Tensor:
    """Boxes of 1.2 times the sides about the same center, limited to the image."""
    center, half = (boxes[..., :2] + boxes[..., 2:]) / 2, ENLARGED * (boxes[..., 2:] - boxes[..., :2]) / 2
    windows = ops.clip(ops.concatenate([center - half, center + half], axis=-1), 0.0, 1.0)
    flat = ops.any(windows[..., 2:] <= windows[..., :2], axis=-1, keepdims=True)
    return ops.where(flat, ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0]), windows)


def _limited(masks):
    """Masks limited to 0 .. 1, as the targets are; what is no number is 0."""
    return ops.clip(ops.where(masks == masks, masks, 0.0), 0.0, 1.0)
