"""The weights that OverFeat's authors released: nothing but numbers, in the order of the layers."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_det.weights.convert import torch_kernel


def read_released(path: str | os.PathLike, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Parameters of a file such as `net_weight_0` (fast) or `net_weight_1` (accurate).

    The file has no header: for each layer in turn its kernel, as Torch lays it out, `[out, in, height, width]`, then
    its bias, all little-endian float32. So it is read by `load_tensor` of the authors' `overfeat.cpp` and, in this
    order, by sklearn-theano. The real files were not to be had where this was written: it was tested on files of this
    form.

    Args:
        path: the file.
        shapes: dict from our names of layers, in the file's order, to their kernels' `(height, width, in, out)`.

    Returns:
        Dict from `LAYER/kernel` and `LAYER/bias` to float32 arrays in Keras's layout.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it has not as many numbers as the layers, or some that are not finite.
    """
    path = Path(path)
    expected = released_size(shapes)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    if os.path.getsize(path) != expected:
        raise ValueError(f"{path} has {os.path.getsize(path):,} bytes; the network's parameters are {expected:,}.")
    numbers, values, first = np.memmap(path, "<f4", mode="r"), {}, 0
    for layer, (height, width, channels, filters) in shapes.items():
        for name, shape in (("kernel", (filters, channels, height, width)), ("bias", (filters,))):
            count = int(np.prod(shape))
            array = np.array(numbers[first : first + count], "float32").reshape(shape)
            if not np.isfinite(array).all():
                raise ValueError(f"{path} has numbers that are not finite, in the {name} of {layer}.")
            values[f"{layer}/{name}"] = torch_kernel(array) if name == "kernel" else array
            first += count
    return values


def released_size(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Bytes of a released file for layers of such kernels, as `read_released` takes them."""
    return sum(4 * (int(np.prod(shape)) + shape[-1]) for shape in shapes.values())
