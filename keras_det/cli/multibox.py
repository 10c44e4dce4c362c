"""`keras-det multibox`: DeepMultiBox's figures and tables."""

from pathlib import Path
from typing import Annotated

import typer

from keras_det.cli.checks import check_file, check_network
from keras_det.cli.networks import load_network, load_tensorflow
from keras_det.cli.options import Data, FigureFile, Images, Json, Split, reads_data
from keras_det.cli.printing import print_rows
from keras_det.cli.sources import load_source
from keras_det.cli.wording import Commands

app = typer.Typer(help="DeepMultiBox's figures and tables, on any data.", no_args_is_help=True, cls=Commands)

Localizer = Annotated[str, typer.Option("--localizer", help="Weights of `multibox`: a registered name or a file.")]


@app.command("figure-1")
@reads_data
def figure_1(
    localizer: Localizer = "shapes",
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    out: FigureFile = Path("runs/multibox_figure_1.png"),
    as_json: Json = False,
) -> None:
    """Detection rate against the number of boxes, for one, two and three scales."""
    check_network("multibox", localizer, "--localizer")
    check_file(out)
    source = load_source(data, split, None, images)
    load_tensorflow()
    from keras_det import visualize
    from keras_det.training import multibox

    budgets = range(1, 101)
    rates = multibox.detection_rates(load_network("multibox", localizer, "--localizer"), source, budgets)
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = {name: (list(budgets), values) for name, values in rates.items()}
    visualize.plot_lines(lines, out, xlabel="Number of boxes", ylabel="Detection rate", ylim=(0, 1))
    rows = {name: {f"@{n}": float(values[n - 1]) for n in (1, 3, 5, 10, 25, 50, 100)} for name, values in rates.items()}
    print_rows("detection rate", rows, as_json, {"out": str(out)})


@app.command("figure-5")
@reads_data
def figure_5(
    detectors: Annotated[
        list[str], typer.Argument(help="MODEL=WEIGHTS of each curve, such as multibox=shapes or ssd300=voc.")
    ],
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    out: FigureFile = Path("runs/multibox_figure_5.png"),
    as_json: Json = False,
) -> None:
    """Class-agnostic precision and recall of detectors trained on any data."""
    named = {}
    for text in detectors:
        name, equals, weights = text.partition("=")
        if not equals:
            raise ValueError(f"a detector must be MODEL=WEIGHTS, such as multibox=shapes; got {text!r}.")
        check_network(name, weights, "WEIGHTS", boxes=True, named="MODEL")
        named[text] = name, weights
    check_file(out)
    source = load_source(data, split, None, images)
    load_tensorflow()
    from keras_det import visualize
    from keras_det.metrics import proposals
    from keras_det.training import multibox

    networks = {text: load_network(name, weights, "WEIGHTS") for text, (name, weights) in named.items()}
    curves = multibox.agnostic_curves(networks, source)
    out.parent.mkdir(parents=True, exist_ok=True)
    visualize.plot_precision_recall({name: (c.recall, c.precision) for name, c in curves.items()}, out)
    rows = {name: {"AUC": proposals.pr_auc(curve)} for name, curve in curves.items()}
    print_rows("class-agnostic", rows, as_json, {"out": str(out)})


@app.command("table-1")
@reads_data
def table_1(
    classifier: Annotated[str, typer.Option("--classifier", help="File of a `classifier` with background.")],
    localizer: Localizer = "shapes",
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    as_json: Json = False,
) -> None:
    """Average precision of each class, of the two-stage detector."""
    source = _checked(localizer, classifier, data, split, images)
    load_tensorflow()
    from keras_det.training import multibox

    metrics = multibox.table_1(*_networks(localizer, classifier), source)
    print_rows("average precision, VOC2007's 11 points", {"DeepMultiBox": metrics}, as_json)


@app.command("table-2")
@reads_data
def table_2(
    classifier: Annotated[str, typer.Option("--classifier", help="File of a `classifier`.")],
    localizer: Localizer = "shapes",
    one_box: Annotated[str | None, typer.Option("--one-box", help="File of a `one_box_per_class` network.")] = None,
    data: Data = "shapes",
    split: Split = None,
    images: Images = None,
    as_json: Json = False,
) -> None:
    """Detection@5 and classification@5 against the number of windows, boxes suppressed at 0.4; of rendered scenes,
    those with one object."""
    check_network("one_box_per_class", one_box, "--one-box")
    source = _checked(localizer, classifier, data, split, images)
    load_tensorflow()
    from keras_det.training import multibox
    from keras_det.training.overfeat import single_objects

    networks = _networks(localizer, classifier)
    baseline = None if one_box is None else load_network("one_box_per_class", one_box, "--one-box")
    source = single_objects(source) if data == "shapes" else source
    table = multibox.table_2(*networks, source, baseline)
    print_rows("ILSVRC", {name: {"det@5": det, "class@5": top} for name, det, top in table}, as_json)


def _checked(localizer, classifier, data, split, images):
    """The source, after a look at the names of the two networks."""
    check_network("multibox", localizer, "--localizer")
    check_network("classifier", classifier, "--classifier")
    return load_source(data, split, None, images)


def _networks(localizer, classifier):
    """The two stages."""
    return load_network("multibox", localizer, "--localizer"), load_network("classifier", classifier, "--classifier")
