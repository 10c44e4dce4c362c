"""Writes files as the publishers' programs do: PyTorch's two formats by hand, TensorFlow's by TensorFlow.

PyTorch 2.13 reads what the two writers write; that was checked once, and so it was that this package reads what PyTorch
writes.
"""

import struct
import zipfile

import numpy as np

STORAGES = {"f4": b"FloatStorage", "f8": b"DoubleStorage", "i8": b"LongStorage"}


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value):
    if 0 <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def global_(module, name):
    return b"c" + module + b"\n" + name + b"\n"


def tuple_(*items):
    return b"(" + b"".join(items) + b"t"


def pickle(body):
    return b"\x80\x02" + body + b"."


def storage(key, array, legacy):
    kind = STORAGES[array.dtype.str[1:]]
    parts = [text("storage"), global_(b"torch", kind), text(str(key)), text("cpu"), integer(array.size)]
    return tuple_(*parts, *([b"N"] if legacy else [])) + b"Q"


def tensor(key, array, legacy):
    strides = [stride // array.itemsize for stride in array.strides]
    hooks = global_(b"collections", b"OrderedDict") + b")R"
    arguments = [
        storage(key, array, legacy),
        integer(0),
        tuple_(*map(integer, array.shape)),
        tuple_(*map(integer, strides)),
        b"\x89",
        hooks,
    ]
    return global_(b"torch._utils", b"_rebuild_tensor_v2") + tuple_(*arguments) + b"R"


def state_dict(arrays, legacy):
    """An OrderedDict with the attribute `_metadata`, as `Module.state_dict` gives it."""
    items = b"".join(text(name) + tensor(i, a, legacy) for i, (name, a) in enumerate(arrays.items()))
    ordered = global_(b"collections", b"OrderedDict") + b")R"
    metadata = b"}(" + text("_metadata") + ordered + b"(" + text("") + b"}" + text("version") + integer(1) + b"suub"
    return pickle(ordered + b"(" + items + b"u" + metadata)


def write_torch_zip(path, arrays, body=None):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", state_dict(arrays, legacy=False) if body is None else body)
        archive.writestr("archive/byteorder", "little")
        for i, array in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{i}", np.ascontiguousarray(array).tobytes())
        archive.writestr("archive/version", "3\n")


def write_torch_legacy(path, arrays, body=None):
    system = b"}(" + text("protocol_version") + integer(1001) + text("little_endian") + b"\x88"
    system += text("type_sizes") + b"}u"
    with open(path, "wb") as file:
        file.write(pickle(integer(0x1950A86A20F9469CFC6C)) + pickle(integer(1001)) + pickle(system))
        file.write(state_dict(arrays, legacy=True) if body is None else body)
        file.write(pickle(b"](" + b"".join(text(str(i)) for i in range(len(arrays))) + b"e"))
        for array in arrays.values():
            file.write(struct.pack("<q", array.size) + np.ascontiguousarray(array).tobytes())


def write_checkpoint(path, arrays, folder="", name="model.ckpt"):
    """A zip with a TensorFlow checkpoint in `folder` of it."""
    import tensorflow as tf

    prefix = str(path.parent / name)
    names = list(arrays)
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=list(arrays.values())
    )
    with zipfile.ZipFile(path, "w") as archive:
        for end in (".index", ".data-00000-of-00001"):
            archive.write(prefix + end, f"{folder}{name}{end}")


# The index of a TensorFlow checkpoint, a table of LevelDB's, by hand: with right checksums whatever is in it.

TABLE_MAGIC = 0xDB4775248B80FB57
CRC32C = [0] * 256
for _byte in range(256):
    _crc = _byte
    for _ in range(8):
        _crc = _crc >> 1 ^ (0x82F63B78 if _crc & 1 else 0)
    CRC32C[_byte] = _crc


def varint(value):
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes(data + bytes([value]))


def snappy_literals(data):
    """A Snappy block without copies."""
    parts = [data[i : i + 60] for i in range(0, len(data), 60)]
    return varint(len(data)) + b"".join(bytes([(len(part) - 1) << 2]) + part for part in parts)


def block(pairs):
    """A block of keys and values."""
    entries = b"".join(varint(0) + varint(len(k)) + varint(len(v)) + k + v for k, v in pairs)
    return entries + struct.pack("<II", 0, 1)


def checksum(content):
    """TensorFlow's masked CRC-32C."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = CRC32C[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def checkpoint_index(data, compress=0, times=1):
    """An index of one data block, to which its own index points so many times."""

    def stored(content):
        content = (snappy_literals(content) if compress else content) + bytes([compress])
        return content + checksum(content)

    def handle(offset, content):
        return varint(offset) + varint(len(content) - 5)

    data = stored(data)
    index = stored(block([(b"~", handle(0, data))] * times))
    meta = stored(block([]))
    footer = handle(len(data) + len(index), meta) + handle(len(data), index)
    return data + index + meta + footer.ljust(40, b"\0") + struct.pack("<Q", TABLE_MAGIC)


def field(number, value):
    """A field of a protocol buffer: an integer, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value % 2**64)
    return varint(number << 3 | 2) + varint(len(value)) + value


def index_entry(shape, size, dtype=1, offset=0):
    """What an index says of a tensor, which is all zeros."""
    sides = b"".join(field(2, field(1, side)) for side in shape)
    crc = varint(6 << 3 | 5) + checksum(bytes(size))
    return field(1, dtype) + field(2, sides) + field(4, offset) + field(5, size) + crc


INDEX_HEADER = field(1, 1) + field(3, field(1, 1))  # one part, version 1
