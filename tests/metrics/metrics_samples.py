"""Sets of truth and results for the tests of metrics, and the official tools run on them the plain way."""

import contextlib
import io
import json

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_det.metrics import GroundTruth, Predictions


def random_set(seed, images=12, classes=4, objects=30, detections=200, grid=None, crowds=True):
    """Detections scattered round objects; `grid` rounds boxes and scores so that overlaps and scores tie."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(60, 400, (images, 2))
    image = rng.integers(0, max(images - 2, 1), objects)
    boxes = _boxes(rng, sizes[image])
    labels = rng.integers(0, max(classes - 1, 1), objects)
    source = rng.integers(0, objects, detections)
    noise = rng.normal(0, 0.12, (detections, 4)) * np.tile(boxes[source, 2:] - boxes[source, :2], 2)
    found = boxes[source] + noise
    found = np.concatenate([np.minimum(found[:, :2], found[:, 2:]), np.maximum(found[:, :2], found[:, 2:]) + 1], 1)
    wild = rng.random(detections) < 0.3
    at = np.where(wild, rng.integers(0, images, detections), image[source])
    given = np.where(rng.random(detections) < 0.2, rng.integers(0, classes, detections), labels[source])
    scores = rng.random(detections)
    if grid:
        boxes, found = np.round(boxes / grid) * grid, np.round(found / grid) * grid
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + grid)
        scores = np.round(scores, 1)
    truth = GroundTruth(
        classes=tuple(f"class{i}" for i in range(classes)),
        image_ids=tuple(str(i) for i in rng.permutation(10 * images)[:images]),
        sizes=sizes,
        image=image,
        boxes=boxes,
        labels=labels,
        difficult=rng.random(objects) < 0.2,
        is_crowd=(rng.random(objects) < 0.15) & crowds,
    )
    return truth, Predictions(at, found, scores, given)


def _boxes(rng, sizes):
    ends = np.sort(rng.random((len(sizes), 2, 2)), axis=1) * sizes[:, None, ::-1]
    boxes = ends.reshape(-1, 4)
    boxes[:, 2:] += 2
    return boxes


def as_coco_files(truth, results):
    """The set as COCO's files hold it: a dict and a list, with category ids counted from 0."""
    ids = [int(i) for i in truth.image_ids]
    wide = lambda b: [b[0], b[1], b[2] - b[0], b[3] - b[1]]  # noqa: E731
    annotations = [
        {
            "id": n + 1,
            "image_id": ids[truth.image[n]],
            "category_id": int(truth.labels[n]),
            "bbox": wide(truth.boxes[n].tolist()),
            "area": float(truth.area[n]),
            "iscrowd": int(truth.is_crowd[n]),
        }
        for n in range(len(truth.labels))
    ]
    images = [{"id": i, "height": int(h), "width": int(w)} for i, (h, w) in zip(ids, truth.sizes)]
    categories = [{"id": n, "name": name} for n, name in enumerate(truth.classes)]
    found = [
        {
            "image_id": ids[results.image[n]],
            "category_id": int(results.labels[n]),
            "bbox": wide(results.boxes[n].tolist()),
            "score": float(results.scores[n]),
        }
        for n in range(len(results))
    ]
    return {"images": images, "annotations": annotations, "categories": categories}, found


def pycocotools_run(dataset, found):
    """COCOeval, run as its own demonstration runs it."""
    dataset = json.loads(json.dumps(dataset))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        if found:
            results = truth.loadRes(json.loads(json.dumps(found)))
        else:
            results = COCO()
            results.dataset = {**dataset, "annotations": []}
            results.createIndex()
        run = COCOeval(truth, results, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def voc_eval(truth, results, label, form, threshold=0.5):
    """One class by the loop that the VOC toolkits write, in inclusive pixels."""
    npos = 0
    objects = {}
    for n in np.flatnonzero(truth.labels == label):
        difficult = bool(truth.difficult[n] or truth.is_crowd[n])
        npos += not difficult
        objects.setdefault(truth.image[n], []).append([truth.boxes[n] + [1, 1, 0, 0], difficult, False])
    rows = np.flatnonzero(results.labels == label)
    rows = rows[np.argsort(-results.scores[rows])]
    tp, fp = np.zeros(len(rows)), np.zeros(len(rows))
    for d, row in enumerate(rows):
        box = results.boxes[row] + [1, 1, 0, 0]
        best, hit = -np.inf, None
        for entry in objects.get(results.image[row], []):
            w = max(min(box[2], entry[0][2]) - max(box[0], entry[0][0]) + 1, 0)
            h = max(min(box[3], entry[0][3]) - max(box[1], entry[0][1]) + 1, 0)
            area = sum((b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, entry[0]))
            if w * h / (area - w * h) > best:
                best, hit = w * h / (area - w * h), entry
        if best > threshold:
            if not hit[1]:
                tp[d], fp[d], hit[2] = not hit[2], hit[2], True
        else:
            fp[d] = 1
    if npos == 0:
        return float("nan")
    tp, fp = np.cumsum(tp), np.cumsum(fp)
    recall, precision = tp / npos, tp / np.maximum(tp + fp, np.finfo(float).eps)
    if form == "voc2007_11point":
        return sum((precision[recall >= t].max() if (recall >= t).any() else 0) / 11 for t in np.arange(0, 1.1, 0.1))
    area = 0.0
    for k in range(len(rows)):
        area += (recall[k] - (recall[k - 1] if k else 0)) * precision[k:].max()
    return area
