"""What `detect` accepts: paths, patterns, PIL images, arrays and lists of them."""

import glob
import os

import numpy as np
from PIL import Image

from keras_det.data.pictures import read_image


def read_pictures(images):
    """Yield `(picture, name)` for everything in `images`: uint8 RGB `[H, W, 3]` and the file it came from, if any.

    Files are read as they are needed, upright by their EXIF orientation.

    Raises:
        FileNotFoundError: a path or a pattern that matches nothing.
        ValueError: an array of another shape, with values outside 0 .. 255, or a file that is no picture.
        TypeError: an object of another type.
    """
    if isinstance(images, (str, os.PathLike)):
        for path in _paths(os.fspath(images)):
            yield read_image(path, rotate=True), path
    elif isinstance(images, Image.Image):
        yield read_image(images, rotate=True), None
    elif isinstance(images, (list, tuple)):
        for image in images:
            yield from read_pictures(image)
    elif hasattr(images, "__array__"):
        for image in _arrays(np.asarray(images)):
            yield image, None
    else:
        raise TypeError(f"`images` must be paths, PIL images or arrays; got {type(images).__name__}.")


def _paths(path):
    """The file itself, or the files that match a pattern, in order."""
    if os.path.exists(path) or not glob.has_magic(path):
        return [path]
    paths = sorted(glob.glob(path, recursive=True))
    if not paths:
        raise FileNotFoundError(f"no file matches {path!r}.")
    return paths


def _arrays(array):
    """The pictures of an array as uint8 RGB."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim not in (3, 4) or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"an array must be [H, W], [H, W, 1 | 3 | 4] or [B, H, W, 3]; got shape {array.shape}.")
    if not np.issubdtype(array.dtype, np.number) or not (np.min(array) >= 0 and np.max(array) <= 255):
        raise ValueError("an array of `images` must hold numbers in 0 .. 255.")
    array = np.rint(array).astype("uint8")
    array = np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3]
    return array if array.ndim == 4 else array[None]
