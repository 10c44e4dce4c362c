import struct
import zipfile

import numpy as np
import published_files as pf
import pytest

from keras_det.weights import tf_checkpoint
from keras_det.weights.tf_checkpoint import read_checkpoint

# python-snappy's compression of 3 x b"conv1/weights conv1/biases " + b"z" * 70.
SNAPPY = bytes.fromhex("970134636f6e76312f7765696768747320090e106269617365110dbe1b00007afe01000501")


def arrays():
    rng = np.random.default_rng(0)
    found = {f"ssd_300_vgg/conv{i}/weights": rng.standard_normal((3, 3, i, 2)).astype("f4") for i in range(1, 200)}
    return found | {"scalar": np.array(2.5, "f4"), "step": np.array([3, 4], "i8"), "empty": np.zeros((0, 2), "f4")}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("tf") / "model.zip"
    pf.write_checkpoint(path, arrays(), folder="some/folder/")
    with zipfile.ZipFile(path) as archive:
        members = {name.removeprefix("some/folder/"): archive.read(name) for name in archive.namelist()}
    return path, members


def write_zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def check(found):
    assert set(found) == set(arrays())
    for name, array in arrays().items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_reads_what_tensorflow_writes(written):
    check(read_checkpoint(written[0]))


def test_compressed_zip_with_resource_forks(written, tmp_path):
    """macOS adds files that must not count."""
    members = written[1] | {"__MACOSX/._model.ckpt.index": b"x", "checkpoint": b"model_checkpoint_path"}
    write_zip(tmp_path / "x.zip", members)
    check(read_checkpoint(tmp_path / "x.zip"))


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


def table(pairs, compress, times=1):
    """A table of one data block, to which the index points so many times."""

    def block(pairs):
        entries = b"".join(varint(0) + varint(len(k)) + varint(len(v)) + k + v for k, v in pairs)
        content = entries + struct.pack("<II", 0, 1)
        return (snappy_literals(content) if compress else content), bytes([compress]) + b"\0\0\0\0"

    data, trailer = block(pairs)
    index, index_trailer = block([(b"~", varint(0) + varint(len(data)))] * times)
    start = len(data) + len(trailer)
    footer = varint(0) + varint(0) + varint(start) + varint(len(index))
    return (
        data + trailer + index + index_trailer + footer.ljust(40, b"\0") + struct.pack("<Q", tf_checkpoint.TABLE_MAGIC)
    )


HEADER = b"\x08\x01\x1a\x02\x08\x01"  # one part, version 1
FLOATS = b"\x08\x01\x12\x04\x12\x02\x08\x03\x28\x0c"  # float32, shape [3], 12 bytes


@pytest.mark.parametrize("compress", [0, 1])
def test_own_table(tmp_path, compress):
    numbers = np.arange(3, dtype="f4")
    index = table([(b"", HEADER), (b"w", FLOATS)], compress)
    write_zip(tmp_path / "x.zip", {"m.index": index, "m.data-00000-of-00001": numbers.tobytes()})
    np.testing.assert_array_equal(read_checkpoint(tmp_path / "x.zip")["w"], numbers)


@pytest.mark.parametrize(
    ("header", "entry", "message"),
    [
        (b"\x08\x02", FLOATS, "several parts"),
        (HEADER, FLOATS.replace(b"\x08\x01", b"\x08\x07", 1), "`w` is partitioned or not of a numeric type"),
        (HEADER, FLOATS + b"\x3a\x00", "`w` is partitioned"),
        (HEADER, FLOATS.replace(b"\x28\x0c", b"\x28\x10"), "`w` reaches beyond the data"),
        (HEADER, FLOATS + b"\x20\x08", "`w` reaches beyond the data"),
        (HEADER, FLOATS + b"\x0b", "unknown type"),
    ],
)
def test_entry_that_cannot_be_read(tmp_path, header, entry, message):
    members = {"m.index": table([(b"", header), (b"w", entry)], 0), "m.data-00000-of-00001": bytes(12)}
    write_zip(tmp_path / "x.zip", members)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "x.zip")


def test_blocks_that_overlap(tmp_path):
    """A small index that points a million times to one block would keep the reader busy for hours."""
    members = {"m.index": table([(b"", HEADER)], 0, times=2), "m.data-00000-of-00001": b""}
    write_zip(tmp_path / "x.zip", members)
    with pytest.raises(ValueError, match="blocks of its index overlap"):
        read_checkpoint(tmp_path / "x.zip")


def test_snappy_copies():
    text = b"conv1/weights conv1/biases " * 3 + b"z" * 70
    assert tf_checkpoint._snappy(SNAPPY) == text


def test_snappy_size_is_bounded():
    with pytest.raises(ValueError, match="a block of 34359738367 bytes is more than"):
        tf_checkpoint._snappy(b"\xff\xff\xff\xff\x7f\x00a")


@pytest.mark.parametrize("block", [b"\x05\x00a", b"\x04\x05\x01", b"\x02\x00a\x05\x09"])
def test_damaged_snappy(block):
    with pytest.raises((ValueError, IndexError)):
        tf_checkpoint._snappy(block)


def test_names_in_the_zip_lead_nowhere(written, tmp_path):
    members = {f"../../{name}": content for name, content in written[1].items()}
    (tmp_path / "a" / "b").mkdir(parents=True)
    write_zip(tmp_path / "a" / "b" / "x.zip", members)
    check(read_checkpoint(tmp_path / "a" / "b" / "x.zip"))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b", "x.zip"]


def test_size_limits(written, monkeypatch):
    monkeypatch.setattr(tf_checkpoint, "MAX_DATA_BYTES", 1000)
    with pytest.raises(ValueError, match="more than the 1000 allowed"):
        read_checkpoint(written[0])


def test_no_single_checkpoint(written, tmp_path):
    write_zip(tmp_path / "x.zip", {"a.index": b"", "b.index": b""})
    with pytest.raises(ValueError, match="holds 2 checkpoints"):
        read_checkpoint(tmp_path / "x.zip")
    write_zip(tmp_path / "x.zip", {"model.ckpt.index": written[1]["model.ckpt.index"]})
    with pytest.raises(ValueError, match="`model.ckpt.data-00000-of-00001` is missing"):
        read_checkpoint(tmp_path / "x.zip")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip"])
def test_foreign_file(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(ValueError, match="x.zip is not a zipped TensorFlow checkpoint"):
        read_checkpoint(tmp_path / "x.zip")


def test_truncated_zip(written, tmp_path):
    content = written[0].read_bytes()
    for size in range(0, len(content), len(content) // 20):
        (tmp_path / "x.zip").write_bytes(content[:size])
        with pytest.raises(ValueError, match="not a zipped TensorFlow checkpoint"):
            read_checkpoint(tmp_path / "x.zip")


def test_flipped_bit_in_the_data(written, tmp_path):
    content = bytearray(written[0].read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(ValueError, match="not a zipped TensorFlow checkpoint"):
        read_checkpoint(tmp_path / "x.zip")


def test_truncated_or_damaged_index(written, tmp_path):
    index, data = written[1]["model.ckpt.index"], written[1]["model.ckpt.data-00000-of-00001"]
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(index[rng.integers(0, 50) :])
        for position in rng.integers(0, len(damaged), 3):
            damaged[position] = rng.integers(0, 256)
        write_zip(tmp_path / "x.zip", {"m.index": bytes(damaged), "m.data-00000-of-00001": data}, zipfile.ZIP_STORED)
        try:
            found = read_checkpoint(tmp_path / "x.zip")
        except ValueError as error:
            assert "not a zipped TensorFlow checkpoint" in str(error)
        else:
            assert all(isinstance(array, np.ndarray) for array in found.values())
