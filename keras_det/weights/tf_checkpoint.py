"""Reads TensorFlow checkpoints (the "tensor bundle" of TF 1 and 2): whole ones in a zip, the index of those in files.

A bundle is an index, `NAME.index`, and the tensors' bytes, `NAME.data-00000-of-00001`. The index is a table in
LevelDB's format whose values are small protocol buffers. Of a zip nothing is unpacked to disk, so names in it cannot
lead anywhere.

Why not `tf.train.load_checkpoint`: it ends the process on an index that is hostile. Of 1,063 indexes with mutated
entries whose checksums were right, TensorFlow 2.21 aborted on 440 ("Check failed: entry.ParseFromString"); so it did
where a shape had a negative side, 300 sides or 2^64 numbers. It aborted on none of 1,974 whose checksums were wrong,
which is damage but not malice. TensorFlow's operation `RestoreV2` refused all of both kinds with an error, 1,702 and
the shapes, but has to be told the names, which only the former lists: `tf_graph` calls it with those found here.
"""

import math
import os
import pathlib
import struct
import zipfile

import numpy as np

from keras_det.weights.damage import DAMAGED

MAX_INDEX_BYTES = 2**24
MAX_DATA_BYTES = 2**31
MAX_AXES = 32
TABLE_MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48

_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # DataType in tensorflow/core/framework/types.proto
_FLOATS = (1, 2, 19)


def read_checkpoint(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Tensors of a zipped TensorFlow checkpoint, as numpy arrays.

    Args:
        path: a zip archive holding one checkpoint, as `NAME.index` and `NAME.data-00000-of-00001`, in any folder of it.
            The zip's own CRC-32 guards the bytes.

    Returns:
        Dict from variable names to read-only arrays.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a zip, no single checkpoint in it, truncated, over 2 GiB, or a tensor that is not numeric.
    """
    path = pathlib.Path(path)
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                index, data = _members(archive)
                (entries, parts), data = read_index(archive.read(index)), archive.read(data)
            if parts != 1:
                raise ValueError("it is in several parts")
            return {name: _tensor(name, entry, data) for name, entry in entries.items()}
        except (ValueError, zipfile.BadZipFile) as error:
            reason = error
        except DAMAGED:
            reason = "it is damaged or truncated"
    raise ValueError(f"{path} is not a zipped TensorFlow checkpoint that can be read: {reason}.")


def _members(archive):
    """The zip entries of the index and of the data, of bounded size."""
    files = {i.filename: i for i in archive.infolist() if not i.filename.startswith("__MACOSX/")}
    names = [name.removesuffix(".index") for name in files if name.endswith(".index")]
    if len(names) != 1:
        raise ValueError(f"it holds {len(names)} checkpoints")
    index, data = files[names[0] + ".index"], files.get(names[0] + ".data-00000-of-00001")
    if data is None:
        raise ValueError(f"`{names[0]}.data-00000-of-00001` is missing")
    _check_size(index.filename, index.file_size, MAX_INDEX_BYTES)
    _check_size(data.filename, data.file_size, MAX_DATA_BYTES)
    return index, data


def _check_size(name, size, limit):
    if size > limit:
        raise ValueError(f"{name} has {size} bytes, more than the {limit} allowed")


def floating_dtypes(prefix: str | os.PathLike) -> dict[str, np.dtype]:
    """The floating-point tensors that the index of a checkpoint in files lists, all of them within its data.

    Args:
        prefix: the files are `PREFIX.index` and `PREFIX.data-00000-of-00001`, or several such parts.

    Returns:
        Dict from names to numpy dtypes.

    Raises:
        FileNotFoundError: no such files.
        ValueError: damaged, of another kind, or over 2 GiB.
    """
    index = pathlib.Path(f"{prefix}.index")
    _check_size(index.name, index.stat().st_size, MAX_INDEX_BYTES)
    try:
        entries, parts = read_index(index.read_bytes())
        names = (f"{prefix}.data-{part:05d}-of-{parts:05d}" for part in range(parts))
        sizes = [pathlib.Path(name).stat().st_size for name in names]
        _check_size(f"{index.stem}.data", sum(sizes), MAX_DATA_BYTES)
        floats = {name: entry for name, entry in entries.items() if entry.get(1, [0])[-1] in _FLOATS}
        places = {name: _place(name, entry, max(sizes)) for name, entry in floats.items()}
        if sum(math.prod(shape) * np.dtype(dtype).itemsize for dtype, shape, _ in places.values()) > sum(sizes):
            raise ValueError("its tensors overlap")
        return {name: np.dtype(dtype) for name, (dtype, *_) in places.items()}
    except (ValueError, FileNotFoundError):
        raise
    except DAMAGED:
        raise ValueError("its index is damaged or truncated") from None


def read_index(content: bytes) -> tuple[dict[str, dict[int, list]], int]:
    """Entries of a bundle's index.

    Args:
        content: bytes of the `.index` file.

    Returns:
        A dict from names to protocol buffer fields (`_fields`), and the number of parts that the data are in.

    Raises:
        ValueError: not such an index.
    """
    if len(content) < FOOTER_BYTES or struct.unpack("<Q", content[-8:])[0] != TABLE_MAGIC:
        raise ValueError("its index is truncated or of another kind")
    footer = content[-FOOTER_BYTES:]
    _, position = _handle(footer, 0)
    handle, _ = _handle(footer, position)
    entries, end = {}, 0
    for _, value in _block(content, handle):
        (offset, size), _ = _handle(value, 0)
        if offset < end:
            raise ValueError("blocks of its index overlap")
        entries.update(_block(content, (offset, size)))
        end = offset + size
    header = _fields(entries.pop(b"", b""))
    if header.get(2, [0])[-1] != 0:
        raise ValueError("it is not little-endian")
    return {name.decode(): _fields(value) for name, value in entries.items()}, header.get(1, [0])[-1]


def _tensor(name, entry, data):
    """One array, from its index entry."""
    dtype, shape, offset = _place(name, entry, len(data))
    return np.frombuffer(data, dtype, math.prod(shape), offset).reshape(shape)


def _place(name, entry, data_bytes):
    """Dtype, shape and offset of a tensor, from its index entry: 1 dtype, 2 shape, 4 offset and 5 size in bytes."""
    dtype = _DTYPES.get(entry.get(1, [0])[-1])
    if dtype is None or 7 in entry:
        raise ValueError(f"`{name:.100}` is partitioned or not of a numeric type")
    dimensions = _fields(entry[2][-1]).get(2, []) if 2 in entry else []
    shape = tuple(_fields(dimension).get(1, [0])[-1] for dimension in dimensions)
    if len(shape) > MAX_AXES:
        raise ValueError(f"`{name:.100}` has {len(shape)} axes")
    offset, size = entry.get(4, [0])[-1], entry.get(5, [0])[-1]
    if math.prod(shape) * np.dtype(dtype).itemsize != size or offset + size > data_bytes:
        raise ValueError(f"`{name:.100}` reaches beyond the data")
    return dtype, shape, offset


def _varint(data, position):
    """A base-128 integer and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position
        if shift > 63:
            raise ValueError("an integer in its index has no end")


def _handle(data, position):
    """Offset and size of a block, and the position after them."""
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return (offset, size), position


def _block(content, handle):
    """Pairs of key and value of one table block; keys share prefixes with the key before."""
    offset, size = handle
    if offset + size >= len(content):
        raise ValueError("its index is truncated")
    block, compression = content[offset : offset + size], content[offset + size]
    if compression:
        block = _snappy(block)
    end = len(block) - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    position, key, pairs = 0, b"", []
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        pairs.append((key, block[position : position + length]))
        position += length
    return pairs


def _snappy(data):
    """Uncompress a Snappy block; TensorFlow 1.1 wrote its indexes so."""
    size, position = _varint(data, 0)
    if size > MAX_INDEX_BYTES:
        raise ValueError(f"a block of {size} bytes is more than the {MAX_INDEX_BYTES} allowed")
    out = bytearray()
    while position < len(data) and len(out) <= size:
        if data[position] & 3 == 0:
            start, length = _snappy_literal(data, position)
            position = start + length
            out += data[start:position]
        else:
            length, distance, position = _snappy_copy(data, position)
            if not 0 < distance <= len(out):
                raise ValueError("a block of its index is damaged")
            for _ in range(length):
                out.append(out[-distance])
    if len(out) != size:
        raise ValueError("a block of its index is damaged")
    return bytes(out)


def _snappy_literal(data, position):
    """Start and length of the bytes to take over."""
    length, position = (data[position] >> 2) + 1, position + 1
    extra = max(0, length - 60)
    if extra:
        length = int.from_bytes(data[position : position + extra], "little") + 1
    return position + extra, length


def _snappy_copy(data, position):
    """Length and distance back of the bytes to repeat, and the position after the instruction."""
    tag, position = data[position], position + 1
    if tag & 3 == 1:
        return (tag >> 2 & 7) + 4, (tag >> 5 << 8) + data[position], position + 1
    width = 2 if tag & 3 == 2 else 4
    return (tag >> 2) + 1, int.from_bytes(data[position : position + width], "little"), position + width


def _fields(message):
    """Fields of a protocol buffer: dict from number to list of ints or bytes."""
    fields, position = {}, 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(message, position)
        else:
            if kind == 2:
                length, position = _varint(message, position)
            elif kind in (1, 5):
                length = 8 if kind == 1 else 4
            else:
                raise ValueError("a field of its index has an unknown type")
            value = message[position : position + length]
            position += length
        fields.setdefault(tag >> 3, []).append(value)
    return fields
