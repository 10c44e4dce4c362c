"""Tables of boxes."""

import numpy as np
import pytest
from PIL import Image

from keras_det.data import csv_file, load
from keras_det.data.csv_file import Csv

HEADER = "path,xmin,ymin,xmax,ymax,label\n"
ROWS = "a.jpg,10,5,30,15,dog\na.jpg,0,0,40,20,cat\nb.jpg,,,,,\nc.png,20,10,40,20,dog\n"


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "b.jpg", "images/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 20)).save(tmp_path / name)
    return tmp_path


def write(folder, content, name="boxes.csv"):
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    "header", [HEADER, "", "filename;x1;y1;x2;y2;class\n", "image\txmin\tymin\txmax\tymax\tname\n"]
)
def test_rows_in_order_or_by_header(folder, header):
    separator = max(",;\t", key=header.count)
    source = load(f"csv:{write(folder, header + ROWS.replace(',', separator))}")
    assert (len(source), source.classes, source.issues) == (3, ("cat", "dog"), [])
    one = source.annotation(0)
    assert (one.image_id, one.height, one.width, one.labels.tolist()) == ("a.jpg", 20, 40, [1, 0])
    np.testing.assert_allclose(one.boxes, [[0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1]])
    assert one.area.tolist() == [200, 800] and len(source.annotation(1)) == 0
    assert source.path(2) == str(folder / "images" / "c.png") and source.image(2).shape == (20, 40, 3)


def test_open_images_are_relative_and_groups_are_crowds(folder):
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsGroupOf\n"
    source = Csv(write(folder, header + "c,x,/m/01,1,0.25,0.5,0,1,0,1\na,x,/m/02,1,0,1,0,0.5,0,0\n"))
    assert source.classes == ("/m/01", "/m/02") and source.path(1) == str(folder / "a.jpg")
    one = source.annotation(0)
    assert (one.boxes.tolist(), one.is_crowd.tolist()) == ([[0, 0.25, 1, 0.5]], [True])


def test_splits_sizes_and_classes(folder):
    header = "split,width,height," + HEADER
    file = write(folder, header + "train,80,40,a.jpg,10,5,30,15,dog\nval,40,20,b.jpg,10,5,30,15,cat\n")
    assert [len(Csv(file, split)) for split in ("train", "val", None)] == [1, 1, 2]
    (issue,) = Csv(file, "train").issues
    assert "gives a size of 40 x 80, but the image has 20 x 40" in issue.message and issue.action == "mismatched"
    scaled = Csv(file, "train", rescale_boxes=True).annotation(0)
    np.testing.assert_allclose(scaled.boxes, [[0.125, 0.125, 0.375, 0.375]])
    (issue,) = Csv(file, "val", classes=["dog"]).issues
    assert "its label 'cat' is not among the classes" in issue.message and issue.object == 1
    with pytest.raises(ValueError, match="`split` must be one of train, val .*; got 'vla'; did you mean val"):
        Csv(file, "vla")


def test_faulty_rows_are_listed_and_the_rest_is_used(folder):
    rows = "a.jpg,10,5,30,15,dog\na.jpg,x,5,30,15,dog\na.jpg,30,5,10,15,dog\na.jpg,-9,5,10,15,dog\na.jpg,1,2\n"
    source = Csv(write(folder, HEADER + rows))
    assert len(source.annotation(0)) == 2
    found = [(issue.object, issue.action) for issue in source.issues]
    assert found == [(4, "dropped"), (1, "dropped"), (2, "dropped"), (3, "clipped")]


@pytest.mark.parametrize("size", ["9" * 400 + ",20", "-48,-40", "0,0", f"{10**30},20"])
def test_sizes_that_are_none_are_passed_over(folder, size):
    header = "width,height," + HEADER
    source = Csv(write(folder, f"{header}{size},a.jpg,10,5,30,15,dog\n"), rescale_boxes=True)
    np.testing.assert_allclose(source.annotation(0).boxes, [[0.25, 0.25, 0.75, 0.75]])
    assert source.issues == []


def test_flags_of_crowds(folder):
    flags = ("True", "yes", "1", "", "0", "-1", "maybe")
    rows = "".join(f"a.jpg,{i},0,{i + 5},9,dog,{flag}\n" for i, flag in enumerate(flags))
    source = Csv(write(folder, HEADER.strip() + ",is_crowd\n" + rows))
    assert source.annotation(0).is_crowd.tolist() == [True] * 3 + [False] * 4
    (issue,) = source.issues
    assert issue.object == 6 and "'maybe'" in issue.message


def test_an_image_id_beside_a_path_leaves_pixels_pixels(folder):
    source = Csv(write(folder, "image_id," + HEADER + "0,a.jpg,10,5,30,15,dog\n"))
    np.testing.assert_allclose(source.annotation(0).boxes, [[0.25, 0.25, 0.75, 0.75]])


def test_an_empty_split_is_none_and_a_label_may_be_of_two_lines(folder):
    source = Csv(write(folder, HEADER + 'a.jpg,10,5,30,15,"do\ng"\n'), "")
    assert source.classes == ("do\ng",) and len(source.annotation(0)) == 1


def test_images_that_are_not_there(folder):
    file = write(folder, HEADER + ROWS + "d.jpg,1,1,2,2,cat\n")
    with pytest.raises(FileNotFoundError, match="1 of 4 images have no file, the first is d.jpg; --missing skip"):
        Csv(file)
    source = Csv(file, missing="skip")
    assert len(source) == 3 and [one.action for one in source.issues] == ["skipped"]
    with pytest.raises(ValueError, match="none of the 1 images is there"):
        Csv(write(folder, "d.jpg,1,1,2,2,cat\n"), missing="skip")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "holds no rows"),
        (HEADER, "holds no rows"),
        ("path,xmin,ymin,xmax,label\na.jpg,1,2,3,cat\n", "the first row names no ymax"),
        ("a,b\n1,2\n", "the first row names no path"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_in_a_sentence(folder, content, named):
    with pytest.raises(ValueError, match=named):
        Csv(write(folder, content))


def test_files_are_bounded(folder, monkeypatch):
    monkeypatch.setattr(csv_file, "MAX_BYTES", 10)
    with pytest.raises(ValueError, match="at most 10 are read"):
        Csv(write(folder, HEADER + ROWS))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Csv(folder / "absent.csv")


def test_images_alone(folder):
    source = load(f"images:{folder}")
    assert (len(source), source.classes) == (3, ()) and len(source.annotation(0)) == 0
    assert [source.annotation(i).image_id for i in range(3)] == ["a", "b", "images/c"]
    with pytest.raises(ValueError, match="`split` means nothing"):
        load(f"images:{folder}", "train")
    assert len(load(f"images:{folder}", annotated=False)) == 3
    with pytest.raises(ValueError, match="`annotated`"):
        load(f"images:{folder}", annotated=True)
    (folder / "d.jpg").symlink_to(folder / "absent.jpg")
    assert [issue.action for issue in load(f"images:{folder}").issues] == ["skipped"]


def test_open_images_file_names_say_the_split(folder):
    (folder / "train").mkdir()
    (folder / "images" / "c.png").rename(folder / "train" / "0000.png")
    table = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsGroupOf\n0000,x,/m/01,1,0,0.5,0,1,0,0\n"
    )
    file = folder / "train-annotations-bbox.csv"
    file.write_text(table)
    assert Csv(file).path(0) == str(folder / "train" / "0000.png")
    with pytest.raises(
        ValueError, match="`split` means nothing for .*bbox.csv, which has no column split; got 'train'"
    ):
        Csv(file, "train")
