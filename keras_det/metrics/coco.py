"""COCO's twelve numbers, per class too, by pycocotools or by the faster engine that gives the same ones.

The library counts every image of the truth, with or without objects or detections, in original pixels. COCO's protocol
knows crowds (a detection in one is ignored) and sizes, but no difficult flag: difficult objects count as any other.
"""

import contextlib
import importlib.util
import io
from typing import Any

import numpy as np

from keras_det.metrics.columns import Results, Truth

SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
ENGINES = ("faster-coco-eval", "pycocotools")


def coco_metrics(truth: Truth, results: Results, engine: str | None = None) -> dict[str, float]:
    """COCO's figures of a set of detections.

    Args:
        truth: The objects.
        results: The detections; of each image and class the 100 best count.
        engine: `"pycocotools"` or `"faster-coco-eval"`; the latter where it is installed when left out. Both give
            the same numbers.

    Returns:
        The twelve of `SUMMARY` under COCO's names: AP is the mean over overlaps 0.50 to 0.95; s, m, l are objects
        under 32 squared, up to 96 squared and over that in pixels; AR1, AR10, AR100 are mean recalls with that many
        detections per image and class. Then for each class `AP/<class>` and `AP50/<class>`. A figure
        is -1 where there is no object to find, as COCO's tools have it.

    Raises:
        ValueError: `engine` is unknown, or `results` names images or classes that `truth` does not have.
        ModuleNotFoundError: `engine` asks for a package that is not installed.

    >>> truth = Truth(("cat",), ("a",), [[50, 50]], [0], [[0, 0, 20, 20]], [0])
    >>> round(coco_metrics(truth, Results([0], [[0, 0, 20, 16]], [0.9], [0]))["AP"], 6)
    0.7
    """
    results.check_against(truth)
    engine = _choose(engine)
    if not truth.image_ids or not truth.classes:
        raise ValueError("truth must have at least one image and one class to evaluate.")
    dataset, evaluator = _engine(engine)
    with contextlib.redirect_stdout(io.StringIO()):
        # Two indexes on one description: the library writes into annotations but never into images or categories.
        frame = _frame(truth)
        run = evaluator(
            _index(dataset, frame, _objects(truth)), _index(dataset, frame, _detections(truth, results)), "bbox"
        )
        run.evaluate()
        run.accumulate()
        run.summarize()
    return dict(zip(SUMMARY, (float(v) for v in run.stats[:12]))) | _per_class(truth, run.eval["precision"])


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


def image_numbers(truth: Truth) -> list[int]:
    """COCO's integer ids of the images: their own where all ids are numbers, else 1, 2, ...

    Ties between images are ranked by id, so the figures agree with COCO's tools to the last digit only with its ids.
    """
    numbers = [int(i) for i in truth.image_ids if i.isdecimal()]
    own = len(numbers) == len(truth.image_ids) == len(set(numbers))
    return numbers if own else list(range(1, len(truth.image_ids) + 1))


def _frame(truth: Truth) -> dict[str, list]:
    numbers = image_numbers(truth)
    sizes = truth.sizes.tolist()
    return {
        "images": [{"id": i, "height": h, "width": w} for i, (h, w) in zip(numbers, sizes)],
        "categories": [{"id": i, "name": name} for i, name in zip(truth.category_ids, truth.classes)],
    }


def _index(dataset: Any, frame: dict[str, list], annotations: list[dict]) -> Any:
    index = dataset()
    index.dataset = {**frame, "annotations": annotations}
    index.createIndex()
    return index


def _objects(truth: Truth) -> list[dict]:
    columns = (_coco_columns(truth, truth), truth.area.tolist(), truth.is_crowd.astype(int).tolist())
    return [
        {"id": i, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
        for i, ((image, category, box), area, crowd) in enumerate(zip(*columns), 1)
    ]


def _detections(truth: Truth, results: Results) -> list[dict]:
    columns = (_coco_columns(truth, results), results.scores.tolist())
    return [
        {
            "id": i,
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
            "score": score,
        }
        for i, ((image, category, box), score) in enumerate(zip(*columns), 1)
    ]


def _coco_columns(truth: Truth, rows: Truth | Results) -> list[tuple[int, int, list[float]]]:
    """Image id, category id and `xywh` box of each row."""
    images = np.array(image_numbers(truth), np.int64)[rows.image].tolist()
    categories = np.array(truth.category_ids, np.int64)[rows.labels].tolist()
    return list(zip(images, categories, to_xywh(rows.boxes).tolist()))


def to_xywh(boxes: np.ndarray) -> np.ndarray:
    """`xyxy` boxes as `xywh`; the difference is rounded at 1e-9 pixels, so that decimals come back as recorded."""
    return np.concatenate([boxes[:, :2], np.round(boxes[:, 2:] - boxes[:, :2], 9)], axis=1)


def _per_class(truth: Truth, precision: np.ndarray) -> dict[str, float]:
    """AP and AP50 of each class from `[T, R, K, A, M]`, K in order of category id, all areas, 100 detections."""
    order = np.argsort(np.argsort(truth.category_ids))
    curves = np.asarray(precision)[:, :, order, 0, -1]
    mean = [float(p[p > -1].mean()) if (p > -1).any() else -1.0 for p in np.moveaxis(curves, 2, 0)]
    half = [float(p[p > -1].mean()) if (p > -1).any() else -1.0 for p in np.moveaxis(curves[:1], 2, 0)]
    figures = {f"AP/{name}": value for name, value in zip(truth.classes, mean)}
    return figures | {f"AP50/{name}": value for name, value in zip(truth.classes, half)}
