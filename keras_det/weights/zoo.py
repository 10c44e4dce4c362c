"""The registry for people and for programs: a Markdown table and plain dicts."""

import dataclasses

from keras_det.weights.registry import WeightsEntry, entries

COLUMNS = ("model", "weights", "classes", "trained on", "reported", "parameters", "GFLOPs", "license")


def describe(entry: WeightsEntry) -> dict:
    """One entry as a dict that JSON can hold."""
    fields = {name: value for name, value in vars(entry).items() if name != "converter"}
    for name in ("integrity", "preprocessing", "reported"):
        fields[name] = None if fields[name] is None else dataclasses.asdict(fields[name])
    return fields | {
        "converter": entry.converter.publisher if entry.converter else None,
        "filename": entry.filename,
        "constructor_arguments": entry.constructor_arguments,
    }


def zoo_table() -> str:
    """All entries as a Markdown table; the documentation's is this one.

    >>> print(zoo_table().splitlines()[0])
    | model | weights | classes | trained on | reported | parameters | GFLOPs | license |
    """
    rows = [COLUMNS, ["---"] * len(COLUMNS), *map(_row, entries())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _row(entry):
    reported = entry.reported
    value = f"[{reported.value:.3f}]({reported.source}) {reported.metric}, {reported.dataset}"
    weights = f"[`{entry.name}`]({entry.url or entry.page})" if entry.url or entry.page else f"`{entry.name}`"
    classes = str(sum(not name.startswith("unused ") for name in entry.classes))
    numbers = f"{entry.parameters:,}", f"{entry.gflops:.3g}"
    return f"`{entry.model}`", weights, classes, entry.trained_on, value, *numbers, entry.license
