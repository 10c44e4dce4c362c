import hashlib

import keras
import numpy as np
import published_files as pf
import pytest
from test_download import make_entry

from keras_det import weights
from keras_det.weights import registry, resolve
from keras_det.weights.convert import Converter, Rule, torch_kernel
from keras_det.weights.registry import Integrity
from keras_det.weights.torch_file import read_torch
from keras_det.weights.variables import parameters

KERNEL = np.arange(24, dtype="f4").reshape(2, 3, 2, 2)
CONVERTER = Converter("a test", read_torch, (Rule("conv.weight", "conv/kernel", torch_kernel),))


def network(dtype=None):
    convolution = keras.layers.Conv2D(2, 2, use_bias=False, name="conv", dtype=dtype)
    return keras.Sequential([keras.Input((4, 4, 3)), convolution])


def kernel(net):
    return parameters(net)["conv/kernel"]


@pytest.fixture(autouse=True)
def entry(tmp_path, monkeypatch):
    """An entry whose file was added by hand."""
    monkeypatch.setenv("KERAS_DET_HOME", str(tmp_path / "home"))
    entry = make_entry("manual:small.pth", None, CONVERTER)
    monkeypatch.setattr(registry, "ENTRIES", (entry,))
    pf.write_torch_zip(tmp_path / "small.pth", {"conv.weight": KERNEL})
    weights.add(tmp_path / "small.pth")
    return entry


def converted(tmp_path):
    return sorted(path.name for path in (tmp_path / "home").glob("*.h5"))


def test_converted_once(tmp_path, monkeypatch):
    found = weights.find("small", "small")
    assert found.config == {"classes": ["a"]} and found.parameters is None
    net = network()
    weights.load(found, net)
    np.testing.assert_array_equal(kernel(net), KERNEL.transpose(2, 3, 1, 0))
    assert converted(tmp_path) == [f"small_small-{resolve.__version__}.weights.h5"]
    monkeypatch.setattr(resolve, "_convert", None)
    again = network()
    weights.load(found, again)
    np.testing.assert_array_equal(kernel(again), kernel(net))


def test_other_name_or_file_is_not_ours(tmp_path):
    assert weights.find("small", "other") is None
    assert weights.find("small", tmp_path / "run" / "best.weights.h5") is None


def test_network_that_does_not_fit(tmp_path):
    other = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(3, 2, use_bias=False, name="conv")])
    before = kernel(other)
    with pytest.raises(ValueError, match=r"misshapen: conv.weight \(2, 3, 2, 2\) for conv/kernel \(2, 2, 3, 3\)"):
        weights.load(weights.find("small", "small"), other)
    np.testing.assert_array_equal(kernel(other), before)
    assert converted(tmp_path) == []
    weights.load(weights.find("small", "small"), network())
    with pytest.raises(ValueError, match="does not fit this Sequential"):
        weights.load(weights.find("small", "small"), other)


def test_damaged_conversion_is_named(tmp_path):
    weights.load(weights.find("small", "small"), network())
    path = tmp_path / "home" / converted(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="small.*weights.h5.*delete it"):
        weights.load(weights.find("small", "small"), network())


def test_half_precision_is_not_kept(tmp_path):
    net = network("float16")
    weights.load(weights.find("small", "small"), net)
    np.testing.assert_array_equal(kernel(net), KERNEL.transpose(2, 3, 1, 0))
    assert converted(tmp_path) == []


def test_failed_save_leaves_nothing(tmp_path, monkeypatch):
    net = network()

    def save_weights(path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(net, "save_weights", save_weights)
    with pytest.raises(OSError, match="disk full"):
        weights.load(weights.find("small", "small"), net)
    assert [p.name for p in (tmp_path / "home").iterdir() if p.suffix != ".lock"] == ["downloads"]


def test_file_of_the_publishers_form(tmp_path):
    mine = KERNEL + 1
    pf.write_torch_legacy(tmp_path / "mine.pth", {"conv.weight": mine})
    found = weights.find("Small", tmp_path / "mine.pth")
    net = network()
    weights.load(found, net)
    np.testing.assert_array_equal(kernel(net), mine.transpose(2, 3, 1, 0))
    assert converted(tmp_path) == []


def test_file_of_no_known_form(tmp_path):
    pf.write_torch_zip(tmp_path / "x.pth", {"other": KERNEL})
    with pytest.raises(ValueError, match="x.pth holds no weights in a form that is known for Small"):
        weights.find("Small", tmp_path / "x.pth")
    with pytest.raises(FileNotFoundError):
        weights.find("Small", tmp_path / "absent.pth")


def test_file_with_more_in_it(tmp_path):
    pf.write_torch_zip(tmp_path / "x.pth", {"conv.weight": KERNEL, "optimizer": KERNEL})
    with pytest.raises(ValueError, match="unknown: optimizer"):
        weights.load(weights.find("Small", tmp_path / "x.pth"), network())


def test_embedded_file(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "EMBEDDED_FOLDER", tmp_path)
    net = network()
    net.save_weights(tmp_path / "small.weights.h5")
    digest = hashlib.sha256((tmp_path / "small.weights.h5").read_bytes()).hexdigest()
    entry = make_entry("embedded:small.weights.h5", Integrity("sha256", digest))
    monkeypatch.setattr(registry, "ENTRIES", (entry,))
    again = network()
    weights.load(weights.find("small", "small"), again)
    np.testing.assert_array_equal(kernel(again), kernel(net))
    (tmp_path / "small.weights.h5").write_bytes(b"stale")
    with pytest.raises(ValueError, match="is not the file small.weights.h5: expected SHA-256"):
        weights.load(weights.find("small", "small"), network())
