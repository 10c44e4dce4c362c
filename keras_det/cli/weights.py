"""`keras-det models` and `keras-det weights`: what there is, and files that are added."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from keras_det.cli.networks import load_tensorflow
from keras_det.cli.options import Json
from keras_det.cli.printing import print_json

app = typer.Typer(help="Weight files.", no_args_is_help=True)


def models(as_json: Json = False):
    """List the models and their weights."""
    from keras_det import weights

    if as_json:
        print_json([weights.describe(entry) for entry in weights.entries()])
        return
    console = Console(highlight=False)
    for entry in weights.entries():
        console.print(f"[bold]--model {entry.model.lower()} --weights {entry.name}[/bold]")
        console.print(f"  {len(entry.classes)} classes, {entry.parameters:,} parameters, {entry.gflops:.3g} GFLOPs")
        by = "measured by this project" if entry.source.startswith("embedded:") else "publisher's figure"
        console.print(f"  {entry.reported.value:.3f} {entry.reported.metric} on {entry.reported.dataset} ({by})")
        console.print(f"  trained on {entry.trained_on}; {entry.license}; {entry.source}", soft_wrap=True)


@app.command()
def add(file: Annotated[Path, typer.Argument(help="A weight file that was downloaded by hand.")]):
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
):
    """Bring a network of TensorFlow's Object Detection API into this package; its graph is read, never run."""
    from keras_det.models.imported import import_tfod

    _check_weights_name(out)
    load_tensorflow()
    network = import_tfod(file, classes)
    network.save_weights(out)
    name = type(network).__name__.lower()
    what = {"model": name, "classes": list(network.classes), "out": str(out)}
    if as_json:
        print_json(what)
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
