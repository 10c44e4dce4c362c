"""Whether an exported file gives the model's detections, and how fast: in a process that has only its runtime."""

import dataclasses
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_det.boxes import iou
from keras_det.data.source import Source
from keras_det.export import runtimes
from keras_det.export.to_onnx import onnx
from keras_det.export.to_saved_model import NAMES, saved_model
from keras_det.export.to_tflite import tflite
from keras_det.export.to_web import web
from keras_det.models.detector import Detector
from keras_det.training.evaluation import evaluator_of, labels_of

EXPORTS = (
    ("saved_model", "float32"),
    ("onnx", "float32"),
    *(("tflite", precision) for precision in ("float32", "float16", "dynamic", "int8")),
)
"""Every format with its precisions."""

TOLERANCES = {"float32": (1e-4, 0.999, 0.0), "float16": (1e-2, 0.97, 0.002)}
"""Greatest difference of scores and smallest overlap of a detection with the model's; the fraction that may differ
more.

Weights in float16 have 11 bits, which moves scores by some 1e-3 and turns a few suppressions at the very threshold."""

MAP_LOSS = 0.02
"""Of mAP at 0.5, that the 8-bit precisions may cost."""

_REPEATS = 30


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of an export.

    Attributes:
        format: of `EXPORTS`.
        precision: of `EXPORTS`.
        megabytes: size of the file, or of the folder's files.
        map50: mAP at 0.5 of what the file detects, VOC's area form.
        map50_model: the same of the model.
        score_difference: greatest difference of the scores of detections that both have.
        unmatched: fraction of the detections, of either side, that the other side lacks within `TOLERANCES`; NaN for
            the 8-bit precisions.
        milliseconds: median time of an image, resizing to suppression, one at a time.
        milliseconds_p95: 95th percentile.
        failure: why there is no file or no detections, or what is wrong with them; `None` where all is well.
    """

    format: str
    precision: str
    megabytes: float = float("nan")
    map50: float = float("nan")
    map50_model: float = float("nan")
    score_difference: float = float("nan")
    unmatched: float = float("nan")
    milliseconds: float = float("nan")
    milliseconds_p95: float = float("nan")
    failure: str | None = None


def export(
    model: Detector,
    format: str,
    path: str | Path,
    precision: str = "float32",
    images: Iterable[np.ndarray] | None = None,
    version: int = 1,
) -> Path:
    """Export by the name of the format; arguments as of `saved_model`, `onnx`, `tflite` and `web`.

    Raises:
        ValueError: another format, or a precision that it does not have.
    """
    formats = sorted({name for name, _ in EXPORTS} | {"web"})
    if format not in formats:
        raise ValueError(f"--format must be one of {', '.join(formats)}; got {format!r}.")
    known = [p for name, p in EXPORTS if name == format] or ["float32"]
    if precision not in known:
        raise ValueError(f"--precision of {format} must be one of {', '.join(known)}; got {precision!r}.")
    if format == "web":
        return web(model, path)
    if format == "tflite":
        return tflite(model, path, precision, images)
    return saved_model(model, path, version) if format == "saved_model" else onnx(model, path)


def check(model: Detector, format: str, path: str | Path, precision: str, source: Source) -> Report:
    """Run the exported file on a source's images in a process of its own, and compare with `model.detections`.

    Of a `web` folder its ONNX file is run, by ONNX Runtime.

    Args:
        model: the `Detector` that was exported.
        format: of `EXPORTS`, or `"web"`.
        path: what `export` returned.
        precision: of `EXPORTS`.
        source: a `keras_det.data.Source` with classes of the model, and perhaps others.

    Returns:
        A `Report`; its `failure` says what is wrong.

    Raises:
        ValueError: the source has none of the model's classes.
    """
    if format == "web":
        report = check(model, "onnx", Path(path) / "model.onnx", precision, source)
        return dataclasses.replace(report, format=format, megabytes=_size(path) / 1e6)
    images = _images(model, source)
    expected = [{k: v[0] for k, v in model.detections(image[None]).items()} for image in images]
    report = Report(format, precision, megabytes=_size(path) / 1e6, map50_model=_map50(model, source, expected))
    try:
        found, seconds = _elsewhere(format, path, images)
    except RuntimeError as error:
        return dataclasses.replace(report, failure=str(error))
    map50 = _map50(model, source, found)
    difference, unmatched = compare(expected, found, precision, model.nms_options.get("score_threshold", 0.0))
    milliseconds = np.percentile(seconds, (50, 95)) * 1000
    report = dataclasses.replace(
        report,
        map50=map50,
        score_difference=difference,
        unmatched=unmatched,
        milliseconds=float(milliseconds[0]),
        milliseconds_p95=float(milliseconds[1]),
    )
    return dataclasses.replace(report, failure=_verdict(report))


def benchmark(model: Detector, source: Source, formats: Sequence[tuple[str, str]] = EXPORTS) -> Iterator[Report]:
    """Export and check every format: yields a `Report` for each, the model itself first as format `"keras"`."""
    images = _images(model, source)
    found, seconds = [], []
    model.detections(images[0][None])
    for image in images:
        start = time.perf_counter()
        found.append({key: value[0] for key, value in model.detections(image[None]).items()})
        seconds.append(time.perf_counter() - start)
    value, milliseconds = _map50(model, source, found), np.percentile(seconds, (50, 95)) * 1000
    times = {"milliseconds": float(milliseconds[0]), "milliseconds_p95": float(milliseconds[1])}
    yield Report("keras", "float32", map50=value, map50_model=value, **times)
    with tempfile.TemporaryDirectory() as folder:
        for format, precision in formats:
            try:
                path = export(model, format, Path(folder, f"{format}-{precision}"), precision, images)
            except Exception as error:  # the table's purpose is to say which formats fail, and why
                yield Report(format, precision, failure=f"{type(error).__name__}: {error}".splitlines()[0])
                continue
            yield check(model, format, path, precision, source)


def compare(
    expected: Iterable[Mapping[str, np.ndarray]],
    found: Iterable[Mapping[str, np.ndarray]],
    precision: str = "float32",
    score_threshold: float = 0.01,
) -> tuple[float, float]:
    """Compare lists of detections dicts, one for each image, without a batch's axis.

    Detections whose score is within the tolerance of the threshold, or of the last place of a full list, may be missing
    on the other side.

    Returns:
        The greatest difference of scores of detections that both sides have, and the fraction of those, of both sides,
        that have no partner of their class within the precision's `TOLERANCES`; NaN for the 8-bit precisions.
    """
    if precision not in TOLERANCES:
        return float("nan"), float("nan")
    worst, lacking, total = 0.0, 0, 0
    for one, other in zip(expected, found):
        for mine, theirs in ((one, other), (other, one)):
            difference, missing = _missing(mine, theirs, *TOLERANCES[precision][:2], score_threshold)
            worst, lacking, total = max(worst, difference), lacking + missing.sum(), total + len(missing)
    return float(worst), float(lacking / max(total, 1))


def _missing(mine, theirs, score_tolerance, paired_iou, score_threshold):
    """Greatest difference of partners' scores, and `[n]` bool: which of my safe detections has no partner."""
    count = int(mine["num_detections"])
    full = count == len(mine["scores"])
    floor = score_tolerance + max(score_threshold, float(mine["scores"][-1]) if full else 0.0)
    safe = np.flatnonzero(mine["scores"][:count] > floor)
    near = np.abs(mine["scores"][safe, None] - theirs["scores"][None]) <= score_tolerance
    near &= mine["labels"][safe, None] == theirs["labels"][None]
    near &= np.asarray(iou(mine["boxes"][safe], theirs["boxes"])) > paired_iou
    difference = np.where(near, np.abs(mine["scores"][safe, None] - theirs["scores"][None]), np.inf)
    nearest = difference.min(axis=1, initial=np.inf)
    return nearest[np.isfinite(nearest)].max(initial=0.0), ~near.any(axis=1)


def _images(model, source):
    """The source's images, if it has classes of the model, or the model has none of its own."""
    if not set(source.classes) & set(model.classes) and not model.class_agnostic:
        raise ValueError(
            f"{source.name} has none of the model's classes: choose images with --data that show "
            f"{', '.join(model.classes[:5])}{', ...' if len(model.classes) > 5 else ''}."
        )
    return [source.image(i) for i in range(len(source))]


def _elsewhere(format, path, images):
    """Detections and times of the file in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "images.npz"), Path(folder, "detections.npz")
        np.savez(given, *images)
        command = [
            sys.executable,
            "-I",
            runtimes.__file__,
            format,
            str(Path(path).absolute()),
            given,
            out,
            str(_REPEATS),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise RuntimeError(f"the runtime failed: {lines[-1]}")
        with np.load(out) as archive:
            return [_ours(archive, i) for i in range(len(images))], archive["seconds"]


def _ours(archive, i):
    """One image's detections under this package's names."""
    found = {key: archive[f"{name}/{i}"] for key, name in NAMES.items()}
    return found | {"labels": found["labels"].astype("int32")}


def _map50(model, source, found):
    """VOC's mAP at 0.5, area form, over classes that the model has; of "object" where it does not tell them apart."""
    evaluator = evaluator_of(model, source)
    label_of = labels_of(model, evaluator.truth.classes)
    for i, detections in enumerate(found):
        evaluator.update(i, detections | {"labels": label_of[detections["labels"]]})
    values = evaluator.result(("area",))
    known = [values[f"ap50/{name}"] for name in evaluator.truth.classes if name in model.classes]
    return float(np.nanmean(known)) if np.isfinite(known).any() else float("nan")


def _verdict(report):
    """What is wrong, or `None`."""
    if report.precision in TOLERANCES:
        if report.unmatched > TOLERANCES[report.precision][2]:
            return f"{report.unmatched:.2%} of the detections differ from the model's"
        return None
    loss = report.map50_model - report.map50
    return f"mAP@0.5 is {loss:.3f} below the model's" if loss > MAP_LOSS else None


def _size(path):
    """Bytes of a file or of the files in a folder."""
    path = Path(path)
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) if path.is_dir() else path.stat().st_size
