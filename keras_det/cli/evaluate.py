"""`keras-det evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_det.cli.checks import check_exists, check_file, check_folder, check_network, model_of
from keras_det.cli.networks import load_network, load_tensorflow
from keras_det.cli.options import Data, Json, Model, Seed, Split, reads_data
from keras_det.cli.printing import error_console, print_issues, print_json
from keras_det.cli.sources import class_names, data_of, load_source
from keras_det.cli.wording import naming


@reads_data
def evaluate(
    model: Model = None,
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
    data: Data = None,
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
) -> None:
    """Evaluate a detector, or the results files of any: VOC and COCO metrics in original pixels."""
    from keras_det.files import remove_leftovers

    for folder, option in ((report, "--report"), (write_results, "--write-results")):
        if folder is not None:
            check_file(folder, None, option) if folder.suffix == ".json" else check_folder(folder, option)
    if results is None:
        weights = weights or "shapes"
        name = model_of(model, weights)
        check_network(name, weights, boxes=True)
        what, title = {"model": name, "weights": weights}, f"{name} {weights}"
        given = *data_of(weights, data, split), seed, images
        annotated = write_results is None or _is_annotated(*given[:2])
        if report is not None and not annotated:
            raise ValueError("--report compares with annotations, which the images do not have: leave it out.")
        source = _only(load_source(*given), classes) if annotated else None
        load_tensorflow()
        network = load_network(name, weights)
        if source is None:
            source = _only(_unannotated(*given, network.classes), classes)
        metrics, truth, found = _evaluate_model(network, source, batch_size, not as_json, annotated)
    else:
        if write_results is not None:
            raise ValueError("--write-results writes a model's detections: leave out --results.")
        annotated = True
        _check_results_options(model, weights, data, images)
        check_exists(results, "--results")
        what, title = {"results": str(results)}, results.name
        source = _only(load_source(data, split, seed, images), classes)
        metrics, truth, found = _evaluate_results(results, source)
    what |= {"data": source.name, "images": len(source)}
    if write_results is not None:
        what["results"] = _write_results(write_results, truth, found, competition)
    if report is not None:
        from keras_det.metrics.report import write_report

        remove_leftovers(report)
        path = write_report(truth, found, report / "report.html", source, f"{title} on {source.name}", metrics)
        what["report"] = str(path)
    if as_json:
        print_json(what | metrics)
        return
    if annotated:
        _print_metrics(metrics, source, truth.classes)
    for written in (what.get("report"), what.get("results") if write_results else None):
        if written:
            Console(soft_wrap=True).print(f"written: [bold]{escape(written)}[/bold]")


def _only(source, classes):
    """The images that show the named classes and no others; all images where none is named."""
    if classes is None:
        return source
    from keras_det.data import images_of

    return images_of(source, class_names(classes))


def _is_annotated(spec, split):
    """Whether the source has annotations to evaluate with."""
    from keras_det import data

    with naming(split="--split"):
        return data.is_annotated(spec, split)


def _unannotated(spec, split, seed, images, classes):
    """The source to write results of, which has no annotations."""
    from keras_det.data import parse_spec

    takes_classes = parse_spec(spec)[0] in ("folder", "images")
    options = {"annotated": False} | ({"classes": classes} if takes_classes else {})
    source = load_source(spec, split, seed, images, options)
    error_console.print(f"{escape(source.name)} has no annotations: its results are written, not evaluated.")
    return source


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

    print_issues(source)
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
        text = f"images skipped as unreadable: {len(skipped)}, their objects count as missed: {names}"
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
    """Metrics of results files on a source, the objects and the detections."""
    from keras_det.metrics import GroundTruth, coco, voc
    from keras_det.metrics.report import evaluate as evaluate_whole

    print_issues(source)
    truth = GroundTruth.from_source(source)
    found = voc.read_results(path, truth) if path.is_dir() else coco.read_results(path, truth)
    return evaluate_whole(truth, found), truth, found


def _print_metrics(metrics, source, classes):
    table = Table("metric", "value", title=f"{escape(source.name)}, {len(source)} images")
    for name, value in metrics.items():
        if "/" not in name:
            table.add_row(name, f"{value:.4f}")
    Console().print(table)
    if f"ap50/{classes[0]}" in metrics:  # not of class-agnostic detectors
        per_class = Table("class", "AP50 (area)", title="per class")
        for name in classes:
            per_class.add_row(escape(name), f"{metrics[f'ap50/{name}']:.4f}")
        Console().print(per_class)
