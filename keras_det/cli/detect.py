"""`keras-det detect` and `keras-det features`: networks on image files."""

import collections
import contextlib
import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from keras_det.cli.checks import check_file, check_folder, check_images, check_network, model_of
from keras_det.cli.networks import load_network, load_tensorflow
from keras_det.cli.options import Json, Model, Threshold, Weights
from keras_det.cli.printing import error_console, print_json


def detect(
    images: Annotated[
        list[str],
        typer.Argument(
            help="Images, folders of images, patterns in quotes, https addresses; or one video: a file, a stream's "
            "address, a camera's number, or - for standard input."
        ),
    ],
    model: Model = None,
    weights: Weights = "shapes",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for images with the boxes drawn; of a video a video file.")
    ] = None,
    score_threshold: Threshold = None,
    every: Annotated[
        int | None, typer.Option("--every", min=1, help="Of a video: look at every Nth frame; default: at each.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each image, one a line.")] = False,
) -> None:
    """Detect objects in images; results appear as they come.

    A file that cannot be read is named and passed over; exit code 1 says so at the end.
    """
    from keras_det.data.video import is_video
    from keras_det.files import remove_leftovers

    model = model_of(model, weights)
    check_network(model, weights, boxes=True)
    if any(map(is_video, images)):
        _detect_video(images, model, weights, out, score_threshold, every or 1, as_json)
        return
    if every is not None:
        raise ValueError("--every is for a video.")
    check_images(images)
    if out is not None:
        check_folder(out)
    load_tensorflow()
    network = load_network(model, weights)
    drawn, bad, passed_over = collections.Counter(), *_passing_over(as_json)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        remove_leftovers(out)
    count, start = 0, time.perf_counter()
    for found in network.stream(images, score_threshold, bad=passed_over):
        result = found.to_dict()
        count += 1
        if out is not None:
            result["drawn"] = str(_free_name(out, found.source, drawn))
            found.save(result["drawn"])
        print_json(result) if as_json else _print_detections(result)
    if count and not as_json:
        each = 1000 * (time.perf_counter() - start) / count
        where = f"; drawn in {out}" if out is not None else ""
        failed = f", {len(bad)} could not be read" if bad else ""
        text = f"{count} images, {each:.0f} ms each, the first compiled{failed}{where}"
        error_console.print(escape(text), highlight=False)
    if bad:
        raise typer.Exit(1)


def _detect_video(images, model, weights, out, score_threshold, every, as_json):
    """What is in each frame, a line for each, or a video with boxes; both with --json and --out."""
    from keras_det.data.video import WRITTEN, Reader, Writer

    if len(images) != 1:
        raise ValueError("a video is detected in by itself: name one, and no images beside it.")
    if out is not None:
        check_file(out, WRITTEN)
        if out.exists() and os.path.exists(images[0]) and out.samefile(images[0]):
            raise ValueError(f"--out must not be the video itself; got {str(out)!r}.")
    reader = Reader(images[0])
    with contextlib.ExitStack() as files:
        files.callback(reader.close)
        load_tensorflow()
        from keras_det.models.video import detect_frames

        count, start = 0, time.perf_counter()
        writer = files.enter_context(Writer(out, reader.rate)) if out is not None else None
        line = files.enter_context(_frames_line(reader.frames, out is None and not as_json))
        for frame in detect_frames(load_network(model, weights), reader, score_threshold, every):
            count += 1
            line(count, count / (time.perf_counter() - start))
            if writer is not None:
                writer.add(frame.detections.plot())
            if as_json:
                print_json(frame.to_dict())
            elif out is None:
                found = ", ".join(f"{o['name']} {o['score']:.2f}" for o in frame.to_dict()["objects"])
                print(f"frame {frame.number}  {frame.seconds:.2f} s  {found or 'nothing found'}", flush=True)
        if not count:
            raise ValueError(f"{images[0]}: no frame of it can be read.")
    rate = count / max(time.perf_counter() - start, 1e-9)
    where = f": {out}" if out is not None else ""
    error_console.print(escape(f"{count} frames, {rate:.1f} a second, the first compiled{where}"), highlight=False)


@contextlib.contextmanager
def _frames_line(frames, silent):
    """A function that shows how far a video is, on a terminal's last line."""
    columns = TextColumn("frame {task.completed}"), BarColumn(20), TextColumn("{task.fields[rate]:.1f} a second")
    with Progress(*columns, TimeRemainingColumn(), console=error_console, transient=True, disable=silent) as progress:
        task = progress.add_task("", total=frames, rate=0.0)
        yield lambda count, rate: progress.update(task, completed=count, rate=rate)


def features(
    images: Annotated[list[str], typer.Argument(help="Images, folders of them, or patterns in quotes.")],
    weights: Annotated[
        str, typer.Option("--weights", help="Weights of `overfeat`: registered name or file.")
    ] = "shapes",
    layer: Annotated[
        str | None, typer.Option("--layer", help="conv1, pool1, full6 and so on; default: the last hidden layer.")
    ] = None,
    shorter_side: Annotated[
        int | None, typer.Option("--shorter-side", min=1, help="Pixels to resize images to; default: as they are.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for a .npy file of each image.")] = Path("runs/features"),
    as_json: Json = False,
) -> None:
    """Activations of OverFeat's layers, float32 (height, width, channels) of each image: a vector for each window.

    An image of the window's size gives one vector of the dense layers, a larger one a map of them. With --json one
    object a line for each image. Exit code 1 means that some file is no image.
    """
    check_network("overfeat", weights)
    check_images(images)
    check_folder(out)
    load_tensorflow()
    import numpy as np

    from keras_det.data.resize import resize
    from keras_det.files import remove_leftovers, whole
    from keras_det.models.inputs import read_images

    network = load_network("overfeat", weights)
    written, bad, passed_over = collections.Counter(), *_passing_over(as_json)
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    for image, name in read_images(images, with_errors=True):
        if isinstance(image, Exception):
            passed_over(name, image)
            continue
        if shorter_side is not None:
            image = resize(image, [round(shorter_side * side / min(image.shape[:2])) for side in image.shape[:2]])
        found = np.asarray(network.features(np.asarray(image)[None], layer)[0], "float32")
        path = _free_name(out, name, written, ".npy")
        with whole(path) as temporary, open(temporary, "wb") as file:
            np.save(file, found)
        if as_json:
            print_json({"image": name, "shape": list(found.shape), "file": str(path)})
        else:
            shape = " x ".join(map(str, found.shape))
            Console(soft_wrap=True).print(f"{escape(name)}: {shape}, {escape(str(path))}", highlight=False)
    if bad:
        raise typer.Exit(1)


def _passing_over(as_json):
    """Paths of files that are no images, and what is called with each of them."""
    bad = []

    def passed_over(path, error):
        bad.append(path)
        text = " ".join(str(error).split())
        error_console.print("[bold red]keras-det:[/bold red]", escape(text), highlight=False)
        if as_json:
            print_json({"image": path, "error": text})

    return bad, passed_over


def _free_name(folder, source, drawn, ending=".png"):
    """A file name that no other image of this call has; `drawn` counts the names."""
    stem = Path(source).stem if source else "image"
    name, number = stem, drawn[stem]
    while drawn[name]:
        number += 1
        name = f"{stem}-{number}"
    drawn[name] = 1
    drawn[stem] = max(number, 1)
    return folder / f"{name}{ending}"


def _print_detections(result):
    """An image's objects, each with its box: left, top, right and bottom in pixels."""
    console = Console(soft_wrap=True, highlight=False)
    console.print(escape(f"{result['image']}: {len(result['objects'])} objects"))
    for one in result["objects"]:
        box = ", ".join(f"{side:.0f}" for side in one["box"])
        console.print(escape(f"  {one['name']} {one['score']:.2f}  ({box})"))
