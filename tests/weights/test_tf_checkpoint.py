import subprocess
import sys
import zipfile

import numpy as np
import published_files as pf
import pytest

from keras_det.weights import tf_checkpoint
from keras_det.weights.tf_checkpoint import read_checkpoint
from keras_det.weights.tf_graph import read_variables

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


FLOATS = pf.index_entry([3], 12)


@pytest.mark.parametrize("compress", [0, 1])
def test_own_table(tmp_path, compress):
    numbers = np.arange(3, dtype="f4")
    index = pf.checkpoint_index(pf.block([(b"", pf.INDEX_HEADER), (b"w", FLOATS)]), compress)
    write_zip(tmp_path / "x.zip", {"m.index": index, "m.data-00000-of-00001": numbers.tobytes()})
    np.testing.assert_array_equal(read_checkpoint(tmp_path / "x.zip")["w"], numbers)


@pytest.mark.parametrize(
    ("header", "entry", "message"),
    [
        (pf.field(1, 2), FLOATS, "several parts"),
        (pf.INDEX_HEADER + pf.field(2, 1), FLOATS, "not little-endian"),
        (pf.INDEX_HEADER, pf.index_entry([3], 12, dtype=7), "`w` is partitioned or not of a numeric type"),
        (pf.INDEX_HEADER, FLOATS + pf.field(7, b""), "`w` is partitioned"),
        (pf.INDEX_HEADER, pf.index_entry([3], 16), "`w` reaches beyond the data"),
        (pf.INDEX_HEADER, pf.index_entry([3], 12, offset=8), "`w` reaches beyond the data"),
        (pf.INDEX_HEADER, FLOATS + b"\x0b", "unknown type"),
    ],
)
def test_entry_that_cannot_be_read(tmp_path, header, entry, message):
    index = pf.checkpoint_index(pf.block([(b"", header), (b"w", entry)]))
    write_zip(tmp_path / "x.zip", {"m.index": index, "m.data-00000-of-00001": bytes(12)})
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "x.zip")


def test_blocks_that_overlap(tmp_path):
    """A small index that points a million times to one block would keep the reader busy for hours."""
    index = pf.checkpoint_index(pf.block([(b"", pf.INDEX_HEADER)]), times=2)
    write_zip(tmp_path / "x.zip", {"m.index": index, "m.data-00000-of-00001": b""})
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


def write_files(folder, content):
    """A checkpoint in files, its index as given; the prefix."""
    (folder / "m.index").write_bytes(content)
    (folder / "m.data-00000-of-00001").write_bytes(bytes(12))
    return folder / "m"


@pytest.mark.parametrize("name", ["m.ckpt", "m.ckpt.index", "saved"])
def test_checkpoint_in_files(tmp_path, name):
    (tmp_path / "saved" / "variables").mkdir(parents=True)
    (tmp_path / "saved" / "saved_model.pb").touch()
    pf.write_checkpoint(tmp_path / "m.zip", arrays(), name="m.ckpt")
    pf.write_checkpoint(tmp_path / "saved" / "variables" / "x.zip", arrays(), name="variables")
    found = read_variables(tmp_path / name)
    floats = {key: array for key, array in arrays().items() if array.dtype.kind == "f"}
    assert set(found) == set(floats)
    for key, array in floats.items():
        np.testing.assert_array_equal(found[key], array)


def test_texts_and_whole_numbers_in_files_are_passed_over(tmp_path):
    import tensorflow as tf

    tf.train.Checkpoint(w=tf.Variable([1.0, 2.0])).write(str(tmp_path / "m"))  # holds its objects' graph as a text
    assert [v.tolist() for v in read_variables(tmp_path / "m").values()] == [[1.0, 2.0]]


def test_flipped_bit_in_files(tmp_path):
    """The checksums are TensorFlow's; a zip has one of its own."""
    pf.write_checkpoint(tmp_path / "m.zip", arrays())
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 4
    data.write_bytes(content)
    with pytest.raises(ValueError, match="model.ckpt is no checkpoint that can be read: .*[Cc]hecksum"):
        read_variables(tmp_path / "model.ckpt")


def test_missing_part(tmp_path):
    path = write_files(tmp_path, pf.checkpoint_index(pf.block([(b"", pf.field(1, 2)), (b"w", FLOATS)])))
    with pytest.raises(FileNotFoundError, match="m.data-00000-of-00002"):
        read_variables(path)


def test_tensors_in_files_that_take_more_memory_than_the_files(tmp_path):
    entries = [(b"", pf.INDEX_HEADER), *((f"w{k}".encode(), FLOATS) for k in range(2))]
    with pytest.raises(ValueError, match="its tensors overlap"):
        read_variables(write_files(tmp_path, pf.checkpoint_index(pf.block(entries))))


HOSTILE = {
    "a side below zero": pf.index_entry([-1], 12),
    "too many sides": pf.index_entry([1] * 300, 4),
    "2^64 numbers": pf.index_entry([2**62, 4], 0),
    "no protocol buffer": FLOATS + b"\x12",
}


@pytest.mark.parametrize("entry", HOSTILE.values(), ids=HOSTILE)
def test_an_index_that_tensorflows_reader_dies_of_is_refused(tmp_path, entry):
    content = pf.checkpoint_index(pf.block([(b"", pf.INDEX_HEADER), (b"w", entry)]))
    path = write_files(tmp_path, content)
    with pytest.raises(ValueError, match=r"m is no checkpoint that can be read: [^{]*\.$"):
        read_variables(path)
    write_zip(tmp_path / "x.zip", {"m.index": content, "m.data-00000-of-00001": bytes(12)})
    with pytest.raises(ValueError, match="not a zipped TensorFlow checkpoint"):
        read_checkpoint(tmp_path / "x.zip")


def test_tensorflows_reader_still_dies_of_it(tmp_path):
    """The reason for a reader of our own."""
    entry = HOSTILE["a side below zero"]
    path = write_files(tmp_path, pf.checkpoint_index(pf.block([(b"", pf.INDEX_HEADER), (b"w", entry)])))
    script = "import sys; from tensorflow.train import load_checkpoint; load_checkpoint(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, errors="replace")
    assert done.returncode != 0
    if done.returncode > 0:
        pytest.skip("this TensorFlow refuses the file with an error, so its reader could take the place of ours")
    assert "Check failed" in done.stderr
