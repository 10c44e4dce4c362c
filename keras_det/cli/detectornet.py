"""`keras-det detectornet`: DetectorNet's table and figure, and networks of single classes in one."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from keras_det.cli.checks import check_file, check_network
from keras_det.cli.networks import load_network, load_tensorflow
from keras_det.cli.options import Data, FigureFile, Images, Json, Split
from keras_det.cli.printing import print_json, print_rows
from keras_det.cli.sources import load_source
from keras_det.cli.wording import Commands
from keras_det.suggestions import did_you_mean

app = typer.Typer(help="DetectorNet's table and figure, on any data.", no_args_is_help=True, cls=Commands)

Masks = Annotated[str, typer.Option("--weights", help="Weights of `detectornet`, or a folder of `train --by-class`.")]
Pruning = Annotated[
    str | None, typer.Option("--classifier", help="File of a `classifier` with background, which prunes.")
]


@app.command("assemble")
def assemble(
    weights: Annotated[
        list[str], typer.Argument(help="Weights of other classes each, or a folder of `train --by-class`.")
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write, *.weights.h5 or *.safetensors.")],
    classifier: Pruning = None,
    as_json: Json = False,
) -> None:
    """Put networks of single classes into one detector, and a classifier that prunes."""
    from keras_det.weights import FILE_ENDINGS

    for path in weights:
        _check_masks(path, "WEIGHTS")
    _check_pruning(classifier)
    check_file(out, FILE_ENDINGS)
    load_tensorflow()
    from keras_det.training import detectornet

    files = [file for path in weights for file in detectornet.files_of(path)]
    model = detectornet.assemble(files, _pruning(classifier))
    out.parent.mkdir(parents=True, exist_ok=True)
    model.save_weights(out, optimizer=False)
    if as_json:
        print_json({"out": str(out), "classes": list(model.classes), "parameters": model.count_params()})
    else:
        Console(soft_wrap=True).print(f"written: [bold]{escape(str(out))}[/bold], {', '.join(model.classes)}")


@app.command("table-1")
def table_1(
    weights: Masks = "shapes",
    classifier: Pruning = None,
    baseline: Annotated[str | None, typer.Option("--sliding-windows", help="File of `sliding_windows`.")] = None,
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    as_json: Json = False,
) -> None:
    """Average precision of each class, of DetectorNet and of its baseline."""
    _check_masks(weights)
    _check_pruning(classifier)
    check_network("sliding_windows", baseline, "--sliding-windows")
    source = load_source(data, split, None, images)
    load_tensorflow()
    from keras_det.training import detectornet, multibox

    found = {"DetectorNet": detectornet.find_boxes(detectornet.files_of(weights), source, _pruning(classifier))}
    if baseline is not None:
        found["Sliding windows"] = multibox.find_boxes(
            load_network("sliding_windows", baseline, "--sliding-windows"), source, batch_size=1
        )
    print_rows("average precision, VOC2007's 11 points", detectornet.table_1(found), as_json)


@app.command("figure-4")
def figure_4(
    weights: Masks = "shapes",
    classifier: Pruning = None,
    name: Annotated[str | None, typer.Option("--class", help="One class; default: all together.")] = None,
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    out: FigureFile = Path("runs/detectornet_figure_4.png"),
    as_json: Json = False,
) -> None:
    """Precision and recall after the first stage and after refinement."""
    _check_masks(weights)
    _check_pruning(classifier)
    check_file(out)
    source = load_source(data, split, None, images)
    if name is not None and name not in source.classes:
        hint = did_you_mean(name, source.classes)
        raise ValueError(f"--class: {source.name} has no class {name!r}, only {', '.join(source.classes)}{hint}")
    load_tensorflow()
    from keras_det import visualize
    from keras_det.training import detectornet

    files, judge = detectornet.files_of(weights), _pruning(classifier)
    stages = {"first stage": True, "after refinement": False}
    found = {stage: detectornet.find_boxes(files, source, judge, first_stage=first) for stage, first in stages.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = {stage: detectornet.precision_recall(*boxes, name) for stage, boxes in found.items()}
    visualize.plot_precision_recall(lines, out)
    rows = detectornet.table_1(found)
    shown = {stage: {name or "mean": row[name or "mean"]} for stage, row in rows.items()}
    print_rows("average precision, VOC2007's 11 points", shown, as_json, {"out": str(out)})


def _check_masks(weights, option="--weights"):
    """Refuse weights that are none; folders of runs are looked at later."""
    if not Path(weights).is_dir():
        check_network("detectornet", weights, option)


def _check_pruning(classifier):
    """Refuse a classifier that is no file."""
    check_network("classifier", classifier, "--classifier")


def _pruning(classifier):
    """The classifier of a file, if one was named."""
    return None if classifier is None else load_network("classifier", classifier, "--classifier")
