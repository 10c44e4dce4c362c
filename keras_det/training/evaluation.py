"""A detector's metrics on a data source, after training or during it."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from rich.progress import Progress

from keras_det.data import whole_images
from keras_det.data.source import AnnotationIssue, Source
from keras_det.metrics import Evaluator, GroundTruth, Predictions, proposals
from keras_det.models import Detector
from keras_det.models.network import Network

SHOWN = ("map50", "map50_voc07", "AP", "pr_auc", "detection_rate@10")  # metrics in the logs of `fit`
BUDGETS = (10, 100)  # boxes of an image whose detection rate class-agnostic detectors report


def evaluate(
    model: Detector,
    source: Source,
    batch_size: int = 16,
    metrics: Sequence[str] = ("voc2007_11point", "area", "coco"),
    progress: bool = False,
    skipped: list | None = None,
) -> tuple[dict[str, float], Evaluator]:
    """Run the whole inference over a source's images as they are, as `detect` does, and evaluate in their pixels.

    Args:
        model: a `Detector`.
        source: a `keras_det.data.Source` with at least one of the model's classes: objects of classes that the model
            lacks are missed, and detections of classes that the source lacks do not count.
        batch_size: images of one size sent through the network together, at most.
        metrics: as `Evaluator.result` takes them.
        progress: show a progress bar on the terminal.
        skipped: list that gets an `AnnotationIssue` for each unreadable image, whose objects count as missed.

    Returns:
        `(values, evaluator)`: a flat dict of floats, see `keras_det.metrics.Evaluator.result`, and the evaluator,
        which holds every detection. Of a class-agnostic detector the metrics are `pr_auc`, the area under the
        precision-recall curve of "object", and `detection_rate@10` and `detection_rate@100`. Some models have further
        ones, see `Detector.extra_metrics`: OverFeat those of `keras_det.training.overfeat.metrics`, DetectorNet
        `map50_first_stage`, without refinement.
    """
    source.check()
    evaluator = evaluator_of(model, source)
    collect(model, source, evaluator, batch_size, progress, skipped=skipped)
    values = metrics_of(model, evaluator, metrics)
    return values | model.extra_metrics(source, batch_size), evaluator


def check(model: Network, source: Source) -> None:
    """Refuse beforehand what would end an evaluation during training: classes, unreadable images, faulty objects.

    The smallest and the largest image are sent through the whole inference.

    Args:
        model: a network.
        source: a `keras_det.data.Source`.

    Raises:
        ValueError: no class in common, or too much of the source is faulty.
    """
    model.check_classes_of(source, training=not model.detects)
    source.check()
    if not model.detects:
        return
    sizes = [source.annotation(i).height * source.annotation(i).width for i in range(len(source))]
    for i in {int(np.argmin(sizes)), int(np.argmax(sizes))}:
        try:
            image = source.image(i)
        except (OSError, ValueError):  # one unreadable image is allowed
            continue
        model.detections(image[None])


def unknown_classes(model: Network, source: Source) -> str:
    """What an evaluation's metrics leave out or cannot reach, in words; empty where both know the same classes."""
    if model.class_agnostic:
        return ""
    lacking = [name for name in source.classes if name not in model.classes]
    unused = [name for name in model.classes if name not in source.classes]
    texts = [f"the model lacks {', '.join(lacking)}, whose objects count as missed"] if lacking else []
    texts += [f"{source.name} lacks {', '.join(unused)}, whose detections do not count"] if unused else []
    return "; ".join(texts)


def evaluator_of(model: Network, source: Source) -> Evaluator:
    """An empty evaluator of a source; for a class-agnostic detector all objects are of one class."""
    return Evaluator(proposals.without_classes(GroundTruth.from_source(source)) if model.class_agnostic else source)


def metrics_of(model: Network, evaluator: Evaluator, metrics: Sequence[str]) -> dict[str, float]:
    """The metrics that `evaluate` gives, of what was collected."""
    if model.class_agnostic:
        return objectness(evaluator.truth, evaluator.results())
    return evaluator.result(metrics)


def objectness(truth: GroundTruth, results: Predictions) -> dict[str, float]:
    """Metrics that do not look at classes, of a `GroundTruth` and of `Predictions`; see `evaluate`."""
    rates = proposals.detection_rate(proposals.best_ious(truth, results, BUDGETS))
    values = {"pr_auc": proposals.pr_auc(proposals.agnostic_curve(truth, results))}
    return values | {f"detection_rate@{budget}": float(rate) for budget, rate in zip(BUDGETS, rates)}


def labels_of(model: Network, names: Sequence[str]) -> np.ndarray:
    """Where a model's labels stand among other names: `[C + 1]` int32, -1 for those that are not there and for none."""
    return np.array([names.index(c) if c in names else -1 for c in model.classes] + [-1], "int32")


def collect(
    model: Detector,
    source: Source,
    evaluator: Evaluator,
    batch_size: int = 16,
    progress: bool = False,
    detections: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None,
    skipped: list[AnnotationIssue] | None = None,
) -> None:
    """Put a model's `detections` on every image of a source into an empty evaluator of this source.

    Images keep their own pixels, as in `detect`: what looks at windows or at several scales sees all of them there.
    """
    model.check_classes_of(source)
    detections = detections or model.detections
    label_of = labels_of(model, evaluator.truth.classes)
    with Progress(disable=not progress) as bar:
        task = bar.add_task("evaluate", total=len(source))
        for images, indexes in whole_images(source, batch_size, skipped):
            found = detections(images)
            evaluator.update(indexes, found | {"labels": label_of[found["labels"]]})
            bar.advance(task, len(indexes))


class EpochEvaluation(keras.callbacks.Callback):
    """Evaluates during `fit` and adds the metrics to the epoch's logs; a subclass gives `evaluate`.

    Args:
        source: a `keras_det.data.Source` that training does not see.
        every: epochs between two evaluations, the last epoch being one; those between repeat the last metrics. `None`
            evaluates after the last epoch alone.

    Attributes:
        values: the last metrics, a dict.
    """

    def __init__(self, source: Source, every: int | None = 1):
        super().__init__()
        self.source, self.every, self.values = source, every, {}

    def evaluate(self) -> dict[str, float]:
        """The metrics of the model as it is, by their names in the logs."""
        raise NotImplementedError(f"{type(self).__name__} does not define evaluate.")

    def is_due(self, epoch: int) -> bool:
        """Whether it is this epoch's turn, counted from 0."""
        return bool(self.every and (epoch + 1) % self.every == 0) or epoch + 1 == (self.params or {}).get("epochs")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate where it is this epoch's turn."""
        if self.is_due(epoch):
            self.values = self.evaluate()
        if logs is not None:
            logs.update(self.values)


class EvaluateDetections(EpochEvaluation):
    """A detector's main metrics.

    They are `val_map50` for the metric `"area"`, `val_map50_voc07` for `"voc2007_11point"`, `val_AP` for `"coco"`; of a
    class-agnostic detector `val_pr_auc` and `val_detection_rate@10`.

    The annotations are read once. `benchmarks/metrics.py` measures what this costs beside the passes themselves.

    Args:
        source: as `EpochEvaluation` takes it.
        every: as `EpochEvaluation` takes it.
        batch_size: images sent through the network together.
        metrics: as `Evaluator.result` takes them.
    """

    def __init__(self, source: Source, every: int | None = 1, batch_size: int = 16, metrics: Sequence[str] = ("area",)):
        super().__init__(source, every)
        self.batch_size = batch_size
        self.metrics = metrics
        self.evaluator = None

    def evaluate(self) -> dict[str, float]:
        """Detections on every image of the source, and their metrics."""
        self.evaluator = self.evaluator or evaluator_of(self.model, self.source)
        self.evaluator.reset()
        collect(self.model, self.source, self.evaluator, self.batch_size)
        values = metrics_of(self.model, self.evaluator, self.metrics)
        return {f"val_{k}": v for k, v in values.items() if k in SHOWN}
