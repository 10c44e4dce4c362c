import struct
import subprocess
import sys
import time
import zipfile

import numpy as np
import published_files as pf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_det.weights import torch_file
from keras_det.weights.torch_file import read_torch

WRITERS = {"zip": pf.write_torch_zip, "legacy": pf.write_torch_legacy}
FORMATS = pytest.mark.parametrize("form", WRITERS)


def arrays():
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.standard_normal((4, 3, 2, 2)).astype("f4"),
        "bn.num_batches_tracked": np.array(7, "i8"),
        "double": rng.standard_normal(5),
        "empty": np.zeros((0, 3), "f4"),
    }


@FORMATS
def test_reads_tensors_bit_for_bit(tmp_path, form):
    WRITERS[form](tmp_path / "x.pth", arrays())
    found = read_torch(tmp_path / "x.pth")
    assert list(found) == list(arrays())
    for name, array in arrays().items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


@FORMATS
def test_transposed_tensor_and_parameter(tmp_path, form):
    legacy = form == "legacy"
    numbers = np.arange(6, dtype="f4")
    rebuilt = pf.tensor(0, numbers, legacy).replace(
        pf.tuple_(pf.integer(6)) + pf.tuple_(pf.integer(1)),
        pf.tuple_(pf.integer(3), pf.integer(2)) + pf.tuple_(pf.integer(1), pf.integer(3)),
    )
    parameter = pf.global_(b"torch._utils", b"_rebuild_parameter") + pf.tuple_(rebuilt, b"\x88", b"N") + b"R"
    body = pf.pickle(b"}" + pf.text("w") + parameter + b"s")
    WRITERS[form](tmp_path / "x.pth", {"w": numbers}, body)
    np.testing.assert_array_equal(read_torch(tmp_path / "x.pth")["w"], numbers.reshape(2, 3).T)


def test_python_2_ordered_dict(tmp_path):
    """Python 2 pickled the entries as a list of pairs and its texts as bytes."""
    array = np.arange(3, dtype="f4")
    pair = b"](U\x01w" + pf.tensor(0, array, True) + b"e"
    body = pf.pickle(pf.global_(b"collections", b"OrderedDict") + b"](" + pair + b"e\x85R")
    pf.write_torch_legacy(tmp_path / "x.pth", {"w": array}, body)
    np.testing.assert_array_equal(read_torch(tmp_path / "x.pth")["w"], array)


@FORMATS
@pytest.mark.parametrize(
    ("module", "name"),
    [
        (b"posix", b"system"),
        (b"builtins", b"eval"),
        (b"torch.nn.modules.conv", b"Conv2d"),
        (b"collections", b"Counter"),
    ],
)
def test_other_globals_are_refused_by_name(tmp_path, form, module, name):
    marker = tmp_path / "executed"
    call = pf.global_(module, name) + pf.tuple_(pf.text(f"touch {marker}")) + b"R"
    WRITERS[form](tmp_path / "x.pth", {}, pf.pickle(b"}" + pf.text("w") + call + b"s"))
    with pytest.raises(ValueError, match=f"{module.decode()}.{name.decode()}, which is refused"):
        read_torch(tmp_path / "x.pth")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (b"cos\nsystem\n(" + pf.text("true") + b"tR", "os.system"),
        (pf.text("os") + pf.text("system") + b"\x93", "os.system"),
        (b"(ios\nsystem\n", "INST"),
        (b")\x81", "NEWOBJ"),
        (b"\x82\x01", "EXT1"),
        (b"}" + b"2", "DUP"),
    ],
)
def test_every_way_to_a_callable_is_closed(tmp_path, code, name):
    pf.write_torch_zip(tmp_path / "x.pth", {}, pf.pickle(code))
    with pytest.raises(ValueError, match=f"{name}.*refused"):
        read_torch(tmp_path / "x.pth")


HOSTILE = {
    "a deep tuple as a key": (b"})" + b"\x85" * 1_000_000 + b"Ns", "a tuple stands where a str belongs"),
    "a tuple of itself as a key": (b"})" + b"q\x00h\x00\x86" * 40 + b"Ns", "a tuple stands where a str belongs"),
    "keys of one hash": (
        b"}(" + b"".join(pf.integer((2**61 - 1) * k) + b"N" for k in range(1, 40_000)) + b"u",
        "a int stands where a str belongs",
    ),
    "a far place in the memo": (b"}r" + struct.pack("<I", 2**31 - 1), None),
}


@pytest.mark.parametrize(("body", "words"), HOSTILE.values(), ids=HOSTILE)
def test_pickles_that_call_nothing_take_no_time_or_memory_either(tmp_path, body, words):
    pf.write_torch_zip(tmp_path / "x.pth", {}, pf.pickle(body))
    started = time.process_time()
    if words is None:
        assert read_torch(tmp_path / "x.pth") == {}
    else:
        with pytest.raises(ValueError, match=words):
            read_torch(tmp_path / "x.pth")
    assert time.process_time() - started < 30


def test_pythons_unpickler_still_dies_of_one(tmp_path):
    """The reason for a reader of our own: `find_class` is not even asked."""
    (tmp_path / "x.pkl").write_bytes(pf.pickle(HOSTILE["a deep tuple as a key"][0]))
    script = (
        "import pickle, sys; type('Closed', (pickle.Unpickler,), {'find_class': None})(open(sys.argv[1], 'rb')).load()"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "x.pkl"], capture_output=True)
    assert done.returncode != 0
    if done.returncode == 1:
        pytest.skip("this Python refuses the pickle with an error, so its reader could take the place of ours")


@pytest.mark.parametrize("call", ["torch FloatStorage", "collections OrderedDict"])
def test_allowed_names_are_not_called_with_anything(tmp_path, call):
    module, name = call.encode().split()
    body = pf.pickle(pf.global_(module, name) + pf.tuple_(pf.integer(2**30)) + b"R")
    pf.write_torch_zip(tmp_path / "x.pth", {}, body)
    with pytest.raises(ValueError, match="not a PyTorch state dict"):
        read_torch(tmp_path / "x.pth")


@FORMATS
def test_anything_but_tensors_is_named(tmp_path, form):
    WRITERS[form](tmp_path / "x.pth", {}, pf.pickle(b"}" + pf.text("epoch") + pf.integer(3) + b"s"))
    with pytest.raises(ValueError, match="entry 'epoch' is a int"):
        read_torch(tmp_path / "x.pth")


@FORMATS
@pytest.mark.parametrize("shape, strides", [((7,), (1,)), ((2, 3), (3, 2)), ((10**9,), (0,))])
def test_tensor_beyond_its_storage(tmp_path, form, shape, strides):
    numbers = np.arange(6, dtype="f4")
    good = pf.tensor(0, numbers, form == "legacy")
    bad = good.replace(
        pf.tuple_(pf.integer(6)) + pf.tuple_(pf.integer(1)),
        pf.tuple_(*map(pf.integer, shape)) + pf.tuple_(*map(pf.integer, strides)),
    )
    assert bad != good
    WRITERS[form](tmp_path / "x.pth", {"w": numbers}, pf.pickle(b"}" + pf.text("w") + bad + b"s"))
    with pytest.raises(ValueError, match="reaches beyond its storage"):
        read_torch(tmp_path / "x.pth")


def test_announced_size_is_not_allocated(tmp_path):
    """2^40 numbers are announced in a file of some bytes."""
    array = np.arange(2, dtype="f4")
    body = pf.tensor(0, array, True).replace(pf.integer(2) + b"N", pf.integer(2**40) + b"N")
    pf.write_torch_legacy(tmp_path / "x.pth", {"w": array}, pf.pickle(b"}" + pf.text("w") + body + b"s"))
    data = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(data.replace(struct.pack("<q", 2) + array.tobytes(), struct.pack("<q", 2**40)))
    with pytest.raises(ValueError, match="ends within storage 0"):
        read_torch(tmp_path / "x.pth")


def test_size_limits(tmp_path, monkeypatch):
    pf.write_torch_zip(tmp_path / "x.pth", arrays())
    monkeypatch.setattr(torch_file, "MAX_PICKLE_BYTES", 100)
    with pytest.raises(ValueError, match="larger than 100 bytes"):
        read_torch(tmp_path / "x.pth")
    monkeypatch.setattr(torch_file, "MAX_FILE_BYTES", 100)
    with pytest.raises(ValueError, match="more than the 100 allowed"):
        read_torch(tmp_path / "x.pth")


def test_compressed_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pf.pickle(b"}"))
    with pytest.raises(ValueError, match="compressed"):
        read_torch(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02", b"GIF89a", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_foreign_file(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ValueError, match="x.pth is not a PyTorch state dict"):
        read_torch(tmp_path / "x.pth")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_torch(tmp_path / "x.pth")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torch")
    for form, write in WRITERS.items():
        write(folder / form, arrays())
    return {form: (folder / form).read_bytes() for form in WRITERS}, folder / "x.pth"


@FORMATS
def test_every_truncation_is_an_error(written, form):
    content, path = written
    for size in range(0, len(content[form]) - 1, 7):
        path.write_bytes(content[form][:size])
        with pytest.raises(ValueError, match="not a PyTorch state dict"):
            read_torch(path)


@FORMATS
@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_damaged_bytes_give_arrays_or_one_error(written, form, data):
    content, path = written
    damaged = bytearray(content[form])
    for position in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=4)):
        damaged[position] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    try:
        found = read_torch(path)
    except ValueError as error:
        assert "not a PyTorch state dict" in str(error)
    else:
        assert all(isinstance(array, np.ndarray) for array in found.values())
