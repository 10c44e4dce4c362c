"""DetectorNet class by class: trained, resumed, put together, pruned, and its table and figure, as commands."""

import json
from unittest import mock

import keras
import numpy as np
import pytest
from small_models import STAGES, build
from typer.testing import CliRunner

from keras_det import cli
from keras_det.backbones import tiny_net
from keras_det.data import Shapes, relabel
from keras_det.metrics import GroundTruth, Predictions
from keras_det.models import Classifier, DetectorNet
from keras_det.training import RECIPES, Recipe, detectornet

CLASSES = ("ellipse", "star")
ADAGRAD = {"class_name": "Adagrad"}


@pytest.fixture(autouse=True)
def half_the_layers():
    with mock.patch.object(tiny_net, "STAGES", STAGES):
        yield


@pytest.fixture(scope="module")
def scenes():
    return relabel(Shapes(12, seed=2, size=64), {name: name for name in CLASSES})


def network(classes=CLASSES, mode="class", **arguments):
    return build("detectornet", classes=classes, mode=mode, **arguments)


@pytest.fixture
def files(tmp_path):
    paths = []
    for k, name in enumerate(CLASSES):
        one = network([name])
        for variable in one.trainable_variables:
            variable.assign(variable + 0.01 * k)
        one.save_weights(tmp_path / f"{name}.weights.h5")
        paths.append(tmp_path / f"{name}.weights.h5")
    return paths


@pytest.mark.slow
def test_a_stopped_training_goes_on_with_its_class(scenes, tmp_path):
    recipe = Recipe("detectornet", "shapes", "", batch_size=2, steps=1, optimizer=ADAGRAD)
    made = []

    def make(name):
        made.append(name)
        if len(made) == 2:
            raise KeyboardInterrupt
        return network([name], negative_fraction=0.2)

    with pytest.raises(KeyboardInterrupt):
        detectornet.train_by_class(make, recipe, scenes, tmp_path, verbose=0)
    with pytest.raises(FileExistsError, match="resume"):
        detectornet.train_by_class(make, recipe, scenes, tmp_path, verbose=0)
    rows = detectornet.train_by_class(make, recipe, scenes, tmp_path, resume=True, verbose=0)
    assert made == ["ellipse", "star", "ellipse", "star"] and list(rows) == ["star"]
    assert not detectornet.train_by_class(make, recipe, scenes, tmp_path, resume=True, verbose=0)
    assert DetectorNet(weights=detectornet.files_of(tmp_path)[1]).classes == ("star",)


@pytest.mark.parametrize("mode", ["class", "mask", "all"])
def test_networks_put_together_give_their_own_masks(mode, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32")
    paths, masks = [], []
    for k, name in enumerate(CLASSES):
        one = network([name], mode)
        for variable in one.trainable_variables:
            variable.assign(variable * (1 + 0.1 * k))
        one.save_weights(tmp_path / f"{k}.weights.h5")
        paths.append(tmp_path / f"{k}.weights.h5")
        masks.append(np.asarray(one(images)["masks"]))
    whole = detectornet.assemble(paths)
    assert whole.classes == CLASSES and whole.config.mode == ("class" if mode == "all" else mode)
    np.testing.assert_allclose(whole(images)["masks"], np.concatenate(masks, 1), atol=1e-6)


def test_what_cannot_be_put_together_is_named(files, tmp_path):
    with pytest.raises(ValueError, match="star.* more than once"):
        detectornet.assemble([files[1], files[1]])
    network(["cat"], d=4).save_weights(tmp_path / "d.weights.h5")
    with pytest.raises(ValueError, match="d.weights.h5 has another d than"):
        detectornet.assemble([*files, tmp_path / "d.weights.h5"])
    network(["cat", "dog"], "all").save_weights(tmp_path / "all.weights.h5")
    with pytest.raises(ValueError, match="one network for 2 classes"):
        detectornet.assemble([files[0], tmp_path / "all.weights.h5"])


def test_a_classifier_of_more_classes_prunes_and_is_saved_along(files, tmp_path):
    judge = build("classifier", classes=["ring", *CLASSES])
    whole = detectornet.assemble(files, judge)
    whole.save_weights(tmp_path / "whole.weights.h5")
    again = DetectorNet(weights=tmp_path / "whole.weights.h5")
    np.testing.assert_array_equal(again.classifier.head.kernel, judge.head.kernel)
    boxes, labels = np.tile(np.float32([[[0.1, 0.1, 0.6, 0.6]]]), (1, 2, 1)), np.array([[0, 1]], "int32")
    for verdict, kept in ((0, []), (1, []), (2, [0]), (3, [1])):  # background, ring, ellipse, star
        again.classifier.head.kernel.assign(np.zeros(judge.head.kernel.shape))
        again.classifier.head.bias.assign(np.eye(4)[verdict])
        images = np.zeros((1, 64, 64, 3), "float32")
        _, scores, kinds = again._pruned(images, boxes, np.float32([[0.9, 0.8]]), labels)
        assert np.asarray(kinds)[np.asarray(scores) > 0].tolist() == kept
    with pytest.raises(ValueError, match="`classifier` must have"):
        whole.pruned_by(build("classifier", classes=["ring"]))


def test_it_starts_from_a_classifiers_file(tmp_path):
    options = {"backbone": "alexnet", "image_size": 67, "width": 0.02}
    keras.utils.set_random_seed(1)
    classifier = Classifier(classes=["x", "y", "z"], background=True, **options)
    classifier.save_weights(tmp_path / "c.weights.h5")
    model = DetectorNet(weights=tmp_path / "c.weights.h5", classes=CLASSES, mode="mask", d=4)
    assert len(model.mask_backbones) == 10 and model.image_size == (67, 67)
    for each in model.mask_backbones:
        for ours, theirs in zip(each.get_weights(), classifier.features.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_papers_recipe_trains_class_by_class_from_the_classifier():
    recipe = RECIPES["detectornet-voc12"]
    assert recipe.by_class and recipe.config["mode"] == "mask" and recipe.schedule == "constant"
    assert RECIPES[recipe.init_from].model == "classifier" and recipe.steps * recipe.batch_size == pytest.approx(
        1e7, rel=0.01
    )


def test_precision_and_recall_of_a_class_and_of_all():
    truth = GroundTruth(
        CLASSES, ("a", "b"), [[10, 10]] * 2, [0, 0, 1], [[0, 0, 4, 4], [5, 5, 9, 9], [0, 0, 9, 9]], [0, 1, 1]
    )
    boxes = [[0, 0, 4, 4], [0, 5, 2, 9], [5, 5, 9, 9]]
    found = Predictions([0, 0, 0], boxes, [0.9, 0.8, 0.7], [0, 1, 1])
    for name, recall, precision in ((None, [1, 1, 2], [1, 1 / 2, 2 / 3]), ("star", [0, 1.5], [0, 1 / 2])):
        line = detectornet.precision_recall(truth, found, name)
        np.testing.assert_allclose(line, [np.array(recall) / 3, precision])
    table = detectornet.table_1({"x": (truth, found)})["x"]
    assert table["ellipse"] == 1 and table["mean"] == pytest.approx((1 + table["star"]) / 2)
    with pytest.raises(ValueError, match="no class 'cat'"):
        detectornet.precision_recall(truth, found, "cat")


def call(*arguments):
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout[result.stdout.index("{") :])


@pytest.mark.slow
def test_commands_train_join_and_measure(tmp_path):
    judge = Classifier(classes=Shapes(1).classes, background=True, backbone="tiny", image_size=64)
    judge.save_weights(tmp_path / "c.weights.h5")
    options = ("--recipe", "detectornet-voc12", "--weights", tmp_path / "c.weights.h5", "--data", "shapes")
    options += (
        "--set",
        "mode=class",
        "--set",
        "d=6",
        "--set",
        "aspect_ratios=[1.0]",
        "--steps",
        1,
        "--batch-size",
        1,
        "--images",
        8,
    )
    source = relabel(Shapes(8), {name: name for name in CLASSES})
    with mock.patch.multiple(cli.train, load_source=lambda *_: source, _val_source=lambda *_: None):
        assert call("train", *options, "--dry-run", "--json")["outputs"] == {"masks": [1, 1, 5, 6, 6]}
        found = call("train", *options, "--out", tmp_path / "run", "--json")
    assert list(found["epochs"]) == list(CLASSES)
    weights = ("--classifier", tmp_path / "c.weights.h5")
    whole = tmp_path / "whole.weights.h5"
    assert call("detectornet", "assemble", tmp_path / "run", *weights, "--out", whole, "--json")["classes"] == [
        *CLASSES
    ]
    assert DetectorNet(weights=whole).classifier is not None
    data = ("--data", "shapes", "--images", 1, "--json")

    def uncompiled(self, procedure=None):
        return lambda images: (procedure or self._serve)(images, self._all_boxes)

    with mock.patch.object(DetectorNet, "_compile", uncompiled):
        rows = call("detectornet", "table-1", "--weights", tmp_path / "run", *weights, *data)["rows"]
        assert {"mean", *CLASSES} < set(rows["DetectorNet"])
        out = tmp_path / "4.png"
        rows = call("detectornet", "figure-4", "--weights", whole, "--class", "star", "--out", out, *data)["rows"]
    assert set(rows) == {"first stage", "after refinement"} and out.stat().st_size > 5000
