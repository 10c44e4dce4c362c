"""Options that several commands share."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

Model = Annotated[
    str | None,
    typer.Option("--model", help="Detector, see `keras-det models`; default: that of the weights, or ssd300."),
]
Weights = Annotated[str | None, typer.Option("--weights", help="Registered name, such as `shapes`, or a file.")]
Backbone = Annotated[
    str | None,
    typer.Option("--backbone", help="vgg16, mobilenet_v2, mobilenet_v3_large or tiny; default: the model's."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
SOURCES = (
    "shapes, voc:DEVKIT, coco:FOLDER|FILE, yolo:FOLDER|FILE, csv:FILE, folder:FOLDER (images with VOC XML), "
    "ilsvrc:FOLDER, tfds:NAME, or a folder that says by its files what it is"
)
Data = Annotated[
    str | None,
    typer.Option("--data", help=f"{SOURCES}. Default: what the run of --weights evaluated on, or shapes."),
]
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
ImageFolder = Annotated[
    str | None,
    typer.Option("--image-folder", help="Folder of the images of --data coco:FILE.json; default: looked for."),
]
DATA_OPTIONS = {
    "image_folder": (ImageFolder, None),
    "missing": (Missing, "error"),
    "rescale_boxes": (RescaleBoxes, False),
    "max_unreadable": (MaxUnreadable, 0.01),
}
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Random seed of the scenes of --data shapes.")]
Images = Annotated[int | None, typer.Option("--images", min=1, help="The first N images.")]
Threshold = Annotated[
    float | None, typer.Option("--score-threshold", min=0.0, help="Lowest score shown; default: the detector's.")
]
FigureFile = Annotated[Path, typer.Option("--out", help="PNG file of the figure.")]


def reads_data(command: Callable) -> Callable:
    """Gives a command the options of data sources, which `load_source` takes from `data_options`."""
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
