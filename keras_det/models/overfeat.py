"""OverFeat: classification, localization and detection in one dense multi-scale network (Sermanet et al. 2013).

A network for windows of 221 or 231 pixels whose dense layers are convolutions runs on every window of an image at
several scales. Each window votes for a class and predicts the edges of its object's box; boxes that agree are merged
and their confidences add up.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_det import boxes as box_ops
from keras_det.backbones import overfeat as networks
from keras_det.losses import overfeat as losses
from keras_det.models.detector import Detector, compiled
from keras_det.models.network import objects_of
from keras_det.models.pretrained import Checkpoint, but_for, carry_predictors, copy_fitting
from keras_det.models.registry import register
from keras_det.types import Tensor
from keras_det.weights import assign
from keras_det.weights.registry import VOC_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from keras_det.models.pretrained import Checkpoint

logger = logging.getLogger(__name__)

TASKS = ("classification", "localization", "detection")
COVERED = 0.5  # fraction of an object that lies in a window whose object it is, section 4.2
BACKGROUND = 0.25  # a window of background has less than this fraction of any object that it could show
TOO_SMALL = 0.8  # of the smallest object: a smaller one is background
TOO_FAR = 0.1  # fractions of the window over the largest offset: an object farther off is background
RELEASED_CLASSES = 1000  # of the networks that the authors released
SHORTER_SIDE = 256  # pixels of training images, and of those that ten views are taken of, section 3.1


@register(
    "overfeat",
    small={
        "variant": "fast",
        "width": 1 / 24,
        "image_size": (247, 247),
        "scales": ((247, 247),),
        "frozen_backbone": False,
        "dropout": 0.0,  # so that every form of the same step is the same
        "batch_norm": True,
        "negatives": 2,
    },
    extra_metrics="keras_det.training.overfeat:metrics",
)
class OverFeat(Detector):
    """OverFeat: a sliding window classifier and box regressor in one dense pass for each scale.

    Reference: Sermanet et al., "OverFeat: Integrated Recognition, Localization and Detection using Convolutional
    Networks", ICLR 2014. Preprocessing, one mean and scale for all channels as in the authors' released extractor, is
    part of the network.

    An image is brought to the fixed sizes `scales`, whatever its aspect ratio. Cells whose window would leave the
    image do not exist: up to `stride - 1` pixels at the right and at the bottom are not looked at. An image smaller
    than a window is padded with the mean at the right and at the bottom and gives one cell.

    Args:
        variant: `"accurate"` (Table 3, windows of 221 pixels, 12 pixels apart) or `"fast"` (Table 1, 231 and 16).
        task: `"classification"`, `"localization"` (a box regressor beside the classifier; only the regressor is
            trained) or `"detection"` (with a background class; all is trained).
        weights: `None`, a registered name (see `keras_det.models.list()`), or a file saved by this package. Weights of
            another task give all layers that fit, such as a classifier's to a detector.
        classes: names of the classes, without background. Other classes than those of `weights` keep everything but
            the last layer of the classifier.
        width: fraction of the paper's channels.
        dense_width: the same for the dense layers; `None` is `width`.
        image_size: `(height, width)` of training samples in pixels; `None` is one window for classification, else seven
            windows a side. Any number of windows trains at once.
        scales: `(height, width)` of the images looked at, smallest first; `None` is Table 5's six.
        training_scales: the same of the images trained on, for localization and detection; `None` is `scales`.
        fine: pool at every offset (section 3.3); else windows are 3 (accurate) or 2 (fast) times as far apart.
        per_class: a regressor's last layer for each class (PCR in Figure 9) instead of one for all.
        context: each scale also sees the next lower one: the dense layers get its map too, each cell what the lower map
            has at the place where the cell looks (section 5, which leaves the way open).
        frozen_backbone: the regressor does not train the convolutions, as in the paper; its section 6 expects better of
            false.
        negatives: windows of background that count in an image, in training for detection.
        negative_choice: `"offending"` takes those with the highest loss, `"random"` any.
        smallest_object: for detection alone, longer side of an object relative to the window. An object of less than
            0.8 of it is background, to be found at a larger scale; windows with one between are not trained.
        largest_offset: for detection alone, distance of an object's center from the window's along each axis,
            relative to the window. An object more than 0.1 farther off is background, to be found by another window;
            the classifier is not trained on windows with one between. The paper has no such limit, which 0.5 is.
        border: pixels of the mean put around images at every scale, so that objects at the rim can be in the middle
            of a window; none in the paper.
        around: fraction of training samples that are crops around an object, at a scale that suits its size; the others
            are crops of any place at any scale, as all are in the paper.
        dropout: fraction of the classifier's hidden units dropped in training; the regressor has no dropout, as in the
            paper.
        initial_stddev: standard deviation of the first weights, 0.01 in the paper; `None` is He's, which narrow
            networks need.
        batch_norm: normalize every layer, which the paper does not and narrow networks need to learn soon; `folded`
            gives the same network without.
        over_scales: how the votes of the scales and horizontal flips are put together: `"mean"` as in the paper, whose
            objects fill their images, or `"max"`, for objects that only one scale or another shows well.
        top_classes: classes of each scale whose boxes are merged, by their highest score (k of section 4.3).
        combine: `"merge"` (section 4.3) or `"nms"`.
        score_threshold: lowest confidence of a window's box that is combined; the paper names none.
        merge_threshold: largest match score that merges, see `keras_det.boxes.match_score`.
        iou_threshold: overlap that suppresses, with `"nms"`.
        max_per_class: boxes of a class that are combined at most, the surest; the paper has no limit, and Table 5's six
            scales have fewer windows than 2000.
        max_detections: detections of an image at most.
        detect_threshold: sum of confidences from which `detect` shows a merged box, since sums over windows depend on
            the scales and on what was trained; what is not merged is shown from 0.5 on.

    Raises:
        ValueError: an argument is none of its values.

    Call with `[B, H, W, 3]` RGB images in 0 .. 255 of any size.

    >>> model = OverFeat(variant="fast", width=1 / 24, classes=["cat", "dog"])
    >>> {name: value.shape for name, value in model(np.zeros((1, 247, 263, 3))).items()}
    {'logits': TensorShape([1, 2, 3, 3]), 'boxes': TensorShape([1, 2, 3, 4])}
    """

    loss_terms = ("classification", "localization")
    single_pass = False
    counters = ("positives",)
    choices = {
        "task": TASKS,
        "negative_choice": ("offending", "random"),
        "combine": ("merge", "nms"),
        "over_scales": ("mean", "max"),
    }
    counts = ("negatives", "top_classes", "max_per_class", "max_detections")
    from_zero = ("score_threshold", "merge_threshold", "iou_threshold", "detect_threshold")

    def __init__(
        self,
        variant: str = "accurate",
        task: str = "detection",
        weights: str | os.PathLike | None = None,
        classes: Sequence[str] = VOC_CLASSES,
        width: float = 1.0,
        dense_width: float | None = None,
        image_size: tuple | None = None,
        scales: tuple | None = None,
        training_scales: tuple | None = None,
        fine: bool = True,
        per_class: bool = False,
        context: bool = False,
        frozen_backbone: bool = True,
        negatives: int = 8,
        negative_choice: str = "offending",
        smallest_object: float = 0.2,
        largest_offset: float = 0.5,
        border: int = 0,
        around: float = 0.0,
        dropout: float = 0.5,
        initial_stddev: float | None = None,
        batch_norm: bool = False,
        over_scales: str = "mean",
        top_classes: int = 5,
        combine: str = "merge",
        score_threshold: float = 0.1,
        merge_threshold: float = 0.5,
        iou_threshold: float = 0.3,
        max_per_class: int = 2000,
        max_detections: int = 100,
        detect_threshold: float = 0.5,
        **kwargs: Any,
    ):
        super().__init__(weights, **kwargs)
        self.task = self.config.task
        if self.task != "classification" and self.config.combine == "merge":
            self.detect_threshold = self.config.detect_threshold
        self.background = int(self.task == "detection")
        self.scales = self.config.scales or self.spec.scales
        self.features_model, self.classifier, self.regressor = self._networks()
        self.noise, self._combiners = keras.random.SeedGenerator(0), {}
        self.build((None, *self.image_size, 3))
        self.load_checkpoint()
        if self.task == "localization":
            self.features_model.trainable = self.classifier.trainable = False

    def input_size(self) -> tuple[int, int]:
        """Of a training sample: as given, else a window, with room around it where boxes are trained."""
        self.spec = networks.architecture(self.config.variant)
        return _training_size(self.config, self.spec)

    def start_from(self, checkpoint: Checkpoint) -> None:
        """Put weights in; of a network for another task the layers that both have."""
        stored, kept = checkpoint.config, ("task", "context")  # what makes layers of another form
        if checkpoint.name and any(stored[k] != getattr(self.config, k) for k in kept if k in stored):
            self._take_from(type(self)(weights=checkpoint.name))
        else:
            super().start_from(checkpoint)

    # Network, sections 3.1, 4.2

    def _networks(self):
        """Layers 1 to 5 or 6, the classifier, and the regressor, `None` for classification."""
        a, spec = self.config, self.spec
        initializer = a.initial_stddev
        initializer = "he_normal" if initializer is None else keras.initializers.RandomNormal(stddev=initializer)
        dense = a.width if a.dense_width is None else a.dense_width
        features = networks.overfeat(a.variant, a.width, initializer, a.batch_norm)
        channels, first = features.output.shape[-1] * (1 + a.context), len(spec.convolutions) + 1

        def head(hidden, outputs, dropout, name):
            hidden = [networks.scaled(n, dense) for n in hidden]
            return networks.dense_layers(
                channels, hidden, outputs, spec.head_kernel, first, initializer, dropout, a.batch_norm, name
            )

        classifier = head(spec.dense, len(self.classes) + self.background, a.dropout, "classifier")
        boxes = len(self.classes) if a.per_class else 1
        regressor = None if self.task == "classification" else head(networks.REGRESSOR, 4 * boxes, 0.0, "regressor")
        return features, classifier, regressor

    @property
    def class_predictors(self) -> tuple[str, ...]:
        """Names of the layers whose meaning depends on the classes."""
        return ("classifier_output", "regressor_output") if self.config.per_class else ("classifier_output",)

    def class_entries(self, layer: str) -> tuple[int, int]:
        """Logits, the first of background for detection, or four edges of a box."""
        return (0, 4) if layer == "regressor_output" else (self.background, 1)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Everything is built by the constructor."""
        self.built = True

    def call(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        """The network on every window.

        Args:
            images: `[B, H, W, 3]` RGB in 0 .. 255.
            training: whether dropout works.

        Returns:
            `{"logits": [B, h, w, K], "boxes": [B, h, w, 4]}` float32; K counts background, which is class 0, for
            detection. Boxes are edges (ymin, xmin, ymax, xmax) in the window's frame: its center is 0, its side 1;
            `[B, h, w, C, 4]` with `per_class`. Classification has no boxes.
        """
        unpooled = self._unpooled(images, training)
        run = {"variant": self.config.variant, "fine": self.config.fine, "training": training}
        outputs = {"logits": networks.run_dense(self.classifier, unpooled, **run)["output"]}
        if self.regressor is not None:
            if self.config.frozen_backbone:
                unpooled = ops.stop_gradient(unpooled)
            boxes = networks.run_dense(self.regressor, unpooled, **run)["output"]
            if self.config.per_class:
                boxes = ops.reshape(boxes, (*ops.shape(boxes)[:3], len(self.classes), 4))
            outputs["boxes"] = boxes
        return outputs

    def _unpooled(self, images, training=False):
        """Map before the last pooling, of images padded to a window at least; with the lower scale's for context."""
        x = (ops.cast(images, "float32") - networks.MEAN) * networks.SCALE
        missing = [self.spec.field - side for side in ops.shape(x)[1:3]]
        missing = [max(n, 0) if isinstance(n, int) else ops.maximum(n, 0) for n in missing]  # JAX pads by known numbers
        x = ops.pad(x, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
        maps = self.features_model(ops.cast(x, self.compute_dtype), training=training)
        if not self.config.context:
            return maps
        return ops.concatenate([maps, ops.cast(self._lower_map(x, maps.shape[1:3], training), maps.dtype)], axis=-1)

    def _lower_map(self, x, cells, training):
        """The map of preprocessed images `x` at the next lower scale, read where each of the `cells` looks."""
        spec, sides = self.spec, x.shape[1:3]
        smaller = [round(side / networks.CONTEXT) for side in sides]
        before, after = spec.stride, 2 * spec.stride  # of the mean, so that the map reaches as far as the cells look
        lower = ops.pad(_resize(x, smaller), ((0, 0), (before, after), (before, after), (0, 0)))
        maps = ops.cast(self.features_model(ops.cast(lower, self.compute_dtype), training=training), "float32")
        for axis in (1, 2):
            centers = spec.center + spec.stride * np.arange(cells[axis - 1])
            place = (centers * smaller[axis - 1] / sides[axis - 1] + before - spec.center) / spec.stride
            maps = _read(maps, place, axis)
        return maps

    def features(self, images: Tensor, layer: str | None = None) -> Tensor:
        """Activations of a layer for other uses, the feature extractor that the authors released (section 3.2).

        Args:
            images: `[B, H, W, 3]` RGB in 0 .. 255. An image of `window` pixels a side gives one vector for the dense
                layers, a larger one a vector for each window.
            layer: `"conv1"` ... , `"pool1"` ..., `"full6"` (fast) or `"full7"` (accurate) and so on, `"output"`; `None`
                is the last hidden layer.

        Returns:
            `[B, h, w, C]` after the layer's ReLU.

        Raises:
            ValueError: no layer of that name; those that exist are listed.
        """
        dense = list(self.classifier.output)
        layer = dense[-2] if layer is None else layer
        convolutions = [each.name for each in self.features_model.layers[1:]]
        if layer not in convolutions + dense:
            raise ValueError(f"`layer` must be one of {', '.join(convolutions + dense)}; got {layer!r}.")
        if layer in dense:
            unpooled = self._unpooled(images)
            return networks.run_dense(self.classifier, unpooled, self.config.variant, self.config.fine)[layer]
        x = (ops.cast(images, "float32") - networks.MEAN) * networks.SCALE
        network = keras.Model(self.features_model.input, self.features_model.get_layer(layer).output)
        return network(ops.cast(x, self.compute_dtype))

    @classmethod
    def from_released(cls, path: str | os.PathLike, classes: Sequence[str] | None = None, **config: Any) -> OverFeat:
        """The classifier of a weight file that the authors released: `net_weight_0` is fast, `net_weight_1` accurate.

        Args:
            path: the file; its size says which of the two it is, see `keras_det.weights.read_released`.
            classes: names of the classes in the network's order, which stands in the authors' source; `None` calls them
                `"class 0"` to `"class 999"`.
            **config: other constructor arguments, such as `scales`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is of neither network.
        """
        from keras_det.weights import read_released, released_size

        classes = [f"class {k}" for k in range(RELEASED_CLASSES)] if classes is None else list(classes)
        sizes = {}
        for variant in networks.ARCHITECTURES:
            shapes = networks.kernel_shapes(variant, len(classes), config.get("width", 1.0))
            sizes[variant] = released_size(shapes)
            if os.path.isfile(path) and os.path.getsize(path) == sizes[variant]:
                model = cls(**{"variant": variant, "task": "classification", "classes": classes} | config)
                assign(model, read_released(path, shapes), os.fspath(path))
                return model
        if not os.path.isfile(path):
            raise FileNotFoundError(f"there is no file {os.fspath(path)}.")
        known = " or ".join(f"{size:,} ({variant})" for variant, size in sizes.items())
        size = os.path.getsize(path)
        raise ValueError(f"{os.fspath(path)} has {size:,} bytes; with {len(classes)} classes it should have {known}.")

    def folded(self) -> OverFeat:
        """The same network without batch normalization: the paper's spec, with the same outputs."""
        plain = type(self)(**self.get_config() | {"batch_norm": False})
        for mine, theirs in zip(self._parts(), plain._parts()):
            networks.fold_batch_norm(mine, theirs)
        return plain

    def _parts(self):
        return [part for part in (self.features_model, self.classifier, self.regressor) if part is not None]

    @property
    def window(self) -> int:
        """Side of a window in pixels, 221 or 231."""
        return self.spec.field

    def windows(self, size: tuple[int, int]) -> np.ndarray:
        """`[h w, 4]` float32 windows of an image of `size` pixels, rel_yxyx of it, row by row."""
        step = self.spec.stride * (1 if self.config.fine else self.spec.pool)
        low = [np.arange(self.spec.cells(side, self.config.fine)) * step for side in size]
        corners = np.stack(np.meshgrid(*low, indexing="ij"), axis=-1).reshape(-1, 2)
        return (np.concatenate([corners, corners + self.spec.field], axis=1) / np.tile(size, 2)).astype("float32")

    def _take_from(self, donor):
        """Copy the layers of another form that fit; with context the lower scale counts for nothing yet."""
        kept, all_of = carry_predictors(donor, self)
        missing = [name for name in copy_fitting(donor, self, self.class_predictors) if name not in all_of]
        if self.config.context and not donor.config.context:
            missing = [name for name in missing if not self._extend(name, donor)]
        if missing:
            logger.warning(f"for {self.task}, {', '.join(missing)} start from random values{but_for(kept)}.")

    def _extend(self, name, donor):
        """Take a dense layer whose inputs the donor has half of; whether it is one."""
        heads = zip((self.classifier, self.regressor), (donor.classifier, donor.regressor))
        for mine, theirs in heads:
            if mine is None or theirs is None:
                continue
            if all(name in {layer.name for layer in head.layers} for head in (mine, theirs)):
                kernel, bias = theirs.get_layer(name).get_weights()
                if kernel.shape[2] * 2 == mine.get_layer(name).kernel.shape[2]:
                    mine.get_layer(name).set_weights([np.concatenate([kernel, kernel * 0], axis=2), bias])
                    return True
        return False

    # Training, sections 3.1, 4.2, 5

    def augmentation(self) -> Callable | None:
        """Classification: crops of images whose shorter side is 256 pixels; else crops at all scales."""
        from keras_det.data import ScaledCrops

        scales = self.config.training_scales or self.scales
        scales = (SHORTER_SIDE,) if self.task == "classification" else scales
        sides = self.config.smallest_object * self.window, self.window
        return ScaledCrops(self.image_size, scales, self.config.border, self.config.around, sides)

    def encode_targets(self, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """The object of each window of a training sample.

        It is, of the objects of which at least half lies in the window, the one most like the window (IoU).
        For classification every window has the image's label, whatever it shows of the object (section 3.1); of an
        image with several objects it is the largest one's.

        Args:
            labels: padded labels dict; boxes may leave 0 .. 1.

        Returns:
            `{"classes": [B, N] int32, "has_object": [B, N] bool, "boxes": [B, N, 4], "labels": [B, N] int32}` for the
            N windows: classes as `call` counts them, -1 for windows that are not trained; boxes in the window's frame.
            Classification has the first two alone.
        """
        boxes, classes, valid = objects_of(labels)
        windows = self.windows(self.image_size)
        if self.task == "classification":
            return self._image_label(boxes, classes, valid, len(windows))
        every = boxes
        covered, alike = _fractions(windows, every)
        covered = ops.where(ops.expand_dims(valid, 1), covered, 0.0)
        score = ops.where(covered >= COVERED, alike, -1.0)
        index = ops.argmax(score, axis=-1)
        boxes = ops.take_along_axis(boxes, ops.expand_dims(index, -1), axis=1)
        classes = ops.take_along_axis(classes, ops.cast(index, "int32"), axis=1)
        has_object = ops.max(score, axis=-1) >= 0
        boxes = _to_frame(boxes, windows[None])
        if self.task == "detection":
            large = ops.max(boxes[..., 2:] - boxes[..., :2], axis=-1) >= self.config.smallest_object
            has_object = ops.logical_and(has_object, large)
            classified = ops.logical_and(has_object, _offset(boxes) <= self.config.largest_offset)
            empty = ops.logical_not(self._shows_object(every, windows, covered))
            trained = ops.where(classified, classes + self.background, ops.where(empty, 0, -1))
        else:
            trained = ops.full_like(classes, -1)
        return {
            "classes": trained,
            "labels": ops.where(has_object, classes, 0),
            "has_object": has_object,
            "boxes": ops.where(ops.expand_dims(has_object, -1), boxes, 0.0),
        }

    def _image_label(self, boxes, classes, valid, windows):
        """The class of each image's largest object for all its windows."""
        area = ops.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)
        largest = ops.argmax(ops.where(valid, area, -1.0), axis=-1, keepdims=True)
        label = ops.take_along_axis(ops.where(valid, classes, -1), ops.cast(largest, "int32"), axis=1)
        label = ops.repeat(label, windows, axis=1)
        return {"classes": label, "has_object": label >= 0}

    def _shows_object(self, boxes, windows, covered):
        """`[B, N]` bool: whether each window has a part of an object that it could be classified as."""
        boxes = _to_frame(ops.expand_dims(boxes, 1), windows[None, :, None])
        side = ops.max(boxes[..., 2:] - boxes[..., :2], axis=-1)
        fits = ops.logical_and(
            side >= TOO_SMALL * self.config.smallest_object,
            _offset(boxes) <= self.config.largest_offset + TOO_FAR,
        )
        return ops.any(ops.logical_and(fits, covered >= BACKGROUND), axis=-1)

    def compute_losses(self, targets: dict[str, Tensor], outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy over the windows that count, and half the squared distance of box edges over those of objects.

        Each is a mean over the windows of the global batch. The classifier is not trained for localization, and there
        are no boxes for classification: the term is 0.
        """
        batch, n = ops.shape(targets["classes"])[0], targets["classes"].shape[1]
        zero = ops.zeros((), "float32")
        terms = {"classification": zero, "localization": zero}
        if self.task != "localization":
            noise = None
            if self.config.negative_choice == "random":
                noise = keras.random.uniform((batch, n), seed=self.noise)
            logits = ops.reshape(outputs["logits"], (-1, n, outputs["logits"].shape[-1]))
            negatives = self.config.negatives if self.background else None
            found = losses.classification_loss(targets["classes"], logits, negatives, noise)
            terms["classification"] = self._mean(found["classification"], found["windows"])
        if self.regressor is not None:
            boxes = ops.reshape(outputs["boxes"], (-1, n, *outputs["boxes"].shape[3:]))
            if self.config.per_class:
                own = ops.one_hot(targets["labels"], len(self.classes))
                boxes = ops.sum(boxes * ops.expand_dims(own, -1), axis=2)
            found = losses.regression_loss(targets["has_object"], targets["boxes"], boxes)
            terms["localization"] = self._mean(found["localization"], found["objects"])
        return terms

    def _mean(self, values, counts):
        return ops.sum(values) / ops.maximum(self.sum_over_replicas(ops.sum(counts)), 1.0)

    def count_targets(self, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Windows of objects in the batch; for classification those with a label."""
        return {"positives": ops.sum(ops.cast(targets["has_object"], "float32"))}

    # Classification, section 3.3

    def classify(
        self,
        images: Tensor,
        scales: Sequence[tuple[int, int]] | None = None,
        flip: bool = True,
        ten_views: bool = False,
        fine: bool | None = None,
        over_scales: str | None = None,
    ) -> Tensor:
        """Class probabilities of whole images by voting.

        At each scale and flip the windows' highest probability of each class is taken; the vote is the mean over scales
        and flips, or their highest, and its largest entries are the top-1 or top-5 guesses.

        Args:
            images: `[B, H, W, 3]` RGB in 0 .. 255.
            scales: sizes `(height, width)` in pixels; `None` is the model's. The "4 scales" of Table 2 are its first,
                second, fourth and sixth.
            flip: let flipped images vote too.
            ten_views: instead of all that, the mean over four corners, the center and their horizontal flips of the
                image brought to a shorter side of 256 pixels.
            fine: whether windows are at fine stride; `None` is as the model has it.
            over_scales: `"mean"` or `"max"`; `None` is the model's.

        Returns:
            `[B, C]` float32, without background.
        """
        images = ops.cast(images, "float32")
        if ten_views:
            return self._ten_views(images)
        votes = ops.concatenate([self.scale_votes(images, size, flip, fine) for size in scales or self.scales])
        return (ops.max if (over_scales or self.config.over_scales) == "max" else ops.mean)(votes, axis=0)

    def scale_votes(self, images: Tensor, size: tuple[int, int], flip: bool = True, fine: bool | None = None) -> Tensor:
        """The votes of one scale: the windows' highest probability of each class, `[1 or 2, B, C]` float32.

        Args:
            images: `[B, H, W, 3]` RGB in 0 .. 255.
            size: `(height, width)` of the scale in pixels.
            flip: whether the second row is the horizontal flips'.
            fine: as `classify` takes it.
        """
        images = self._at_scale(ops.cast(images, "float32"), size)
        views = (images, images[:, :, ::-1]) if flip else (images,)
        return ops.stack([ops.max(self._probabilities(view, fine), axis=(1, 2)) for view in views])

    def _probabilities(self, images, fine=None):
        """`[B, h, w, C]` softmax of each window, without background."""
        fine = self.config.fine if fine is None else fine
        logits = networks.run_dense(self.classifier, self._unpooled(images), self.config.variant, fine)["output"]
        return ops.softmax(logits)[..., self.background :]

    def _ten_views(self, images):
        shape = images.shape[1:3]
        size = [round(SHORTER_SIDE * side / min(shape)) for side in shape]
        images, field = _resize(images, size), self.spec.field
        bottom, right = (side - field for side in size)
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
        views = [images[:, y : y + field, x : x + field] for y, x in corners]
        views += [view[:, :, ::-1] for view in views]
        return sum(self._probabilities(view)[:, 0, 0] for view in views) / len(views)

    # Localization and detection, sections 4.1, 4.3, 5

    def scored_windows(
        self, images: Tensor, scales: Sequence[tuple[int, int]] | None = None, center: bool = False
    ) -> tuple[Tensor, ...]:
        """Boxes and confidences of all windows at all scales, before they are combined (section 4.3, (a) to (c)).

        Args:
            images: `[B, h, w, 3]` RGB in 0 .. 255.
            scales: sizes `(height, width)` in pixels; `None` is the model's.
            center: only the window in the middle of each scale.

        Returns:
            `[B, A, 4]` boxes, rel_yxyx of the images and limited to them, `[B, A, C, 4]` with `per_class`; and
            `[B, A, C]` confidences, 0 for classes that are not among the scale's `top_classes`. A classifier without
            regressor gives each window itself as its box.
        """
        images = ops.cast(images, "float32")
        found = [self._scored_scale(images, size, center) for size in scales or self.scales]
        return tuple(ops.concatenate(parts, axis=1) for parts in zip(*found))

    def _scored_scale(self, images, size, center):
        """Boxes and confidences of the windows of images at one scale."""
        border, classes = self.config.border, len(self.classes)
        images = self._at_scale(images, size)
        padded = [side + 2 * border for side in size]
        # Windows relative to the image without its border.
        windows = (self.windows(padded) * np.tile(padded, 2) - border) / np.tile(size, 2)
        windows, outputs = windows.astype("float32"), self(images)
        n = len(windows)
        scores = ops.reshape(ops.softmax(outputs["logits"])[..., self.background :], (-1, n, classes))
        best = ops.max(scores, axis=1, keepdims=True)
        least = ops.top_k(best, min(self.config.top_classes, classes))[0][..., -1:]
        scores = ops.where(best >= least, scores, 0.0)
        if self.regressor is None:
            boxes = ops.clip(ops.broadcast_to(windows[None], (ops.shape(scores)[0], n, 4)), 0.0, 1.0)
        else:
            boxes = ops.reshape(outputs["boxes"], (-1, n, *outputs["boxes"].shape[3:]))
            own = windows[None, :, None] if self.config.per_class else windows[None]
            boxes = ops.clip(_from_frame(boxes, own), 0.0, 1.0)
            low, high = boxes[..., :2], boxes[..., 2:]  # edges are predicted each for itself and may have crossed
            boxes = ops.concatenate([ops.minimum(low, high), ops.maximum(low, high)], axis=-1)
        if center:
            rows, columns = (self.spec.cells(side, self.config.fine) for side in padded)
            middle = rows // 2 * columns + columns // 2
            boxes, scores = boxes[:, middle : middle + 1], scores[:, middle : middle + 1]
        return boxes, scores

    def _at_scale(self, images, size):
        """Images resized, with their border."""
        border = self.config.border
        images = _resize(images, size) - networks.MEAN
        return ops.pad(images, ((0, 0), (border, border), (border, border), (0, 0))) + networks.MEAN

    def combine(self, boxes: Tensor, scores: Tensor, how: str | None = None) -> dict[str, Tensor]:
        """Detections from the windows' boxes.

        Args:
            boxes: as `scored_windows` gives them.
            scores: likewise.
            how: `"merge"` or `"nms"`; `None` is the model's.

        Returns:
            Detections dict; merged boxes have the sum of their windows' confidences.
        """
        a, nms_options = self.config, self.nms_options
        if (how or a.combine) == "merge":
            del nms_options["iou_threshold"]
            nms_options["max_classes"] = a.top_classes * len(self.scales)  # no other has a confidence
            return box_ops.merge(boxes, scores, merge_threshold=a.merge_threshold, **nms_options)
        if len(boxes.shape) == 4:  # suppression shares boxes among the classes: each class's boxes with its own scores
            own = ops.eye(len(self.classes))
            scores = ops.reshape(
                ops.expand_dims(scores, -1) * own, (-1, scores.shape[1] * len(self.classes), len(self.classes))
            )
            boxes = ops.reshape(boxes, (-1, scores.shape[1], 4))
        return box_ops.nms(boxes, scores, **nms_options)

    def compiled_combine(self, how: str | None = None) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
        """`combine`, compiled, the merge by XLA: twenty times faster; exports have it in plain operations.

        Images are merged one by one, since XLA makes a program for each size of batch and that takes longer than many
        merges.

        Args:
            how: as `combine` takes it.
        """
        how = how or self.config.combine
        if how not in self._combiners:

            def combine(boxes, scores):
                return self.combine(boxes, scores, how)

            one = compiled(
                lambda *found: {k: v[0] for k, v in combine(*(x[None] for x in found)).items()}, self, xla=True
            )
            every = combine if how == "nms" else lambda *found: ops.map(lambda each: one(*each), found)
            self._combiners[how] = compiled(every, self, any_size=False)  # the number of windows must be known
        return self._combiners[how]

    def _compile(self):
        """`serve`, compiled in two parts."""
        if self.task == "classification":
            return super()._compile()
        windows, combine = compiled(self.scored_windows, self), self.compiled_combine()
        return lambda images: combine(*windows(images))

    def serve(self, images: Tensor) -> dict[str, Tensor]:
        """All windows at all scales, combined.

        Args:
            images: `[B, h, w, 3]` RGB, uint8 or float in 0 .. 255, of any size.

        Returns:
            Detections dict with boxes relative to these images. For classification, the classes by their votes, each
            with the whole image as its box.
        """
        if self.task != "classification":
            return self.combine(*self.scored_windows(images))
        votes = self.classify(images)
        scores, labels = ops.top_k(votes, min(self.config.max_detections, len(self.classes)))
        whole = ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0])
        return {
            "boxes": ops.ones_like(scores)[..., None] * whole,
            "scores": scores,
            "labels": ops.cast(labels, "int32"),
            "num_detections": ops.sum(ops.ones_like(labels, "int32"), axis=1),
        }


def vote(networks_: Sequence[OverFeat], images: Tensor, **options: Any) -> Tensor:
    """Class probabilities of an ensemble: the mean over its networks (section 3.4).

    Args:
        networks_: `OverFeat` networks of the same classes.
        images: `[B, H, W, 3]` RGB in 0 .. 255.
        **options: as `OverFeat.classify` takes them.

    Returns:
        `[B, C]` float32.

    Raises:
        ValueError: no networks, or of different classes.
    """
    if len({network.classes for network in networks_}) != 1:
        raise ValueError("an ensemble needs at least one network, and all of the same classes.")
    return sum(network.classify(images, **options) for network in networks_) / len(networks_)


def _training_size(config, spec):
    """Size of training samples: one window, or seven a side."""
    size = config.image_size
    if size is None:
        side = spec.field + (0 if config.task == "classification" else 6 * spec.stride)
        return side, side
    if len(size) != 2 or min(size) < spec.field:
        raise ValueError(f"`image_size` must be two numbers of at least {spec.field}; got {size!r}.")
    return size


def _resize(images, size):
    return ops.image.resize(images, tuple(size), interpolation="bilinear")


def _read(maps, place, axis):
    """Maps read along an axis at fractional places, linearly between the two cells beside each."""
    low = np.floor(place).astype("int32")
    weight = (place - low).astype("float32").reshape((-1, 1, 1) if axis == 1 else (-1, 1))
    return ops.take(maps, low, axis=axis) * (1 - weight) + ops.take(maps, low + 1, axis=axis) * weight


def _fractions(windows, boxes):
    """`[B, N, M]` fraction of each object that lies in each window, and their IoU."""
    common, areas = box_ops.intersection(windows[None], boxes), ops.expand_dims(box_ops.area(boxes), 1)
    union = areas + ops.expand_dims(box_ops.area(windows), 1) - common
    return common / ops.maximum(areas, 1e-9), common / ops.maximum(union, 1e-9)


def _to_frame(boxes, windows):
    """Edges with the window's center as 0 and its side as 1."""
    low, high = windows[..., :2], windows[..., 2:]
    center, side = ops.concatenate([(low + high) / 2] * 2, axis=-1), ops.concatenate([high - low] * 2, axis=-1)
    return (boxes - center) / side


def _offset(boxes):
    """Distance of boxes' centers, in a window's frame, from its middle along the axis where it is larger."""
    return ops.max(ops.abs(boxes[..., :2] + boxes[..., 2:]), axis=-1) / 2


def _from_frame(boxes, windows):
    """The inverse of `_to_frame`."""
    low, high = windows[..., :2], windows[..., 2:]
    center, side = ops.concatenate([(low + high) / 2] * 2, axis=-1), ops.concatenate([high - low] * 2, axis=-1)
    return ops.cast(boxes, "float32") * side + center
