"""DeepMultiBox's figures and tables on rendered scenes, as functions and as commands."""

import json

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from keras_det import cli, models
from keras_det.data import Shapes
from keras_det.metrics import GroundTruth, proposals
from keras_det.models import Classifier, MultiBox, OneBoxPerClass
from keras_det.training import RECIPES, multibox, validation_split

OPTIONS = {"backbone": "tiny", "image_size": 64}


@pytest.fixture(scope="module")
def scenes():
    return Shapes(6, seed=9, size=96, objects=(1, 1))


@pytest.fixture(scope="module")
def networks(scenes):
    keras.utils.set_random_seed(0)
    localizer = MultiBox(boxes=30, **OPTIONS)
    return localizer, Classifier(classes=scenes.classes, background=True, **OPTIONS)


class Knowing(Classifier):
    """Gives every crop one class, the next at each call of `decide`."""

    def decide(self, label):
        self.head.kernel.assign(np.zeros(self.head.kernel.shape))
        self.head.bias.assign(np.eye(len(self.classes) + 1)[label + 1] * 9)


def test_fixed_boxes_find_what_they_cover(scenes):
    truth = GroundTruth.from_source(scenes)
    rates = proposals.detection_rate(
        proposals.best_ious(truth, multibox.fixed_boxes(truth, scenes.annotation(0).boxes), [1])
    )
    expected = []
    for i in range(len(scenes)):
        mine, other = scenes.annotation(i).boxes[0], scenes.annotation(0).boxes[0]
        both = np.maximum(np.minimum(mine[2:], other[2:]) - np.maximum(mine[:2], other[:2]), 0).prod()
        expected.append(both / ((mine[2:] - mine[:2]).prod() + (other[2:] - other[:2]).prod() - both) > 0.5)
    assert rates[0] == pytest.approx(np.mean(expected)) and expected[0]
    boxes = multibox.uniform_boxes(500)
    assert (boxes[:, 2:] >= boxes[:, :2]).all() and boxes.min() >= 0 and boxes.max() <= 1


def test_figure_1_has_a_curve_for_each_number_of_scales(networks, scenes):
    rates = multibox.detection_rates(networks[0], scenes, (1, 10, 100))
    assert list(rates) == ["One shot (max center crop)", "Max center + 1 scale", "Max center + 2 scales"]
    for values in rates.values():
        assert (np.diff(values) >= 0).all() and values.max() <= 1
    assert networks[0].config.scales == 1


def test_classifying_the_true_boxes_ranks_all_classes(scenes):
    keras.utils.set_random_seed(0)
    judge = Knowing(classes=scenes.classes, background=True, **OPTIONS)
    judge.decide(3)
    labels, ranked = multibox.classify_objects(judge, scenes)
    assert labels.tolist() == [int(scenes.annotation(i).labels[0]) for i in range(len(scenes))]
    assert ranked.shape == (6, 6) and (ranked[:, 0] == 3).all()
    with pytest.raises(ValueError, match="are not the classifier's"):
        multibox.classify_objects(Classifier(classes=["a"], background=True, **OPTIONS), scenes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("crops", "region"), [("boxes", None), ("maximum", "maximum"), ("minimum", "minimum"), ("images", "maximum")]
)
def test_a_classifier_is_shown_what_it_was_trained_on(scenes, crops, region, monkeypatch):
    seen = []
    squares = multibox.square_regions
    monkeypatch.setattr(multibox, "square_regions", lambda *args: seen.append(args[-1]) or squares(*args))
    classifier = Classifier(classes=scenes.classes, backbone="tiny", image_size=32, crops=crops)
    multibox.classify_objects(classifier, scenes.take(1))
    assert {*seen} == ({region} if region else set())


def test_table_2_has_the_papers_rows(networks, scenes):
    keras.utils.set_random_seed(0)
    baseline = OneBoxPerClass(classes=scenes.classes, **OPTIONS)
    rows = multibox.table_2(*networks, scenes, baseline, windows=(1, 3))
    names = ["One-box-per-class", "Classify GT directly", "DeepMultiBox, top 1 window", "DeepMultiBox, top 3 windows"]
    assert [row[0] for row in rows] == names
    assert all(0 <= detection <= classification <= 1 for _, detection, classification in rows)
    with pytest.raises(ValueError, match="objects of one class"):
        multibox.table_2(*networks, Shapes(3, size=96, objects=(4, 4)))


def test_table_2_suppresses_at_its_own_threshold_and_the_baseline_not_at_all(networks, scenes, monkeypatch):
    seen = []

    def spy(model, *rest):
        seen.append(model)
        return find(model, *rest)

    find = multibox.find_boxes
    monkeypatch.setattr(multibox, "find_boxes", spy)
    plain = Classifier(classes=scenes.classes, crops="images", **OPTIONS)  # as the paper's, without background
    multibox.table_2(networks[0], plain, scenes, OneBoxPerClass(classes=scenes.classes, **OPTIONS), windows=(2,))
    assert seen[0].config.iou_threshold == 1.0
    assert seen[1].localizer.config.iou_threshold == 0.4 and seen[1].config.region == "minimum"
    for mine, theirs in zip(seen[1].localizer.weights, networks[0].weights):
        np.testing.assert_array_equal(mine, theirs)


def test_figure_5_suppresses_the_baseline_across_classes(scenes):
    keras.utils.set_random_seed(0)
    baseline = OneBoxPerClass(classes=scenes.classes, **OPTIONS)
    baseline.locations.kernel.assign(keras.ops.zeros_like(baseline.locations.kernel))
    baseline.locations.bias.assign(np.tile([0.1, 0.1, 0.6, 0.6], 6))  # all six boxes are one
    truth = proposals.without_classes(GroundTruth.from_source(scenes))
    assert len(multibox._agnostic_results(baseline, scenes, truth, 4).scores) == len(scenes)


def test_a_share_is_held_out_at_random():
    source = Shapes(50)
    rest, held = validation_split(source, 0.1, seed=3)
    ids = [{one.annotation(i).image_id for i in range(len(one))} for one in (rest, held)]
    assert (len(ids[0]), len(ids[1])) == (45, 5) and not ids[0] & ids[1]
    again = validation_split(source, 0.1, seed=3)[1]
    assert {again.annotation(i).image_id for i in range(5)} == ids[1]
    with pytest.raises(ValueError, match="`fraction`"):
        validation_split(source, 1.0)


def test_the_papers_recipes_say_what_the_paper_says():
    for name in ("multibox-voc12", "multibox-classifier-voc12"):
        recipe = RECIPES[name]
        assert (
            recipe.optimizer["class_name"] == "Adagrad" and recipe.batch_size == 128 and recipe.validation_split == 0.1
        )
        assert isinstance(recipe.build_optimizer(), keras.optimizers.Adagrad)
    for data in ("voc12", "ilsvrc"):
        base = RECIPES[f"multibox-{data}"].config
        assert RECIPES[f"multibox-{data}-200-boxes"].config == base | {"boxes": 200}
        assert RECIPES[f"multibox-{data}-prediction-matching"].config == base | {"matching": "predictions"}
        assert RECIPES[f"multibox-one-box-{data}"].init_from == "multibox-classifier-ilsvrc"
    assert RECIPES["multibox-ilsvrc"].config["iou_threshold"] == 0.4
    for name, recipe in RECIPES.items():
        if name.startswith("multibox-") and name != "multibox-shapes":
            config = {k: v for k, v in recipe.config.items()} | {"backbone": "tiny", "image_size": 64}
            models.get(recipe.model)(classes=["cat", "dog"], **config)
    assert MultiBox.Config().alpha == 0.3 and MultiBox.Config().image_size == 220


def call(*arguments):
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout[result.stdout.index("{") :])


@pytest.mark.long  # the tables are compared above, as functions
def test_commands_train_and_print_the_tables(tmp_path):
    common = (
        "--data",
        "shapes",
        "--images",
        12,
        "--steps",
        2,
        "--batch-size",
        4,
        "--backbone",
        "tiny",
        "--json",
        "--set",
        "image_size=64",
    )
    call("train", "--model", "classifier", "--recipe", "multibox-classifier-voc12", *common, "--out", tmp_path / "c")
    classifier = tmp_path / "c" / "best.weights.h5"
    assert "val_top1" in (tmp_path / "c" / "results.csv").read_text()
    call("train", "--model", "multibox", "--recipe", "multibox-voc12", *common, "--out", tmp_path / "l")
    localizer = MultiBox(weights=tmp_path / "l" / "last.weights.h5")
    assert localizer.priors.shape == (100, 4) and localizer.config.backbone == "tiny"
    data = ("--data", "shapes", "--images", 4, "--json")
    table = call("multibox", "table-1", "--classifier", classifier, *data)["rows"]["DeepMultiBox"]
    assert "mean" in table and "star" in table
    table = call("multibox", "table-2", "--classifier", classifier, *data)["rows"]
    assert set(table["Classify GT directly"]) == {"det@5", "class@5"} and len(table) == 6
    found = call("multibox", "figure-1", *data, "--out", tmp_path / "1.png")
    assert found["rows"]["One shot (max center crop)"]["@100"] > 0.7 and (tmp_path / "1.png").stat().st_size > 5000
    found = call("multibox", "figure-5", "multibox=shapes", "ssd300=shapes", *data, "--out", tmp_path / "5.png")
    assert found["rows"]["ssd300=shapes"]["AUC"] > 0.8 and (tmp_path / "5.png").stat().st_size > 5000


def test_the_embedded_localizer_finds_most_objects_with_ten_boxes():
    metrics = call("evaluate", "--model", "multibox", "--weights", "shapes", "--seed", 77, "--images", 60, "--json")
    assert metrics["detection_rate@10"] > 0.8 and metrics["detection_rate@100"] >= metrics["detection_rate@10"]
