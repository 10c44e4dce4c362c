"""The `keras-det` command."""

import collections
import contextlib
import dataclasses
import difflib
import functools
import importlib.metadata
import inspect
import io
import json
import logging
import math
import os
import platform
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported, in the functions below

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_det.version import __version__

app = typer.Typer(
    help="Train, evaluate, run and export the convolutional detectors that founded the field.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
error_console = Console(stderr=True, soft_wrap=True)
_UsageError: Any = typer.BadParameter.__base__  # of the command line that Typer brings along or imports

Model = Annotated[str, typer.Option("--model", help="Detector: see `keras-det models`.")]
Weights = Annotated[str | None, typer.Option("--weights", help="Registered name, such as `shapes`, or a file.")]
Backbone = Annotated[
    str | None,
    typer.Option("--backbone", help="vgg16, mobilenet_v2, mobilenet_v3_large or tiny; default: the model's."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
SOURCES = "shapes, voc:DEVKIT, coco:FOLDER, ilsvrc:FOLDER, folder:FOLDER (images with VOC XML), or tfds:NAME"
Data = Annotated[str, typer.Option("--data", help=f"{SOURCES}.")]
Split = Annotated[str | None, typer.Option("--split", help="Split, such as 2007_test, val2017 or train.")]
Missing = Annotated[
    Literal["error", "skip"],
    typer.Option(
        "--missing",
        help="What to do where --data names files that are absent: skip leaves them out.",
    ),
]
RescaleBoxes = Annotated[
    bool, typer.Option("--rescale-boxes", help="Scale boxes of --data annotated at another size than the image has.")
]
MaxUnreadable = Annotated[
    float,
    typer.Option(
        "--max-unreadable", min=0.0, max=1.0, metavar="FRACTION", help="Images of --data that may be unreadable."
    ),
]
DATA_OPTIONS = {
    "missing": (Missing, "error"),
    "rescale_boxes": (RescaleBoxes, False),
    "max_unreadable": (MaxUnreadable, 0.01),
}
Seed = Annotated[int | None, typer.Option("--seed", help="Random seed of the scenes of --data shapes.")]
Images = Annotated[int | None, typer.Option("--images", min=1, help="The first N images.")]
Threshold = Annotated[
    float | None, typer.Option("--score-threshold", min=0.0, help="Lowest score shown; default: the detector's.")
]


def main():
    """Run the command; bad input ends it with exit code 2 and one line."""
    for stream in (sys.stdout, sys.stderr):  # names of classes and files, on a terminal that may lack their letters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.getLogger("keras_det").addHandler(_messages)
    try:  # with the name also for `python -m keras_det`, which shells cannot complete
        sys.exit(app(prog_name="keras-det", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        error_console.print("[bold]keras-det:[/bold] stopped.")
        sys.exit(130)
    except (ValueError, TypeError, OSError, ImportError) as error:  # what bad input raises; anything else is a defect
        if os.environ.get("KERAS_DET_DEBUG"):
            raise
        _end(str(error))
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help is all that there is to say
            error.show()
            sys.exit(2)
        command = error.ctx.command_path if error.ctx else "keras-det"
        _end(f"{error.format_message().replace('Value error, ', '').rstrip('.')}; see {command} --help.")


class _Messages(logging.Handler):
    """What the package logs, each a line on stderr, since stdout may be JSON."""

    def emit(self, record):
        """Print a message as it is."""
        error_console.out(record.getMessage(), highlight=False)


_messages = _Messages()


def _end(message):
    """End the command for bad input, with one line."""
    error_console.print("[bold red]keras-det: error:[/bold red]", escape(" ".join(message.split())), highlight=False)
    sys.exit(2)


def _print_version(wanted):
    """Print the versions that a report of a defect needs, without importing what has them, and end."""
    if not wanted:
        return
    found = {"Python": platform.python_version()}
    for name in ("tensorflow", "tensorflow-cpu", "tf-nightly", "keras", "keras-nightly", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    print(f"keras-det {__version__} ({', '.join(f'{name} {version}' for name, version in found.items())})")
    raise typer.Exit()


@app.callback()
def _command(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the versions and exit.")
    ] = False,
):
    """What stands before the name of a command."""


def reads_data(command):
    """Gives a command the options of data sources, which `_source` takes from `data_options`."""
    signature = inspect.signature(command)

    @functools.wraps(command)
    def run(**arguments):
        data_options.clear()
        data_options.update({name: arguments.pop(name) for name in DATA_OPTIONS})
        return command(**arguments)

    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in DATA_OPTIONS.items()
    ]
    vars(run)["__signature__"] = signature.replace(parameters=[*signature.parameters.values(), *more])
    run.__annotations__ = command.__annotations__ | {name: kind for name, (kind, _) in DATA_OPTIONS.items()}
    return run


data_options: dict = {}  # of the command that runs


@app.command()
def models(as_json: Json = False):
    """List the models and their weights."""
    from keras_det import weights

    if as_json:
        _print_json([weights.describe(entry) for entry in weights.entries()])
        return
    console = Console(highlight=False)
    for entry in weights.entries():
        console.print(f"[bold]--model {entry.model.lower()} --weights {entry.name}[/bold]")
        console.print(f"  {len(entry.classes)} classes, {entry.parameters:,} parameters, {entry.gflops:.3g} GFLOPs")
        by = "measured by this project" if entry.source.startswith("embedded:") else "publisher's figure"
        console.print(f"  {entry.reported.value:.3f} {entry.reported.metric} on {entry.reported.dataset} ({by})")
        console.print(f"  trained on {entry.trained_on}; {entry.license}; {entry.source}", soft_wrap=True)


weights_app = typer.Typer(help="Weight files.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")


@weights_app.command()
def add(file: Annotated[Path, typer.Argument(help="A weight file that was downloaded by hand.")]):
    """Take a downloaded weight file into the package's folder, recognized by its content."""
    from keras_det import weights

    entry, path = weights.add(file)
    Console(soft_wrap=True).print(f"{entry.model} {entry.name}: added as {path}", highlight=False)


@weights_app.command("import")
def import_weights(
    file: Annotated[
        Path,
        typer.Argument(
            help="An SSD of TensorFlow's Object Detection API: frozen graph (.pb), SavedModel folder, TF1 checkpoint."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Weight file to write: .weights.h5 or .safetensors.")],
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Names with commas, in the order of their ids, or a label_map.pbtxt."),
    ] = None,
    as_json: Json = False,
):
    """Bring a network of TensorFlow's Object Detection API into this package; its graph is read, never run."""
    from keras_det.models.imported import import_tfod

    _check_weights_name(out)
    _load_tensorflow()
    network = import_tfod(file, classes)
    network.save_weights(out)
    name = type(network).__name__.lower()
    what = {"model": name, "classes": list(network.classes), "out": str(out)}
    if as_json:
        _print_json(what)
        return
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{name} of {len(network.classes)} classes, written: [bold]{escape(str(out))}[/bold]")
    console.print(f"  keras-det detect IMAGES --model {name} --weights {escape(str(out))}")


def _check_weights_name(path):
    """Refuse a name that no weight file can be written to, before anything is read."""
    from keras_det.weights import FILE_ENDINGS

    if not path.name.endswith(FILE_ENDINGS):
        raise ValueError(f"--out must end in {' or '.join(FILE_ENDINGS)}; got {path.name!r}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--out: there is no folder {path.parent}.")


@app.command()
def detect(
    images: Annotated[list[str], typer.Argument(help="Images, folders of images, or patterns in quotes.")],
    model: Model = "ssd300",
    weights: Weights = "shapes",
    out: Annotated[Path | None, typer.Option("--out", help="Folder for images with the boxes drawn.")] = None,
    score_threshold: Threshold = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each image, one a line.")] = False,
):
    """Detect objects in images; results appear as they come.

    A file that cannot be read is named and passed over; exit code 1 says so at the end.
    """
    _load_tensorflow()
    from keras_det.files import remove_leftovers

    network = _detector(model, weights)
    drawn, bad, passed_over = collections.Counter(), *_passing_over(as_json)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        remove_leftovers(out)
    for found in network.stream(images, score_threshold, bad=passed_over):
        result = found.to_dict()
        if out is not None:
            result["drawn"] = str(_free_name(out, found.source, drawn))
            found.save(result["drawn"])
        _print_json(result) if as_json else _print_detections(result)
    if bad:
        raise typer.Exit(1)


@app.command()
@reads_data
def evaluate(
    model: Annotated[str | None, typer.Option("--model", help="Detector; default: ssd300.")] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="Registered name or file; default: shapes.")] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results", help="In place of a model: a folder of VOC results files, or a file of COCO results (JSON)."
        ),
    ] = None,
    write_results: Annotated[
        Path | None,
        typer.Option(
            "--write-results",
            metavar="FOLDER|FILE",
            help="Write the detections as the servers take them: VOC's files to a folder, COCO's to a .json file. The "
            "images need no annotations then.",
        ),
    ] = None,
    competition: Annotated[
        Literal["comp3", "comp4"],
        typer.Option("--competition", help="Of VOC's results files: comp3 if trained on VOC alone."),
    ] = "comp4",
    data: Annotated[str | None, typer.Option("--data", help=f"{SOURCES}. Default with a model: shapes.")] = None,
    split: Split = None,
    seed: Seed = None,
    images: Annotated[int | None, typer.Option("--images", min=1, help="Evaluate the first N images.")] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            help="Only images all of whose objects are of these classes: names with commas, or how many at random.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images per batch.")] = 16,
    report: Annotated[
        Path | None, typer.Option("--report", help="Folder for report.html: tables, plots and the worst images.")
    ] = None,
    as_json: Json = False,
):
    """Evaluate a detector, or the results files of any: VOC and COCO metrics in original pixels."""
    from keras_det.files import remove_leftovers
    from keras_det.metrics.report import write_report

    if results is None:
        name, weights = model or "ssd300", weights or "shapes"
        what, title = {"model": name, "weights": weights}, f"{name} {weights}"
        _load_tensorflow()
        network = _detector(name, weights)
        given, annotated = (data or "shapes", split, seed, images), True
        if write_results is None:
            source = _source(*given)
        else:
            source, annotated = _maybe_unannotated(*given, network.classes)
        source = _only(source, classes)
        metrics, truth, found = _evaluate_model(network, source, batch_size, not as_json, annotated)
    else:
        if write_results is not None:
            raise ValueError("--write-results writes a model's detections: leave out --results.")
        annotated = True
        _check_results_options(model, weights, data, images)
        what, title = {"results": str(results)}, results.name
        source = _only(_source(data, split, seed, images), classes)
        metrics, truth, found = _evaluate_results(results, source)
    what |= {"data": source.name, "images": len(source)}
    if write_results is not None:
        what["results"] = _write_results(write_results, truth, found, competition)
    if report is not None and not annotated:
        raise ValueError("--report compares with annotations, which the images do not have: leave it out.")
    if report is not None:
        remove_leftovers(report)
        path = write_report(truth, found, report / "report.html", source, f"{title} on {source.name}", metrics)
        what["report"] = str(path)
    if as_json:
        _print_json(what | metrics)
        return
    if annotated:
        _print_metrics(metrics, source, truth.classes)
    for written in (what.get("report"), what.get("results") if write_results else None):
        if written:
            Console(soft_wrap=True).print(f"written: [bold]{escape(written)}[/bold]")


@app.command()
@reads_data
def train(
    model: Annotated[str | None, typer.Option("--model", help="Detector; default: the recipe's.")] = None,
    data: Annotated[str | None, typer.Option("--data", help=f"{SOURCES}. Default: the recipe's.")] = None,
    split: Split = None,
    val_data: Annotated[str | None, typer.Option("--val-data", help="Data to evaluate on; default: --data.")] = None,
    val_split: Annotated[str | None, typer.Option("--val-split", help="Split to evaluate on.")] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="Named recipe, see --list-recipes.")] = "finetune",
    weights: Annotated[str | None, typer.Option("--weights", help="Start from these weights.")] = None,
    backbone: Backbone = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Constructor argument of the model, such as boxes=200 or matching=predictions; may be repeated.",
        ),
    ] = None,
    strategy: Annotated[
        Literal["none", "mirrored", "multiworker", "tpu"],
        typer.Option("--strategy", help="What trains together; mirrored: all GPUs of the machine."),
    ] = "none",
    precision: Annotated[
        Literal["float32", "mixed_bfloat16", "mixed_float16"] | None,
        typer.Option("--precision", help="Precision of the layers' arithmetic; default: the recipe's."),
    ] = None,
    jit_compile: Annotated[bool | None, typer.Option("--jit-compile", help="Compile the step with XLA.")] = None,
    accumulate: Annotated[
        int | None, typer.Option("--accumulate", min=1, help="Gradient accumulation: steps per update.")
    ] = None,
    clip_norm: Annotated[
        float | None, typer.Option("--clip-norm", min=0.0, help="Clip the gradient's global norm.")
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option("--ema", min=0.0, max=1.0, help="Momentum of the weights' moving average, such as 0.999."),
    ] = None,
    schedule: Annotated[
        Literal["cosine", "step", "constant"] | None,
        typer.Option("--schedule", help="Learning rate schedule; default: the recipe's."),
    ] = None,
    warmup: Annotated[int | None, typer.Option("--warmup", min=0, help="Steps of linear warm-up.")] = None,
    scale_learning_rate: Annotated[
        bool | None, typer.Option("--scale-learning-rate", help="Multiply the learning rate by the replicas.")
    ] = None,
    by_class: Annotated[
        bool | None, typer.Option("--by-class", help="Train detectornet class by class, a run in --out for each.")
    ] = None,
    mining_rounds: Annotated[
        int | None, typer.Option("--mining-rounds", min=1, help="Rounds of hard negative mining of sliding_windows.")
    ] = None,
    supervision: Annotated[
        Literal["boxes", "classes", "both"] | None,
        typer.Option("--supervision", help="Labels that train class_generic."),
    ] = None,
    without_classes: Annotated[
        str | None,
        typer.Option(
            "--without-classes",
            help="Leave out training images that show these classes: names with commas, or how many at random.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")] = Path("runs/train"),
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")] = False,
    save_every: Annotated[
        int | None, typer.Option("--save-every", min=1, help="Steps between checkpoints within an epoch.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check data, shapes, weights and memory, print the plan, train nothing.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Total training steps; the learning rate's milestones scale.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Global batch size: images per step, over all replicas.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", min=0.0, help="Peak learning rate.")] = None,
    images: Annotated[int | None, typer.Option("--images", min=1, help="Train on the first N images.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Random seed; default: the recipe's.")] = None,
    list_recipes: Annotated[bool, typer.Option("--list-recipes", help="Print the recipes and stop.")] = False,
    as_json: Json = False,
):
    """Train a detector; the run's folder gets metrics, curves, images and weights."""
    _load_tensorflow()
    import keras

    from keras_det import models as zoo
    from keras_det import training
    from keras_det.models import pretrained
    from keras_det.training import detectornet, mining, strategies

    if list_recipes:
        _print_recipes(training.RECIPES)
        return
    if recipe not in training.RECIPES:
        raise ValueError(f"--recipe must be one of {', '.join(training.RECIPES)}; got {recipe!r}.")
    plan = training.RECIPES[recipe]
    same_data = data is None or data == plan.data
    if not same_data:  # the splits of a recipe are those of its own data
        plan = dataclasses.replace(plan, split=None, val_split=None)
    plan = plan.with_steps(steps).replace(
        model=model,
        data=data,
        split=split,
        val_split=val_split,
        batch_size=batch_size,
        learning_rate=learning_rate,
        save_every=save_every,
        precision=precision,
        jit_compile=jit_compile,
        accumulate=accumulate,
        clip_norm=clip_norm,
        ema=ema,
        schedule=schedule,
        warmup=warmup,
        scale_learning_rate=scale_learning_rate,
        by_class=by_class,
        mining_rounds=mining_rounds,
        supervision=supervision,
        without_classes=_names(without_classes),
    )
    if plan.by_class and plan.model != "detectornet":
        raise ValueError(f"--by-class trains detectornet, whose classes have networks of their own; not {plan.model}.")
    if plan.mining_rounds and plan.model != "sliding_windows":
        raise ValueError(f"--mining-rounds trains the classifier of sliding_windows; not {plan.model}.")
    if plan.init_from and weights is None and not resume:
        raise ValueError(f"--recipe {recipe} starts from a trained network: {plan.command(recipe)}")
    seed = plan.seed if seed is None else seed
    source = _source(plan.data, plan.split, None, images, plan.data_options if same_data else {})
    val_source = _val_source(plan, val_data, same_data)
    if val_source is None and plan.validation_split:
        source, val_source = training.validation_split(source, plan.validation_split, seed)
    for each in (source, val_source) if val_source else (source,):
        _print_issues(each)
    if plan.without_classes:
        source = training.images_without(source, plan.without_classes)
    keras.utils.set_random_seed(seed)
    with plan.policy(), strategies.scope(strategy):
        arguments = plan.config if weights is None or plan.init_from else {}
        if weights is not None or backbone == "tiny":  # which has none
            arguments = {name: value for name, value in arguments.items() if name != "backbone_weights"}
        if backbone is not None:
            arguments = arguments | {"backbone": backbone}
        arguments = arguments | _settings(settings or (), zoo.get(plan.model))
        if weights is None or pretrained.holds_classifier(weights):
            arguments = zoo.get(plan.model).fit_config(arguments, source, plan.augment, seed)

        def build(*classes):
            return _network(plan.model, weights, classes=classes, **arguments)

        if dry_run:
            network = build(*source.classes[:1] if plan.by_class else source.classes)
            _print_plan(training.plan(network, plan, _of_first_class(source, plan, network), val_source, seed), as_json)
            return
        options = {"seed": seed, "resume": resume, "verbose": 0 if as_json else "auto"}
        if plan.by_class:
            rows = detectornet.train_by_class(build, plan, source, out, val_source, **options)
        elif plan.mining_rounds:
            rows = mining.train_in_rounds(build(*source.classes), plan, source, out, val_source, **options)
        else:
            rows = training.train(build(*source.classes), plan, source, out, val_source, **options)
    if as_json:
        _print_json({"out": str(out), "epochs": rows})
    elif plan.by_class:
        Console(soft_wrap=True).print(
            f"Trained {len(rows)} classes. `keras-det detectornet assemble {out}` joins them."
        )
    elif plan.mining_rounds:
        Console(soft_wrap=True).print(f"Each round is a run in [bold]{out}[/bold], beside the windows that were mined.")
    else:
        Console().print(f"The run is in [bold]{out}[/bold]: results.csv, curves.png, detections.png, best.weights.h5")


@app.command()
@reads_data
def export(
    out: Annotated[Path, typer.Option("--out", help="Where to write: a folder for saved_model, else a file.")],
    model: Model = "ssd300",
    weights: Weights = "shapes",
    format: Annotated[
        Literal["saved_model", "tflite", "onnx"], typer.Option("--format", help="Format of the file.")
    ] = "saved_model",
    precision: Annotated[
        Literal["float32", "float16", "dynamic", "int8"],
        typer.Option("--precision", help="Precision of the weights; other than float32 for tflite alone."),
    ] = "float32",
    version: Annotated[
        int, typer.Option("--version", min=1, help="Version of a saved_model: its folder in --out.")
    ] = 1,
    check: Annotated[bool, typer.Option("--check", help="Compare the file's detections with the model's.")] = False,
    data: Data = "shapes",
    split: Split = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Images for --check and for calibrating int8.")] = 100,
    as_json: Json = False,
):
    """Export a detector to a file or folder that needs neither this package nor Keras.

    With --check, exit code 1 means that the file does not give the model's detections.
    """
    _load_tensorflow()
    from keras_det import export as exporters
    from keras_det.files import remove_leftovers

    network = _detector(model, weights)
    for folder in (out, out.parent):
        remove_leftovers(folder)
    source = _source(data, split, None, images).readable() if check or precision == "int8" else None
    with _silent_stderr():
        calibration = _read_images(source) if precision == "int8" else None
        path = exporters.export(network, format, out, precision, calibration, version)
    report = exporters.check(network, format, path, precision, source) if check else None
    if as_json:
        _print_json({"path": str(path), "format": format, "precision": precision} | _metrics(report))
    else:
        Console().print(f"written: [bold]{path}[/bold]")
        if report:
            Console().print(_export_table([report]))
    if report and report.failure:
        raise typer.Exit(1)


@app.command()
@reads_data
def benchmark(
    model: Model = "ssd300",
    weights: Weights = "shapes",
    data: Data = "shapes",
    split: Split = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Images to detect in.")] = 100,
    as_json: Json = False,
):
    """Export to every format and precision; size, mAP and time of each, and which ones fail and why."""
    _load_tensorflow()
    from keras_det import export as exporters

    network, source = _detector(model, weights), _source(data, split, None, images).readable()
    reports, console = [], Console(stderr=True)
    with console.status("the model itself") as status, _silent_stderr():
        for report in exporters.benchmark(network, source):
            reports.append(report)
            status.update(f"after {report.format} {report.precision}")
    if as_json:
        _print_json({"model": model, "weights": weights, "rows": [_metrics(report) for report in reports]})
    else:
        Console().print(_export_table(reports))


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for images, curves and the report.")] = Path("runs/demo"),
):
    """Detect, evaluate, fine-tune and export with the embedded network; no network connection is needed."""
    _load_tensorflow()
    from keras_det.training.demo import run_demo

    run_demo(out)


multibox_app = typer.Typer(help="DeepMultiBox's figures and tables, on any data.", no_args_is_help=True)
app.add_typer(multibox_app, name="multibox")

Localizer = Annotated[str, typer.Option("--localizer", help="Weights of `multibox`: a registered name or a file.")]
FigureFile = Annotated[Path, typer.Option("--out", help="PNG file of the figure.")]


@multibox_app.command("figure-1")
@reads_data
def multibox_figure_1(
    localizer: Localizer = "shapes",
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    out: FigureFile = Path("runs/multibox_figure_1.png"),
    as_json: Json = False,
):
    """Detection rate against the number of boxes, for one, two and three scales."""
    _load_tensorflow()
    from keras_det import visualize
    from keras_det.training import multibox

    budgets = range(1, 101)
    rates = multibox.detection_rates(_network("multibox", localizer), _source(data, split, None, images), budgets)
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = {name: (list(budgets), values) for name, values in rates.items()}
    visualize.plot_lines(lines, out, xlabel="Number of boxes", ylabel="Detection rate", ylim=(0, 1))
    rows = {name: {f"@{n}": float(values[n - 1]) for n in (1, 3, 5, 10, 25, 50, 100)} for name, values in rates.items()}
    _print_rows("detection rate", rows, as_json, {"out": str(out)})


@multibox_app.command("figure-5")
@reads_data
def multibox_figure_5(
    detectors: Annotated[
        list[str], typer.Argument(help="MODEL=WEIGHTS of each curve, such as multibox=shapes or ssd300=voc.")
    ],
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    out: FigureFile = Path("runs/multibox_figure_5.png"),
    as_json: Json = False,
):
    """Class-agnostic precision and recall of detectors trained on any data."""
    _load_tensorflow()
    from keras_det import visualize
    from keras_det.metrics import proposals
    from keras_det.training import multibox

    networks = {}
    for text in detectors:
        name, equals, weights = text.partition("=")
        if not equals:
            raise ValueError(f"a detector must be MODEL=WEIGHTS, such as multibox=shapes; got {text!r}.")
        networks[text] = _detector(name, weights)
    curves = multibox.agnostic_curves(networks, _source(data, split, None, images))
    out.parent.mkdir(parents=True, exist_ok=True)
    visualize.plot_precision_recall({name: (c.recall, c.precision) for name, c in curves.items()}, out)
    rows = {name: {"AUC": proposals.pr_auc(curve)} for name, curve in curves.items()}
    _print_rows("class-agnostic", rows, as_json, {"out": str(out)})


@multibox_app.command("table-1")
@reads_data
def multibox_table_1(
    classifier: Annotated[str, typer.Option("--classifier", help="File of a `classifier` with background.")],
    localizer: Localizer = "shapes",
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    as_json: Json = False,
):
    """Average precision of each class, of the two-stage detector."""
    _load_tensorflow()
    from keras_det.training import multibox

    networks = _network("multibox", localizer), _network("classifier", classifier)
    metrics = multibox.table_1(*networks, _source(data, split, None, images))
    _print_rows("average precision, VOC2007's 11 points", {"DeepMultiBox": metrics}, as_json)


@multibox_app.command("table-2")
@reads_data
def multibox_table_2(
    classifier: Annotated[str, typer.Option("--classifier", help="File of a `classifier`.")],
    localizer: Localizer = "shapes",
    one_box: Annotated[str | None, typer.Option("--one-box", help="File of a `one_box_per_class` network.")] = None,
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    as_json: Json = False,
):
    """Detection@5 and classification@5 against the number of windows, boxes suppressed at 0.4; of rendered scenes,
    those with one object."""
    _load_tensorflow()
    from keras_det.training import multibox
    from keras_det.training.overfeat import single_objects

    networks = _network("multibox", localizer), _network("classifier", classifier)
    source = _source(data, split, None, images)
    baseline = None if one_box is None else _network("one_box_per_class", one_box)
    source = single_objects(source) if data == "shapes" else source
    table = multibox.table_2(*networks, source, baseline)
    _print_rows("ILSVRC", {name: {"det@5": det, "class@5": top} for name, det, top in table}, as_json)


class_generic_app = typer.Typer(help="ClassGeneric's tables, on any data.", no_args_is_help=True)
app.add_typer(class_generic_app, name="class-generic")

Pretrained = Annotated[
    str, typer.Option("--pretrained", help="Weights of `class_generic` trained from class labels, then from boxes.")
]
FromRandom = Annotated[str, typer.Option("--random", help="Weights trained from boxes alone.")]
HeldOut = Annotated[
    str,
    typer.Option(
        "--held-out",
        help="Classes whose images are evaluated: names with commas, or how many at random, as --without-classes.",
    ),
]


@class_generic_app.command("table-1")
@reads_data
def class_generic_table_1(
    pretrained: Pretrained,
    random: FromRandom,
    held_out: HeldOut,
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    out: FigureFile = Path("runs/class_generic_table_1.png"),
    as_json: Json = False,
):
    """AUC on held-out classes of networks trained without their boxes, and the curves of Figure 1."""
    title = "AUC after training without the held-out classes' bounding boxes"
    _class_generic_table(title, pretrained, random, held_out, _source(data, split, None, images), out, as_json)


@class_generic_app.command("table-2")
@reads_data
def class_generic_table_2(
    pretrained: Pretrained,
    random: FromRandom,
    held_out: HeldOut,
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    out: FigureFile = Path("runs/class_generic_table_2.png"),
    as_json: Json = False,
):
    """AUC on the same images of networks trained on all boxes, and the curves of Figure 1."""
    title = "AUC after training on all bounding box labels"
    _class_generic_table(title, pretrained, random, held_out, _source(data, split, None, images), out, as_json)


def _class_generic_table(title, pretrained, random, held_out, source, out, as_json):
    """Table 1 or 2, which differ in what the weights were trained on."""
    _load_tensorflow()
    from keras_det import visualize
    from keras_det.metrics import proposals
    from keras_det.training import class_generic

    networks = {
        name: _network("class_generic", weights) for name, weights in (("pretrained", pretrained), ("random", random))
    }
    curves = class_generic.held_out_curves(networks, source, _names(held_out))
    out.parent.mkdir(parents=True, exist_ok=True)
    visualize.plot_precision_recall({name: (c.recall, c.precision) for name, c in curves.items()}, out)
    rows = {name: {"AUC": proposals.pr_auc(curve)} for name, curve in curves.items()}
    _print_rows(title, rows, as_json, {"out": str(out)})


detectornet_app = typer.Typer(help="DetectorNet's table and figure, on any data.", no_args_is_help=True)
app.add_typer(detectornet_app, name="detectornet")

Masks = Annotated[str, typer.Option("--weights", help="Weights of `detectornet`, or a folder of `train --by-class`.")]
Pruning = Annotated[
    str | None, typer.Option("--classifier", help="File of a `classifier` with background, which prunes.")
]


@detectornet_app.command("assemble")
def detectornet_assemble(
    weights: Annotated[
        list[str], typer.Argument(help="Weights of other classes each, or a folder of `train --by-class`.")
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write, *.weights.h5 or *.safetensors.")],
    classifier: Pruning = None,
    as_json: Json = False,
):
    """Put networks of single classes into one detector, and a classifier that prunes."""
    _load_tensorflow()
    from keras_det.training import detectornet

    files = [file for path in weights for file in detectornet.files_of(path)]
    model = detectornet.assemble(files, _pruning(classifier))
    out.parent.mkdir(parents=True, exist_ok=True)
    model.save_weights(out, optimizer=False)
    if as_json:
        _print_json({"out": str(out), "classes": list(model.classes), "parameters": model.count_params()})
    else:
        Console(soft_wrap=True).print(f"written: [bold]{escape(str(out))}[/bold], {', '.join(model.classes)}")


@detectornet_app.command("table-1")
def detectornet_table_1(
    weights: Masks = "shapes",
    classifier: Pruning = None,
    baseline: Annotated[str | None, typer.Option("--sliding-windows", help="File of `sliding_windows`.")] = None,
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    as_json: Json = False,
):
    """Average precision of each class, of DetectorNet and of its baseline."""
    _load_tensorflow()
    from keras_det.training import detectornet, multibox

    source = _source(data, split, None, images)
    found = {"DetectorNet": detectornet.find_boxes(detectornet.files_of(weights), source, _pruning(classifier))}
    if baseline is not None:
        found["Sliding windows"] = multibox.find_boxes(_network("sliding_windows", baseline), source, batch_size=1)
    _print_rows("average precision, VOC2007's 11 points", detectornet.table_1(found), as_json)


@detectornet_app.command("figure-4")
def detectornet_figure_4(
    weights: Masks = "shapes",
    classifier: Pruning = None,
    name: Annotated[str | None, typer.Option("--class", help="One class; default: all together.")] = None,
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    out: FigureFile = Path("runs/detectornet_figure_4.png"),
    as_json: Json = False,
):
    """Precision and recall after the first stage and after refinement."""
    _load_tensorflow()
    from keras_det import visualize
    from keras_det.training import detectornet

    source, files, judge = _source(data, split, None, images), detectornet.files_of(weights), _pruning(classifier)
    if name is not None and name not in source.classes:
        raise ValueError(f"--class: {source.name} has no class {name!r}, only {', '.join(source.classes)}.")
    stages = {"first stage": True, "after refinement": False}
    found = {stage: detectornet.find_boxes(files, source, judge, first_stage=first) for stage, first in stages.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = {stage: detectornet.precision_recall(*boxes, name) for stage, boxes in found.items()}
    visualize.plot_precision_recall(lines, out)
    rows = detectornet.table_1(found)
    shown = {stage: {name or "mean": row[name or "mean"]} for stage, row in rows.items()}
    _print_rows("average precision, VOC2007's 11 points", shown, as_json, {"out": str(out)})


def _pruning(classifier):
    """The classifier of a file, if one was named."""
    return None if classifier is None else _network("classifier", classifier)


def _of_first_class(source, plan, network):
    """What the first training sees: where classes have trainings of their own, the first one's images."""
    if not plan.by_class:
        return source
    from keras_det.training import detectornet

    return detectornet.of_one_class(source, network.classes[0], network.config.negative_fraction)


overfeat_app = typer.Typer(help="OverFeat's tables on any data, and its authors' weights.", no_args_is_help=True)
app.add_typer(overfeat_app, name="overfeat")

Networks = Annotated[
    list[str], typer.Option("--weights", help="Weights of `overfeat`: a registered name or a file; repeat for several.")
]
Batch = Annotated[int, typer.Option("--batch-size", min=1, help="Images per batch.")]


@overfeat_app.command("table-2")
@reads_data
def overfeat_table_2(
    weights: Networks = ("shapes",),
    data: Data = "shapes",
    split: Split = None,
    seed: Seed = None,
    images: Images = None,
    batch_size: Batch = 16,
    as_json: Json = False,
):
    """Top-1 and top-5 error of each way to vote, on the images with one object; several networks are an ensemble."""
    _load_tensorflow()
    from keras_det.training import overfeat

    networks = [_network("overfeat", name) for name in weights]
    source = overfeat.single_objects(_source(data, split, seed, images))
    rows = overfeat.table_2(networks, source, batch_size)
    _print_rows("error", {name: {"top-1": one, "top-5": five} for name, (one, five) in rows.items()}, as_json)


@overfeat_app.command("figure-9")
@reads_data
def overfeat_figure_9(
    weights: Networks = ("shapes",),
    data: Data = "shapes",
    split: Split = None,
    seed: Seed = None,
    images: Images = None,
    batch_size: Batch = 16,
    out: FigureFile = Path("runs/overfeat_figure_9.png"),
    as_json: Json = False,
):
    """Localization error from the center window to all scales, on the images with one object; of each network given,
    one regressor for all classes (SCR) or one for each (PCR)."""
    _load_tensorflow()
    from keras_det import visualize
    from keras_det.training import overfeat

    networks = {name: _network("overfeat", name) for name in weights}
    for name, network in networks.items():
        if network.regressor is None:
            raise ValueError(f"--weights {name}: Figure 9 needs a regressor; this network is for {network.task}.")
    source = overfeat.single_objects(_source(data, split, seed, images))
    rows = {}
    for name, network in networks.items():
        for bar, (five, one) in overfeat.figure_9(network, source, batch_size).items():
            rows[bar if len(networks) == 1 else f"{Path(name).name}: {bar}"] = {"5 guesses": five, "1 guess": one}
    out.parent.mkdir(parents=True, exist_ok=True)
    visualize.plot_bars(rows, out, ylabel="Localization error")
    _print_rows("localization error", rows, as_json, {"out": str(out)})


@overfeat_app.command("convert")
def overfeat_convert(
    file: Annotated[
        Path, typer.Argument(help="net_weight_0 (fast) or net_weight_1 (accurate) of the authors' release.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Where to write: ends in .weights.h5 or .safetensors.")],
    classes: Annotated[
        Path | None, typer.Option("--classes", help="Names of the 1000 classes in the authors' order, one a line.")
    ] = None,
    as_json: Json = False,
):
    """The weights that OverFeat's authors released as a file of this package, a classifier."""
    names = None if classes is None else [line for line in classes.read_text("utf-8").splitlines() if line.strip()]
    _load_tensorflow()
    from keras_det.models import OverFeat

    model = OverFeat.from_released(file, names)
    out.parent.mkdir(parents=True, exist_ok=True)
    model.save_weights(out)
    found = {"out": str(out), "variant": model.config.variant, "classes": len(model.classes)}
    if as_json:
        _print_json(found)
    else:
        Console(soft_wrap=True).print(f"written: [bold]{escape(str(out))}[/bold], the {found['variant']} network")


@app.command()
def features(
    images: Annotated[list[str], typer.Argument(help="Images, folders of them, or patterns in quotes.")],
    weights: Annotated[
        str, typer.Option("--weights", help="Weights of `overfeat`: registered name or file.")
    ] = "shapes",
    layer: Annotated[
        str | None, typer.Option("--layer", help="conv1, pool1, full6 and so on; default: the last hidden layer.")
    ] = None,
    shorter_side: Annotated[
        int | None, typer.Option("--shorter-side", min=1, help="Pixels to resize images to; default: as they are.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for a .npy file of each image.")] = Path("runs/features"),
    as_json: Json = False,
):
    """Activations of OverFeat's layers, `[height, width, channels]` float32 of each image: a vector for each window.

    An image of the window's size gives one vector of the dense layers, a larger one a map of them. With --json one
    object a line for each image. Exit code 1 means that some file is no image.
    """
    _load_tensorflow()
    import numpy as np

    from keras_det.data.resize import resize
    from keras_det.files import remove_leftovers, whole
    from keras_det.models.inputs import read_images

    network = _network("overfeat", weights)
    written, bad, passed_over = collections.Counter(), *_passing_over(as_json)
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    for image, name in read_images(images, passed_over):
        if shorter_side is not None:
            image = resize(image, [round(shorter_side * side / min(image.shape[:2])) for side in image.shape[:2]])
        found = np.asarray(network.features(np.asarray(image)[None], layer)[0], "float32")
        path = _free_name(out, name, written, ".npy")
        with whole(path) as temporary, open(temporary, "wb") as file:
            np.save(file, found)
        if as_json:
            _print_json({"image": name, "shape": list(found.shape), "file": str(path)})
        else:
            shape = " x ".join(map(str, found.shape))
            Console(soft_wrap=True).print(f"{escape(name)}: {shape}, {escape(str(path))}", highlight=False)
    if bad:
        raise typer.Exit(1)


def _passing_over(as_json):
    """Paths of files that are no images, and what is called with each of them."""
    bad = []

    def passed_over(path, error):
        bad.append(path)
        text = " ".join(str(error).split())
        error_console.print("[bold red]keras-det:[/bold red]", escape(text), highlight=False)
        if as_json:
            _print_json({"image": path, "error": text})

    return bad, passed_over


def _print_rows(title, rows, as_json, more=None):
    """Figures in rows, as a table or as JSON."""
    if as_json:
        _print_json({"rows": rows} | (more or {}))
        return
    columns = list(next(iter(rows.values())))
    table = Table("", *map(escape, columns), title=title)
    for name, values in rows.items():
        table.add_row(escape(name), *(f"{values[column]:.3f}" for column in columns))
    Console().print(table)
    for name, value in (more or {}).items():
        Console(soft_wrap=True).print(f"{name}: [bold]{escape(value)}[/bold]")


def _load_tensorflow():
    """Import TensorFlow and find its devices."""
    with _silent_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def _silent_stderr():
    """Without what TensorFlow's C++ parts say on stderr, which is not for users."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _settings(texts, model):
    """Constructor arguments of `--set NAME=VALUE`: values are JSON, or text where they are not."""
    known = [name for name in inspect.signature(model).parameters if name not in ("weights", "classes", "kwargs")]
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set must be NAME=VALUE, such as boxes=200; got {text!r}.")
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]}?" if close else f", only {', '.join(known)}."
            raise ValueError(f"--set {name}: {model.__name__} has no such argument{hint}")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def _network(name, weights, **arguments):
    """The model by name with its weights."""
    from keras_det import models as zoo

    return zoo.get(name)(weights=weights, **arguments)


def _detector(name, weights):
    """The detector by name with its weights; not a network that gives no boxes."""
    from keras_det import models as zoo

    if not issubclass(zoo.get(name), zoo.Detector):
        raise ValueError(f"--model {name} gives no boxes: it can be trained, and used by other detectors.")
    return _network(name, weights)


def _source(spec, split, seed, images, options=None):
    """A data source; seed and number of scenes are options of `shapes`, elsewhere `images` takes the first."""
    from keras_det import data

    given = {name: value for name, value in data_options.items() if value != DATA_OPTIONS[name][1]}
    bound = given.pop("max_unreadable", None)
    kind = spec.partition(":")[0]
    for name in given:
        if kind in ("tfds", "shapes"):
            raise ValueError(
                f"--{name.replace('_', '-')} is for annotation files, such as --data folder; got {spec!r}."
            )
    options = dict(options or {}) | given
    if spec == "shapes":
        options = {"images": 500, "seed": 1} | options
        options |= {} if seed is None else {"seed": seed}
        options |= {} if images is None else {"images": images}
        return data.load(spec, split, **options)
    if seed is not None:
        raise ValueError(f"--seed chooses scenes of --data shapes; it means nothing for {spec!r}.")
    source = data.load(spec, split, **options)
    if bound is not None:
        source.max_unreadable = bound
    return source if images is None else source.take(images)


def _names(text):
    """Class names with commas, or a number of classes; `None` stays."""
    if text is None:
        return None
    return int(text) if text.strip().isdecimal() else tuple(name.strip() for name in text.split(","))


def _only(source, classes):
    """The images that show the named classes and no others; all images where none is named."""
    if classes is None:
        return source
    from keras_det.training.evaluation import images_of

    return images_of(source, _names(classes))


def _maybe_unannotated(spec, split, seed, images, classes):
    """The source to write results of, and whether it has annotations to evaluate with, too."""
    from keras_det import data

    if data.is_annotated(spec, split):
        return _source(spec, split, seed, images), True
    options = {"annotated": False} | ({"classes": classes} if spec.startswith("folder:") else {})
    source = _source(spec, split, seed, images, options)
    error_console.print(f"{escape(source.name)} has no annotations: its results are written, not evaluated.")
    return source, False


def _write_results(path, truth, found, competition):
    """Write results files; the path, as text."""
    from keras_det.files import remove_leftovers
    from keras_det.metrics import coco, voc

    as_file = path.suffix == ".json"
    (path.parent if as_file else path).mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent if as_file else path)
    if as_file:
        coco.write_results(path, truth, found)
    else:
        voc.write_results(path, truth, found, f"{competition}_det_test_")
    return str(path)


def _evaluate_model(network, source, batch_size, progress, annotated):
    """Metrics of a model on a source, the objects and the detections; without annotations the detections alone."""
    from keras_det.metrics import Evaluator, GroundTruth
    from keras_det.training import evaluate as run_evaluation
    from keras_det.training.evaluation import collect, unknown_classes

    _print_issues(source)
    if words := unknown_classes(network, source):
        error_console.print("[yellow]classes:[/yellow]", escape(words), highlight=False)
    skipped = []
    if annotated:
        metrics, evaluator = run_evaluation(network, source, batch_size, progress=progress, skipped=skipped)
    else:
        metrics, evaluator = {}, Evaluator(GroundTruth.from_source(source))
        collect(network, source, evaluator, batch_size, progress, skipped=skipped)
    if skipped:
        names = ", ".join(issue.file for issue in skipped[:5])
        text = f"{len(skipped)} unreadable images were skipped, their objects count as missed: {names}"
        error_console.print(escape(text), highlight=False)
    return metrics, evaluator.truth, evaluator.results()


def _check_results_options(model, weights, data, images):
    """--results stands in place of a model, and needs --data of its own."""
    for option, value in (("--model", model), ("--weights", weights)):
        if value is not None:
            raise ValueError(f"--results evaluates files without a model: leave out {option} {value}, or --results.")
    if data is None:
        raise ValueError("--results needs --data: the annotated images that the results are of.")
    if images is not None and data != "shapes":
        raise ValueError("--images takes part of the images, but --results are of all of them: leave it out.")


def _evaluate_results(path, source):
    """Figures of results files on a source, the objects and the detections."""
    from keras_det.metrics import GroundTruth, coco, voc
    from keras_det.metrics.report import evaluate as evaluate_whole

    if not path.exists():
        raise FileNotFoundError(f"--results: there is no file or folder {path}.")
    _print_issues(source)
    truth = GroundTruth.from_source(source)
    found = voc.read_results(path, truth) if path.is_dir() else coco.read_results(path, truth)
    return evaluate_whole(truth, found), truth, found


def _val_source(plan, val_data, same_data):
    """What training evaluates on, if anything."""
    if val_data is None and plan.val_split is None and plan.data != "shapes":
        return None
    options = plan.val_options if same_data else {}
    if plan.data == "shapes" and not options:
        options = {"images": 100, "seed": 1_000_000}
    return _source(val_data or plan.data, plan.val_split, None, None, options)


def _free_name(folder, source, drawn, ending=".png"):
    """A file name that no other image of this call has; `drawn` counts the names."""
    stem = Path(source).stem if source else "image"
    name, number = stem, drawn[stem]
    while drawn[name]:
        number += 1
        name = f"{stem}-{number}"
    drawn[name] = 1
    drawn[stem] = max(number, 1)
    return folder / f"{name}{ending}"


def _print_detections(result):
    names = ", ".join(f"{o['name']} {o['score']:.2f}" for o in result["objects"])
    Console(soft_wrap=True).print(f"{result['image']}: {names or 'nothing found'}", highlight=False)


def _print_metrics(metrics, source, classes):
    table = Table("figure", "value", title=f"{escape(source.name)}, {len(source)} images")
    for name, value in metrics.items():
        if "/" not in name:
            table.add_row(name, f"{value:.4f}")
    Console().print(table)
    if f"ap50/{classes[0]}" in metrics:  # not of class-agnostic detectors
        per_class = Table("class", "AP50 (area)", title="per class")
        for name in classes:
            per_class.add_row(escape(name), f"{metrics[f'ap50/{name}']:.4f}")
        Console().print(per_class)


def _read_images(source):
    """The source's images, one after the other."""
    return (source.image(i) for i in range(len(source)))


def _metrics(report):
    """An export's report as a dict; what was not measured is left out."""
    values = {} if report is None else vars(report)
    return {name: value for name, value in values.items() if value == value}


def _export_table(reports):
    """Reports of exports as a table."""
    table = Table(
        "format", "precision", "MB", "mAP@0.5", "ms", "p95", "1/s", "detections", title="per image, one by one"
    )
    for report in reports:
        numbers = report.megabytes, report.map50, report.milliseconds, report.milliseconds_p95
        values = [f"{v:.{d}f}" if v == v else "" for v, d in zip(numbers, (2, 4, 1, 1))]
        rate = f"{1000 / report.milliseconds:.0f}" if report.milliseconds == report.milliseconds else ""
        loss = (
            f"mAP {report.map50 - report.map50_model:+.4f}" if report.precision in ("dynamic", "int8") else "the same"
        )
        result = report.failure or ("" if report.format == "keras" else loss)
        table.add_row(report.format, report.precision, *values, rate, result)
    return table


def _print_issues(source, shown=10):
    """Name the issues of the annotations on stderr: the first of each kind, and how many there are."""
    kinds = collections.defaultdict(list)
    for issue in source.issues:
        kinds[re.sub(r"[\d.]+|'[^']*'", "", issue.message), issue.action].append(issue)
    of = f"[yellow]{escape(source.name)}:[/yellow]"
    for issues in list(kinds.values())[:shown]:
        more = f", and {len(issues) - 1} more of this kind" if len(issues) > 1 else ""
        error_console.print(of, escape(f"{issues[0]}{more}"), highlight=False)
    if rest := sum(map(len, list(kinds.values())[shown:])):
        error_console.print(of, f"and {rest} further issues of other kinds")


def _print_recipes(recipes):
    console = Console(highlight=False, soft_wrap=True)
    for name, recipe in recipes.items():
        console.print(f"[bold]{name}[/bold]: {recipe.model} on {recipe.data}, {recipe.steps:,} steps", end="")
        console.print(f" of {recipe.batch_size} images. {escape(recipe.description)}")
        if recipe.expected:
            console.print(f"  to expect, by the paper: {escape(recipe.expected)}")
        if recipe.gpu_hours is not None:
            console.print(f"  about {recipe.gpu_hours:.0f} GPU hours, by its operations at 40e12 a second")
        console.print(f"  {recipe.command(name)}")


def _print_plan(plan, as_json):
    """What `--dry-run` found, in lines or as JSON."""
    if as_json:
        _print_json(plan)
        return
    table = Table("", "", show_header=False, title="plan; nothing was trained")
    rates, memory = plan.pop("learning_rates"), plan.pop("memory")
    for name, value in plan.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        table.add_row(name, escape(f"{shown:,.3g}" if isinstance(shown, float) else f"{shown}"))
    table.add_row("learning rates", ", ".join(f"{rate:.3g} at step {step:,}" for step, rate in rates))
    table.add_row("memory in MB", ", ".join(f"{name} {value:,.0f}" for name, value in memory.items()))
    Console().print(table)


def _print_json(value):
    """One line of JSON on stdout; what is not finite is null, since JSON has no such numbers."""
    print(json.dumps(_finite(value), default=float, allow_nan=False), flush=True)


def _finite(value):
    """The value with None in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    number = getattr(value, "dtype", None) is not None or isinstance(value, float)
    return None if number and not math.isfinite(value) else value


if __name__ == "__main__":
    main()
