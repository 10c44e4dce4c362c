"""`keras-det export` and `keras-det benchmark`: detectors as files without Keras."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_det.cli.checks import check_folder, check_network, model_of
from keras_det.cli.networks import load_network, load_tensorflow, silent_stderr
from keras_det.cli.options import Data, Json, Model, Split, Weights, reads_data
from keras_det.cli.printing import error_console, print_json
from keras_det.cli.sources import data_of, load_source


@reads_data
def export(
    out: Annotated[Path, typer.Option("--out", help="Where to write: a folder for saved_model and web, else a file.")],
    model: Model = None,
    weights: Weights = "shapes",
    format: Annotated[
        Literal["saved_model", "tflite", "onnx", "web"],
        typer.Option("--format", help="Format of the file; web: a folder with a page that detects in the browser."),
    ] = "saved_model",
    precision: Annotated[
        Literal["float32", "float16", "dynamic", "int8"],
        typer.Option("--precision", help="Precision of the weights; other than float32 for tflite alone."),
    ] = "float32",
    version: Annotated[
        int, typer.Option("--version", min=1, help="Version of a saved_model: its folder in --out.")
    ] = 1,
    check: Annotated[bool, typer.Option("--check", help="Compare the file's detections with the model's.")] = False,
    data: Data = None,
    split: Split = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Images for --check and for calibrating int8.")] = 100,
    as_json: Json = False,
) -> None:
    """Export a detector to a file or folder that needs neither this package nor Keras.

    With --check, exit code 1 means that the file does not give the model's detections.
    """
    from keras_det.files import remove_leftovers

    model = model_of(model, weights)
    check_network(model, weights, boxes=True)
    _check_export(out, format, precision, version)
    place = data_of(weights, data, split)
    source = load_source(*place, None, images).readable() if check or precision == "int8" else None
    load_tensorflow()
    from keras_det import export as exporters

    network = load_network(model, weights)
    if source is not None:
        _check_images(network, source, data or place[0], check)
    for folder in (out, out.parent):
        remove_leftovers(folder)
    with silent_stderr():
        calibration = _read_images(source) if precision == "int8" else None
        path = exporters.export(network, format, out, precision, calibration, version)
    report = exporters.check(network, format, path, precision, source) if check else None
    if as_json:
        print_json({"path": str(path), "format": format, "precision": precision} | _metrics(report))
    else:
        Console().print(f"written: [bold]{path}[/bold]")
        if source is not None:
            uses = ["calibrated"] * (precision == "int8") + ["checked"] * check
            Console(soft_wrap=True).print(escape(f"{' and '.join(uses)} on {len(source)} images of {source.name}"))
        if report:
            Console().print(_export_table([report]))
    if report and report.failure:
        raise typer.Exit(1)


@reads_data
def benchmark(
    model: Model = None,
    weights: Weights = "shapes",
    data: Data = None,
    split: Split = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Images to detect in.")] = 100,
    as_json: Json = False,
) -> None:
    """Export to every format and precision; size, mAP and time of each, and which ones fail and why."""
    model = model_of(model, weights)
    check_network(model, weights, boxes=True)
    source = load_source(*data_of(weights, data, split), None, images).readable()
    load_tensorflow()
    from keras_det import export as exporters

    network = load_network(model, weights)
    reports, console = [], Console(stderr=True)
    with console.status("the model itself") as status, silent_stderr():
        for report in exporters.benchmark(network, source):
            reports.append(report)
            status.update(f"after {report.format} {report.precision}")
    if as_json:
        print_json({"model": model, "weights": weights, "rows": [_metrics(report) for report in reports]})
    else:
        Console().print(_export_table(reports))


def _check_images(network, source, data, check):
    """Refuse a check on images of other classes than the model's; scenes that calibrate a stranger's are warned of."""
    if network.class_agnostic or {*network.classes} & {*source.classes}:
        return
    some = ", ".join(network.classes[:3]) + (", ..." if len(network.classes) > 3 else "")
    if check:
        raise ValueError(f"--data must show some of the model's classes ({some}) for --check; got {data!r}.")
    error_console.print(
        f"[yellow]int8 is calibrated on {escape(source.name)},[/yellow] which shows none of the model's classes "
        f"({escape(some)}): --data names images like those that it will see",
        highlight=False,
    )


def _check_export(out, format, precision, version):
    """Refuse a precision that the format has not, and a file that an earlier export wrote."""
    if format != "tflite" and precision != "float32":
        raise ValueError(f"--precision of {format} must be float32; got {precision!r}.")
    target, other = (out / str(version), " or --version") if format == "saved_model" else (out, "")
    if target.exists():
        raise FileExistsError(f"{target} exists; choose another --out{other}.")
    check_folder(target.parent)


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
