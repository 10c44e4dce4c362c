"""`keras-det class-generic`: ClassGeneric's tables."""

from pathlib import Path
from typing import Annotated

import typer

from keras_det.cli.checks import check_file, check_network
from keras_det.cli.networks import load_network, load_tensorflow
from keras_det.cli.options import Data, FigureFile, Images, Json, Split, reads_data
from keras_det.cli.printing import print_rows
from keras_det.cli.sources import class_names, load_source
from keras_det.cli.wording import Commands, naming

app = typer.Typer(help="ClassGeneric's tables, on any data.", no_args_is_help=True, cls=Commands)

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


@app.command("table-1")
@reads_data
def table_1(
    pretrained: Pretrained,
    random: FromRandom,
    held_out: HeldOut,
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    out: FigureFile = Path("runs/class_generic_table_1.png"),
    as_json: Json = False,
) -> None:
    """AUC on held-out classes of networks trained without their boxes, and the curves of Figure 1."""
    title = "AUC after training without the held-out classes' bounding boxes"
    _table(title, {"pretrained": pretrained, "random": random}, held_out, (data, split, None, images), out, as_json)


@app.command("table-2")
@reads_data
def table_2(
    pretrained: Pretrained,
    random: FromRandom,
    held_out: HeldOut,
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    out: FigureFile = Path("runs/class_generic_table_2.png"),
    as_json: Json = False,
) -> None:
    """AUC on the same images of networks trained on all boxes, and the curves of Figure 1."""
    title = "AUC after training on all bounding box labels"
    _table(title, {"pretrained": pretrained, "random": random}, held_out, (data, split, None, images), out, as_json)


def _table(title, weights, held_out, data, out, as_json):
    """Table 1 or 2, which differ in what the weights, by name, were trained on."""
    from keras_det.data.by_class import chosen_classes

    for name, value in weights.items():
        check_network("class_generic", value, f"--{name}")
    check_file(out)
    source = load_source(*data)
    with naming(classes="--held-out"):
        names = chosen_classes(source.classes, class_names(held_out))
    load_tensorflow()
    from keras_det import visualize
    from keras_det.metrics import proposals
    from keras_det.training import class_generic

    networks = {name: load_network("class_generic", value, f"--{name}") for name, value in weights.items()}
    curves = class_generic.held_out_curves(networks, source, names)
    out.parent.mkdir(parents=True, exist_ok=True)
    visualize.plot_precision_recall({name: (c.recall, c.precision) for name, c in curves.items()}, out)
    rows = {name: {"AUC": proposals.pr_auc(curve)} for name, curve in curves.items()}
    print_rows(title, rows, as_json, {"out": str(out)})
