"""Files of exports: whole or not at all, and never over another."""

import os
from pathlib import Path


def write_whole(path, data):
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
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
