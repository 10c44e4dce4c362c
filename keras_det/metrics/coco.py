"""COCO's twelve numbers, per class too, by pycocotools or by the faster engine that gives the same ones.

The library counts every image of the truth, with or without objects or detections, in original pixels. COCO's protocol
knows crowds (a detection in one is ignored) and sizes, but no difficult flag: difficult objects count as any other.
"""

import contextlib
import gc
import importlib.util
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_det.data.numbers import real, whole
from keras_det.files import write_text
from keras_det.metrics.columns import GroundTruth, Predictions
from keras_det.metrics.files import read_text

SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
ENGINES = ("faster-coco-eval", "pycocotools")
_NUMBER = re.compile("-?[0-9]{1,4000}")


def coco_metrics(truth: GroundTruth, results: Predictions, engine: str | None = None) -> dict[str, float]:
    """COCO's metrics of a set of detections.

    Args:
        truth: The objects.
        results: The detections; of each image and class the 100 best count.
        engine: `"pycocotools"` or `"faster-coco-eval"`; the latter where it is installed when left out. Both give
            the same numbers.

    Returns:
        The twelve of `SUMMARY` under COCO's names: AP is the mean over IoU 0.50 to 0.95; s, m, l are objects
        under 32 squared, up to 96 squared and over that in pixels; AR1, AR10, AR100 are mean recalls with that many
        detections per image and class. Then for each class `AP/<class>` and `AP50/<class>`. A metric
        is -1 where there is no object to find, as COCO's tools have it.

    Raises:
        ValueError: `engine` is unknown, or `results` names images or classes that `truth` does not have.
        ModuleNotFoundError: `engine` asks for a package that is not installed.

    >>> truth = GroundTruth(("cat",), ("a",), [[50, 50]], [0], [[0, 0, 20, 20]], [0])
    >>> round(coco_metrics(truth, Predictions([0], [[0, 0, 20, 16]], [0.9], [0]))["AP"], 6)
    0.7
    """
    results.check_against(truth)
    engine = _choose(engine)
    if not truth.image_ids or not truth.classes:
        raise ValueError("truth must have at least one image and one class to evaluate.")
    dataset, evaluator = _engine(engine)
    with contextlib.redirect_stdout(io.StringIO()), _without_collector():
        # Two indexes on one description: the library writes into annotations but never into images or categories.
        frame = _frame(truth)
        objects = _index(dataset, frame, _annotations(truth, truth, area=truth.area, iscrowd=truth.is_crowd))
        found = _index(dataset, frame, _annotations(truth, results, score=results.scores))
        run = evaluator(objects, found, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return dict(zip(SUMMARY, (float(v) for v in run.stats[:12]))) | _per_class(truth, run.eval["precision"])


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Pause the search for reference cycles: amid millions of small dicts it costs a third of the time, for nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_results(path: str | os.PathLike, truth: GroundTruth) -> Predictions:
    """Read COCO's results file, a JSON list of `image_id`, `category_id`, `bbox` (`xywh`) and `score`.

    Args:
        path: The file. Of further keys `file_name` alone is looked at, and names the image where it is there.
        truth: Its `image_numbers` and `category_ids` are the known ids; `image_id` may be a name of
            `GroundTruth.image_of`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no JSON list (a truncated one is named by line and column), or an entry is no object,
            lacks a key, has an unknown id, a score or coordinate that is no finite number, or a box of negative width
            or height; the message names file and entry, counted from 0.
    """
    entries = _load(path)
    images = truth.image_of() | {number: index for index, number in enumerate(image_numbers(truth))}
    categories = {number: label for label, number in enumerate(truth.category_ids)}
    rows = [_row(path, place, entry, images, categories) for place, entry in enumerate(entries)]
    table = np.array([row[2:] for row in rows], np.float64).reshape(-1, 5)
    bad = np.flatnonzero(~np.isfinite(table).all(-1))
    if bad.size:
        raise _entry_error(path, bad[0], "needs a finite number as score and four as bbox", entries[bad[0]])
    bad = np.flatnonzero((table[:, 3:] < 0).any(-1))
    if bad.size:
        raise _entry_error(path, bad[0], "has a box of negative width or height", entries[bad[0]])
    boxes = np.concatenate([table[:, 1:3], table[:, 1:3] + table[:, 3:]], axis=1)
    image = np.array([row[0] for row in rows], np.int64)
    return Predictions(image, truth.turn(image, boxes, upright=True), table[:, 0], [row[1] for row in rows])


def write_results(path: str | os.PathLike, truth: GroundTruth, results: Predictions) -> None:
    """Write COCO's results file, as `read_results` and COCO's own tools read it.

    Boxes are of the images as their annotations have them, stored or upright. Images that have no ids of their own but
    names are numbered, and have their `file_name` beside it.

    Args:
        path: The file; replaced in one step where it exists.
        truth: Its `image_numbers` and `category_ids` are the ids written.
        results: The detections.
    """
    results.check_against(truth)
    images, boxes = image_numbers(truth), to_xywh(truth.turn(results.image, results.boxes, upright=False)).tolist()
    own = all(_NUMBER.fullmatch(name) for name in truth.image_ids)
    named = [{} if own or not name else {"file_name": name} for name in truth.names]
    rows = zip(results.image.tolist(), results.labels.tolist(), boxes, results.scores.tolist())
    entries = [
        {"image_id": images[i], "category_id": truth.category_ids[label], "bbox": box, "score": score} | named[i]
        for i, label, box, score in rows
    ]
    write_text(path, json.dumps(entries))


def _load(path: str | os.PathLike) -> list:
    """The list in a JSON file."""
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{path}, {where}: not whole JSON ({error.msg}); the file may be truncated.") from error
    except RecursionError as error:
        raise ValueError(f"{path}: JSON nested too deeply for a results file.") from error
    except ValueError as error:  # a number of more digits than Python reads
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a JSON list of detections, got {type(content).__name__}.")
    return content


def _row(path, place: int, entry: Any, images: dict[int | str, int], categories: dict[int, int]) -> tuple:
    """Image index, label, score and `xywh` of one entry."""
    if not isinstance(entry, dict):
        raise _entry_error(path, place, "is no JSON object", entry)
    missing = [key for key in ("image_id", "category_id", "bbox", "score") if key not in entry]
    if missing:
        raise _entry_error(path, place, f"has no {missing[0]!r}", entry)
    image, label = _image(entry, images), categories.get(whole(entry["category_id"]))
    for key, value in (("image_id", image), ("category_id", label)):
        if value is None:
            raise _entry_error(path, place, f"has {key} {entry[key]!r}, which the truth lacks", entry)
    box = entry["bbox"]
    if not isinstance(box, list) or len(box) != 4:
        raise _entry_error(path, place, "needs a finite number as score and four as bbox", entry)
    return (image, label, real(entry["score"]), *map(real, box))


def _image(entry: dict, images: dict[int | str, int]) -> int | None:
    """The image of an entry, by its name where it has one, else by its id."""
    for name in (entry.get("file_name"), entry["image_id"]):
        if isinstance(name, str) and name in images:
            return images[name]
    return images.get(whole(entry["image_id"]))


def _entry_error(path, place: int, error: str, entry: Any) -> ValueError:
    return ValueError(f"{path}, entry {place} {error}: {str(entry)[:200]}")


def _choose(engine: str | None) -> str:
    if engine is None:
        return ENGINES[0] if importlib.util.find_spec("faster_coco_eval") else ENGINES[1]
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}.")
    return engine


def _engine(name: str) -> tuple[Any, Any]:
    """The classes that hold a data set and evaluate."""
    if name == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    from faster_coco_eval import COCO, COCOeval_faster

    return COCO, COCOeval_faster


def image_numbers(truth: GroundTruth) -> list[int]:
    """The integer ids of the images in COCO's files: their own where all ids are numbers, else 1, 2, ..."""
    numbers = [int(i) for i in truth.image_ids if _NUMBER.fullmatch(i)]
    own = len(numbers) == len(truth.image_ids) == len(set(numbers))
    return numbers if own else list(range(1, len(truth.image_ids) + 1))


def _ranks(ids: Sequence[int]) -> np.ndarray:
    """`[n]` int64: 1 .. n in the order of the ids.

    The engines get these in their place, since one of them keeps ids as doubles. Ties between images are ranked by id,
    so that the order must be that of the files' ids for the metrics to agree with COCO's tools to the last digit.
    """
    ranks = np.empty(len(ids), np.int64)
    ranks[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(1, len(ids) + 1)
    return ranks


def _frame(truth: GroundTruth) -> dict[str, list]:
    sizes = truth.sizes.tolist()
    images, categories = _ranks(image_numbers(truth)).tolist(), _ranks(truth.category_ids).tolist()
    return {
        "images": [{"id": i, "height": h, "width": w} for i, (h, w) in zip(images, sizes)],
        "categories": [{"id": i, "name": name} for i, name in zip(categories, truth.classes)],
    }


def _index(dataset: Any, frame: dict[str, list], annotations: list[dict]) -> Any:
    index = dataset()
    index.dataset = {**frame, "annotations": annotations}
    index.createIndex()
    return index


def _annotations(truth: GroundTruth, rows: GroundTruth | Predictions, **columns: np.ndarray) -> list[dict]:
    """One dict for each row, as COCO's index holds them; numbered from 1, since 0 marks an unmatched one there."""
    boxes = to_xywh(rows.boxes)
    columns = {
        "id": np.arange(1, len(boxes) + 1),
        "image_id": _ranks(image_numbers(truth))[rows.image],
        "category_id": _ranks(truth.category_ids)[rows.labels],
        "area": boxes[:, 2] * boxes[:, 3],
        "iscrowd": np.zeros(len(boxes), np.int64),
        **columns,
    }
    names = ("bbox", *columns)
    values = zip(boxes.tolist(), *(column.tolist() for column in columns.values()))
    return [dict(zip(names, row)) for row in values]


def to_xywh(boxes: np.ndarray) -> np.ndarray:
    """`xyxy` boxes as `xywh`; the difference is rounded at 1e-9 pixels, so that decimals come back as recorded."""
    return np.concatenate([boxes[:, :2], np.round(boxes[:, 2:] - boxes[:, :2], 9)], axis=1)


def _per_class(truth: GroundTruth, precision: np.ndarray) -> dict[str, float]:
    """AP and AP50 of each class from `[T, R, K, A, M]`, K in order of category id, all areas, 100 detections."""
    curves = np.asarray(precision)[:, :, _ranks(truth.category_ids) - 1, 0, -1]
    mean = [float(p[p > -1].mean()) if (p > -1).any() else -1.0 for p in np.moveaxis(curves, 2, 0)]
    half = [float(p[p > -1].mean()) if (p > -1).any() else -1.0 for p in np.moveaxis(curves[:1], 2, 0)]
    metrics = {f"AP/{name}": value for name, value in zip(truth.classes, mean)}
    return metrics | {f"AP50/{name}": value for name, value in zip(truth.classes, half)}
