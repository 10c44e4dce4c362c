"""Parameters and metadata as a safetensors file."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save_file

from keras_det.files import whole

KEY = "keras_det"  # of the file's metadata; safetensors allows texts only, so ours is JSON


def write_safetensors(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], metadata: Any) -> None:
    """Write arrays and metadata; the file appears whole or not at all.

    Args:
        path: where to.
        arrays: dict from names to numpy arrays.
        metadata: what is to be known of them, such as classes, boxes and preprocessing; anything that JSON can hold.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with whole(path) as temporary:
        save_file(arrays, temporary, metadata={KEY: json.dumps(metadata)})


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], Any]:
    """The arrays and the metadata of `write_safetensors`, the same to the bit.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, of another kind, or not written by this package.
    """
    with _open(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _metadata(path, file)


def read_safetensors_metadata(path: str | os.PathLike) -> Any:
    """The metadata alone, without reading the arrays; errors as `read_safetensors`."""
    with _open(path) as file:
        return _metadata(path, file)


def _open(path):
    """The file, its header and length checked."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        return safetensors.safe_open(path, framework="np")
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}.") from error


def _metadata(path, file):
    text = (file.metadata() or {}).get(KEY)
    if text is None:
        raise ValueError(f"{path} is a safetensors file that keras_det did not write: it lacks the metadata `{KEY}`.")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} has damaged metadata: {error}.") from error
