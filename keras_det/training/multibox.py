"""DeepMultiBox's protocols: the figures and tables of its section 4, on whatever data they are given."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from keras_det import boxes as box_ops
from keras_det.data import whole_images
from keras_det.data.source import Source
from keras_det.metrics import Evaluator, GroundTruth, Predictions, ilsvrc, proposals, voc_ap
from keras_det.metrics.voc import Curve
from keras_det.models import MultiBoxDetector
from keras_det.models.classifier import Classifier
from keras_det.models.detector import Detector
from keras_det.models.multibox import MultiBox, OneBoxPerClass, square_regions
from keras_det.models.network import Network
from keras_det.training.evaluation import EpochEvaluation, collect, evaluator_of

WINDOWS = (1, 3, 5, 10, 25)  # of Table 2
_Network = TypeVar("_Network", bound=Network)


def at_scales(localizer: MultiBox, scales: int) -> MultiBox:
    """The same localizer, the same weights, looking at another number of scales."""
    return with_arguments(localizer, scales=scales)


def with_arguments(model: _Network, **changes: Any) -> _Network:
    """The same weights with other constructor arguments of how they are used."""
    if all(getattr(model.config, name) == value for name, value in changes.items()):
        return model
    other = type(model)(**model.get_config() | changes)
    other.set_weights(model.get_weights())
    return other


def find_boxes(model: Detector, source: Source, batch_size: int = 16) -> tuple[GroundTruth, Predictions]:
    """All detections of a model on a source, `(truth, results)`; class-agnostic of a class-agnostic model."""
    evaluator = evaluator_of(model, source)
    collect(model, source, evaluator, batch_size)
    return evaluator.truth, evaluator.results()


def detection_rates(
    localizer: MultiBox, source: Source, budgets: Iterable[int] = range(1, 101), batch_size: int = 16
) -> dict[str, np.ndarray]:
    """Detection rate against the number of boxes for one, two and three scales (Figure 1).

    Args:
        localizer: a `MultiBox`.
        source: a `keras_det.data.Source`.
        budgets: numbers of boxes an image.
        batch_size: images sent through the network together.

    Returns:
        Dict from the curve's name in the figure to `[len(budgets)]` rates in 0 .. 1.
    """
    names = ("One shot (max center crop)", "Max center + 1 scale", "Max center + 2 scales")
    rates = {}
    for scales, name in enumerate(names, start=1):
        truth, results = find_boxes(at_scales(localizer, scales), source, batch_size)
        rates[name] = proposals.detection_rate(proposals.best_ious(truth, results, list(budgets)))
    return rates


def fixed_boxes(truth: GroundTruth, boxes: np.ndarray) -> Predictions:
    """The same boxes in every image, the first the surest: what a localizer must beat.

    Args:
        truth: a `GroundTruth`.
        boxes: `[K, 4]` rel_yxyx, such as a model's priors.

    Returns:
        `Predictions` of class 0.
    """
    images, count = len(truth.image_ids), len(boxes)
    sizes = np.repeat(truth.sizes, count, axis=0)[:, [1, 0, 1, 0]]
    xyxy = np.tile(np.clip(np.asarray(boxes, np.float64), 0, 1)[:, [1, 0, 3, 2]], (images, 1)) * sizes
    scores = np.tile(1 - np.arange(count) / count, images)
    return Predictions(np.repeat(np.arange(images), count), xyxy, scores, np.zeros(images * count, int))


def uniform_boxes(count: int, seed: int = 0) -> np.ndarray:
    """`[count, 4]` random boxes, corners uniform in the image."""
    corners = np.sort(np.random.default_rng(seed).random((count, 2, 2)), axis=1)
    return corners.reshape(count, 4)


def agnostic_curves(models: Mapping[str, Detector], source: Source, batch_size: int = 16) -> dict[str, Curve]:
    """Precision and recall of "object", whatever its class (Figure 5).

    Args:
        models: dict from names to detectors, trained on any data; boxes of all their classes count as "object". Of
            `OneBoxPerClass` those are left out that a surer box of any class overlaps, as footnote 2 says.
        source: a `keras_det.data.Source`.
        batch_size: images sent through the networks together.

    Returns:
        Dict from names to `keras_det.metrics.voc.Curve`.
    """
    truth = proposals.without_classes(GroundTruth.from_source(source))
    return {
        name: proposals.agnostic_curve(truth, _agnostic_results(model, source, truth, batch_size))
        for name, model in models.items()
    }


def table_1(
    localizer: MultiBox, classifier: Classifier, source: Source, windows: int = 10, batch_size: int = 16
) -> dict[str, float]:
    """Average precision of each class (Table 1), the 2007 form: a dict from class names, and `mean`."""
    detector = MultiBoxDetector(localizer=localizer, classifier=classifier, windows=windows)
    truth, results = find_boxes(detector, source, batch_size)
    values = voc_ap(truth, results, "voc2007_11point")
    return dict(zip(truth.classes, values.tolist())) | {"mean": float(np.nanmean(values))}


def table_2(
    localizer: MultiBox,
    classifier: Classifier,
    source: Source,
    one_box: OneBoxPerClass | None = None,
    windows: Sequence[int] = WINDOWS,
    batch_size: int = 16,
    iou_threshold: float = 0.4,
) -> list[tuple[str, float, float]]:
    """Detection@5 and classification@5 against the number of windows (Table 2).

    Args:
        localizer: a `MultiBox`.
        classifier: a `Classifier`; the paper's is a classification network, without background.
        source: images with objects of one class each, as ILSVRC's.
        one_box: a `OneBoxPerClass` for the table's first row, unsuppressed: one box for each class is what the
            challenge wants; left out where there is none.
        windows: numbers of classified windows.
        batch_size: images sent through the networks together.
        iou_threshold: overlap over which the localizer's boxes are suppressed, whatever its own.

    Returns:
        Rows `(name, detection@5, classification@5)`, fractions of the images in 0 .. 1; with fewer than five classes at
        as many as there are, less one.

    Raises:
        ValueError: an image has objects of no or of several classes.
    """
    labels = _image_labels(source)
    rows = []
    if one_box is not None:
        every = with_arguments(one_box, iou_threshold=1.0)
        rows.append(("One-box-per-class", *_at_5(*find_boxes(every, source, batch_size), labels)))
    localizer = with_arguments(localizer, iou_threshold=iou_threshold)
    ranked = classify_objects(classifier, source, "minimum", one_per_image=True)[1]
    right = 1 - ilsvrc.top_k_error(ranked, labels, _guesses(source.classes))
    rows.append(("Classify GT directly", right, right))
    for count in windows:
        detector = MultiBoxDetector(
            localizer=localizer, classifier=classifier, windows=count, region="minimum", best_per_class=True
        )
        truth, results = find_boxes(detector, source, batch_size)
        plural = "s" if count > 1 else ""
        rows.append((f"DeepMultiBox, top {count} window{plural}", *_at_5(truth, results, labels)))
    return rows


def classify_objects(
    classifier: Classifier,
    source: Source,
    region: str | None = None,
    one_per_image: bool = False,
    batch_size: int = 16,
) -> tuple[np.ndarray, np.ndarray]:
    """Classify the ground-truth boxes, the baseline without a localizer (Table 2).

    Args:
        classifier: a `Classifier` with the source's classes.
        source: a `keras_det.data.Source`; crowds and difficult objects are left out.
        region: the square around a box, see `MultiBoxDetector`, or `"boxes"` for the box itself; `None` is what the
            classifier's crops are, `"maximum"` where it was trained on whole images.
        one_per_image: the largest object of each image alone, so that rows are images.
        batch_size: crops sent through the network together.

    Returns:
        `(labels [N], ranked [N, C])`: true labels, and all classes from the likeliest down.

    Raises:
        ValueError: the source's classes are not the classifier's.
    """
    if tuple(source.classes) != classifier.classes:
        raise ValueError(f"the source's classes {source.classes} are not the classifier's {classifier.classes}.")

    crops_of = classifier.config.crops
    region = region or ("maximum" if crops_of == "images" else crops_of)

    @tf.function(reduce_retracing=True)
    def probabilities(image, boxes):
        if region != "boxes":
            boxes = square_regions(boxes, tf.shape(image)[0], tf.shape(image)[1], region)
        crops = box_ops.crop_and_resize(image[None], boxes[None], classifier.image_size)[0]
        return classifier.probabilities(crops)

    labels, found = [], []
    for images, indexes in whole_images(source, 1):
        one, image = source.annotation(int(indexes[0])), tf.constant(images[0])
        kept = np.flatnonzero(~(one.difficult | one.is_crowd))
        if one_per_image:
            kept = kept[np.argsort(-one.area[kept], kind="stable")[:1]]
        for first in range(0, len(kept), batch_size):
            rows = kept[first : first + batch_size]
            found.append(probabilities(image, tf.constant(one.boxes[rows])).numpy())
            labels.append(one.labels[rows])
    ranked = np.argsort(-np.concatenate([np.zeros((0, len(classifier.classes))), *found]), axis=1, kind="stable")
    return np.concatenate([np.zeros(0, int), *labels]).astype(int), ranked


class ClassifyObjects(EpochEvaluation):
    """Adds `val_top1`, the fraction of a source's objects that the classifier names rightly, to the epoch's logs."""

    def evaluate(self) -> dict[str, float]:
        """`classify_objects` on the source."""
        labels, ranked = classify_objects(self.model, self.source)
        return {"val_top1": float(np.mean(ranked[:, 0] == labels)) if len(labels) else float("nan")}


def _agnostic_results(model, source, truth, batch_size):
    """All boxes of a model as class "object", whatever its classes are."""
    evaluator = Evaluator(truth)
    for images, indexes in whole_images(source, batch_size):
        found = model.detections(images)
        evaluator.update(indexes, found | {"labels": np.minimum(found["labels"], 0)})
    return evaluator.results()


def _at_5(truth, results, labels):
    """Detection@5 and classification@5 of results."""
    ranked, boxes = ilsvrc.best_per_class(results, len(truth.image_ids), _guesses(truth.classes))
    detection = 1 - ilsvrc.localization_error(ranked, boxes, truth, labels, ranked.shape[1])
    return detection, 1 - ilsvrc.top_k_error(ranked, labels, ranked.shape[1])


def _guesses(classes):
    """Five guesses, or fewer where five would be all classes."""
    return max(min(5, len(classes) - 1), 1)


def _image_labels(source):
    """The one class of each image's objects."""
    labels = []
    for i in range(len(source)):
        kinds = np.unique(source.annotation(i).labels)
        if len(kinds) != 1:
            raise ValueError(
                f"{source.name}, image {i}: Table 2 needs objects of one class in each image, found {len(kinds)}."
            )
        labels.append(int(kinds[0]))
    return np.array(labels, int)
