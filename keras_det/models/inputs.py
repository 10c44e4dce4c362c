"""What `detect` accepts: paths, folders, patterns, PIL images, arrays and lists of them."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from keras_det.data.image_files import image_paths, read_image, to_bytes


def read_images(images: Any, with_errors: bool = False) -> Iterator[tuple[np.ndarray | Exception, str | None]]:
    """Yield `(image, name)` for everything in `images`: uint8 RGB `[H, W, 3]` and the file it came from, if any.

    Files are read as they are needed, upright by their EXIF orientation. Of a folder all images are read, in the order
    of their names.

    Args:
        images: as `Detector.detect` takes them.
        with_errors: yield the error in the image's place where a file cannot be read, in place of raising it.

    Raises:
        FileNotFoundError: a path or a pattern that matches nothing, or a folder without images; before any is read.
        ValueError: an array of another shape or range, or a file that is no image.
        TypeError: an object of another type.
    """
    for one in list(_flat(images)):
        if isinstance(one, str):
            try:
                image = read_image(one)
            except (ValueError, OSError) as error:
                if not with_errors:
                    raise
                yield error, one
            else:
                yield image, one
        elif isinstance(one, Image.Image):
            yield read_image(one), None
        else:
            for image in _arrays(np.asarray(one)):
                yield image, None


def _flat(images):
    """Single paths, PIL images and arrays."""
    if isinstance(images, (str, os.PathLike)):
        yield from image_paths(images)
    elif isinstance(images, (list, tuple)):
        for image in images:
            yield from _flat(image)
    elif isinstance(images, Image.Image) or hasattr(images, "__array__"):
        yield images
    else:
        raise TypeError(f"`images` must be paths, PIL images or arrays; got {type(images).__name__}.")


def _arrays(array):
    """The images of an array as uint8 RGB."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim not in (3, 4) or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"an array must be [H, W], [H, W, 1 | 3 | 4] or [B, H, W, 3]; got shape {array.shape}.")
    array = to_bytes(array, "an array of `images`", deep=array.dtype.itemsize == 2)
    array = np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3]
    return array if array.ndim == 4 else array[None]
