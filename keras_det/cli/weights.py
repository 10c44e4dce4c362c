"""`keras-det models` and `keras-det weights`: what there is, and files that are added."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from keras_det.cli import zoo
from keras_det.cli.checks import check_exists, check_file
from keras_det.cli.networks import load_tensorflow
from keras_det.cli.options import Json
from keras_det.cli.printing import print_columns, print_json
from keras_det.cli.wording import Commands

app = typer.Typer(help="Weight files.", no_args_is_help=True, cls=Commands)


def models(as_json: Json = False) -> None:
    """List the models: what each is, and its weights."""
    from keras_det import weights

    found = [
        vars(model) | {"weights": [one.name for one in weights.entries(name)]} for name, model in zoo.models().items()
    ]
    if as_json:
        print_json(found)
        return
    print_columns([(one["name"], one["description"], ", ".join(one["weights"])) for one in found])


@app.command("list")
def list_weights(
    everything: Annotated[bool, typer.Option("--all", help="With sizes, data, license and source.")] = False,
    as_json: Json = False,
) -> None:
    """List the registered weights and what their publishers measured; --json has all that is known."""
    from keras_det import weights

    if as_json:
        print_json([weights.describe(entry) for entry in weights.entries()])
    elif everything:
        for entry in weights.entries():
            _print_entry(entry)
    else:
        print_columns([_row(entry) for entry in weights.entries()])


def _row(entry):
    """An entry in one line."""
    reported = f"{entry.reported.value:.3f} {entry.reported.metric} on {entry.reported.dataset}"
    return _options(entry), reported, f"{entry.parameters:,} parameters"


def _options(entry):
    """What names an entry in commands."""
    return f"--model {zoo.get(entry.model.lower()).name} --weights {entry.name}"


def _print_entry(entry):
    """An entry in full."""
    console = Console(highlight=False)
    console.print(f"[bold]{_options(entry)}[/bold]")
    console.print(f"  {len(entry.classes)} classes, {entry.parameters:,} parameters, {entry.gflops:.3g} GFLOPs")
    by = "measured by this project" if entry.source.startswith("embedded:") else "measured by the publisher"
    console.print(f"  {entry.reported.value:.3f} {entry.reported.metric} on {entry.reported.dataset} ({by})")
    console.print(f"  trained on {entry.trained_on}; {entry.license}; {entry.source}", soft_wrap=True)


@app.command()
def add(file: Annotated[Path, typer.Argument(help="A weight file that was downloaded by hand.")]) -> None:
    """Take a downloaded weight file into the package's folder, recognized by its content."""
    from keras_det import weights

    entry, path = weights.add(file)
    Console(soft_wrap=True).print(f"{entry.model} {entry.name}: added as {path}", highlight=False)


@app.command("import")
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
) -> None:
    """Bring a network of TensorFlow's Object Detection API into this package; its graph is read, never run."""
    from keras_det.weights import FILE_ENDINGS

    check_file(out, FILE_ENDINGS)
    if not Path(f"{file}.index").is_file():  # the prefix of a checkpoint
        check_exists(file, "FILE")
    if classes is not None and classes.endswith(".pbtxt"):
        check_exists(Path(classes), "--classes")
    load_tensorflow()
    from keras_det.models.imported import import_tfod

    out.parent.mkdir(parents=True, exist_ok=True)
    network = import_tfod(file, classes)
    network.save_weights(out)
    name = type(network).__name__.lower()
    what = {"model": name, "classes": list(network.classes), "out": str(out)}
    if as_json:
        print_json(what)
        return
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{name} of {len(network.classes)} classes, written: [bold]{escape(str(out))}[/bold]")
    console.print(f"  keras-det detect IMAGES --weights {escape(str(out))}")
