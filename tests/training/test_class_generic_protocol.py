"""ClassGeneric's trainings from one kind of label, held-out classes, and Tables 1 and 2, as functions and commands."""

import json
from unittest import mock

import keras
import numpy as np
import pytest
from small_models import STAGES, build
from typer.testing import CliRunner

from keras_det import cli, models
from keras_det.backbones import tiny_net
from keras_det.data import Shapes
from keras_det.data.by_class import chosen_classes, images_without
from keras_det.training import RECIPES, Recipe, class_generic, train
from keras_det.training.evaluation import evaluate

RECIPE = "class-generic-ilsvrc-held-out-pretrained"


@pytest.fixture(scope="module")
def scenes():
    return Shapes(24, seed=3, size=64, objects=(1, 2))


@pytest.mark.parametrize(("supervision", "still"), [("boxes", "recognition"), ("classes", "boxes")])
def test_the_other_kind_of_label_trains_nothing(supervision, still, scenes, tmp_path):
    model = build("class_generic", classes=scenes.classes)
    before = {name: getattr(model, name).get_weights() for name in ("boxes", "recognition")}
    sgd = {"class_name": "SGD", "momentum": 0.9}
    recipe = Recipe("class_generic", "shapes", "", supervision=supervision, batch_size=4, steps=2, optimizer=sgd)
    rows = train(model, recipe, scenes.take(8), tmp_path, scenes.take(4), verbose=0)
    for name, weights in before.items():
        same = [np.array_equal(a, b) for a, b in zip(weights, getattr(model, name).get_weights())]
        assert all(same) == (name == still), name
    assert ("val_top1" in rows[0]) == (supervision == "classes") != ("val_pr_auc" in rows[0])


def test_supervision_of_a_model_that_has_no_choice_is_refused(scenes, tmp_path):
    recipe = Recipe("multibox", "shapes", "", supervision="boxes", batch_size=4, steps=2)
    with pytest.raises(ValueError, match="`supervision` means nothing for MultiBox"):
        train(build("multibox"), recipe, scenes, tmp_path, verbose=0)
    with pytest.raises(ValueError, match="must be one of both, boxes, classes"):
        recipe.replace(supervision="none").batch_options(build("class_generic"))


def test_every_recipe_trains_by_labels_that_its_model_takes():
    of_paper = {name: recipe for name, recipe in RECIPES.items() if recipe.model == "class_generic"}
    assert {recipe.supervision for recipe in of_paper.values()} == {"boxes", "classes"}
    for name, recipe in RECIPES.items():
        assert recipe.supervision is None or recipe.supervision in models.get(recipe.model).supervisions, name
        assert recipe.init_from is None or recipe.init_from in RECIPES, name
    cells = {(recipe.supervision, recipe.without_classes, recipe.init_from is None) for recipe in of_paper.values()}
    assert cells == {(s, w, b) for s, w in (("boxes", ()), ("boxes", 100), ("classes", ())) for b in (True, False)}


def test_chosen_classes_are_always_the_same_and_in_order():
    names = tuple("abcdefgh")
    assert chosen_classes(names, 3) == chosen_classes(names, 3) and len(set(chosen_classes(names, 8))) == 8
    assert chosen_classes(names, ("f", "b")) == ("b", "f")
    for wrong, said in ((9, "1 to 8 .* got 9"), (0, "got 0"), (("b", "z"), "must be among .* got 'z'")):
        with pytest.raises(ValueError, match=said):
            chosen_classes(names, wrong)


def test_images_without_classes_show_none_of_them(scenes):
    view = images_without(scenes, ("star", "ring"))
    shown = [{scenes.classes[k] for k in scenes.annotation(i).labels} for i in range(len(scenes))]
    assert len(view) == sum(not kinds & {"star", "ring"} for kinds in shown) > 0 and view.classes == scenes.classes
    with pytest.raises(ValueError, match="shows one of 6"):
        images_without(scenes, 6)


def test_recognition_counts_images_that_one_by_one_are_named_rightly(scenes):
    model = build("class_generic", classes=scenes.classes)
    right = np.zeros((len(scenes), 6))
    for i in range(len(scenes)):
        image = keras.ops.image.resize(scenes.image(i)[None].astype("float32"), (64, 64))
        ranked = np.argsort(-np.asarray(model(image)["classes"])[0])
        right[i] = [bool(set(ranked[:k]) & set(scenes.annotation(i).labels)) for k in range(1, 7)]
    found = class_generic.recognition(model, scenes, batch_size=5)
    assert found == {"top1": pytest.approx(right[:, 0].mean()), "top5": pytest.approx(right[:, 4].mean())}
    with pytest.raises(ValueError, match="are not the model's"):
        class_generic.recognition(build("class_generic"), scenes)


def test_evaluation_has_the_whole_tail(scenes):
    """A network that is sure of nothing: each of its boxes has less than a thousandth, and some lie on objects."""
    grid = {"grid_shape": (16, 16, 6, 4), "scales": (0.1, 0.9), "max_candidates": 2000, "max_detections": 1000}
    model = build("class_generic", classes=scenes.classes, iou_threshold=1.0, **grid)
    model.boxes.kernel.assign(np.zeros(model.boxes.kernel.shape))
    metrics, evaluator = evaluate(model, scenes.take(4))
    assert model.grid.size > 2000 and evaluator.results().scores.max() < 0.001
    assert len(evaluator.results().scores) == 4 * 1000 and metrics["pr_auc"] > 0
    assert not model.detect(scenes.image(0))[0].scores.size


def call(*arguments):
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout[result.stdout.index("{") :])


@pytest.mark.slow
def test_commands_train_a_cell_and_print_the_tables(tmp_path):
    start = tmp_path / "pretrained.weights.h5"
    build("class_generic", classes=Shapes(1).classes).save_weights(start)
    options = ("--data", "shapes", "--images", 9, "--without-classes", 2, "--steps", 1, "--batch-size", 2, "--json")
    with mock.patch.object(tiny_net, "STAGES", STAGES):
        call("train", "--recipe", RECIPE, "--weights", start, *options, "--out", tmp_path / "run")
        about = json.loads((tmp_path / "run" / "args.json").read_text())
        assert about["recipe"]["without_classes"] == 2 and 0 < about["images"] < 9
        assert about["recipe"]["supervision"] == "boxes"
        for table in ("table-1", "table-2"):
            weights = ("--pretrained", tmp_path / "run" / "last.weights.h5", "--random", start)
            options = ("--held-out", 2, "--images", 20, "--out", tmp_path / "1.png", "--json")
            rows = call("class-generic", table, *weights, *options)["rows"]
            assert {name: list(row) for name, row in rows.items()} == {"pretrained": ["AUC"], "random": ["AUC"]}
            assert (tmp_path / "1.png").stat().st_size > 5000
