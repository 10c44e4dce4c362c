"""How an error about an unknown name ends."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean x?"`, x being the known name that is most like this one, or `"."` where none is.

    >>> did_you_mean("sdd300", ["ssd300", "overfeat"]), did_you_mean("yolo", ["ssd300", "overfeat"])
    ('; did you mean ssd300?', '.')
    """
    spelled = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), spelled, 1)
    return f"; did you mean {spelled[close[0]]}?" if close else "."
