"""An evaluation as one HTML page that needs nothing else: metrics, plots and the worst images."""

from __future__ import annotations

import base64
import collections
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from keras_det.files import write_text
from keras_det.metrics import coco, diagnosis, plots, voc, worst
from keras_det.metrics.columns import GroundTruth, Predictions
from keras_det.metrics.evaluator import METRICS, Evaluator
from keras_det.metrics.tide_errors import tide
from keras_det.version import __version__

MAX_CLASSES = 80
"""The most classes that are drawn: those with the most objects. Tables have all."""

_LONGEST_TEXT = 120
_PLOT_DENSITY = 1.25


def write_report(
    truth: GroundTruth,
    results: Predictions,
    path: str | os.PathLike,
    images: Any = None,
    title: str = "Evaluation",
    metrics: Mapping[str, float] | None = None,
) -> pathlib.Path:
    """Write the evaluation of any detector as one HTML page.

    The page holds VOC's and COCO's metrics, a table of the classes, precision-recall curves, the confusion matrix,
    SSD's Figures 3, 4 and 6, TIDE's errors, and the worst images with their boxes. It asks for nothing from elsewhere
    and runs no script; names from files are escaped. Its size is bounded: plots show at most `MAX_CLASSES` classes,
    there are at most 18 images of at most 480 pixels a side, and names are cut, so that it stays under 4 MB and 1000
    bytes a class.

    Args:
        truth: The objects, of at least one image and class.
        results: The detections.
        path: The file, when it ends in `.html`; else the folder to write `report.html` into, made when absent.
        images: A `keras_det.data.Source` with the images, found by their ids; boxes on images that it lacks, or
            cannot read, are drawn on plain gray.
        title: Heading of the page.
        metrics: What `Evaluator.result` gave with all metrics, where it is at hand.

    Returns:
        The file written. An earlier one is replaced in one step.

    Raises:
        ValueError: There is no image or no class, `results` names others than those of `truth`, or `images` has none of
            the truth's images.

    >>> import tempfile
    >>> truth = GroundTruth(("cat",), ("a",), [[50, 80]], [0], [[10, 10, 30, 40]], [0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(truth, Predictions([0], [[10, 10, 30, 38]], [0.9], [0]), folder, title="Cats").name
    'report.html'
    """
    path = pathlib.Path(path)
    if path.is_dir() or path.suffix.lower() != ".html":
        path = path / "report.html"
    read_image = _images(images, truth)
    metrics = evaluate(truth, results) if metrics is None else metrics
    page = _page(title, _context(truth, results, metrics, read_image))
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name may hold half of a surrogate pair, which JSON can spell and UTF-8 cannot.
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))
    return path


def evaluate(
    truth: GroundTruth, results: Predictions, metrics: Sequence[str] = METRICS, engine: str | None = None
) -> dict[str, float]:
    """The metrics of detections that are at hand as a whole, such as those of results files.

    Args:
        truth: The objects.
        results: The detections.
        metrics: As in `Evaluator.result`.
        engine: As in `Evaluator.result`.

    Returns:
        What `Evaluator.result` gives.

    >>> truth = GroundTruth(("cat",), ("a",), [[50, 80]], [0], [[10, 10, 30, 40]], [0])
    >>> evaluate(truth, Predictions([0], [[10, 10, 30, 38]], [0.9], [0]), ("area",))
    {'map50': 1.0, 'ap50/cat': 1.0}
    """
    return _Whole(truth, results).result(metrics, engine)


class _Whole(Evaluator):
    """An evaluator of results that come at once, in the precision that they have."""

    def __init__(self, truth: GroundTruth, results: Predictions):
        super().__init__(truth)
        self._results = results

    def results(self) -> Predictions:
        return self._results


def _context(
    truth: GroundTruth, results: Predictions, metrics: Mapping[str, float], read_image: Callable
) -> dict[str, Any]:
    """What the template shows, all but the title."""
    matches = voc.match(truth, results)
    curves = voc.curves(truth, results, matches=matches)
    groups = plots.groups_of(truth.classes)
    codes = diagnosis.kinds(truth, results, diagnosis.similar_classes(truth.classes, groups), matches)
    threshold = _threshold(truth, results, matches)
    matrix = diagnosis.confusion_matrix(truth, results, threshold)
    labels = _drawn_labels(truth)
    parts = {by: diagnosis.sensitivity(truth, results, by, matches) for by in ("size", "shape")}
    errors = tide(truth, results)
    return {
        "version": __version__,
        "cards": _cards(truth, results, metrics),
        "ignored": int(truth.ignored.sum()),
        "metrics": metrics,
        "coco_rows": list(zip(coco.SUMMARY[:6], coco.SUMMARY[6:])),
        "classes": _classes(truth, results, metrics, curves, matches, threshold),
        "drawn_classes": len(labels),
        "threshold": f"{threshold:.3g}",
        "plots": {
            "curves": _plot(plots.plot_precision_recall(truth, results, labels, curves)),
            "confusion": _plot(plots.plot_confusion(truth, results, threshold, labels, matrix)),
            "false_positives": _plot(plots.plot_false_positives(truth, results, groups, codes)),
            "tide": _plot(plots.plot_tide(truth, results, errors)),
        }
        | {by: _plot(plots.plot_sensitivity(truth, results, by, labels, found)) for by, found in parts.items()},
        "sensitivity": {
            "size": {"bins": diagnosis.SIZE_BINS, "means": _means(parts["size"])},
            "shape": {"bins": diagnosis.SHAPE_BINS, "means": _means(parts["shape"])},
        },
        "tide": errors,
        "tide_costs": {**errors.cost, **errors.special},
        "worst": _worst(truth, results, codes, matches, threshold, read_image),
    }


def _cards(truth: GroundTruth, results: Predictions, metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    return [
        ("VOC mAP (area)", _number(metrics["map50"])),
        ("VOC mAP (2007)", _number(metrics["map50_voc07"])),
        *((f"COCO {name}", _number(metrics[name])) for name in coco.SUMMARY[:3]),
        ("images", f"{len(truth.image_ids):,}"),
        ("objects", f"{len(truth.labels):,}"),
        ("detections", f"{len(results):,}"),
    ]


def _classes(
    truth: GroundTruth, results: Predictions, metrics: Mapping[str, float], curves, matches, threshold: float
) -> list[dict[str, Any]]:
    count = len(truth.classes)
    ignored = np.bincount(truth.labels[truth.ignored], minlength=count)
    detections = np.bincount(results.labels, minlength=count)
    kept = (results.scores >= threshold) & (matches.outcome != voc.IGNORED)
    right = np.bincount(results.labels[kept & (matches.outcome == voc.TRUE)], minlength=count)
    given = np.bincount(results.labels[kept], minlength=count)
    return [
        {
            "name": name,
            "objects": curve.objects,
            "ignored": ignored[k],
            "detections": detections[k],
            "ap50": metrics[f"ap50/{name}"],
            "ap50_voc07": metrics[f"ap50_voc07/{name}"],
            "ap": metrics[f"AP/{name}"],
            "recall": curve.recall[-1] if len(curve.recall) else 0.0 if curve.objects else math.nan,
            "best_precision": right[k] / given[k] if given[k] else math.nan,
            "best_recall": right[k] / curve.objects if curve.objects else math.nan,
        }
        for k, (name, curve) in enumerate(zip(truth.classes, curves))
    ]


def _means(found: Sequence[Any]) -> list[float]:
    """The mean over classes of each bin's normalized average precision."""
    ap = np.array([one.ap for one in found])
    return [float(np.mean(column[np.isfinite(column)])) if np.isfinite(column).any() else math.nan for column in ap.T]


def _worst(
    truth: GroundTruth, results: Predictions, codes, matches, threshold: float, read_image: Callable
) -> dict[str, list[dict[str, Any]]]:
    found = worst.worst_images(truth, results, codes, matches, threshold)
    return {error: [_worst_image(truth, results, one, read_image) for one in images] for error, images in found.items()}


def _worst_image(
    truth: GroundTruth, results: Predictions, one: worst.WorstImage, read_image: Callable
) -> dict[str, Any]:
    image, note = read_image(one.image)
    drawn = worst.draw_worst(truth, results, one, image)
    names = collections.Counter(truth.classes[label] for label in one.labels).most_common(4)
    return {
        "image": _image(_jpeg(drawn), "jpeg", drawn.size),
        "name": truth.image_ids[one.image],
        "count": len(one.labels),
        "classes": names,
        "others": len(one.labels) - sum(number for _, number in names),
        "note": note,
    }


def _threshold(truth: GroundTruth, results: Predictions, matches) -> float:
    """The score of best F1; every score counts where nothing was detected rightly."""
    best = diagnosis.best_threshold(truth, results, matches)
    return best if math.isfinite(best) else float(results.scores.min(initial=0.0))


def _drawn_labels(truth: GroundTruth) -> list[int]:
    """The classes with the most objects, in label order."""
    objects = np.bincount(truth.labels[~truth.ignored], minlength=len(truth.classes))
    return sorted(np.argsort(-objects, kind="stable")[:MAX_CLASSES].tolist())


def _images(images: Any, truth: GroundTruth) -> Callable[[int], tuple[np.ndarray | None, str]]:
    """A function from an image's index to its image, or None, and a note where there should be one."""
    if images is None:
        return lambda image: (None, "")
    places = {images.annotation(i).image_id: i for i in range(len(images))}
    if not places.keys() & set(truth.image_ids):
        raise ValueError(f"images ({len(images)} images) has none of the truth's, such as {truth.image_ids[:1]}.")

    def read(image: int) -> tuple[np.ndarray | None, str]:
        place = places.get(truth.image_ids[image])
        if place is None:
            return None, " (no image)"
        try:
            return images.image(place), ""
        except (OSError, ValueError) as error:
            return None, f" (no image: {error})"

    return read


def _page(title: str, context: Mapping[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_det", "metrics"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"short": _short, "number": _number, "percent": _percent}
    return environment.get_template("report.html").render(title=title, **context)


def _short(value: str) -> str:
    """Text from anywhere on one line, cut."""
    value = "".join(c if c.isprintable() else " " for c in str(value))
    return value if len(value) <= _LONGEST_TEXT else value[: _LONGEST_TEXT - 1] + "…"


def _number(value: float) -> str:
    """Three decimals; a dash for what does not exist (NaN in VOC's metrics, -1 in COCO's)."""
    return f"{value:.3f}" if value >= 0 else "–"


def _percent(value: float) -> str:
    """A fraction of 1 for the length of its bar."""
    return f"{100 * min(max(value, 0), 1) if value >= 0 else 0:.1f}"


def _plot(figure: Any) -> dict[str, Any]:
    png = plots.to_png(figure)
    with Image.open(BytesIO(png)) as image:
        return _image(png, "png", tuple(round(side / _PLOT_DENSITY) for side in image.size))


def _image(content: bytes, kind: str, size: tuple[int, int]) -> dict[str, Any]:
    data = base64.b64encode(content).decode("ascii")
    return {"kind": kind, "data": data, "width": size[0], "height": size[1]}


def _jpeg(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format="jpeg", quality=82, optimize=True)
    return buffer.getvalue()
