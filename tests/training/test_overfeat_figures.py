"""OverFeat's figures against plain loops over the pictures."""

import keras
import numpy as np
import pytest
from plain_boxes import plain_iou

from keras_det.data import Shapes
from keras_det.data.source import Annotation, Source
from keras_det.models.overfeat import OverFeat
from keras_det.training import evaluate, overfeat

CLASSES = ("cat", "dog", "owl")


class Pictures(Source):
    """Pictures of noise with one object each: every other one large enough for the window's own box."""

    def __init__(self, count):
        self.name, self.classes, self.count = "noise", CLASSES, count

    def __len__(self):
        return self.count

    def annotation(self, i):
        box = [0.02, 0.03, 0.97, 0.98] if i % 2 else [0.1, 0.1, 0.3, 0.3]
        none = np.zeros(1, bool)
        label = np.array([i % 3], np.int32)
        return Annotation(str(i), 120, 120, np.array([box], "float32"), label, none, none, np.array([100.0], "float32"))

    def image(self, i):
        return np.random.default_rng(i).integers(0, 256, (120, 120, 3)).astype("uint8")

    def path(self, i):
        return None


@pytest.fixture(scope="module")
def network():
    """Random, but for boxes that are nearly the windows."""
    keras.utils.set_random_seed(3)
    model = OverFeat(
        variant="fast", width=1 / 24, classes=CLASSES, scales=((247, 247),), score_threshold=0.0, max_per_class=4
    )
    kernel, _ = model.regressor.get_layer("regressor_output").get_weights()
    model.regressor.get_layer("regressor_output").set_weights([kernel * 0.01, np.array([-0.5, -0.5, 0.5, 0.5])])
    return model


def test_top_errors(network):
    source = Pictures(6)
    ranks = []
    for i in range(6):
        votes = np.asarray(network.classify(source.image(i)[None]))[0]
        ranks.append(list(np.argsort(-votes)).index(i % 3))
    found = overfeat.top_errors(network, source, batch_size=4, k=(1, 2))
    np.testing.assert_allclose(found, [np.mean([r >= k for r in ranks]) for k in (1, 2)])
    assert 0 < found[0] < 1


@pytest.mark.parametrize("k", [1, 3])
def test_localization_error(network, k):
    source, wrong = Pictures(6), []
    for i in range(6):
        found = network.detections(source.image(i)[None])
        guesses = {}
        for box, label in zip(found["boxes"][0], found["labels"][0]):  # sorted: the first of a class is its best
            guesses.setdefault(label, box)
        guesses = list(guesses.items())[:k]
        wrong.append(not any(c == i % 3 and plain_iou(b, source.annotation(i).boxes[0]) >= 0.5 for c, b in guesses))
    (found,) = overfeat.localization_errors(network, source, batch_size=4, k=(k,))
    assert found == pytest.approx(np.mean(wrong))
    assert k == 1 or found == 0.5  # every class is guessed, and the large objects are right


def test_evaluate_reports_them(network):
    figures, _ = evaluate(network, Pictures(6), batch_size=6, metrics=("area",))
    assert {"map50", "top1", "top5", "localization_error", "localization_error_1", "map50_merge", "map50_nms"} <= set(
        figures
    )
    assert figures["map50"] == pytest.approx(figures["map50_merge"])
    top1, top5 = overfeat.top_errors(network, Pictures(6))
    assert (figures["top1"], figures["top5"]) == pytest.approx((1 - top1, 1 - top5))
    assert figures["top5"] == 1  # three classes


def test_table_2_and_figure_9_are_their_rows(network):
    source = Pictures(3)
    rows = overfeat.table_2([network, network], source)
    assert list(rows)[2] == "1 network, 1 scale, fine stride" and "2 networks, 1 scale, fine stride" in rows
    assert rows["1 network, 4 corners + centre + flip"] == overfeat.top_errors(network, source, ten_views=True)
    assert rows["1 network, scale 1, coarse stride"] == overfeat.top_errors(network, source, fine=False)
    bars = overfeat.figure_9(network, source)
    assert list(bars) == ["SCR, centre window", "SCR, scale 1"]
    assert bars["SCR, scale 1"] == overfeat.localization_errors(network, source)


def test_scenes_are_rendered_with_one_object_each_and_other_sources_give_their_pictures_of_one():
    scenes = overfeat.single_objects(Shapes(images=5, seed=8, size=64))
    assert len(scenes) == 5 and [len(scenes.annotation(i).labels) for i in range(5)] == [1] * 5
    assert len(overfeat.single_objects(Pictures(4))) == 4
