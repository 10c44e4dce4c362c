"""`keras-det overfeat`: OverFeat's tables and figures, and its authors' weights."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from keras_det.cli.checks import check_exists, check_file, check_network
from keras_det.cli.networks import load_network, load_tensorflow
from keras_det.cli.options import Data, FigureFile, Images, Json, Seed, Split, reads_data
from keras_det.cli.printing import print_json, print_rows
from keras_det.cli.sources import load_source
from keras_det.cli.wording import Commands

app = typer.Typer(help="OverFeat's tables on any data, and its authors' weights.", no_args_is_help=True, cls=Commands)

Networks = Annotated[
    list[str], typer.Option("--weights", help="Weights of `overfeat`: a registered name or a file; repeat for several.")
]
Batch = Annotated[int, typer.Option("--batch-size", min=1, help="Images per batch.")]


@app.command("table-2")
@reads_data
def table_2(
    weights: Networks = ("shapes",),
    data: Data = "shapes",
    split: Split = None,
    seed: Seed = None,
    images: Images = None,
    batch_size: Batch = 16,
    as_json: Json = False,
) -> None:
    """Top-1 and top-5 error of each way to vote, on the images with one object; several networks are an ensemble."""
    for name in weights:
        check_network("overfeat", name)
    source = load_source(data, split, seed, images)
    load_tensorflow()
    from keras_det.training import overfeat

    networks = [load_network("overfeat", name) for name in weights]
    source = overfeat.single_objects(source)
    rows = overfeat.table_2(networks, source, batch_size)
    print_rows("error", {name: {"top-1": one, "top-5": five} for name, (one, five) in rows.items()}, as_json)


@app.command("figure-9")
@reads_data
def figure_9(
    weights: Networks = ("shapes",),
    data: Data = "shapes",
    split: Split = None,
    seed: Seed = None,
    images: Images = None,
    batch_size: Batch = 16,
    out: FigureFile = Path("runs/overfeat_figure_9.png"),
    as_json: Json = False,
) -> None:
    """Localization error from the center window to all scales, on the images with one object; of each network given,
    one regressor for all classes (SCR) or one for each (PCR)."""
    for name in weights:
        check_network("overfeat", name)
    check_file(out)
    source = load_source(data, split, seed, images)
    load_tensorflow()
    from keras_det import visualize
    from keras_det.training import overfeat

    networks = {name: load_network("overfeat", name) for name in weights}
    for name, network in networks.items():
        if network.regressor is None:
            raise ValueError(f"--weights {name}: Figure 9 needs a regressor; this network is for {network.task}.")
    source = overfeat.single_objects(source)
    rows = {}
    for name, network in networks.items():
        for bar, (five, one) in overfeat.figure_9(network, source, batch_size).items():
            rows[bar if len(networks) == 1 else f"{Path(name).name}: {bar}"] = {"5 guesses": five, "1 guess": one}
    out.parent.mkdir(parents=True, exist_ok=True)
    visualize.plot_bars(rows, out, ylabel="Localization error")
    print_rows("localization error", rows, as_json, {"out": str(out)})


@app.command("convert")
def convert(
    file: Annotated[
        Path, typer.Argument(help="net_weight_0 (fast) or net_weight_1 (accurate) of the authors' release.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Where to write: ends in .weights.h5 or .safetensors.")],
    classes: Annotated[
        Path | None, typer.Option("--classes", help="Names of the 1000 classes in the authors' order, one a line.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The weights that OverFeat's authors released as a file of this package, a classifier."""
    from keras_det.weights import FILE_ENDINGS

    check_exists(file, "FILE")
    check_file(out, FILE_ENDINGS)
    names = None if classes is None else [line for line in classes.read_text("utf-8").splitlines() if line.strip()]
    load_tensorflow()
    from keras_det.models import OverFeat

    model = OverFeat.from_released(file, names)
    out.parent.mkdir(parents=True, exist_ok=True)
    model.save_weights(out)
    found = {"out": str(out), "variant": model.config.variant, "classes": len(model.classes)}
    if as_json:
        print_json(found)
    else:
        Console(soft_wrap=True).print(f"written: [bold]{escape(str(out))}[/bold], the {found['variant']} network")
