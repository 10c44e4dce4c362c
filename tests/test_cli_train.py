"""What `keras-det train` says and refuses: where it starts, what it evaluates on, how it ends."""

import json
from unittest import mock

import numpy as np
import pytest
from PIL import Image
from small_models import STAGES
from typer.testing import CliRunner

from keras_det import cli
from keras_det.backbones import tiny_net
from keras_det.cli.train import _print_start
from keras_det.data import load
from keras_det.training import planning
from keras_det.training.run import read_csv

XML = "<annotation><object><name>{}</name><bndbox><xmin>4</xmin><ymin>4</ymin><xmax>40</xmax><ymax>50</ymax></bndbox>"
TINY = ("--backbone", "tiny", "--set", 'sources=["stage5"]')


def call(*arguments):
    """The command's result in this process, an error raised."""
    return CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight images with VOC XML; two lists, `train` of six and `val` of the others, and one of all."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for i in range(8):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype="uint8")).save(root / f"{i}.jpg")
        (root / f"{i}.xml").write_text(XML.format(("cat", "dog")[i % 2]) + "</object></annotation>")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for name, images in (("train", range(6)), ("val", (6, 7)), ("all", range(8))):
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{i}\n" for i in images))
    return f"folder:{root}"


def untraced():
    """Dry runs that trace and time no step, which other tests look at."""
    return mock.patch.multiple(planning, _measured=lambda *args: {}, memory=lambda *args: ({}, {}))


def planned(*arguments):
    """The plan of a dry run, and what was said beside it."""
    with untraced():
        result = call("train", *arguments, *TINY, "--batch-size", 2, "--steps", 2, "--dry-run", "--json")
    return json.loads(result.stdout), result.stderr


def test_no_image_is_trained_on_and_evaluated_on(folder):
    plan, said = planned("--data", folder, "--val-split", "val")  # which are among those without a list
    assert (plan["images"], plan["val_images"]) == (6, 2)
    assert "2 images that are evaluated on are left out of training: 6 remain" in said
    plan, said = planned("--data", folder, "--split", "train", "--val-split", "val")
    assert (plan["images"], plan["val_images"]) == (6, 2) and "left out" not in said
    with pytest.raises(ValueError, match="--val-split must not name all images of --split"):
        planned("--data", folder, "--split", "train", "--val-split", "all")


def test_a_fraction_is_held_out(folder):
    plan, said = planned("--data", folder, "--validation-fraction", 0.25)
    assert (plan["images"], plan["val_images"]) == (6, 2) and "no validation" not in said
    with pytest.raises(ValueError, match="--validation-fraction is of the training images"):
        planned("--data", folder, "--validation-fraction", 0.25, "--val-split", "val")


def test_without_validation_that_is_said(folder):
    plan, said = planned("--data", folder)
    assert (plan["images"], plan["val_images"]) == (8, 0)
    assert "no validation: --val-split, --val-data or --validation-fraction" in said


def test_the_plan_says_where_it_starts(folder):
    assert planned("--data", folder)[0]["starts_from"] == "random weights"
    options = ("--data", folder, "--weights", "shapes", "--batch-size", 2, "--steps", 2, "--dry-run", "--json")
    with untraced():
        assert json.loads(call("train", *options).stdout)["starts_from"] == "weights shapes"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--weights", "shapes", "--backbone-weights", "imagenet"), "--backbone-weights starts a network"),
        (("--model", "overfeat", "--backbone-weights", "imagenet"), "overfeat has no backbone"),
        (("--backbone", "tiny", "--backbone-weights", "imagenet"), "must be None with --backbone 'tiny'"),
        (("--epochs", 2, "--steps", 2), "--epochs and --steps"),
        (("--recipe", "detectornet-voc12", "--resume"), "starts from a trained network: .* --weights"),
        (("--recipe", "sliding-windows-voc12", "--resume"), "starts from a trained network: .* --weights"),
        (("--validation-fraction", 0), "--validation-fraction must be between 0 and 1; got 0"),
        (("--model", "multibox", "--augment", "ssd", "--backbone", "tiny"), "must be none for MultiBox"),
    ],
)
def test_options_that_contradict_each_other_are_refused(folder, options, named):
    with pytest.raises(ValueError, match=named):
        call("train", "--data", folder, *options, "--dry-run")


def test_a_run_ends_with_its_best_epoch_and_the_next_commands(folder, tmp_path, recwarn):
    options = ("--split", "train", "--val-split", "val", "--batch-size", 3, "--epochs", 2, "--augment", "flip")
    with mock.patch.object(tiny_net, "STAGES", STAGES):
        result = call("train", "--data", folder, *options, *TINY, "--out", tmp_path / "run")
    file, rows = tmp_path / "run" / "best.weights.h5", read_csv(tmp_path / "run" / "results.csv")
    best = max(rows, key=lambda row: row["val_map50"])
    assert [row["epoch"] for row in rows] == [1, 2]
    assert "ssd300 from random weights: 6 images of" in result.stderr and "validation: 2 images" in result.stderr
    assert f"best val_map50 {best['val_map50']:.4g}, epoch {best['epoch']} of 2: {file}" in result.stdout
    assert f"keras-det evaluate --weights {file} --data {folder} --split val" in result.stdout
    assert f"keras-det detect IMAGES --weights {file}" in result.stdout
    assert not [str(one.message) for one in recwarn if one.category is UserWarning]
    arguments = json.loads((tmp_path / "run" / "args.json").read_text())
    assert arguments["starts_from"] == "random weights" and arguments["recipe"]["augment"] == "flip"


def test_images_without_annotations_train_nothing(folder):
    with pytest.raises(ValueError, match="--data must have classes of objects to train on; images .* has none"):
        call("train", "--data", folder.replace("folder:", "images:"), "--dry-run")


def test_results_of_images_without_annotations_are_written(folder, tmp_path):
    images = folder.replace("folder:", "images:")
    call("evaluate", "--weights", "shapes", "--data", images, "--write-results", tmp_path / "found.json")
    assert isinstance(json.loads((tmp_path / "found.json").read_text()), list)


def test_a_backbone_that_could_start_from_imagenet_and_does_not_is_warned_of(capsys):
    network = mock.Mock(starts_from="random weights")
    network.config.to_dict.return_value, network.config.backbone = {"backbone": "vgg16"}, "vgg16"
    plan, source = mock.Mock(model="ssd300", steps=10, batch_size=2), load("shapes", images=3)
    _print_start(network, plan, source, None)
    assert "vgg16 starts at random; --backbone-weights imagenet" in " ".join(capsys.readouterr().err.split())
