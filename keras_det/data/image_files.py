"""Image files to arrays, with Pillow: every mode a stranger's file may have, within stated bounds."""

from __future__ import annotations

import contextlib
import functools
import glob
import http.client
import io
import os
import stat
import urllib.request
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image

MAX_BYTES = 256 * 2**20
"""The largest file that is read, in bytes."""

MAX_PIXELS = 2**27
"""The largest image that is decoded: 134 million pixels, 400 MB as RGB."""

# Raster formats that a file's first bytes tell apart. Pillow also has readers that start other programs (EPS), open
# further files, or take nearly any bytes for an image (TGA).
SUFFIXES_OF = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".mpo",),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "DDS": (".dds",),
    "ICO": (".ico",),
    "QOI": (".qoi",),
    "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
}
"""The formats that are read, by Pillow's names, and the endings of their files in lower case."""

SUFFIXES = tuple(suffix for suffixes in SUFFIXES_OF.values() for suffix in suffixes)
"""The endings, in lower case, of the files that are taken for images in a folder."""

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
SIDEWAYS = (5, 6, 7, 8)
"""The EXIF orientations whose upright image has height and width exchanged."""

REMOTE = "https://"
"""How an address begins whose file is fetched, which plain http could change on the way."""

_UPRIGHT_ALREADY = ("TIFF",)  # Pillow turns these itself when it loads them
_TWELVE_BITS = 4096


def image_paths(path: str | os.PathLike) -> list[str]:
    """The file itself, the images of a folder, the files that match a pattern, in order, or an https address.

    Raises:
        FileNotFoundError: nothing is there, or a folder holds no images.
    """
    path = os.fspath(path)
    if path.startswith(REMOTE):
        return [path]
    if os.path.isdir(path):
        files = sorted(name for name in os.listdir(path) if name.lower().endswith(SUFFIXES) and name[0] != ".")
        if not files:
            raise FileNotFoundError(f"the folder {path} holds no images ({', '.join(SUFFIXES)}).")
        return [os.path.join(path, name) for name in files]
    if os.path.exists(path):
        return [path]
    if not glob.has_magic(path):
        raise FileNotFoundError(f"there is no image {path}.")
    paths = sorted(glob.glob(path, recursive=True))
    if not paths:
        raise FileNotFoundError(f"no file matches {path!r}.")
    return paths


def read_image(file: str | os.PathLike | bytes | Image.Image) -> np.ndarray:
    """An image as RGB pixels, upright by its EXIF orientation, whatever its mode: gray, palette, CMYK, 16 bits, alpha.

    Gray is repeated in the three channels, alpha is left out (as TensorFlow's decoders do), an animation gives its
    first frame, and other ranges than 0 .. 255 are scaled as `to_bytes` says.

    Args:
        file: A path, an https address, the bytes of a file, or an open Pillow image.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no image in a known format, is truncated or corrupt, exceeds `MAX_BYTES` or
            `MAX_PIXELS`, or has numbers of no known range.

    >>> from PIL import Image
    >>> read_image(Image.new("L", (3, 2), 7)).tolist()
    [[[7, 7, 7], [7, 7, 7], [7, 7, 7]], [[7, 7, 7], [7, 7, 7], [7, 7, 7]]]
    """
    with _opened(file) as (image, name):
        turn = None if image.format in _UPRIGHT_ALREADY else _UPRIGHT.get(_orientation(image))
        rgb = _to_rgb(image, name)
        return np.array(rgb if turn is None else rgb.transpose(turn))


def read_image_size(file: str | os.PathLike | bytes) -> tuple[int, int]:
    """Height and width in pixels of the upright image, from the file's header; no pixels are decoded.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no image in a known format, or exceeds `MAX_BYTES` or `MAX_PIXELS`.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("L", (3, 2)).save(file, "PNG")
    >>> read_image_size(file.getvalue())
    (2, 3)
    """
    (height, width), orientation = stored_size(file)
    return (width, height) if orientation in SIDEWAYS else (height, width)


def stored_size(file: str | os.PathLike | bytes) -> tuple[tuple[int, int], int]:
    """Height and width in pixels as the image is stored, and its EXIF orientation, 1 to 8; as `read_image_size`."""
    with _opened(file) as (image, _):
        orientation = _orientation(image)
        height, width = image.height, image.width
        swapped = image.format in _UPRIGHT_ALREADY and orientation in SIDEWAYS
        return (width, height) if swapped else (height, width), orientation


def turn_boxes(boxes: np.ndarray, orientation: int) -> np.ndarray:
    """Boxes of an image as it is stored to boxes of the upright image.

    Args:
        boxes: `[n, 4]` `rel_yxyx`.
        orientation: EXIF's, 1 to 8.

    >>> turn_boxes(np.array([[0.0, 0.0, 0.25, 0.5]]), 6).tolist()
    [[0.0, 0.75, 0.5, 1.0]]
    """
    ymin, xmin, ymax, xmax = np.moveaxis(np.asarray(boxes), -1, 0)
    if orientation in (2, 3, 7, 8):
        xmin, xmax = 1 - xmax, 1 - xmin
    if orientation in (3, 4, 6, 7):
        ymin, ymax = 1 - ymax, 1 - ymin
    turned = (xmin, ymin, xmax, ymax) if orientation in SIDEWAYS else (ymin, xmin, ymax, xmax)
    return np.stack(turned, axis=-1)


def to_bytes(values: np.ndarray, name: str, deep: bool = False) -> np.ndarray:
    """Pixels of any range as uint8, scaled where the range is certain.

    Floating point within 0 .. 1 is multiplied by 255. Of 16 bits the upper 8 are kept, but where no value is over 255
    the image holds 8 bits and stays as it is.

    Args:
        values: Numbers or bools of any shape.
        name: What the image is called in messages.
        deep: Whether whole numbers over 255 are of 16 bits.

    Raises:
        ValueError: the numbers have no known range.

    Warns:
        UserWarning: an image of 16 bits that uses the lowest 12 alone is nearly black.

    >>> to_bytes(np.float32([0, 0.5, 1]), "a").tolist(), to_bytes(np.uint16([0, 65535]), "a", deep=True).tolist()
    ([0, 128, 255], [0, 255])
    """
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise ValueError(f"{name} must hold numbers, got {values.dtype}")
    if values.dtype == np.uint8:
        return values
    low, high = float(np.min(values, initial=0)), float(np.max(values, initial=0))
    if np.issubdtype(values.dtype, np.floating):
        scale = 255.0 if high <= 1 else 1.0
        if 0 <= low and high <= 255:
            return np.rint(values * scale).astype(np.uint8)
        raise ValueError(f"{name} must hold numbers in 0 .. 1 or 0 .. 255, got {low:g} to {high:g}")
    if low < 0 or high > (65535 if deep else 255):
        raise ValueError(f"{name} must hold numbers in 0 .. {65535 if deep else 255}, got {low:g} to {high:g}")
    if high <= 255:
        return values.astype(np.uint8)
    if high < _TWELVE_BITS:
        warnings.warn(f"{name} has 16 bits but no value over {high:g}: it is seen nearly black", stacklevel=2)
    return (values >> 8).astype(np.uint8)


@contextlib.contextmanager
def _opened(file: str | os.PathLike | bytes | Image.Image) -> Iterator[tuple[Image.Image, str]]:
    """The open image and its name; whatever goes wrong with its content is a ValueError that names it."""
    if isinstance(file, Image.Image):
        name = "the image given"
        opened = contextlib.nullcontext(file)
    elif isinstance(file, bytes | bytearray | memoryview):
        name = f"the image of {len(file)} bytes"
        opened = contextlib.closing(io.BytesIO(file))
    elif isinstance(file, str | os.PathLike):
        name = os.fspath(file)
        opened = _fetched(name) if name.startswith(REMOTE) else open_file(name)
    else:
        raise TypeError(f"an image must be a path, bytes or a PIL image, got {type(file).__name__}")
    with opened as content:
        try:
            image = content if isinstance(content, Image.Image) else Image.open(content, formats=_formats())
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"it has {image.width} x {image.height} pixels, at most {MAX_PIXELS} are read")
            yield image, name
        except Image.UnidentifiedImageError:
            raise ValueError(f"{name}: not an image in a known format ({', '.join(_formats())})") from None
        except Exception as error:  # Pillow's decoders raise nearly anything on a corrupt file
            raise ValueError(f"{name}: the image cannot be read: {error}") from error


def _fetched(url):
    """The file of an address, in memory."""
    from keras_det.weights.download import STALL_SECONDS, SameSecurity

    request = urllib.request.Request(url, headers={"User-Agent": "keras_det"})
    try:
        with urllib.request.build_opener(SameSecurity).open(request, timeout=STALL_SECONDS) as response:
            content = response.read(MAX_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(f"{url} cannot be fetched: {getattr(error, 'reason', error)}") from error
    if len(content) > MAX_BYTES:
        raise ValueError(f"{url} sends more than {MAX_BYTES} bytes.")
    return io.BytesIO(content)


def open_file(path: str) -> io.BufferedReader:
    """The file opened for reading.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no file, or exceeds `MAX_BYTES`.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        raise FileNotFoundError(f"there is no image {path}") from None
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path}: not a file, expected an image")
    if status.st_size > MAX_BYTES:
        raise ValueError(f"{path}: {status.st_size} bytes, at most {MAX_BYTES} are read")
    return open(path, "rb")


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of our formats that this build of Pillow reads."""
    Image.init()
    return tuple(name for name in SUFFIXES_OF if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation before the pixels are loaded, 1 to 8; 1 where there is none that can be read."""
    try:
        # Not the PNG reader's own getexif, which decodes the pixels to look behind them.
        orientation = int(Image.Image.getexif(image).get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block leaves the image itself in order
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """The first frame in mode RGB, without alpha."""
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return Image.fromarray(to_bytes(np.asarray(image), name, deep=True)).convert("RGB")
    sixteen = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))  # Pillow keeps the upper 8 itself
    # A palette goes through RGBA, since a transparent color is a warning on the direct way.
    rgb = (image.convert("RGBA") if image.mode in ("P", "PA") else image).convert("RGB")
    if sixteen and 0 < max(np.ravel(rgb.getextrema())) < _TWELVE_BITS >> 8:
        warnings.warn(f"{name} has 16 bits but no value over {_TWELVE_BITS - 1}: it is seen nearly black", stacklevel=2)
    return rgb
