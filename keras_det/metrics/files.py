"""Reading results files within bounds."""

import os
import pathlib

MAX_BYTES = 2 * 2**30
"""The largest results file that is read, in bytes."""


def read_text(path: str | os.PathLike) -> str:
    """The text of a file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It exceeds `MAX_BYTES` or is not UTF-8.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size} bytes, at most {MAX_BYTES} are read")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error}") from error
