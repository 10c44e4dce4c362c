"""Writing whole or not at all, what killed processes leave behind, and text in UTF-8 whatever the locale."""

import ast
import doctest
import os
import pathlib
import subprocess
import sys

import pytest
from PIL import Image

import keras_det
from keras_det import files

ROOT = pathlib.Path(keras_det.__file__).parent


def test_doctests():
    assert doctest.testmod(files).failed == 0


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "\u732b\r\n")
    assert path.read_bytes() == "\u732b\r\n".encode()
    with pytest.raises(ZeroDivisionError), files.whole(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), files.whole(tmp_path / "folder") as temporary:
        (temporary / "deep").mkdir(parents=True)
        raise ZeroDivisionError
    assert path.read_bytes() == "\u732b\r\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_an_image_that_cannot_be_written_leaves_the_one_before(tmp_path):
    image = Image.new("RGB", (4, 2))
    for name in ("a.jpg", "no ending"):
        files.write_image(tmp_path / name, image)
        before = (tmp_path / name).read_bytes()
        with pytest.raises(TypeError):
            files.write_image(tmp_path / name, Half())
        assert (tmp_path / name).read_bytes() == before
    assert [Image.open(tmp_path / name).format for name in ("a.jpg", "no ending")] == ["JPEG", "PNG"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "no ending"]


class Half:
    """An image of which half is written when the disk gives out."""

    def save(self, path, format):
        path.write_bytes(b"half")
        raise TypeError


def test_only_what_dead_processes_left_is_removed(tmp_path):
    """As kill -9 in the midst of a write leaves it; another process may be writing just now."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f".{dead.pid}-results.csv", f".{dead.pid}-a b\n.png", ".99999999999999-x"):
        (tmp_path / name).write_text("half")
    (tmp_path / f".{dead.pid}-1").mkdir()
    (tmp_path / f".{dead.pid}-1" / "saved_model.pb").write_text("half")
    kept = [f".{os.getpid()}-last.weights.h5", f"{dead.pid}-x", ".gitignore", f".{dead.pid}", f".x{dead.pid}-y"]
    for name in kept:
        (tmp_path / name).write_text("whole")
    files.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    files.remove_leftovers(tmp_path / "absent")


def test_text_is_never_in_the_locales_encoding():
    """On Windows and under LANG=C that is not UTF-8."""
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in ROOT.rglob("*.py")}
    for file, node in ((file, node) for file, tree in trees.items() for node in ast.walk(tree)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", None))
        words = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        binary = any("b" in word for word in words[-1:])
        opens = name in ("read_text", "write_text") and isinstance(node.func, ast.Attribute)
        opens |= isinstance(node.func, ast.Name) and name in ("open", "fdopen") and not binary
        said = "utf-8" in words or any(k.arg == "encoding" for k in node.keywords)
        assert not opens or said, f"{file.name}, line {node.lineno}"
