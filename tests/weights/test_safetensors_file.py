from unittest.mock import Mock

import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_det import files
from keras_det.weights import read_safetensors, read_safetensors_metadata, write_safetensors

METADATA = {"model": "SSD300", "config": {"classes": ["cat", "Käse"], "box_scales": [0.1, 1 / 3]}}


def arrays():
    rng = np.random.default_rng(0)
    odd = np.array([np.nan, -0.0, np.inf, 1e-45], "f4")
    return {
        "a/kernel": rng.standard_normal((3, 4)).astype("f4"),
        "a/odd": odd,
        "b/count": np.array(5, "i8"),
        "b/half": rng.standard_normal(3).astype("f2"),
        "b/transposed": rng.standard_normal((3, 4)).astype("f4").T,
    }


def test_round_trip_to_the_bit(tmp_path):
    write_safetensors(tmp_path / "x.safetensors", arrays(), METADATA)
    found, metadata = read_safetensors(tmp_path / "x.safetensors")
    assert metadata == METADATA == read_safetensors_metadata(tmp_path / "x.safetensors")
    assert found.keys() == arrays().keys()
    for name, array in arrays().items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, arrays(), METADATA)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_safetensors(path, arrays(), {"classes": object()})
    monkeypatch.setattr(files.os, "replace", Mock(side_effect=OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_safetensors(path, {}, METADATA)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_every_truncation_is_an_error(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, arrays(), METADATA)
    content = path.read_bytes()
    for size in range(0, len(content), 13):
        path.write_bytes(content[:size])
        for read in (read_safetensors, read_safetensors_metadata):
            with pytest.raises(ValueError, match="x.safetensors is not a whole safetensors file"):
                read(path)


@pytest.mark.parametrize("content", [b"", b"GIF89a and more", b"\xff" * 100])
def test_foreign_file(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        read_safetensors(tmp_path / "x.safetensors")


def test_files_of_others(tmp_path):
    path = tmp_path / "x.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"a": np.zeros(2)}, path, metadata)
        with pytest.raises(ValueError, match="keras_det did not write"):
            read_safetensors(path)
    save_file({"a": np.zeros(2)}, path, {"keras_det": "{"})
    with pytest.raises(ValueError, match="damaged metadata"):
        read_safetensors(path)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read_safetensors(tmp_path / "absent")
