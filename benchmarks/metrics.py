"""Speed of the COCO and VOC evaluation: `python benchmarks/metrics.py [--images N] [--seed S]`.

Prints a table and writes benchmarks/results/metrics.json. The set is made up: every image has objects of a few of the
classes, and its detections are those objects moved, doubled and mislabeled, plus boxes anywhere, as a detector's are.
Beside it, what the evaluation at the end of an epoch costs on top of the detector's own passes, on rendered scenes.
"""

import argparse
import collections
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import time

import numpy as np

from keras_det.files import write_text
from keras_det.metrics import Evaluator, GroundTruth, Predictions, coco, coco_metrics

RESULTS = pathlib.Path(__file__).parent / "results" / "metrics.json"


def make_set(images: int, detections: int, classes: int, seed: int) -> tuple[GroundTruth, Predictions]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(300, 640, (images, 2))
    image = np.repeat(np.arange(images), rng.poisson(7, images))
    boxes = boxes_in(rng, sizes[image])
    labels = rng.integers(0, classes, len(image))
    truth = GroundTruth(
        classes=[f"class {i}" for i in range(classes)],
        image_ids=[str(i) for i in range(images)],
        sizes=sizes,
        image=image,
        boxes=boxes,
        labels=labels,
        is_crowd=rng.random(len(image)) < 0.01,
    )
    at = np.repeat(np.arange(images), detections)
    found, given = boxes_in(rng, sizes[at]), rng.integers(0, classes, len(at))
    counts = np.bincount(image, minlength=images)
    first = np.cumsum(counts) - counts
    near = (rng.random(len(at)) < 0.4) & (counts[at] > 0)
    target = first[at[near]] + (rng.random(near.sum()) * counts[at[near]]).astype(int)
    extent = np.tile(boxes[target, 2:] - boxes[target, :2], 2)
    found[near] = boxes[target] + rng.normal(0, 0.08, extent.shape) * extent
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    given[near] = np.where(rng.random(near.sum()) < 0.85, labels[target], given[near])
    scores = np.where(near, rng.beta(2, 2, len(at)), rng.beta(1, 6, len(at))).astype(np.float32)
    return truth, Predictions(at, found, scores, given)


def boxes_in(rng: np.random.Generator, sizes: np.ndarray) -> np.ndarray:
    extent = np.exp(rng.uniform(np.log(12), np.log(250), (len(sizes), 2)))
    low = rng.random((len(sizes), 2)) * np.maximum(sizes[:, ::-1] - extent, 1)
    return np.concatenate([low, low + extent], axis=1)


def timed(function, *args):
    start = time.perf_counter()
    value = function(*args)
    return value, time.perf_counter() - start


def streamed(truth: GroundTruth, results: Predictions) -> tuple[float, float]:
    """Seconds to feed an Evaluator in batches of 32, and to give VOC's metrics."""
    evaluator = Evaluator(truth)
    counts = np.bincount(results.image, minlength=len(truth.image_ids))
    depth, scale = counts.max(), truth.sizes[results.image][:, [0, 1, 0, 1]]
    boxes = (results.boxes[:, [1, 0, 3, 2]] / scale).reshape(-1, depth, 4)
    columns = {"boxes": boxes, "scores": results.scores.reshape(-1, depth), "labels": results.labels.reshape(-1, depth)}

    def feed():
        for first in range(0, len(counts), 32):
            indexes = np.arange(first, min(first + 32, len(counts)))
            evaluator.update(indexes, {name: column[indexes] for name, column in columns.items()})

    return timed(feed)[1], timed(evaluator.result, ("voc2007_11point", "area"))[1]


def during_fit(images: int, seed: int, rounds: int = 5) -> dict:
    """Seconds of a detector's passes over a validation set, and the fraction that metrics add; the quickest of each."""
    from keras_det.data import load
    from keras_det.models import SSD300
    from keras_det.training import EvaluateDetections

    source, model = load("shapes", images=images, seed=seed), SSD300(weights="shapes")
    seconds = collections.defaultdict(list)
    for metrics in (("area",), ("voc2007_11point", "area", "coco")):
        callback = EvaluateDetections(source, metrics=metrics)
        callback.set_model(model)
        callback.on_epoch_end(0)  # compiles, and imports the engine
        for _ in range(rounds):
            seconds["passes"].append(passes(model, callback))
            seconds["+".join(metrics)].append(timed(callback.on_epoch_end, 0)[1])
    alone, *whole = (min(times) for times in seconds.values())
    added = {name: round(value / alone - 1, 4) for name, value in zip(list(seconds)[1:], whole)}
    return {"scenes": images, "passes_seconds": round(alone, 2), "added_fraction": added}


def passes(model, callback) -> float:
    """Seconds of the passes alone."""
    from keras_det.data import whole_images

    start = time.perf_counter()
    for images, _ in whole_images(callback.source, callback.batch_size):
        model.detections(images)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100, help="per image")
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cost = during_fit(500, options.seed)  # first, while the process holds no millions of objects
    truth, results = make_set(options.images, options.detections, options.classes, options.seed)
    metrics, seconds = {}, {}
    for engine in coco.ENGINES:
        metrics[engine], seconds[engine] = timed(coco_metrics, truth, results, engine)
    feed, voc = streamed(truth, results)
    fast, slow = (metrics[engine] for engine in coco.ENGINES)
    report = {
        "command": "python benchmarks/metrics.py " + " ".join(sys.argv[1:]),
        "set": vars(options) | {"objects": len(truth.labels)},
        "seconds": {engine: round(value, 2) for engine, value in seconds.items()},
        "times_faster": round(seconds["pycocotools"] / seconds["faster-coco-eval"], 2),
        "largest_difference": max(abs(fast[name] - slow[name]) for name in slow),
        "AP": slow["AP"],
        "evaluator_seconds": {"update": round(feed, 2), "voc_figures": round(voc, 2)},
        "during_fit": cost,
        "versions": {
            name: importlib.metadata.version(name) for name in ("numpy", "pycocotools", "faster-coco-eval", "keras_det")
        }
        | {"python": platform.python_version()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    RESULTS.parent.mkdir(exist_ok=True)
    write_text(RESULTS, json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
