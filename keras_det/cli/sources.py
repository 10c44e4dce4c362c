"""Data sources and classes, from what the options name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_det.cli.options import DATA_OPTIONS, data_options
from keras_det.cli.wording import naming

if TYPE_CHECKING:
    from keras_det.data.source import Source


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
    kind = spec.partition(":")[0]
    for name in given:
        if kind in ("tfds", "shapes"):
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


def class_names(text: str | None) -> int | tuple[str, ...] | None:
    """Class names with commas, or a number of classes; `None` stays."""
    if text is None:
        return None
    return int(text) if text.strip().isdecimal() else tuple(name.strip() for name in text.split(","))
