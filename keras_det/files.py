"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_TEMPORARY = re.compile(r"\.([0-9]+)-.+", re.DOTALL)
_DAY = 24 * 3600.0


@contextlib.contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path` to write a file or a folder to, which moves to `path` when the block has ended.

    Where the block fails, whatever was at `path` stays as it was. A killed process leaves the temporary behind, for
    `remove_leftovers`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole(Path(folder, "a.txt")) as temporary:
    ...         _ = temporary.write_text("all of it", encoding="utf-8")
    ...     os.listdir(folder)
    ['a.txt']
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write text in UTF-8, whole or not at all, with the line ends that it has."""
    with whole(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_image(path: str | os.PathLike, image: Image.Image) -> None:
    """Write a PIL image whole or not at all, in the format that the path's ending names, PNG where it has none."""
    with whole(path) as temporary:
        image.save(temporary, None if temporary.suffix else "png")


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Remove what processes that are no more left half written in a folder, if there is such a folder."""
    folder = Path(folder)
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        match = _TEMPORARY.fullmatch(path.name)
        if match and not _may_be_alive(int(match[1]), path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _may_be_alive(process: int, path: Path) -> bool:
    """Whether the process that writes a temporary may still do so."""
    if os.name != "posix":  # a signal to ask with would end the process
        with contextlib.suppress(OSError):
            return time.time() - path.stat().st_mtime < _DAY
        return False
    if not 0 < process < 2**31:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
