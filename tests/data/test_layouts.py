"""Folders of labeling tools: what they are taken for, and COCO's JSON as such tools lay it out."""

import json

import pytest
from PIL import Image

from keras_det.data import Coco, Csv, Folder, Images, Voc, Yolo, kind_of, load

INSTANCES = {
    "images": [{"id": 7, "file_name": "a.jpg", "height": 20, "width": 40}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 5, 20, 10]}],
    "categories": [
        {"id": 0, "name": "cells", "supercategory": "none"},
        {"id": 1, "name": "rbc", "supercategory": "cells"},
    ],
}


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 20)).save(path)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def check(source):
    """One object of one class, a quarter of the image."""
    assert (len(source), source.classes, source.annotation(0).boxes.tolist()) == (
        1,
        ("rbc",),
        [[0.25, 0.25, 0.75, 0.75]],
    )
    assert source.image(0).shape == (20, 40, 3)


def test_roboflows_json_and_its_unused_category(tmp_path):
    for split in ("train", "valid"):
        write(tmp_path / split / "_annotations.coco.json", INSTANCES)
        image(tmp_path / split / "a.jpg")
    for source in (load(f"coco:{tmp_path}", "train"), load(f"coco:{tmp_path / 'valid'}")):
        check(source)
        assert ["groups others and has no annotation" in issue.message for issue in source.issues] == [True]
    with pytest.raises(ValueError, match=f"{tmp_path} has train, valid"):
        load(f"coco:{tmp_path}")


def test_cvats_json(tmp_path):
    write(tmp_path / "annotations" / "instances_default.json", INSTANCES)
    image(tmp_path / "images" / "a.jpg")
    check(load(f"coco:{tmp_path}"))
    (tmp_path / "images").rename(tmp_path / "default")
    check(load(f"coco:{tmp_path}", "default"))


def test_label_studios_json(tmp_path):
    entry = INSTANCES["images"][0] | {"file_name": "images/a.jpg"}
    write(tmp_path / "result.json", INSTANCES | {"images": [entry]})
    image(tmp_path / "images" / "a.jpg")
    check(load(f"coco:{tmp_path}"))


def test_a_json_by_its_name_and_its_images_folder(tmp_path):
    write(tmp_path / "labels" / "mine.json", INSTANCES)
    image(tmp_path / "images" / "a.jpg")
    check(load(f"coco:{tmp_path / 'labels' / 'mine.json'}"))
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="1 of 1 images have no file"):
        load(f"coco:{tmp_path / 'labels' / 'mine.json'}")
    check(load(f"coco:{tmp_path / 'labels' / 'mine.json'}", image_folder=tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match="there is no folder .*absent"):
        load(f"coco:{tmp_path / 'labels' / 'mine.json'}", image_folder=tmp_path / "absent")
    with pytest.raises(ValueError, match="`split` means nothing"):
        load(f"coco:{tmp_path / 'labels' / 'mine.json'}", "train")


XML = "<annotation><object><name>rbc</name><bndbox><xmin>11</xmin><ymin>6</ymin><xmax>30</xmax><ymax>15</ymax></bndbox>"


@pytest.mark.parametrize(
    ("files", "kind", "cls"),
    [
        ({"train/_annotations.coco.json": INSTANCES, "train/a.jpg": None}, "coco", Coco),
        ({"annotations/instances_default.json": INSTANCES, "images/a.jpg": None}, "coco", Coco),
        ({"a.jpg": None, "a.txt": "0 0.5 0.5 0.5 0.5", "classes.txt": "rbc"}, "yolo", Yolo),
        (
            {"images/a.jpg": None, "labels/a.txt": "0 0.5 0.5 0.5 0.5", "data.yaml": "names: [rbc]\ntrain: images"},
            "yolo",
            Yolo,
        ),
        ({"a.jpg": None, "a.xml": XML + "</object></annotation>"}, "folder", Folder),
        ({"VOC2007/Annotations/a.xml": "", "VOC2007/ImageSets/Main/x.txt": ""}, "voc", Voc),
        ({"deep/a.jpg": None}, "images", Images),
    ],
)
def test_a_folder_says_by_its_files_what_it_is(files, kind, cls, tmp_path):
    for name, content in files.items():
        image(tmp_path / name) if content is None else write(tmp_path / name, content)
    assert kind_of(tmp_path) == kind
    if cls is not Voc:
        source = load(str(tmp_path))
        assert type(source) is cls and len(source) == 1
        if cls is not Images:
            check(source)


def test_a_file_says_by_its_ending_what_it_is(tmp_path):
    write(tmp_path / "a.csv", "a.jpg,10,5,30,15,rbc\n")
    image(tmp_path / "a.jpg")
    source = load(str(tmp_path / "a.csv"))
    assert type(source) is Csv
    check(source)
    assert [kind_of(write(tmp_path / name, "") or tmp_path / name) for name in ("b.yaml", "b.json")] == ["yolo", "coco"]
    write(tmp_path / "b.txt", "")
    with pytest.raises(ValueError, match="b.txt holds no annotations or images of a known kind"):
        kind_of(tmp_path / "b.txt")
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        kind_of(tmp_path / "absent")
    with pytest.raises(ValueError, match="`spec` must be"):
        load(str(tmp_path / "absent"))
