"""OverFeat's metrics against plain loops over the images."""

import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from plain_boxes import plain_iou
from typer.testing import CliRunner

from keras_det import cli
from keras_det.boxes import nms
from keras_det.data import Shapes
from keras_det.data.source import Annotation, Source
from keras_det.models.overfeat import OverFeat
from keras_det.training import evaluate, overfeat

CLASSES = ("cat", "dog", "owl")


class Images(Source):
    """Images of noise with one object each: every other one large enough for the window's own box."""

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
    source = Images(6)
    ranks = []
    for i in range(6):
        votes = np.asarray(network.classify(source.image(i)[None]))[0]
        ranks.append(list(np.argsort(-votes)).index(i % 3))
    found = overfeat.top_errors(network, source, batch_size=4, k=(1, 2))
    np.testing.assert_allclose(found, [np.mean([r >= k for r in ranks]) for k in (1, 2)])
    assert 0 < found[0] < 1


@pytest.mark.parametrize("k", [1, 3])
def test_localization_error(network, k):
    source, wrong = Images(6), []
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
    metrics, _ = evaluate(network, Images(6), batch_size=6, metrics=("area",))
    assert {"map50", "top1", "top5", "localization_error", "localization_error_1", "map50_merge", "map50_nms"} <= set(
        metrics
    )
    assert metrics["map50"] == pytest.approx(metrics["map50_merge"])
    top1, top5 = overfeat.top_errors(network, Images(6))
    assert (metrics["top1"], metrics["top5"]) == pytest.approx((1 - top1, 1 - top5))
    assert metrics["top5"] == 1  # three classes


class Voter:
    """Six scales whose votes and windows are functions of the image's mean, the size and a seed."""

    classes, scales, regressor = CLASSES, tuple((247 + 16 * k, 247) for k in range(6)), True

    def __init__(self, seed, per_class=False):
        self.seed, self.config = seed, types.SimpleNamespace(per_class=per_class)

    def noise(self, images, *shape, at):
        place = tf.reshape(tf.range(np.prod(shape), dtype=tf.float32), shape)
        means = tf.reshape(tf.reduce_mean(tf.cast(images, tf.float32), (1, 2, 3)), (-1, *[1] * len(shape)))
        return tf.sin(1e3 * (means + self.seed + at) + 7 * place) / 2 + 0.5

    def scale_votes(self, images, size, flip=True, fine=None):
        return tf.stack([self.noise(images, 3, at=size[0] + view + (fine is False) / 2) for view in range(1 + flip)])

    def classify(self, images, scales=None, fine=None, over_scales="max", ten_views=False):
        if ten_views:
            return self.noise(images, 3, at=0)
        votes = tf.concat([self.scale_votes(images, size, fine=fine) for size in scales or self.scales], 0)
        return (tf.reduce_max if over_scales == "max" else tf.reduce_mean)(votes, 0)

    def scored_windows(self, images, scales=None, center=False):
        count = 1 if center else 3
        margins = tf.concat([self.noise(images, count, 4, at=size[0]) for size in scales or self.scales], 1)
        boxes = margins * [0.3, 0.3, -0.3, -0.3] + [0.0, 0.0, 1.0, 1.0]
        scores = tf.concat(
            [self.noise(images, count, 3, at=size[1] + size[0] / 3) for size in scales or self.scales], 1
        )
        return boxes, scores

    def compiled_combine(self, how=None):
        return lambda boxes, scores: nms(boxes, scores, iou_threshold=1.0, max_detections=30)


MEAN = {"over_scales": "mean"}
WAYS = {
    "1 network, scale 1, coarse stride": MEAN | {"scales": Voter.scales[:1], "fine": False},
    "1 network, scale 1, fine stride": MEAN | {"scales": Voter.scales[:1]},
    "1 network, 4 scales, fine stride": MEAN | {"scales": [Voter.scales[i] for i in (0, 1, 3, 5)]},
    "1 network, 6 scales, fine stride": MEAN,
    "1 network, 6 scales, fine stride, their highest vote": {},
    "1 network, 4 corners + center + flip": {"ten_views": True},
}


def test_the_rows_of_table_2_are_its_ways_to_vote():
    one, other, source = Voter(0), Voter(0.3), Images(12)
    rows = overfeat.table_2([one, other], source, 4)
    expected = {name: overfeat.top_errors(one, source, 4, **options) for name, options in WAYS.items()}
    several = WAYS["1 network, 4 scales, fine stride"]
    expected["2 networks, 4 scales, fine stride"] = overfeat.top_errors([one, other], source, 4, **several)
    assert rows == expected and len({row[0] for row in rows.values()}) > 2
    assert len(overfeat.table_2([one], source, 4)) == len(WAYS)


@pytest.mark.parametrize(("per_class", "kind"), [(False, "SCR"), (True, "PCR")])
def test_the_bars_of_figure_9(per_class, kind):
    network, source = Voter(0, per_class), Images(12)
    bars = overfeat.figure_9(network, source, 4)
    asked = {"center window": {"scales": Voter.scales[:1], "center": True}}
    asked |= {f"scales 1-{n}": {"scales": Voter.scales[:n]} for n in (2, 4, 6)}
    for name, options in asked.items():
        assert bars[f"{kind}, {name}"] == overfeat.localization_errors(network, source, 4, **options)
    assert len(bars) == 4 and len({tuple(bar) for bar in bars.values()}) > 1
    network.regressor = None
    with pytest.raises(ValueError, match="needs a network with a regressor"):
        overfeat.figure_9(network, source)


def test_scenes_are_rendered_with_one_object_each_and_other_sources_give_their_images_of_one():
    scenes = overfeat.single_objects(Shapes(images=5, seed=8, size=64))
    assert len(scenes) == 5 and [len(scenes.annotation(i).labels) for i in range(5)] == [1] * 5
    assert len(overfeat.single_objects(Images(4))) == 4


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("overfeat") / "narrow.weights.h5"
    classes = Shapes(images=1).classes
    OverFeat(
        variant="fast", width=1 / 48, classes=classes, scales=((247, 247),), score_threshold=0.0, max_per_class=4
    ).save_weights(path)
    return path


def call(*arguments, code=0):
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.mark.slow
def test_commands_print_table_2_and_figure_9(file, tmp_path, monkeypatch):
    asked = []

    def rows(name):
        return lambda networks, source, size: asked.append((networks, len(source), size)) or {name: [0.5, 0.25]}

    monkeypatch.setattr(overfeat, "table_2", rows("one way"))
    monkeypatch.setattr(overfeat, "figure_9", rows("SCR, scale 1"))
    data = ("--data", "shapes", "--images", 2, "--seed", 5, "--batch-size", 3, "--json")
    found = json.loads(call("overfeat", "table-2", "--weights", file, "--weights", file, *data).stdout)
    assert found["rows"] == {"one way": {"top-1": 0.5, "top-5": 0.25}}
    assert len(asked[0][0]) == 2 and asked[0][1:] == (2, 3)
    out = tmp_path / "new" / "9.png"
    found = json.loads(call("overfeat", "figure-9", "--weights", file, *data, "--out", out).stdout)
    assert found["rows"] == {"SCR, scale 1": {"5 guesses": 0.5, "1 guess": 0.25}} and out.stat().st_size > 5000
    classifier = tmp_path / "classifier.weights.h5"
    OverFeat(variant="fast", width=1 / 48, task="classification").save_weights(classifier)
    result = call("overfeat", "figure-9", "--weights", classifier, *data, code=1)
    assert "needs a regressor" in str(result.exception)


def test_the_command_writes_features_of_a_layer(file, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 240, 300, 3)).astype("uint8")
    for i, image in enumerate(pixels):
        (tmp_path / str(i)).mkdir()
        Image.fromarray(image).save(tmp_path / str(i) / "same.png")  # two images of one name
    first, options = tmp_path / "0" / "same.png", ("--weights", file, "--out", tmp_path / "out", "--json")
    lines = call("features", tmp_path / "*" / "same.png", "--layer", "full6", *options).stdout.splitlines()
    rows, network = [json.loads(line) for line in lines], OverFeat(weights=file)
    assert len({row["file"] for row in rows}) == 2
    for image, row in zip(pixels, rows):
        found = np.load(row["file"])
        assert found.dtype == np.float32 and list(found.shape) == row["shape"] == [1, 5, 64]
        np.testing.assert_allclose(found, network.features(image[None], "full6")[0], rtol=1e-4, atol=1e-5)
    row = json.loads(call("features", first, "--shorter-side", 231, *options).stdout)
    assert row["shape"] == [1, 4, 85]
    (tmp_path / "bad.png").write_text("no image")
    assert "bad.png" in call("features", tmp_path / "bad.png", *options, code=1).stdout
    assert "conv1, pool1" in str(call("features", first, "--layer", "x", *options, code=1).exception)
