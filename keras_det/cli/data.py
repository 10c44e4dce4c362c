"""`keras-det data`: what --data takes, and a look at one's data before training."""

import contextlib
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_det.cli.checks import check_network
from keras_det.cli.networks import load_network, load_tensorflow
from keras_det.cli.options import Json, reads_data
from keras_det.cli.printing import error_console, print_columns, print_issues, print_json
from keras_det.cli.sources import load_source

FORMS = {
    "shapes": ("rendered scenes; no files at all", "none; --seed draws others"),
    "folder:FOLDER": ("images with VOC XML beside them, or in VOC's folders", "train, val; train+val"),
    "voc:DEVKIT": ("Pascal VOC as it is distributed", "2007_test, 2007_trainval+2012_trainval"),
    "coco:FOLDER": ("COCO's JSON and images, also Roboflow's, CVAT's and Label Studio's", "train2017, val2017; train"),
    "coco:FILE.json": ("one such JSON; --image-folder names its images' folder", "none"),
    "yolo:FOLDER": ("YOLO's text files with data.yaml, obj.data or classes.txt", "train, val, test"),
    "csv:FILE": ("a table of path, corners and label; Open Images', too", "values of its column split"),
    "images:FOLDER": ("images without annotations, to write results for", "none"),
    "ilsvrc:FOLDER": ("ILSVRC's data for detection and localization", "DET/train+DET/val1, CLS-LOC/train_loc"),
    "tfds:NAME": ("a TensorFlow data set with objects, such as voc/2007", "train+validation"),
}
SHEET_IMAGES = 24
MATCHED_BATCH = 64


@reads_data
def data(
    spec: Annotated[
        str | None, typer.Argument(help="Data to look at, as --data takes it; default: list the forms.")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Split; may be repeated, to look at several together.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for sheet.png (images with their boxes), sizes.png, issues.txt; of --convert."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Count the boxes that this model would match with the objects.")
    ] = None,
    convert: Annotated[
        Literal["coco", "voc", "yolo"] | None,
        typer.Option("--convert", help="Write the data in this form to --out, and check it by reading it again."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at data before training: counts, sizes, issues, images in two splits, boxes that repeat.

    Without data it lists the forms of data that there are.
    """
    if spec is None:
        _print_forms(as_json)
        return
    if model is not None:
        check_network(model, None)
    if convert is not None and out is None:
        raise ValueError("--convert needs --out, a new folder.")
    whole = "all" if convert is None else "train"
    sources = {name or whole: load_source(spec, name, None, None) for name in split or [None]}
    if convert is not None:
        _convert(sources, convert, out, as_json)
        return
    from keras_det.data.inspection import shared_images, summarize

    found: dict[str, Any] = {"splits": {name: summarize(source) for name, source in sources.items()}}
    found["shared_images"] = shared_images(sources)
    if model is not None:
        for name, source in sources.items():
            found["splits"][name]["matched_per_object"] = _matched(model, source)
    for name, source in sources.items():
        found["splits"][name]["refused"] = _refusal(source)
    if out is not None:
        _write_pictures(sources, found, out)
    if as_json:
        print_json(found)
        return
    for name, source in sources.items():
        print_issues(source)
        _print_summary(name, found["splits"][name])
        if refused := found["splits"][name]["refused"]:
            error_console.print(f"[bold red]training would refuse this:[/bold red] {escape(refused)}", highlight=False)
    for files in found["shared_images"]:
        error_console.print(f"[yellow]in two splits:[/yellow] {escape(', '.join(files))}", highlight=False)
    if out is not None:
        Console(soft_wrap=True).print(f"written: [bold]{escape(str(out))}[/bold]")


def _print_forms(as_json):
    """What --data takes."""
    if as_json:
        print_json([{"data": form, "reads": reads, "splits": splits} for form, (reads, splits) in FORMS.items()])
        return
    print_columns([(f"--data {form}", reads, f"--split: {splits}") for form, (reads, splits) in FORMS.items()])


def _convert(sources, format, out, as_json):
    """Write the sources in another form, and say what was lost."""
    from keras_det.data.writing import write

    for source in sources.values():  # the other form cannot tell of them any more
        print_issues(source)
    found = write(sources, format, out)
    for sentence in found["flags"]:
        error_console.print(escape(sentence), highlight=False)
    if as_json:
        print_json({"out": str(out), "format": format, **found})
    else:
        counts = ", ".join(f"{count} images of {name}" for name, count in found["images"].items())
        lost = f"; {len(found['left_out'])} images or objects were left out" if found["left_out"] else ""
        Console(soft_wrap=True).print(escape(f"{format}: {counts}, written and read again: {out}{lost}"))


def _refusal(source):
    """Why training would refuse the source; None where it would not."""
    try:
        source.check()
    except ValueError as error:
        return str(error)
    return None


def _matched(name, source):
    """Boxes of the model that are matched with an object, on average."""
    load_tensorflow()
    from keras_det import models

    config = models.get(name).fit_config({}, source)
    network = load_network(name, None, classes=source.classes, **config)
    if "matched" not in network.counters:
        raise ValueError(f"--model must match boxes with objects, such as ssd300; {name} does not.")
    matched = 0.0
    for _, labels in network.batches(source, MATCHED_BATCH, training=False):
        matched += float(network.count_targets(network.encode_targets(labels))["matched"])
    objects = sum(int((~source.annotation(i).is_crowd).sum()) for i in range(len(source)))
    return round(matched / max(objects, 1), 3)


def _write_pictures(sources, found, out):
    """A sheet of images with their boxes, histograms of sizes, and every issue."""
    from keras_det import visualize
    from keras_det.data.inspection import image_sizes, object_sizes
    from keras_det.files import write_image, write_text

    out.mkdir(parents=True, exist_ok=True)
    drawn = []
    for source in sources.values():
        most = len(drawn) + SHEET_IMAGES // len(sources)
        for i in range(len(source)):
            if len(drawn) == most:
                break
            with contextlib.suppress(OSError, ValueError):  # what cannot be read is among the issues
                image, one = source.image(i), source.annotation(i)
                options = {"labels": one.labels, "names": source.classes, "longest": visualize.TILE}
                drawn.append(visualize.draw_boxes(image, one.boxes, **options))
    if drawn:
        write_image(out / "sheet.png", visualize.grid(drawn, columns=6))
    sizes = {name: image_sizes(source) for name, source in sources.items()}
    panels = {
        "object size: square root of its fraction of the image": {
            name: object_sizes(source) for name, source in sources.items()
        },
        "image width, pixels": {name: each[:, 1] for name, each in sizes.items()},
        "image height, pixels": {name: each[:, 0] for name, each in sizes.items()},
    }
    visualize.plot_histograms(panels, out / "sizes.png")
    issues = [issue for one in found["splits"].values() for issue in one["issues"]]
    write_text(out / "issues.txt", "".join(f"{issue}\n" for issue in issues))


def _print_summary(name, found):
    """A split's counts in a table."""
    table = Table("", "", show_header=False, title=escape(f"{found['name']}"))
    table.add_row("images", f"{found['images']}, {found['without_objects']} of them without objects")
    flags = [f"{found[flag]} {flag}" for flag in ("difficult", "crowds") if found[flag]]
    table.add_row("objects", ", ".join([str(found["objects"]), *flags]))
    for label, count in sorted(found["classes"].items(), key=lambda item: -item[1]):
        table.add_row(f"  {escape(label)}", str(count))
    for key, words in (
        ("image_width", "image width"),
        ("image_height", "image height"),
        ("object_size", "objects' size, of the image's side"),
    ):
        values = found[key]
        table.add_row(words, ", ".join(f"{quantile} {value:g}" for quantile, value in values.items()) or "none")
    if found["repeated_boxes"]:
        file, first, second = found["repeated_boxes"][0]
        example = f"objects {first} and {second} of {file}"
        table.add_row("boxes that repeat", escape(f"{len(found['repeated_boxes'])}, such as {example}"))
    if "matched_per_object" in found:
        table.add_row("boxes matched with an object", f"{found['matched_per_object']:g}")
    table.add_row("issues", str(len(found["issues"])))
    Console().print(table)
