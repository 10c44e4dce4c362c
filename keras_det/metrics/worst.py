"""The images on which a detector does worst, and images of what went wrong there."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image

from keras_det.metrics import diagnosis, voc
from keras_det.metrics.columns import GroundTruth, Predictions
from keras_det.visualize import draw_boxes

ERRORS = ("missed", "false", "misplaced")
"""Objects not found; detections where no object of their class is; detections that overlap theirs too little."""

_LONGEST_SIDE = 480
_LARGEST_RATIO = 8
_DRAWN_AT_MOST = 40
_GROUND = (112, 120, 134)


@dataclasses.dataclass(frozen=True)
class WorstImage:
    """One image with many faults of one kind.

    Attributes:
        image: Index into `GroundTruth.image_ids`.
        objects: Rows of `GroundTruth` to show: those missed, all of the image, or those that were meant.
        detections: Rows of `Predictions` to show, the best score first: all of the image, or the faulty ones.
        labels: `[F]` the classes of the faults, so F is their number.
    """

    image: int
    objects: np.ndarray
    detections: np.ndarray
    labels: np.ndarray


def worst_images(
    truth: GroundTruth,
    results: Predictions,
    codes: np.ndarray,
    matches: voc.Matches,
    score_threshold: float,
    count: int = 6,
) -> dict[str, list[WorstImage]]:
    """The images with the most faults of each kind of `ERRORS`, the worst first.

    Of images with as many faults, those with the larger objects missed or the surer detections come first.

    Args:
        truth: The objects.
        results: The detections.
        codes: Of `diagnosis.kinds`.
        matches: Of `voc.match` at overlap 0.5.
        score_threshold: Only detections of at least this score count.
        count: Images of each kind at most.

    >>> truth = GroundTruth(("cat",), ("a", "b"), [[9, 9], [9, 9]], [1], [[0, 0, 5, 5]], [0])
    >>> found = Predictions([0], [[0, 0, 5, 5]], [0.9], [0])
    >>> codes = diagnosis.kinds(truth, found, diagnosis.similar_classes(truth.classes))
    >>> worst = worst_images(truth, found, codes, voc.match(truth, found), 0.5)
    >>> [(error, [one.image for one in images]) for error, images in worst.items()]
    [('missed', [1]), ('false', [0]), ('misplaced', [])]
    """
    kept = results.scores >= score_threshold
    found = np.zeros(len(truth.labels), bool)
    found[matches.object[kept & (matches.outcome == voc.TRUE)]] = True
    missed = np.flatnonzero(~found & ~truth.ignored)
    false = np.flatnonzero(kept & np.isin(codes, (diagnosis.SIMILAR, diagnosis.OTHER, diagnosis.BACKGROUND)))
    misplaced = np.flatnonzero(kept & (codes == diagnosis.LOCALIZATION) & (matches.paired_iou <= 0.5))
    pixels = np.maximum(truth.sizes.prod(axis=1), 1)[truth.image]
    shown = np.flatnonzero(kept)
    worst: dict[str, list[WorstImage]] = {error: [] for error in ERRORS}
    for image, rows in _most(truth.image, missed, truth.area / pixels, count):
        worst["missed"].append(_worst_image(results, image, rows, shown, truth.labels[rows]))
    for image, rows in _most(results.image, false, results.scores, count):
        objects = np.flatnonzero(truth.image == image)
        worst["false"].append(_worst_image(results, image, objects, rows, results.labels[rows]))
    for image, rows in _most(results.image, misplaced, results.scores, count):
        objects = np.unique(matches.object[rows])
        worst["misplaced"].append(_worst_image(results, image, objects, rows, results.labels[rows]))
    return worst


def draw_worst(
    truth: GroundTruth, results: Predictions, worst: WorstImage, image: np.ndarray | None = None
) -> Image.Image:
    """An image of one of the worst images: objects dashed in white, detections in their class's color.

    Args:
        truth: The objects.
        results: The detections.
        worst: The image.
        image: `[H, W, 3]` uint8 RGB; without it the boxes are drawn on plain gray.

    Returns:
        An image of at most 480 pixels a side.
    """
    height, width = np.maximum(truth.sizes[worst.image], 1)
    ground = _ground(height, width) if image is None else Image.fromarray(image)
    ground.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    detections = worst.detections[:_DRAWN_AT_MOST]
    scale = np.array([height, width, height, width])
    return draw_boxes(
        ground,
        results.boxes[detections][:, [1, 0, 3, 2]] / scale,
        results.labels[detections],
        results.scores[detections],
        [name[:_DRAWN_AT_MOST] for name in truth.classes],
        truth.boxes[worst.objects[:_DRAWN_AT_MOST]][:, [1, 0, 3, 2]] / scale,
    )


def _most(image_of: np.ndarray, rows: np.ndarray, weights: np.ndarray, count: int):
    """The images with the most of `rows`, and their rows; of equals the one with the greatest sum of weights first."""
    images, place, number = np.unique(image_of[rows], return_inverse=True, return_counts=True)
    weight = np.bincount(place, weights[rows], minlength=len(images))
    for k in np.lexsort((-weight, -number))[:count]:
        yield int(images[k]), rows[place == k]


def _worst_image(results: Predictions, image: int, objects, detections, labels) -> WorstImage:
    """Detections of the image among `detections`, in order of score."""
    of_image = detections[results.image[detections] == image]
    ranked = of_image[np.argsort(-results.scores[of_image], kind="stable")]
    return WorstImage(image, objects, ranked, labels)


def _ground(height: int, width: int) -> Image.Image:
    """Plain gray of the image's shape, within reason for shapes that no image has."""
    scale = _LONGEST_SIDE / max(height, width)
    least = _LONGEST_SIDE // _LARGEST_RATIO
    return Image.new("RGB", (max(round(width * scale), least), max(round(height * scale), least)), _GROUND)
