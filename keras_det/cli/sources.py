"""Data sources and classes, from what the options name."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from keras_det.cli.options import DATA_OPTIONS, data_options
from keras_det.cli.printing import error_console
from keras_det.cli.wording import naming

if TYPE_CHECKING:
    from keras_det.data.source import Source


NOT_FOR = {  # kinds of sources that have no such option
    "missing": ("tfds", "shapes", "images"),
    "rescale_boxes": ("tfds", "shapes", "images", "yolo"),
    "image_folder": ("tfds", "shapes", "images", "yolo", "voc", "ilsvrc", "folder", "csv"),
}


def load_source(
    spec: str,
    split: str | None,
    seed: int | None,
    images: int | None,
    options: dict[str, Any] | None = None,
    names: tuple[str, str] = ("--data", "--split"),
) -> Source:
    """A data source; seed and number of scenes are options of `shapes`, elsewhere `images` takes the first."""
    from keras_det import data

    given = {name: value for name, value in data_options.items() if value != DATA_OPTIONS[name][1]}
    bound = given.pop("max_unreadable", None)
    kind, place = data.parse_spec(spec)
    if place == spec:
        _say_kind(spec, kind)
    for name in given:
        if kind in NOT_FOR[name]:
            raise ValueError(
                f"--{name.replace('_', '-')} is for annotation files, such as --data folder; got {spec!r}."
            )
    options = dict(options or {}) | given
    with naming(spec=names[0], split=names[1]):
        if spec == "shapes":
            options = {"images": 500, "seed": 1} | options
            options |= {} if seed is None else {"seed": seed}
            options |= {} if images is None else {"images": images}
            return data.load(spec, split, **options)
        if seed is not None:
            raise ValueError(f"--seed chooses scenes of --data shapes; it means nothing for {spec!r}.")
        source = data.load(spec, split, **options)
    if bound is not None:
        source.max_unreadable = bound
    return source if images is None else source.take(images)


@functools.cache  # a command may read several splits
def _say_kind(spec, kind):
    """What a folder or file without a kind is taken for."""
    error_console.print(escape(f"{spec} is taken as {kind}:{spec}"), highlight=False)


def data_of(weights: str | None, data: str | None, split: str | None) -> tuple[str, str | None]:
    """The data and the split that a command means.

    Args:
        weights: a registered name, a file, or `None`.
        data: as the user gave it, or `None`.
        split: as the user gave it, or `None`.

    Returns:
        Those given; or what the run evaluated on in whose folder the weights are; or rendered scenes.
    """
    if data is not None:
        return data, split
    arguments = Path(weights or "").parent / "args.json"
    if weights is None or not Path(weights).is_file() or not arguments.is_file():
        return "shapes", split
    try:
        recipe = json.loads(arguments.read_text(encoding="utf-8"))["recipe"]
        if recipe.get("validation_split") and not (split or recipe["val_split"]):
            error_console.print(
                f"[yellow]{escape(str(recipe['data']))} is what the run was trained on,[/yellow] but for a fraction: "
                "--data names other images",
                highlight=False,
            )
        return str(recipe["data"]), split or recipe["val_split"] or recipe["split"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{arguments} does not say what the run was trained on: name --data.") from error


def class_names(text: str | None) -> int | tuple[str, ...] | None:
    """Class names with commas, or a number of classes; `None` stays."""
    if text is None:
        return None
    return int(text) if text.strip().isdecimal() else tuple(name.strip() for name in text.split(","))
