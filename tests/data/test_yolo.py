"""YOLO's layouts as tools write them, and what is wrong in such files."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_det.data import load, yolo
from keras_det.data.yolo import Yolo


def image(path, size=(40, 20), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path, **options)


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


@pytest.fixture
def ultralytics(tmp_path):
    """`images/train`, `images/val` and their labels."""
    for split, count in (("train", 2), ("val", 1)):
        for i in range(count):
            image(tmp_path / "images" / split / f"{i}.jpg")
            text(tmp_path / "labels" / split / f"{i}.txt", "1 0.5 0.5 0.5 0.5\n")
    text(tmp_path / "data.yaml", "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\nnc: 2\n")
    return tmp_path


def boxes(source, i=0):
    return source.annotation(i).boxes.tolist()


def test_ultralytics_file_and_folder(ultralytics):
    for place in (ultralytics / "data.yaml", ultralytics):
        source = load(f"yolo:{place}", "train")
        assert (len(source), source.classes, source.issues) == (2, ("cat", "dog"), [])
        one = source.annotation(1)
        assert (one.image_id, one.height, one.width, one.labels.tolist()) == ("images/train/1", 20, 40, [1])
        assert boxes(source) == [[0.25, 0.25, 0.75, 0.75]] and one.area.tolist() == [200.0]
        assert source.image(0).shape == (20, 40, 3)
    assert [len(load(f"yolo:{ultralytics}", split)) for split in ("val", None)] == [1, 3]
    with pytest.raises(ValueError, match="`split` must be one of train, val of .*data.yaml; got 'trian'; did you mean"):
        load(f"yolo:{ultralytics}", "trian")


def test_names_by_number_lists_of_images_and_a_path_of_another_machine(ultralytics):
    text(ultralytics / "some.txt", "./images/train/1.jpg\nimages/val/0.jpg\n\n")
    names = "names:\n  1: dog\n  0: cat\n"
    text(ultralytics / "data.yaml", f"path: /datasets/mine\ntrain: [some.txt, images/train]\n{names}")
    source = Yolo(ultralytics, "train")
    assert source.classes == ("cat", "dog")
    assert [source.annotation(i).image_id for i in range(3)] == ["images/train/1", "images/val/0", "images/train/0"]
    text(ultralytics / "some.txt", "images/train/1.jpg\nimages/train/9.jpg\n")
    with pytest.raises(FileNotFoundError, match="1 of 3 images have no file, the first is .*9.jpg; --missing skip"):
        Yolo(ultralytics, "train")
    (issue,) = Yolo(ultralytics, "train", missing="skip").issues
    assert issue.file.endswith("9.jpg") and issue.action == "skipped"


def test_roboflows_layout(tmp_path):
    image(tmp_path / "train" / "images" / "a.jpg")
    text(tmp_path / "train" / "labels" / "a.txt", "0 0.5 0.5 1 1")
    image(tmp_path / "valid" / "images" / "b.jpg")
    text(tmp_path / "data.yaml", "train: ../train/images\nval: ../valid/images\nnames: ['a b']\nnc: 1\n")
    assert boxes(Yolo(tmp_path, "train")) == [[0, 0, 1, 1]]
    (issue,) = Yolo(tmp_path, "valid").issues
    assert issue.file.endswith(os.path.join("valid", "labels", "b.txt")) and "without objects" in issue.message


def test_darknets_layout(tmp_path):
    image(tmp_path / "obj" / "a.png")
    text(tmp_path / "obj" / "a.txt", "0 0.25 0.5 0.5 1\n")
    text(tmp_path / "train.txt", "data/obj/a.png\nobj/a.png\n")
    text(tmp_path / "obj.names", "cell\n")
    text(tmp_path / "obj.data", "classes = 1\ntrain = data/train.txt\n# valid = x\nnames = data/obj.names\n")
    assert boxes(Yolo(tmp_path, "train")) == [[0, 0, 1, 0.5]]  # paths are relative to the program's folder
    text(tmp_path / "obj.data", "classes = 1\ntrain = train.txt\nvalid = train.txt\nnames = data/obj.names\n")
    text(tmp_path / "train.txt", "D:\\x\\data\\obj\\a.png\nobj/b.png\n")
    source = Yolo(tmp_path / "obj.data", "val", missing="skip")
    assert (len(source), source.classes, boxes(source)) == (1, ("cell",), [[0, 0, 1, 0.5]])
    text(tmp_path / "obj.data", "classes = 1\ntrain = data/other.txt\nnames = data/obj.names\n")
    with pytest.raises(FileNotFoundError, match="names data/other.txt"):
        Yolo(tmp_path, "train")


def test_images_and_labels_side_by_side(tmp_path):
    image(tmp_path / "a.jpg")
    text(tmp_path / "a.txt", "")
    with pytest.raises(FileNotFoundError, match="names no classes"):
        Yolo(tmp_path)
    text(tmp_path / "classes.txt", "cat\ndog\n")
    source = Yolo(tmp_path)
    assert (len(source), len(source.annotation(0)), source.issues) == (1, 0, [])
    (tmp_path / "labels").mkdir()
    (tmp_path / "classes.txt").rename(tmp_path / "labels" / "classes.txt")  # where LabelImg writes it
    assert Yolo(tmp_path).classes == ("cat", "dog")
    with pytest.raises(ValueError, match="`split` means nothing"):
        Yolo(tmp_path, "train")


def test_what_is_wrong_in_a_line_is_listed_and_the_rest_is_used(ultralytics):
    lines = ["2 0.5 0.5 1 1", "x 0.5 0.5 1 1", "0 0.5 0.5 1", "0 0.5 nan 1 1", "0 0.9 0.5 0.4 1", "0 1 0.5 0.2 one"]
    polygon = "1 0.1 0.2 0.5 0.2 0.3 0.8"
    text(ultralytics / "labels" / "val" / "0.txt", "\n".join([*lines, polygon, "1.0 0.5 0.5 0.5 0.5"]))
    source = Yolo(ultralytics, "val")
    one = source.annotation(0)
    assert one.labels.tolist() == [0, 1, 1]
    np.testing.assert_allclose(one.boxes, [[0, 0.7, 1, 1], [0.2, 0.1, 0.8, 0.5], [0.25, 0.25, 0.75, 0.75]], atol=1e-6)
    found = [(issue.object, issue.action) for issue in source.issues]
    assert found == [*((k, "dropped") for k in (0, 1, 2, 3)), (4, "clipped"), (5, "dropped")]
    assert "expected a class in 0 .. 1, got '2'" in str(source.issues[0])


def test_boxes_are_of_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image(tmp_path / "a.jpg", exif=exif)
    text(tmp_path / "a.txt", "0 0.5 0.25 1 0.5")
    text(tmp_path / "classes.txt", "cat")
    one = Yolo(tmp_path).annotation(0)
    assert (one.height, one.width, one.boxes.tolist()) == (40, 20, [[0, 0, 0.5, 1]])
    assert Yolo(tmp_path).image(0).shape == (40, 20, 3)


def test_images_that_differ_in_their_endings_alone_have_ids_of_their_own(tmp_path):
    for name in ("a.jpg", "a.png", "b.png"):
        image(tmp_path / name)
    text(tmp_path / "classes.txt", "cat")
    source = Yolo(tmp_path)
    assert [source.annotation(i).image_id for i in range(3)] == ["a.jpg", "a.png", "b"]


def test_an_unreadable_image_is_listed(ultralytics):
    (ultralytics / "images" / "val" / "0.jpg").write_bytes(b"no image")
    (issue,) = Yolo(ultralytics, "val").issues
    assert issue.action == "skipped" and issue.file.endswith("0.jpg")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("names: [a, a]\ntrain: images", "class names must be different"),
        ("names: {0: a, 2: b}\ntrain: images", "numbers must be 0 .. 1"),
        ("names: [a]\nnc: 2\ntrain: images", "there are 2 classes and names 1"),
        ("names: 3\ntrain: images", "expected 'names' to be a list or a mapping"),
        ("names: [a]", "names no images"),
        ("names: [a]\ntrain: 3", "expected folders or list files"),
        ("- a", "expected a mapping"),
        ("names: [a", "cannot be read as YAML"),
        ("a: &a [x]\nnames: [*a, *a]\ntrain: images", "aliases are not read"),
        ("names: [a]\ntrain: images\nz: !!int ''", "cannot be read as YAML"),
        ("names: [a]\ntrain: images\nz: !!bool maybe", "cannot be read as YAML"),
        ("names: [a]\ntrain: images\nz: !!timestamp x", "cannot be read as YAML"),
        ('names: [a]\ntrain: images\nz: "\\UFFFFFFFF"', "cannot be read as YAML"),
        ("names: [yes, no]\ntrain: images", "class names must be texts, in quotes if need be; got 'True'"),
        ("names: {0: a, 1: }\ntrain: images", "got 'None'"),
        ("names: data.yaml\ntrain: images", "expected 'names' to be a list or a mapping"),
        ("names: !!python/object/apply:os.system ['true']\ntrain: images", "cannot be read as YAML"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_in_a_sentence(ultralytics, content, named):
    text(ultralytics / "data.yaml", content)
    with pytest.raises(ValueError, match=named):
        Yolo(ultralytics)


def test_files_are_bounded(ultralytics, monkeypatch):
    monkeypatch.setattr(yolo, "MAX_LABEL_BYTES", 10)
    source = Yolo(ultralytics, "val")
    assert [issue.action for issue in source.issues] == ["skipped"] and source.path(0) is None
    with pytest.raises(ValueError, match="0.txt: .*at most 10 are read"):  # not an image without objects
        source.image(0)
    monkeypatch.setattr(yolo, "MAX_CONFIG_BYTES", 10)
    with pytest.raises(ValueError, match="at most 10 are read"):
        Yolo(ultralytics)


SIDE = st.floats(0.0, 1.0, width=16)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), SIDE, SIDE, SIDE, SIDE), max_size=6))
def test_boxes_come_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("yolo")
    image(folder / "a.png", (32, 64))
    kept = [(c, *sorted((y, v)), *sorted((x, w))) for c, y, x, v, w in rows if abs(y - v) > 0.01 and abs(x - w) > 0.01]
    lines = (f"{c} {(x + w) / 2} {(y + v) / 2} {w - x} {v - y}" for c, y, v, x, w in kept)
    text(folder / "a.txt", "\n".join(lines))
    text(folder / "classes.txt", "a\nb")
    one = Yolo(folder).annotation(0)
    assert one.labels.tolist() == [c for c, *_ in kept]
    expected = np.array([(y, x, v, w) for _, y, v, x, w in kept]).reshape(-1, 4)
    np.testing.assert_allclose(one.boxes, expected, atol=1e-6)
