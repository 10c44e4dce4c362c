"""Encoded images to upright pixels inside of a graph: the same rule as `keras_det.data.image_files.read_image`."""

import tensorflow as tf

from keras_det.types import Tensor

_ORIENTATION = 274  # EXIF's tag
_BYTES = {3: 2, 4: 4}  # of TIFF's short and long numbers
_SEGMENTS = 1000  # of a file's header that are looked at


def decode_upright(encoded: Tensor) -> Tensor:
    """The pixels of an encoded image, upright by its EXIF orientation.

    Args:
        encoded: scalar string, a JPEG, PNG, GIF or BMP; of an animation the first frame.

    Returns:
        `[H, W, 3]` uint8 RGB, of a JPEG the very pixels that `read_image` gives.
    """
    pixels = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )
    orientation = exif_orientation(encoded)

    def any_of(*which):
        return tf.reduce_any(orientation == which)

    pixels = tf.ensure_shape(pixels, (None, None, 3))
    pixels = tf.cond(any_of(2, 3, 7, 8), lambda: pixels[:, ::-1], lambda: pixels)
    flipped = pixels
    pixels = tf.cond(any_of(3, 4, 6, 7), lambda: flipped[::-1], lambda: flipped)
    stored = pixels
    return tf.cond(orientation > 4, lambda: tf.transpose(stored, [1, 0, 2]), lambda: stored)


def exif_orientation(encoded: Tensor) -> Tensor:
    """EXIF's orientation of a JPEG or PNG, scalar int32 in 1 .. 8; 1 where there is none that can be read.

    Args:
        encoded: scalar string, any bytes.
    """
    return _orientation_of(tf.cond(tf.io.is_jpeg(encoded), lambda: _jpeg_exif(encoded), lambda: _png_exif(encoded)))


def _number(text, place, count, big=True):
    """An unsigned number of `count` bytes at a place of a string, int64; 0 where the string ends before."""
    size = tf.strings.length(text)
    inside = (place >= 0) & (place + count <= size)
    part = tf.strings.substr(text, tf.where(inside, place, 0), tf.where(inside, count, 0))
    digits = tf.cast(tf.io.decode_raw(part, tf.uint8), tf.int64)
    digits = tf.cond(tf.constant(big) if isinstance(big, bool) else big, lambda: digits, lambda: digits[::-1])
    return tf.reduce_sum(digits * 256 ** tf.range(tf.size(digits, tf.int64))[::-1])


def _part(text, place, count):
    """`count` bytes at a place, or as many as there are."""
    size = tf.strings.length(text)
    place = tf.clip_by_value(place, 0, size)
    return tf.strings.substr(text, place, tf.clip_by_value(count, 0, size - place))


def _walk(encoded, start, step):
    """The EXIF block of a file of segments.

    Args:
        encoded: the file.
        start: place of the first segment.
        step: function from a place to the next one, negative at the end, and the block if it is here.
    """
    return tf.while_loop(
        lambda place, block: (place >= 0) & (place < tf.strings.length(encoded)) & (tf.strings.length(block) == 0),
        lambda place, block: step(place),
        [tf.constant(start), tf.constant(b"")],
        maximum_iterations=_SEGMENTS,
    )[1]


def _jpeg_exif(encoded):
    def step(place):
        lead, kind = (tf.cast(_number(encoded, place + k, 1), tf.int32) for k in (0, 1))
        length = tf.cast(_number(encoded, place + 2, 2), tf.int32)
        fill = (lead != 0xFF) | (kind == 0xFF) | (kind == 0)  # bytes that are allowed before a marker, and junk
        bare = (kind >= 0xD0) & (kind <= 0xD8) | (kind == 1)  # markers without a segment
        ends = ~fill & ((kind == 0xDA) | (kind == 0xD9) | ~bare & (length < 2))
        found = ~fill & (kind == 0xE1) & (_part(encoded, place + 4, 6) == b"Exif\0\0")
        block = tf.where(found, _part(encoded, place + 10, length - 8), b"")
        onward = tf.where(fill, 1, tf.where(bare, 2, 2 + length))
        return tf.where(ends, -1, place + onward), block

    return _walk(encoded, 2, step)


def _png_exif(encoded):
    def step(place):
        length = tf.cast(tf.minimum(_number(encoded, place, 4), 2**30), tf.int32)
        kind = _part(encoded, place + 4, 4)
        block = tf.where(kind == b"eXIf", _part(encoded, place + 8, length), b"")
        return tf.where((kind == b"IDAT") | (kind == b"IEND"), -1, place + 12 + length), block

    return tf.cond(_part(encoded, 0, 8) == b"\x89PNG\r\n\x1a\n", lambda: _walk(encoded, 8, step), lambda: b"")


def _orientation_of(block):
    """The orientation in a TIFF header and its first directory."""
    order = _part(block, 0, 2)
    big = order == b"MM"
    first = tf.cast(tf.minimum(_number(block, 4, 4, big), 2**30), tf.int32)
    count = tf.cast(_number(block, first, 2, big), tf.int32)
    entries = _part(block, first + 2, 12 * count)
    count = tf.strings.length(entries) // 12
    fields = tf.cast(tf.reshape(tf.io.decode_raw(_part(entries, 0, 12 * count), tf.uint8), [-1, 12]), tf.int32)

    def numbers(low, size):
        part = fields[:, low : low + size]
        part = tf.cond(big, lambda: part, lambda: part[:, ::-1])
        return tf.reduce_sum(part[:, -3:] * 256 ** tf.range(min(size, 3))[::-1], 1)  # an orientation is small

    kinds = numbers(2, 2)
    values = tf.zeros_like(kinds)
    for kind, size in _BYTES.items():
        values = tf.where(kinds == kind, numbers(8, size), values)
    mine = tf.where((numbers(0, 2) == _ORIENTATION) & (values > 0), values, 0)
    sound = (big | (order == b"II")) & (_number(block, 2, 2, big) == 42)
    value = tf.where(sound, tf.reduce_max(tf.concat([mine, [0]], 0)), 1)
    return tf.where((value >= 1) & (value <= 8), value, 1)
