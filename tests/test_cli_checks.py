"""What the command answers without TensorFlow: lists, help, and wrong input, with the name that may be meant."""

import json
import os
import subprocess
import sys
from unittest import mock

import pytest
import typer

from keras_det import backbones, models
from keras_det.cli import app, checks, export, sources, zoo
from keras_det.models.registry import MODELS
from keras_det.training.recipes import RECIPES, STARTS
from keras_det.weights.registry import EMBEDDED_FOLDER

# Runs command lines, read from stdin as JSON, where neither TensorFlow nor Keras can be imported.
RUN = """
import contextlib, io, json, sys
import keras_det
sys.modules["tensorflow"] = sys.modules["keras"] = None
from keras_det.cli import main, printing
from rich.console import Console
answers = []
for arguments in json.load(sys.stdin):
    sys.argv = ["keras-det", *arguments]
    out, printing.error_console.file = io.StringIO(), io.StringIO()
    code = None
    with contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            code = end.code
    answers.append([code, out.getvalue(), printing.error_console.file.getvalue()])
print(json.dumps(answers))
"""


def answers(commands, folder):
    """Exit code, stdout and stderr of each command."""
    environment = {**os.environ, "COLUMNS": "100", "KERAS_DET_HOME": str(folder / "home")}
    given = json.dumps([list(map(str, command)) for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=given, capture_output=True, text=True, env=environment, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def help_of_all(command, path=()):
    """The command lines that print the help of a command and of those in it."""
    yield [*path, "--help"]
    for name, inner in getattr(command, "commands", {}).items():
        yield from help_of_all(inner, (*path, name))


LISTS = {
    "models": ["ssd300", "fcos" if "fcos" in MODELS else "multibox", "shapes, voc"],
    "data": ["folder:FOLDER", "2007_test"],
    "weights list": ["--model class_generic --weights shapes", "0.942 mAP@0.5"],
    "weights list --all": ["35,641,826 parameters", "Apache-2.0"],
    "train --list-recipes": ["finetune", "ssd300-voc0712", "--all"],
    "train --list-recipes --all": ["overfeat-detection-context", "77.2 mAP on VOC2007 test"],
    "--version": ["keras-det "],
}


def test_lists_and_help_need_no_tensorflow(tmp_path):
    helps = list(help_of_all(typer.main.get_command(app)))
    found = answers([*(line.split() for line in LISTS), *helps], tmp_path)
    for (line, words), (code, out, error) in zip(LISTS.items(), found):
        assert code == 0 and not error and all(word in out for word in words), (line, out, error)
        assert "--all" in line or len(out.splitlines()) <= 40, line  # a page
    for line, (code, out, _) in zip(helps, found[len(LISTS) :]):
        assert code == 0 and "Usage: keras-det" in out, line


WRONG = {
    "detect x.png --model sdd300": "--model must be one of * got 'sdd300'; did you mean ssd300?",
    "detect x.png --model classifier": "gives no boxes",
    "detect absent.png": "there is no image absent.png",
    "detect empty": "holds no images",
    "detect image.png --out file": "--out must be a folder",
    "detect image.png --weights shape": "--weights must be a file * got 'shape'; did you mean shapes?",
    "detect image.png --weights absent.weights.h5": "--weights must be a file",
    "detect image.png --weights file": "--weights must end in",
    "detect image.png --model ssd512 --weights voc": "weights add VGG_VOC0712",
    "evaluate --data shpes": "--data must be * did you mean shapes?",
    "evaluate --data empty": "empty holds no annotations or images of a known kind",
    "evaluate --data voc:devkit --split 2007_tset": "no list * did you mean 2007_test?",
    "evaluate --data voc:devkit --split 2007": "--split must be like * did you mean 2007_test?",
    "evaluate --data coco:coco --split val2107": "no file * did you mean val2017?",
    "evaluate --data ilsvrc:ilsvrc --split DET/vall": "no list * did you mean DET/val?",
    "evaluate --data folder:absent": "no folder absent",
    "evaluate --data shapes --split test": "--split means nothing",
    "evaluate --classes sta": "--classes must be among * did you mean star?",
    "evaluate --classes 9": "--classes must be 1 to 6",
    "evaluate --results absent --data shapes": "--results: there is no",
    "evaluate --report file": "--report must be a folder",
    "evaluate --images 0": "'--images'",
    "train --recipe sdd300-coco": "did you mean ssd300-coco?",
    "train --data shapes --model detectornt": "did you mean detectornet?",
    "train --data shapes --backbone vgg": "--backbone must be one of * did you mean vgg16?",
    "train --data shapes --set expnd=1": "did you mean expand?",
    "train --data shapes --without-classes sta": "--without-classes must be among * did you mean star?",
    "train --data shapes --val-data shaps": "--val-data must be * did you mean shapes?",
    "train --data shapes --val-split x": "--val-split means nothing",
    "train --data shapes --out run": "run holds a run already; pass --resume",
    "train --data shapes --out file": "--out must be a folder",
    "train --data shapes --resume --out absent": "--resume: there is no run to resume in absent",
    "train --data shapes --weights absent.weights.h5": "--weights must be a file",
    "export --out exported": "exported/1 exists; choose another --out or --version",
    "export --format tflite --out file": "file exists; choose another --out",
    "export --format onnx --precision int8 --out new": "--precision of onnx must be float32",
    "export --format tflite --precision int8 --data folder:absent --out new": "no folder absent",
    "benchmark --weights shape": "did you mean shapes?",
    "features image.png --weights shape": "did you mean shapes?",
    "demo --out file": "--out must be a folder",
    "weights add absent.pth": "no file absent.pth",
    "weights import absent.pb --out a.weights.h5": "no file or folder absent.pb",
    "weights import file --out a.h5": "--out must end in",
    "multibox figure-1 --localizer shape": "--localizer must be a file",
    "multibox figure-1 --out empty": "--out must be a file",
    "multibox figure-5 sdd300=shapes": "MODEL must be one of * did you mean ssd300?",
    "multibox table-1 --classifier absent": "--classifier must be a file",
    "multibox table-2 --classifier imagenet --one-box absent": "--one-box must be a file",
    "class-generic table-1 --pretrained absent --random shapes --held-out 2": "--pretrained must be a file",
    "class-generic table-1 --pretrained shapes --random shapes --held-out sta": "--held-out must be among",
    "detectornet assemble absent --out a.weights.h5": "WEIGHTS must be a file",
    "detectornet table-1 --sliding-windows absent": "--sliding-windows must be a file",
    "detectornet figure-4 --class sta": "did you mean star?",
    "overfeat table-2 --weights absent": "--weights must be a file",
    "overfeat convert absent --out a.weights.h5": "no file or folder absent",
}


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """What each wrong command line is answered."""
    folder = tmp_path_factory.mktemp("wrong")
    for name in (
        "file",
        "image.png",
        "run/last.weights.h5",
        "exported/1/saved_model.pb",
        "devkit/VOC2007/ImageSets/Main/test.txt",
        "coco/annotations/instances_val2017.json",
        "ilsvrc/ImageSets/DET/val.txt",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "empty").mkdir()
    (folder / "ilsvrc/devkit/data").mkdir(parents=True)
    (folder / "ilsvrc/devkit/data/map_det.txt").write_text("n02672831 1 accordion\n")
    return dict(zip(WRONG, answers([line.split() for line in WRONG], folder)))


@pytest.mark.parametrize("line", WRONG)
def test_wrong_input_is_answered_without_tensorflow(wrong, line):
    code, out, error = wrong[line]
    assert (code, out) == (2, "") and error.startswith("keras-det: error:") and error.count("\n") == 1
    place = 0
    for words in WRONG[line].split(" * "):
        place = error.find(words, place)
        assert place >= 0, (words, error)


def test_models_are_known_as_their_files_have_them():
    assert {name: model.is_detector for name, model in zoo.models().items()} == {
        name: issubclass(entry.model, models.Detector) for name, entry in MODELS.items()
    }
    for name, model in zoo.models().items():
        fields = {*MODELS[name].model.Config.__dataclass_fields__} - {"classes"}
        assert {*model.arguments} - {"backbone_weights"} == fields, name
        assert model.description == MODELS[name].model.__doc__.partition("\n")[0]
    assert {*zoo.BACKBONES} == {*backbones.BACKBONES, *backbones.VECTOR_BACKBONES}


def test_the_recipes_to_begin_with_are_recipes():
    assert {*STARTS} <= {*RECIPES} and all(len(purpose) < 70 for purpose in STARTS.values())


def test_weights_in_a_runs_folder_are_looked_at_on_its_validation_data(tmp_path):
    weights = tmp_path / "best.weights.h5"
    assert sources.data_of(str(weights), None, None) == ("shapes", None)
    weights.touch()
    assert sources.data_of(str(weights), None, "val") == ("shapes", "val")
    recipe = {"data": "folder:mine", "split": "train", "val_split": "val"}
    (tmp_path / "args.json").write_text(json.dumps({"recipe": recipe}))
    assert sources.data_of(str(weights), None, None) == ("folder:mine", "val")
    assert sources.data_of(str(weights), None, "test") == ("folder:mine", "test")
    assert sources.data_of(str(weights), "coco:here", None) == ("coco:here", None)
    assert sources.data_of("shapes", None, None) == ("shapes", None)
    (tmp_path / "args.json").write_text("[]")
    with pytest.raises(ValueError, match="name --data"):
        sources.data_of(str(weights), None, None)


@pytest.mark.parametrize("agnostic", [False, True])
def test_images_without_the_models_classes_are_no_check(agnostic, capsys):
    network, source = mock.Mock(classes=("cat", "dog"), class_agnostic=agnostic), mock.Mock(classes=("ring",))
    source.name = "shapes"
    if agnostic:
        export._check_images(network, source, "shapes", True)
        return
    with pytest.raises(ValueError, match=r"--data must show some of the model's classes \(cat, dog\) for --check"):
        export._check_images(network, source, "shapes", True)
    export._check_images(network, source, "shapes", False)
    said = " ".join(capsys.readouterr().err.split())
    assert "int8 is calibrated on shapes, which shows none of the model's classes" in said


@pytest.mark.parametrize(
    ("name", "weights", "found"),
    [
        (None, None, "ssd300"),
        ("multibox", "shapes", "multibox"),
        (None, "shapes", "ssd300"),
        (None, "person", "ssdlite300"),
        (None, "absent.weights.h5", "ssd300"),
        (None, EMBEDDED_FOLDER / "overfeat_shapes.weights.h5", "overfeat"),
    ],
)
def test_weights_say_of_which_model_they_are(name, weights, found):
    assert checks.model_of(name, weights and str(weights)) == found
