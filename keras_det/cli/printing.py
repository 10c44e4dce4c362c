"""What the commands print: metrics and JSON on stdout, all else on stderr."""

from __future__ import annotations

import collections
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from keras_det.data.source import Source

error_console = Console(stderr=True, soft_wrap=True)


def print_json(value: Any) -> None:
    """One line of JSON on stdout; what is not finite is null, since JSON has no such numbers."""
    print(json.dumps(_finite(value), default=float, allow_nan=False), flush=True)


def _finite(value):
    """The value with None in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    number = getattr(value, "dtype", None) is not None or isinstance(value, float)
    return None if number and not math.isfinite(value) else value


def print_rows(
    title: str, rows: Mapping[str, Mapping[str, float]], as_json: bool, more: dict[str, str] | None = None
) -> None:
    """Metrics in rows, as a table or as JSON."""
    if as_json:
        print_json({"rows": rows} | (more or {}))
        return
    columns = list(next(iter(rows.values())))
    table = Table("", *map(escape, columns), title=title)
    for name, values in rows.items():
        table.add_row(escape(name), *(f"{values[column]:.3f}" for column in columns))
    Console().print(table)
    for name, value in (more or {}).items():
        Console(soft_wrap=True).print(f"{name}: [bold]{escape(value)}[/bold]")


def print_columns(rows: Iterable[Iterable[str]]) -> None:
    """Rows of texts, the first of each in bold, one a line where the terminal is wide enough."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    Console(highlight=False).print(table)


def print_issues(source: Source, shown: int = 10) -> None:
    """Name the issues of the annotations on stderr: the first of each kind, and how many there are."""
    kinds = collections.defaultdict(list)
    for issue in source.issues:
        kinds[re.sub(r"[\d.]+|'[^']*'", "", issue.message), issue.action].append(issue)
    of = f"[yellow]{escape(source.name)}:[/yellow]"
    for issues in list(kinds.values())[:shown]:
        more = f", and {len(issues) - 1} more of this kind" if len(issues) > 1 else ""
        error_console.print(of, escape(f"{issues[0]}{more}"), highlight=False)
    if rest := sum(map(len, list(kinds.values())[shown:])):
        error_console.print(of, f"and {rest} further issues of other kinds")
