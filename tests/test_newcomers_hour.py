"""A newcomer's hour: from a folder of labels in YOLO's form to a page in the browser, by the commands alone."""

import fractions
import json

import numpy as np
import pytest
from PIL import Image
from small_models import STAGES
from typer.testing import CliRunner

from keras_det import cli
from keras_det.backbones import tiny_net
from keras_det.data import load
from keras_det.data.video import Writer
from keras_det.data.writing import write
from keras_det.export import to_web


def call(*arguments):
    """The command's result in this process, an error raised."""
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.needs("av")
def test_from_labels_to_the_browser(tmp_path, monkeypatch):
    pytest.importorskip("tf2onnx")
    try:
        to_web.runtime_package()
    except ConnectionError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(tiny_net, "STAGES", STAGES)
    data, run = tmp_path / "mine", tmp_path / "run"
    splits = {name: load("shapes", images=n, seed=n, size=96) for name, n in (("train", 8), ("val", 4))}
    write(splits, "yolo", data)
    with Writer(tmp_path / "clip.mp4", fractions.Fraction(10)) as writer:
        for i in range(5):
            writer.add(Image.fromarray(np.roll(splits["val"].image(0), 4 * i, axis=1)))

    found = json.loads(
        call("data", data, "--split", "train", "--split", "val", "--out", tmp_path / "look", "--json").stdout
    )
    assert found["splits"]["train"]["images"] == 8 and found["shared_images"] == []
    options = ("--backbone", "tiny", "--set", 'sources=["stage5"]', "--epochs", 2, "--batch-size", 4, "--out", run)
    said = call("train", "--data", data, "--split", "train", "--val-split", "val", *options).stdout
    assert f"{run / 'best.weights.h5'}" in said
    weights = ("--weights", run / "best.weights.h5")
    metrics = json.loads(call("evaluate", *weights, "--report", tmp_path / "report", "--json").stdout)
    assert metrics["images"] == 4 and (tmp_path / "report" / "report.html").stat().st_size > 10_000
    shown = ("--score-threshold", 0.01, "--json", "--out", tmp_path / "found.mp4")
    rows = call("detect", tmp_path / "clip.mp4", *weights, *shown).stdout.splitlines()
    assert [json.loads(row)["frame"] for row in rows] == list(range(5)) and (tmp_path / "found.mp4").stat().st_size
    call("export", *weights, "--format", "web", "--out", tmp_path / "page")
    names = ("index.html", "model.onnx", "model.json", "runtime/ort.wasm.min.mjs")
    assert all((tmp_path / "page" / name).is_file() for name in names)
