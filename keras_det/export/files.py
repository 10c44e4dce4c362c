"""Files of exports: whole or not at all, and never over another."""

import os
from pathlib import Path

from keras_det.files import whole


def write_whole(path: str | os.PathLike, data: bytes) -> Path:
    """Write bytes to a temporary file beside `path` and move it in place.

    Returns:
        The path.

    Raises:
        FileExistsError: the file is there already.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists; choose another --out.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as temporary:
        temporary.write_bytes(data)
    return path
