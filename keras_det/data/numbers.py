"""Numbers as strangers' files hold them: one rule for all readers of JSON and XML."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

_EXACT = 2**53  # up to it every whole number is a double
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,4000}(\.0{0,9})?\s*")


def whole(value: Any) -> int | None:
    """A whole number, exactly, where the value plainly is one: `3`, `3.0` or `"3"`; else None.

    >>> [whole(value) for value in (3, 3.0, "3", " 3.0 ", True, 3.5, "x", None, float("nan"))]
    [3, 3, 3, 3, None, None, None, None, None]
    """
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value.partition(".")[0])
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        value = int(value)
    return value if type(value) is int else None


def real(value: Any) -> float:
    """A number where the value is one, also as text; else NaN, as for numbers beyond a double.

    >>> [real(value) for value in (3, "2.5", True, None, 10**400, "1_0")]
    [3.0, 2.5, nan, nan, nan, nan]
    """
    if isinstance(value, str) and "_" not in value or isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    return math.nan


def reals(values: Sequence[Any], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Lists of numbers, such as boxes, one for each entry of a file.

    Args:
        values: What the file holds, n values of any kind.
        length: Of each list.

    Returns:
        `[n, length]` float64, and `[n]` bool: which values are such lists.

    >>> numbers, good = reals([[1, "2"], None, [1], [1, None], [1, float("inf")]], 2)
    >>> good.tolist()
    [True, False, False, False, True]
    """
    try:
        array = np.array(values)
        if array.dtype.kind in "iuf" and array.shape == (len(values), length):
            return array.astype(np.float64), np.ones(len(values), bool)
    except (ValueError, OverflowError):  # lists of different lengths, numbers beyond a double
        pass
    array = np.full((len(values), length), math.nan)
    for row, value in enumerate(values):
        if isinstance(value, list) and len(value) == length:
            array[row] = [real(number) for number in value]
    return array, np.asarray(~np.isnan(array).any(-1))
