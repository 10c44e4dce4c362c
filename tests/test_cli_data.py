"""`keras-det data` on one's own data."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from keras_det import cli


def call(*arguments):
    """The command's result in this process, an error raised."""
    return CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture
def yolo(tmp_path):
    """Two splits that share an image; one faulty line."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for part in ("images", "labels"):
            (tmp_path / "data" / part / split).mkdir(parents=True)
        for i in range(2):
            image = rng.integers(0, 256, (60, 80, 3), dtype="uint8") if i else np.zeros((60, 80, 3), "uint8")
            Image.fromarray(image).save(tmp_path / "data" / "images" / split / f"{i}.png")
            lines = "0 0.5 0.5 0.5 0.5\n" + "1 0.5 0.5 0.2 0.9\n9 0 0 1 1\n" * i
            (tmp_path / "data" / "labels" / split / f"{i}.txt").write_text(lines)
    (tmp_path / "data" / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")
    return tmp_path / "data"


def test_counts_issues_and_pictures(yolo, tmp_path):
    result = call("data", yolo, "--split", "train", "--split", "val", "--out", tmp_path / "look", "--json")
    assert f"{yolo} is taken as yolo:{yolo}" in result.stderr
    found = json.loads(result.stdout)
    assert {name: one["images"] for name, one in found["splits"].items()} == {"train": 2, "val": 2}
    assert found["splits"]["train"]["classes"] == {"cat": 2, "dog": 1}
    assert [len(files) for files in found["shared_images"]] == [2]
    assert len((tmp_path / "look" / "issues.txt").read_text().splitlines()) == 2
    for name in ("sheet.png", "sizes.png"):
        assert min(Image.open(tmp_path / "look" / name).size) > 50


def test_words_of_a_split(yolo):
    result = call("data", f"yolo:{yolo}", "--split", "val")
    assert "2, 0 of them without objects" in result.stdout and "dog" in result.stdout
    assert "expected a class in 0 .. 1, got '9'" in result.stderr


@pytest.mark.slow
def test_default_boxes_are_counted(yolo):
    found = json.loads(call("data", f"yolo:{yolo}", "--split", "train", "--model", "ssdlite320", "--json").stdout)
    assert found["splits"]["train"]["matched_per_object"] > 1
    with pytest.raises(ValueError, match="--model must match boxes with objects, such as ssd300; overfeat does not"):
        call("data", f"yolo:{yolo}", "--model", "overfeat")


def test_another_form(yolo, tmp_path):
    splits = ("--split", "train", "--split", "val")
    result = call("data", f"yolo:{yolo}", *splits, "--convert", "coco", "--out", tmp_path / "coco")
    assert "2 images of train, 2 images of val, written and read again" in result.stdout
    assert "got '9'" in result.stderr  # an object that was left out
    assert (
        json.loads(call("data", tmp_path / "coco", "--split", "val", "--json").stdout)["splits"]["val"]["objects"] == 3
    )
    with pytest.raises(ValueError, match="--convert needs --out"):
        call("data", f"yolo:{yolo}", "--convert", "voc")


def test_what_training_would_refuse_is_said(yolo):
    for file in (yolo / "labels" / "val").iterdir():
        file.write_text("7 0.5 0.5 0.5 0.5\n9 0.5 0.5 0.2 0.9\n")
    result = call("data", f"yolo:{yolo}", "--split", "val")
    assert "training would refuse this:" in result.stderr and "4 of 4 objects are faulty" in result.stderr
    found = json.loads(call("data", f"yolo:{yolo}", "--split", "val", "--split", "train", "--json").stdout)["splits"]
    assert "4 of 4 objects are faulty" in found["val"]["refused"] and found["train"]["refused"] is None


def test_a_sheet_is_drawn_of_what_can_be_read(yolo, tmp_path):
    (yolo / "images" / "train" / "0.png").write_bytes(b"no image")
    (yolo / "images" / "val" / "0.png").write_bytes(b"no image")
    call("data", f"yolo:{yolo}", "--split", "train", "--split", "val", "--out", tmp_path / "look")
    assert len((tmp_path / "look" / "issues.txt").read_text().splitlines()) == 4
    assert (tmp_path / "look" / "sheet.png").exists()
