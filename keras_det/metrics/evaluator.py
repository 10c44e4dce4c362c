"""The one streaming evaluation: a detector's batches go in, metrics come out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.metrics import coco, voc
from keras_det.metrics.columns import GroundTruth, Predictions, to_pixels

METRICS = ("voc2007_11point", "area", "coco")
_VOC_NAMES = {"voc2007_11point": ("map50_voc07", "ap50_voc07"), "area": ("map50", "ap50")}


class Evaluator:
    """Collects detections image by image and evaluates them against a data source.

    Holds the annotations, read once, and 28 bytes a detection; no images. An image never updated counts as one
    without detections: its objects are missed.

    Args:
        source: A `keras_det.data.Source` (anything with `classes`, `__len__` and `annotation(i)`), or a `GroundTruth`.

    Attributes:
        truth: The annotations as columns.

    >>> truth = GroundTruth(("cat",), ("a", "b"), [[50, 50], [50, 50]], [0], [[0, 0, 20, 20]], [0])
    >>> evaluator = Evaluator(truth)
    >>> box = np.array([[[0.0, 0.0, 0.4, 0.4], [0.0, 0.0, 0.0, 0.0]]])
    >>> evaluator.update([0], {"boxes": box, "scores": np.array([[0.9, 0.0]]), "labels": np.array([[0, -1]])})
    >>> evaluator.result(("area",))["map50"], evaluator.missing.tolist()
    (1.0, [1])
    """

    def __init__(self, source: Any):
        self.truth = source if isinstance(source, GroundTruth) else GroundTruth.from_source(source)
        self.reset()

    def reset(self) -> None:
        """Forget all detections; the annotations stay."""
        self._seen = np.zeros(len(self.truth.image_ids), bool)
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    @property
    def missing(self) -> np.ndarray:
        """Indexes of the images not updated so far, int64."""
        return np.flatnonzero(~self._seen)

    def update(self, indexes: int | Sequence[int] | np.ndarray, detections: Mapping[str, Any]) -> None:
        """Add the detections of one image or of a batch.

        Args:
            indexes: The images, as indexes into the source: an int, or `[B]` ints. A row of index -1 is
                padding (a replica's last batch may need some) and is left out.
            detections: `"boxes"` `[D, 4]` or `[B, D, 4]` `rel_yxyx`, `"scores"` and `"labels"` `[D]` or `[B, D]`;
                rows of label -1 are padding. Arrays or tensors.

        Raises:
            ValueError: An image was given before or does not exist, a shape does not fit, a label is not a class, or a
                score or box is not finite or a box inverted. Nothing of the batch is kept then.
        """
        indexes = np.atleast_1d(np.asarray(indexes)).astype(np.int64)
        boxes, scores, labels = _batch_of(detections, len(indexes))
        given = indexes >= 0
        self._check_new(indexes[indexes != -1])
        used = (labels != -1) & given[:, None]
        self._check_values(indexes, boxes, scores, labels, used)
        image = np.broadcast_to(indexes[:, None], used.shape)[used]
        self._parts.append((image.astype(np.int32), boxes[used], scores[used], labels[used]))
        self._seen[indexes[given]] = True

    def results(self) -> Predictions:
        """All detections so far as `Predictions` in original pixels, in order of image, then as they were given."""
        image, boxes, scores, labels = self._columns()
        return Predictions(image, to_pixels(boxes, self.truth.sizes[image]), scores, labels)

    def result(self, metrics: Sequence[str] = METRICS, engine: str | None = None) -> dict[str, float]:
        """Evaluate what was collected.

        Args:
            metrics: Any of `"voc2007_11point"`, `"area"`, `"coco"`.
            engine: As in `coco.coco_metrics`.

        Returns:
            Flat metrics. `"area"`: `map50`, the mean over classes of VOC's average precision as an area (2010 on) at
            overlap 0.5, and `ap50/<class>`. `"voc2007_11point"`: `map50_voc07` and `ap50_voc07/<class>`, the 11-point
            form. `"coco"`: the twelve of `coco.SUMMARY` and `AP/<class>`, `AP50/<class>`. Means are over the classes
            that have objects to find; where there are none, of a class or at all, the metric is NaN.

        Raises:
            ValueError: A metric or engine is unknown.
        """
        unknown = [name for name in metrics if name not in METRICS]
        if unknown:
            raise ValueError(f"metrics must be of {', '.join(METRICS)}, got {unknown[0]!r}.")
        results = self.results()
        values: dict[str, float] = {}
        curves = voc.curves(self.truth, results) if set(metrics) & set(_VOC_NAMES) else []
        for variant in metrics:
            if variant == "coco":
                found = coco.coco_metrics(self.truth, results, engine)
                values |= {name: math.nan if value < 0 else value for name, value in found.items()}
            else:
                values |= self._voc_metrics(curves, variant)
        return values

    def state(self) -> dict[str, np.ndarray]:
        """What was collected as plain arrays, to send to another process and `merge` there.

        Returns:
            `"seen"` `[I]` bool, `"image"` `[D]` int32, `"boxes"` `[D, 4]` float32, `"scores"` `[D]` float32 and
            `"labels"` `[D]` int32.
        """
        return {"seen": self._seen.copy(), **dict(zip(("image", "boxes", "scores", "labels"), self._columns()))}

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add what another replica collected on other images of the same source.

        Args:
            state: The other's `state()`.

        Raises:
            ValueError: The replica saw another number of images, an image that this one saw too, or holds detections of
                an image that it did not see; nothing is added then.
        """
        seen = np.asarray(state["seen"], bool)
        if seen.shape != self._seen.shape:
            raise ValueError(f"state is of a source of {seen.size} images, this evaluator's has {self._seen.size}.")
        self._check_new(np.flatnonzero(seen))
        image = np.asarray(state["image"], np.int32)
        if not seen[image].all():
            raise ValueError("state holds detections of images that it does not list as seen.")
        columns = (np.asarray(state["boxes"], np.float32), np.asarray(state["scores"], np.float32))
        self._parts.append((image, *columns, np.asarray(state["labels"], np.int32)))
        self._seen |= seen

    def _columns(self):
        """The collected columns, in order of image; kept as one part from now on."""
        empty = (np.zeros(0, np.int32), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
        image, boxes, scores, labels = (np.concatenate(parts) for parts in zip(empty, *self._parts))
        order = np.argsort(image, kind="stable")
        self._parts = [(image[order], boxes[order], scores[order], labels[order])]
        return self._parts[0]

    def _voc_metrics(self, curves: list[voc.Curve], variant: str) -> dict[str, float]:
        mean_name, class_name = _VOC_NAMES[variant]
        each = np.array([voc.ap_of_curve(curve, variant) for curve in curves])
        mean = float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")
        return {mean_name: mean} | {f"{class_name}/{n}": float(v) for n, v in zip(self.truth.classes, each)}

    def _check_new(self, indexes: np.ndarray) -> None:
        """Every image exists and comes for the first time."""
        count = len(self._seen)
        outside = indexes[(indexes < 0) | (indexes >= count)]
        if outside.size:
            raise ValueError(f"image index {outside[0]} is not of the source, expected 0 to {count - 1} (-1 pads).")
        values, times = np.unique(indexes, return_counts=True)
        again = values[(times > 1) | self._seen[values]]
        if again.size:
            raise ValueError(f"image {self.truth.image_ids[again[0]]!r} (index {again[0]}) was given twice.")

    def _check_values(self, indexes, boxes, scores, labels, used) -> None:
        """Scores and boxes of used rows are finite and upright, labels are classes."""
        count = len(self.truth.classes)
        errors = {
            "a score that is not finite": ~np.isfinite(scores),
            "a box that is not finite": ~np.isfinite(boxes).all(-1),
            "an inverted box": (boxes[..., 2] < boxes[..., 0]) | (boxes[..., 3] < boxes[..., 1]),
            f"a label outside 0 to {count - 1}": (labels < 0) | (labels >= count),
        }
        for error, where in errors.items():
            bad = np.argwhere(where & used)
            if bad.size:
                row, place = bad[0]
                raise ValueError(
                    f"detection {place} of image {self.truth.image_ids[indexes[row]]!r} has {error}: label "
                    f"{labels[row, place]}, score {scores[row, place]}, box {boxes[row, place].tolist()} (rel_yxyx)."
                )


def _batch_of(detections: Mapping[str, Any], batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes `[B, D, 4]`, scores and labels `[B, D]`, whether or not they came with a batch axis."""
    missing = [name for name in ("boxes", "scores", "labels") if name not in detections]
    if missing:
        raise ValueError(f"detections must have 'boxes', 'scores' and 'labels', {missing[0]!r} is missing.")
    boxes = np.asarray(detections["boxes"], np.float32)
    scores = np.asarray(detections["scores"], np.float32)
    labels = np.asarray(detections["labels"]).astype(np.int32)
    if boxes.ndim == 2:
        boxes, scores, labels = boxes[None], scores[None], labels[None]
    if boxes.shape != (batch, boxes.shape[1], 4) or scores.shape != boxes.shape[:2] or labels.shape != boxes.shape[:2]:
        raise ValueError(
            f"detections of {batch} images must have boxes [{batch}, D, 4], scores and labels [{batch}, D], "
            f"got {boxes.shape}, {scores.shape} and {labels.shape}."
        )
    return boxes, scores, labels
