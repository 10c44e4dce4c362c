"""Evaluation of a class-agnostic detector, and of classes alone."""

import numpy as np
import pytest

from keras_det.data import images_of, load
from keras_det.training.evaluation import evaluate


class Oracle:
    """Finds every object of the images, each with a box that lies elsewhere and is less certain."""

    class_agnostic = True
    classes = ("object",)

    def __init__(self, source, missed=0):
        self.source = source
        self.missed = missed

    def check_classes_of(self, source):
        """All are objects."""

    def extra_metrics(self, source, batch_size):
        return {}

    def detections(self, images):
        (image,) = images
        (i,) = [i for i in range(len(self.source)) if np.array_equal(self.source.image(i), image)]
        boxes = self.source.annotation(i).boxes[self.missed :]
        wrong = np.array([[0.0, 0.0, 0.01, 0.01]], "float32")
        scores = np.append(np.full(len(boxes), 0.9), 0.1)
        return {
            "boxes": np.concatenate([boxes, wrong])[None],
            "scores": scores[None],
            "labels": np.zeros_like(scores[None], int),
        }


@pytest.fixture(scope="module")
def scenes():
    return load("shapes", images=60, seed=2, size=64)


@pytest.mark.slow
def test_all_found_first_is_an_area_of_1(scenes):
    metrics, evaluator = evaluate(Oracle(scenes), scenes, batch_size=1)
    assert metrics == {"pr_auc": 1.0, "detection_rate@10": 1.0, "detection_rate@100": 1.0}
    assert evaluator.truth.classes == ("object",)


def test_missed_objects_lower_all_figures(scenes):
    metrics, _ = evaluate(Oracle(scenes, missed=1), scenes, batch_size=1)
    counts = np.array([len(scenes.annotation(i).boxes) for i in range(len(scenes))])
    expected = (counts - 1).sum() / counts.sum()
    assert metrics["pr_auc"] == pytest.approx(expected)
    assert expected <= metrics["detection_rate@10"] < 0.9  # an object missed may lie under another's box


def test_images_of_classes_show_them_and_no_others(scenes):
    names = ("ring", "cross", "star")
    view = images_of(scenes, names)
    shown = [{scenes.classes[k] for k in view.annotation(i).labels} for i in range(len(view))]
    assert all(kinds and kinds <= set(names) for kinds in shown)
    every = [{scenes.classes[k] for k in scenes.annotation(i).labels} for i in range(len(scenes))]
    assert len(view) == sum(bool(kinds) and kinds <= set(names) for kinds in every) > 0
    assert len(images_of(scenes, scenes.classes)) == len(scenes)


def test_classes_that_are_not_there_are_named(scenes):
    with pytest.raises(ValueError, match="'moon'"):
        images_of(scenes, ["moon"])
    with pytest.raises(ValueError, match="no image"):
        images_of(scenes.subset([]), ["ring"])
    with pytest.raises(ValueError, match="no image that shows only"):
        images_of(scenes.subset([]), 2)
