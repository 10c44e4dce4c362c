"""Picture files to arrays, with Pillow: every mode a stranger's file may have, within stated bounds."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import stat

import numpy as np
from PIL import Image

MAX_BYTES = 256 * 2**20
"""The largest file that is read, in bytes."""

MAX_PIXELS = 2**27
"""The largest picture that is decoded: 134 million pixels, 400 MB as RGB."""

# Only plain raster formats: Pillow also has readers that start other programs (EPS) or open further files.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF")

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
"""The endings, in lower case, of the files that are taken for pictures in a folder."""

# EXIF's orientation (tag 274) to what turns the stored pixels upright.
_ORIENTATION = 274
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(file: str | os.PathLike | bytes | Image.Image, rotate: bool = False) -> np.ndarray:
    """A picture as RGB pixels, whatever its mode: grey, palette, CMYK, 16 bits, with alpha, animated.

    Grey is repeated in the three channels, alpha is left out (as TensorFlow's decoders do), 16 bits keep the upper 8,
    and an animation gives its first frame.

    VOC and COCO annotate the pixels as they are stored, so the readers of data sets do not rotate; a user's own
    pictures are rotated to what the user sees (`rotate=True`).

    Args:
        file: A path, the bytes of a file, or an open Pillow image.
        rotate: Turn the picture upright by its EXIF orientation.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no picture in a known format, is truncated or corrupt, or exceeds `MAX_BYTES` or
            `MAX_PIXELS`.

    >>> from PIL import Image
    >>> read_image(Image.new("L", (3, 2), 7)).tolist()
    [[[7, 7, 7], [7, 7, 7], [7, 7, 7]], [[7, 7, 7], [7, 7, 7], [7, 7, 7]]]
    """
    with _opened(file) as image:
        rgb = _to_rgb(image)
        turn = _UPRIGHT.get(_orientation(image)) if rotate else None
        return np.array(rgb if turn is None else rgb.transpose(turn))


def picture_size(file: str | os.PathLike | bytes) -> tuple[int, int]:
    """Height and width of the stored picture in pixels, from the file's header; no pixels are decoded.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no picture in a known format, or exceeds `MAX_BYTES` or `MAX_PIXELS`.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("L", (3, 2)).save(file, "PNG")
    >>> picture_size(file.getvalue())
    (2, 3)
    """
    with _opened(file) as image:
        return image.height, image.width


@contextlib.contextmanager
def _opened(file):
    """The open picture; whatever goes wrong with its content is a ValueError that names it."""
    if isinstance(file, Image.Image):
        name = "the image given"
        opened = contextlib.nullcontext(file)
    elif isinstance(file, bytes | bytearray | memoryview):
        name = f"the picture of {len(file)} bytes"
        opened = contextlib.closing(io.BytesIO(file))
    elif isinstance(file, str | os.PathLike):
        name = os.fspath(file)
        opened = open_file(name)
    else:
        raise TypeError(f"a picture must be a path, bytes or a PIL image, got {type(file).__name__}")
    with opened as content:
        try:
            image = content if isinstance(file, Image.Image) else Image.open(content, formats=_formats())
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"it has {image.width} x {image.height} pixels, at most {MAX_PIXELS} are read")
            yield image
        except Image.UnidentifiedImageError:
            raise ValueError(f"{name}: not a picture in a known format ({', '.join(_formats())})") from None
        except Exception as error:  # Pillow's decoders raise nearly anything on a corrupt file
            raise ValueError(f"{name}: the picture cannot be read: {error}") from error


def open_file(path: str):
    """The file opened for reading.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no file, or exceeds `MAX_BYTES`.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        raise FileNotFoundError(f"there is no picture {path}") from None
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path}: not a file, expected a picture")
    if status.st_size > MAX_BYTES:
        raise ValueError(f"{path}: {status.st_size} bytes, at most {MAX_BYTES} are read")
    return open(path, "rb")


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of our formats that this build of Pillow reads."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none that can be read."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block leaves the picture itself in order
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """The first frame in mode RGB, without alpha."""
    if image.mode == "F":
        raise ValueError("pixels in floating point have no known range")
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.int64)
        return Image.fromarray(np.clip(deep >> 8, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("P", "PA"):
        # Through RGBA, since a transparent colour is a warning on the direct way.
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")
