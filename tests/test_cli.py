"""The command, as a user runs it: in a process of its own where exit codes and streams matter, else in this one."""

import json
import logging
import os
import platform
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import keras_det
from keras_det import cli
from keras_det.cli import command, printing
from keras_det.data import load
from keras_det.training import planning

runner = CliRunner()


def call(*arguments):
    """The command's result in this process, an error raised."""
    return runner.invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    scenes = load("shapes", images=2, seed=11)
    for i in range(2):
        Image.fromarray(scenes.image(i)).save(folder / f"scene{i}.png")
    return folder


def test_help_names_every_command():
    text = call("--help").output
    for name in ("demo", "models", "detect", "train", "evaluate", "export"):
        assert name in text


@pytest.mark.parametrize("argument", ["--version", "--help", "--show-completion"])
def test_what_needs_no_tensorflow_imports_none(argument):
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-X", "importtime", "-m", "keras_det", argument]  # stderr names what is imported
    command += ["bash"] if argument == "--show-completion" else []
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    imported = set(re.findall(r"\| +(\w+)$", done.stderr, flags=re.M))
    assert "typer" in imported and not imported & {"tensorflow", "keras", "matplotlib"}
    versions = [keras_det.__version__, platform.python_version(), keras.__version__, np.__version__]
    if argument == "--version":
        assert done.stdout.startswith("keras-det ") and all(version in done.stdout for version in versions)
    if argument == "--show-completion":
        assert "_KERAS_DET_COMPLETE=complete_bash" in done.stdout
        assert done.stdout.splitlines()[-1].endswith(" keras-det")


def test_the_shell_completes_commands_and_options():
    environment = {**os.environ, "_KERAS_DET_COMPLETE": "complete_bash"}
    run = [sys.executable, "-m", "keras_det"]
    for words, wanted in {"keras-det e": {"evaluate", "export"}, "keras-det detect --ou": {"--out"}}.items():
        typed = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run(run, capture_output=True, text=True, env=environment | typed)
        assert set(done.stdout.split()) == wanted, (words, done.stdout, done.stderr)


def test_models_and_weights_as_json():
    found = {model["name"]: model for model in json.loads(call("models", "--json").stdout)}
    assert {"shapes", "voc", "coco"} <= set(found["ssd300"]["weights"]) and not found["classifier"]["is_detector"]
    entries = json.loads(call("weights", "list", "--json").stdout)
    assert {"shapes", "voc", "coco"} <= {entry["name"] for entry in entries if entry["model"] == "SSD300"}
    assert 35_641_826 in {entry["parameters"] for entry in entries}


def test_detect_prints_json_alone_and_draws(images, tmp_path):
    result = call("detect", images / "*.png", "--out", tmp_path / "out", "--json")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    truth = load("shapes", images=2, seed=11)
    for i, one in enumerate(found):
        assert one["image"].endswith(f"scene{i}.png")
        names = {truth.classes[k] for k in truth.annotation(i).labels}
        assert names & {o["name"] for o in one["objects"]}
        with Image.open(one["drawn"]) as drawn:
            assert drawn.size == (300, 300)
            assert (np.asarray(drawn) != truth.image(i)).any()


def test_detect_goes_on_after_a_corrupt_file_and_says_so(images, tmp_path):
    for path in images.iterdir():
        (tmp_path / "in" / path.name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "in" / "scene00.jpg").write_bytes(b"no image")
    (tmp_path / "in" / "notes.txt").write_text("no image either")
    result = call("detect", tmp_path / "in", "--out", tmp_path / "out", "--json")  # a folder
    assert result.exit_code == 1 and "scene00.jpg" in result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["image"].rpartition("/")[2] for line in lines] == ["scene0.png", "scene00.jpg", "scene1.png"]
    by_name = {line["image"].rpartition("/")[2]: line for line in lines}
    assert sorted(by_name) == ["scene0.png", "scene00.jpg", "scene1.png"]
    assert "not an image" in by_name["scene00.jpg"]["error"] and by_name["scene1.png"]["objects"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scene0.png", "scene1.png"]


def test_detect_streams_what_it_finds(images, tmp_path, monkeypatch, capsys):
    """Results are printed while later files are yet to be read, and drawn images have names of their own."""
    from keras_det.models import inputs

    image, seen = Image.open(images / "scene0.png"), []
    for k in range(20):
        (tmp_path / f"{k % 2}").mkdir(exist_ok=True)
        image.save(tmp_path / f"{k % 2}" / f"{k // 2:02}.png")
    read = inputs.read_image

    def counting(path):
        seen.append(len(capsys.readouterr().out.splitlines()))
        return read(path)

    monkeypatch.setattr(inputs, "read_image", counting)
    with pytest.raises(SystemExit) as end:
        cli.app(["detect", str(tmp_path / "0"), str(tmp_path / "1"), "--out", str(tmp_path / "out")])
    assert end.value.code == 0
    printed = sum(seen)
    assert printed >= 8 and len(seen) == 20
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == 20 and names[:3] == ["00-2.png", "00.png", "01-2.png"]


def test_json_has_null_for_what_is_not_finite(capsys):
    printing.print_json({"a": float("nan"), "b": [np.float32("inf"), 1.5, np.int64(3)], "c": (None, "nan")})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5, 3.0], "c": [None, "nan"]}


def test_classes_without_objects_are_null_and_in_no_mean():
    result = json.loads(call("evaluate", "--images", 1, "--seed", 5, "--json").stdout)
    absent = [name for name, value in result.items() if name.startswith("ap50/") and value is None]
    assert absent
    for mean, each in (("map50", "ap50"), ("map50_voc07", "ap50_voc07"), ("AP", "AP"), ("AP50", "AP50")):
        values = [v for name, v in result.items() if name.startswith(f"{each}/")]
        assert [v is None for v in values].count(True) == len(absent)
        assert result[mean] == pytest.approx(np.mean([v for v in values if v is not None]), abs=1e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six scenes with VOC XML as tools write it; names with blanks, two images cut short."""
    root, scenes = tmp_path_factory.mktemp("data"), load("shapes", images=6, seed=11)
    for i in range(6):
        Image.fromarray(scenes.image(i)).save(root / f"scene {i}.jpg", quality=95)
        objects = "".join(
            f"<object><name>{scenes.classes[label]}</name><difficult>Unspecified</difficult><bndbox>"
            f"<xmin>{x0 * 300 + 1}</xmin><ymin>{y0 * 300 + 1}</ymin><xmax>{x1 * 300}</xmax><ymax>{y1 * 300}</ymax>"
            "</bndbox></object>"
            for label, (y0, x0, y1, x1) in zip(scenes.annotation(i).labels, scenes.annotation(i).boxes)
        )
        (root / f"scene {i}.xml").write_text(f"<annotation>{objects}</annotation>")
    for i in (3, 5):
        path = root / f"scene {i}.jpg"
        path.write_bytes(path.read_bytes()[:2000])
    return root


@pytest.mark.parametrize("command", ["evaluate", "train", "train --dry-run"])
def test_too_many_unreadable_images_are_one_line_and_exit_code_2(folder, command, tmp_path, monkeypatch, capsys):
    more = ["--backbone", "tiny", "--steps", "2", "--batch-size", "6"] if "train" in command else []
    monkeypatch.setattr(sys, "argv", ["keras-det", *command.split(), "--data", f"folder:{folder}", *more])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main()
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert end.value.code == 2 and "2 of the 6 images" in last and "--max-unreadable" in last and "scene 3.jpg" in last


def test_what_the_package_logs_is_a_line_on_stderr(monkeypatch, capsys):
    monkeypatch.setattr(command, "app", lambda **_: logging.getLogger("keras_det.models.any").warning("1 of [2] :x:"))
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr() == ("", "1 of [2] :x:\n")


def test_results_are_written_for_servers_and_read_again(folder, tmp_path):
    common = ["--data", f"folder:{folder}", "--max-unreadable", 0.5, "--json"]
    for path in (tmp_path / "r.json", tmp_path / "voc"):
        written = json.loads(call("evaluate", *common, "--write-results", path).stdout)
        again = json.loads(call("evaluate", *common, "--results", path).stdout)
        assert written["results"] == str(path)
        for name in ("map50", "AP", "map50_voc07"):
            assert again[name] == pytest.approx(written[name], abs=1e-6)
    (tmp_path / "bare").mkdir()
    for i in (0, 1):
        (tmp_path / "bare" / f"scene {i}.jpg").write_bytes((folder / f"scene {i}.jpg").read_bytes())
    result = call("evaluate", "--data", f"folder:{tmp_path / 'bare'}", "--write-results", tmp_path / "un", "--json")
    assert "no annotations" in result.stderr and "map50" not in json.loads(result.stdout)
    lines, other = ((tmp_path / f / "comp4_det_test_ring.txt").read_text().split() for f in ("un", "voc"))
    assert lines[:2] == other[:2] == ["scene", "0"]
    np.testing.assert_allclose(np.float64(lines[2:7]), np.float64(other[2:7]), atol=1e-3)  # batches of other sizes


def test_evaluate_reports_the_figures():
    result = json.loads(call("evaluate", "--images", 24, "--seed", 5, "--json").stdout)
    assert result["images"] == 24
    assert result["map50"] > 0.8
    assert {"AP", "AP50", "map50_voc07"} <= set(result)


@pytest.mark.slow
def test_train_and_resume_make_a_run(tmp_path):
    common = [
        "train",
        "--data",
        "shapes",
        "--backbone",
        "tiny",
        "--images",
        8,
        "--batch-size",
        4,
        "--out",
        tmp_path / "run",
    ]
    options = ["--accumulate", 2, "--clip-norm", 5, "--ema", 0.9, "--schedule", "step", "--warmup", 1]
    first = json.loads(call(*common, *options, "--steps", 2, "--save-every", 1, "--json").stdout)
    assert [row["epoch"] for row in first["epochs"]] == [1]
    recipe = json.loads((tmp_path / "run" / "args.json").read_text())["recipe"]
    given = {"accumulate": 2, "clip_norm": 5.0, "ema": 0.9, "schedule": "step", "warmup": 1, "save_every": 1}
    assert {name: recipe[name] for name in given} == given
    more = json.loads(call(*common, *options, "--steps", 4, "--resume", "--json").stdout)
    assert [row["epoch"] for row in more["epochs"]] == [1, 2]


def test_recipes_are_listed_with_score_cost_and_command():
    text = call("train", "--list-recipes", "--all").output
    assert "ssd300-voc0712: ssd300 on voc:VOCdevkit, 120,000 steps of 32 images." in text
    assert "77.2 mAP on VOC2007 test" in text and "about 5 GPU hours" in text
    assert "keras-det train --recipe ssd300-voc0712 --out runs/ssd300-voc0712\n" in text


@pytest.fixture
def untimed(monkeypatch):
    """Dry runs whose steps are not timed."""
    monkeypatch.setattr(planning, "_measured", lambda *args: {})


def test_a_dry_run_says_what_would_be_and_writes_nothing(tmp_path, monkeypatch, untimed):
    monkeypatch.chdir(tmp_path)
    options = ["--data", "shapes", "--backbone", "tiny", "--images", 8, "--batch-size", 4, "--steps", 6]
    plan = json.loads(call("train", *options, "--precision", "mixed_bfloat16", "--dry-run", "--json").stdout)
    assert (plan["images"], plan["steps"], plan["epochs"], plan["precision"]) == (8, 6, 3, "mixed_bfloat16")
    assert plan["batch"]["images"] == [4, 300, 300, 3] and plan["outputs"]["offsets"] == [4, 8732, 4]
    assert plan["memory"]["activations"] > plan["memory"]["parameters"] > 3
    assert list(tmp_path.iterdir()) == []


def test_a_weight_file_is_added_by_hand(tmp_path, monkeypatch):
    from keras_det.weights.registry import EMBEDDED_FOLDER

    monkeypatch.setenv("KERAS_DET_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["keras-det", "weights", "add", str(EMBEDDED_FOLDER / "ssd300_shapes.weights.h5")])
    with pytest.raises(SystemExit) as end:  # it is nobody's published file
        cli.main()
    assert end.value.code == 2


def test_set_gives_the_constructor_its_arguments(untimed):
    options = ["--model", "multibox", "--data", "shapes", "--backbone", "tiny", "--images", 8, "--batch-size", 4]
    options += ["--set", "boxes=7", "--set", "matching=predictions", "--set", "image_size=64", "--dry-run", "--json"]
    assert json.loads(call("train", *options).stdout)["outputs"]["boxes"] == [4, 7, 4]


WRONG = {
    "no such competition": (["evaluate", "--competition", "comp5"], "'comp3', 'comp4'"),
    "a rule for files": (["evaluate", "--missing", "skip"], "--missing is for annotation files"),
    "an empty folder": (["detect", "."], "holds no images"),
    "no such argument": (["train", "--data", "shapes", "--set", "expnd=false"], "did you mean expand?"),
    "no value": (["train", "--data", "shapes", "--set", "expand"], "NAME=VALUE"),
    "no such image": (["detect", "absent.png"], "absent.png"),
    "no such model": (["detect", "x.png", "--model", "yolo"], "ssd300"),
    "no such weights": (["evaluate", "--weights", "imagined"], "imagined"),
    "no such data": (["evaluate", "--data", "mnist"], "mnist"),
    "seed without shapes": (["evaluate", "--data", "folder:/tmp", "--seed", "1"], "--seed"),
    "no such recipe": (["train", "--recipe", "soup"], "--list-recipes --all"),
    "nothing to resume": (["train", "--data", "shapes", "--backbone", "tiny", "--resume", "--out", "absent"], "resume"),
    "a recipe after another": (
        ["train", "--recipe", "ssd300-voc0712-coco"],
        "--weights runs/ssd300-coco/best.weights.h5",
    ),
    "classes have no networks": (["train", "--data", "shapes", "--by-class"], "--by-class"),
    "nothing to mine for": (["train", "--data", "shapes", "--mining-rounds", "2"], "--mining-rounds"),
    "no choice of labels": (
        ["train", "--data", "shapes", "--backbone", "tiny", "--images", "4", "--supervision", "boxes"],
        "--supervision means nothing",
    ),
    "no such class": (["train", "--data", "shapes", "--without-classes", "cat"], "--without-classes must be among"),
    "no such precision": (["train", "--data", "shapes", "--precision", "half"], "mixed_bfloat16"),
    "no such strategy": (["train", "--data", "shapes", "--strategy", "pipeline"], "mirrored"),
    "no detector": (["detect", "x.png", "--model", "classifier"], "gives no boxes"),
    "trained in parts": (
        ["train", "--model", "multibox_detector", "--data", "shapes"],
        "`multibox` and as `classifier`",
    ),
    "no weights of a curve": (["multibox", "figure-5", "ssd300"], "MODEL=WEIGHTS"),
    "no such format": (["export", "--out", "x", "--format", "caffe"], "saved_model"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_one_line_and_exit_code_2(case, monkeypatch, tmp_path, capsys):
    arguments, named = WRONG[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["keras-det", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("keras-det: error:") and named in error
    assert "\n" not in error


def test_a_wrong_option_exits_with_2_and_no_traceback():
    result = subprocess.run([sys.executable, "-m", "keras_det", "detect", "--wrong"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr and "--wrong" in result.stderr


def test_help_needs_no_tensorflow():
    code = "import sys; import keras_det.cli; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
