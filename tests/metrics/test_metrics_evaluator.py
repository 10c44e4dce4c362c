import types

import numpy as np
import pytest
from metrics_samples import random_set

from keras_det.metrics import Evaluator, GroundTruth, Predictions, coco_metrics, voc_ap

CLASSES, IMAGES = 4, 12


def batch_of(truth, results, indexes, depth=40):
    """Detections as a model gives them: relative, float32, padded to one depth."""
    boxes, scores = np.zeros((len(indexes), depth, 4), np.float32), np.zeros((len(indexes), depth), np.float32)
    labels = np.full((len(indexes), depth), -1, np.int32)
    for row, index in enumerate(indexes):
        rows = np.flatnonzero(results.image == index)
        h, w = truth.sizes[index]
        boxes[row, : len(rows)] = results.boxes[rows][:, [1, 0, 3, 2]] / [h, w, h, w]
        scores[row, : len(rows)], labels[row, : len(rows)] = results.scores[rows], results.labels[rows]
    return {"boxes": boxes, "scores": scores, "labels": labels, "num_detections": (labels >= 0).sum(1)}


@pytest.fixture
def sample():
    return random_set(4, images=IMAGES, classes=CLASSES, objects=40, detections=150)


def test_figures_are_those_of_the_functions(sample):
    truth, results = sample
    evaluator = Evaluator(truth)
    for first in range(0, IMAGES, 5):
        indexes = np.arange(first, min(first + 5, IMAGES))
        evaluator.update(indexes, batch_of(truth, results, indexes))
    assert evaluator.missing.size == 0
    metrics = evaluator.result()
    area, eleven = voc_ap(truth, results, "area"), voc_ap(truth, results, "voc2007_11point")
    assert metrics["map50"] == pytest.approx(np.nanmean(area), abs=1e-6)
    assert metrics["map50_voc07"] == pytest.approx(np.nanmean(eleven), abs=1e-6)
    for label, name in enumerate(truth.classes):
        assert metrics[f"ap50/{name}"] == pytest.approx(area[label], abs=1e-6, nan_ok=True)
        assert metrics[f"ap50_voc07/{name}"] == pytest.approx(eleven[label], abs=1e-6, nan_ok=True)
    for key, value in coco_metrics(truth, results).items():
        expected = np.nan if value == -1 else value  # classes without objects, as everywhere
        assert metrics[key] == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert all(type(v) is float for v in metrics.values())


def test_source_is_read_once_and_no_pixels():
    reads = []
    source = types.SimpleNamespace(classes=("a",), image=None)
    columns = dict(height=10, width=20, boxes=np.array([[0, 0, 0.5, 0.5]], "f4"), labels=np.array([0], "i4"))
    flags = dict(difficult=np.array([False]), is_crowd=np.array([False]), area=np.array([50.0], "f4"))

    class Source:
        classes = ("a",)

        def __len__(self):
            return 2

        def annotation(self, i):
            reads.append(i)
            return types.SimpleNamespace(image_id=f"i{i}", **columns, **flags)

    evaluator = Evaluator(Source())
    evaluator.update(1, {"boxes": columns["boxes"], "scores": [0.5], "labels": [0]})
    evaluator.reset()
    evaluator.update(1, {"boxes": columns["boxes"], "scores": [0.5], "labels": [0]})
    assert evaluator.result(("area",))["map50"] == 0.5
    assert reads == [0, 1] and source.image is None
    np.testing.assert_array_equal(evaluator.results().boxes, [[0, 0, 10, 5]])


def test_order_of_images_does_not_matter(sample):
    truth, results = sample
    metrics = []
    for order in (np.arange(IMAGES), np.random.default_rng(0).permutation(IMAGES)):
        evaluator = Evaluator(truth)
        for index in order:
            evaluator.update([index], batch_of(truth, results, [index]))
        metrics.append(evaluator.result(("area", "coco")))
    np.testing.assert_equal(metrics[0], metrics[1])


def test_replicas_merge_without_loss_or_duplication(sample):
    truth, results = sample
    whole = Evaluator(truth)
    whole.update(np.arange(IMAGES), batch_of(truth, results, np.arange(IMAGES)))
    replicas = [Evaluator(truth) for _ in range(3)]
    for rank, replica in enumerate(replicas):
        mine = np.arange(rank, IMAGES, 3)[:-1]
        replica.update(mine, batch_of(truth, results, mine))
        last = np.array([np.arange(rank, IMAGES, 3)[-1], -1])
        replica.update(last, batch_of(truth, results, last))
    first = replicas[0]
    for other in replicas[1:]:
        first.merge(other.state())
    assert first.missing.size == 0
    for name in ("image", "boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(first.results(), name), getattr(whole.results(), name))
    with pytest.raises(ValueError, match="given twice"):
        first.merge(replicas[1].state())
    assert len(first.results()) == len(results)


def test_merge_refuses_what_does_not_belong(sample):
    truth, _ = sample
    evaluator = Evaluator(truth)
    state = evaluator.state()
    with pytest.raises(ValueError, match="source of 3 images, this evaluator's has 12"):
        evaluator.merge({**state, "seen": np.zeros(3, bool)})
    stray = {"image": [1], "boxes": np.zeros((1, 4)), "scores": [0.5], "labels": [0]}
    with pytest.raises(ValueError, match="does not list as seen"):
        evaluator.merge({**state, **stray})


def test_same_image_twice_is_refused_and_changes_nothing(sample):
    truth, results = sample
    evaluator = Evaluator(truth)
    evaluator.update([3, 5], batch_of(truth, results, [3, 5]))
    before = len(evaluator.results())
    for indexes in ([4, 5], [7, 7]):
        with pytest.raises(ValueError, match="given twice"):
            evaluator.update(indexes, batch_of(truth, results, indexes))
    assert len(evaluator.results()) == before and evaluator.missing.size == IMAGES - 2
    with pytest.raises(ValueError, match="index 12 is not of the source"):
        evaluator.update([12], batch_of(truth, results, [0]))


@pytest.mark.parametrize(
    "change, says",
    [
        ({"scores": [np.nan, 0]}, "detection 0 of image 'p' has a score that is not finite"),
        ({"boxes": [[0, 0, np.inf, 1], [0, 0, 0, 0]]}, "has a box that is not finite"),
        ({"boxes": [[0.5, 0, 0.4, 1], [0, 0, 0, 0]]}, "has an inverted box"),
        ({"labels": [2, -1]}, "a label outside 0 to 1"),
        ({"scores": [0.5]}, r"got \(1, 2, 4\), \(1, 1\)"),
    ],
)
def test_bad_detections_are_named(change, says):
    truth = GroundTruth(("a", "b"), ("p",), [[10, 10]], [], [], [])
    good = {"boxes": [[0, 0, 1, 1], [0, 0, 0, 0]], "scores": [0.5, 0], "labels": [1, -1]}
    evaluator = Evaluator(truth)
    with pytest.raises(ValueError, match=says):
        evaluator.update(0, {**good, **change})
    evaluator.update(0, good)
    assert len(evaluator.results()) == 1


def test_padding_may_hold_anything():
    evaluator = Evaluator(GroundTruth(("a",), ("p",), [[10, 10]], [], [], []))
    evaluator.update(0, {"boxes": [[np.nan] * 4], "scores": [np.nan], "labels": [-1]})
    assert len(evaluator.results()) == 0 and isinstance(evaluator.results(), Predictions)


def test_missing_key_and_unknown_metric_are_named():
    evaluator = Evaluator(GroundTruth(("a",), ("p",), [[10, 10]], [], [], []))
    with pytest.raises(ValueError, match="'scores' is missing"):
        evaluator.update(0, {"boxes": np.zeros((0, 4)), "labels": []})
    with pytest.raises(ValueError, match="metrics must be of .*, got 'map'"):
        evaluator.result(("map",))


def test_no_objects_at_all_is_nan_not_a_crash():
    evaluator = Evaluator(GroundTruth(("a",), ("p",), [[10, 10]], [], [], []))
    assert np.isnan(evaluator.result(("area",))["map50"])


def test_memory_is_that_of_the_detections():
    count, depth = 400, 200
    evaluator = Evaluator(GroundTruth(("a",), [str(i) for i in range(count)], np.full((count, 2), 10), [], [], []))
    padded = {"boxes": np.zeros((1, depth, 4)), "scores": np.zeros((1, depth)), "labels": np.full((1, depth), -1)}
    padded["labels"][:, :10] = 0
    for index in range(count):
        evaluator.update([index], padded)
    held = sum(column.nbytes if column.base is None else 10**9 for part in evaluator._parts for column in part)
    assert held == count * 10 * 28
