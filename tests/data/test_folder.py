import os

import numpy as np
import pytest
from PIL import Image
from test_voc import HEIGHT, WIDTH, voc_xml, write_image

from keras_det.data.folder import Folder


@pytest.fixture
def flat(tmp_path):
    """Images and annotations beside each other, one without objects."""
    for stem, objects in {
        "b": [("wolf", 1, 1, 30, 40)],
        "a": [("bear", 1, 1, 9, 9), ("wolf", 2, 2, 9, 9)],
        "c": [],
    }.items():
        write_image(tmp_path / f"{stem}.jpg")
        (tmp_path / f"{stem}.xml").write_text(voc_xml(*objects))
    return tmp_path


@pytest.fixture
def parted(tmp_path):
    """VOC's folders, without a year."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / part).mkdir(parents=True)
    for stem, name in {"x": "wolf", "y": "bear", "z": "ant"}.items():
        write_image(tmp_path / "JPEGImages" / f"{stem}.png")
        (tmp_path / "Annotations" / f"{stem}.xml").write_text(voc_xml((name, 1, 1, 30, 40)))
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("z\nx\n")
    (tmp_path / "ImageSets" / "Main" / "test.txt").write_text("y\n")
    return tmp_path


def test_a_flat_folder(flat):
    (flat / "notes.txt").write_text("not an image")
    (flat / "._b.xml").write_bytes(b"\0of another system")
    source = Folder(flat)
    assert source.classes == ("bear", "wolf")
    assert source.name == f"folder {flat.name}"
    assert [source.annotation(i).image_id for i in range(3)] == ["a", "b", "c"]
    assert [source.annotation(i).labels.tolist() for i in range(3)] == [[0, 1], [1], []]
    np.testing.assert_allclose(source.annotation(1).boxes, [[0, 0, 1, 0.5]])
    assert source.image(1).shape == (HEIGHT, WIDTH, 3)
    assert source.path(1) == str(flat / "b.jpg")
    assert source.issues == []


def test_images_of_several_kinds_and_spellings(flat):
    for stem, suffix in {"a": ".PNG", "b": ".bmp", "c": ".JPEG"}.items():
        (flat / f"{stem}.jpg").unlink()
        write_image(flat / f"{stem}{suffix}")
    (flat / "b.xml").rename(flat / "b.XML")
    source = Folder(flat)
    assert [os.path.basename(source.path(i)) for i in range(3)] == ["a.PNG", "b.bmp", "c.JPEG"]
    assert source.image(0).shape == (HEIGHT, WIDTH, 3)


def test_gray_images_are_rgb(flat):
    Image.new("L", (WIDTH, HEIGHT), 5).save(flat / "a.jpg")
    assert Folder(flat).image(0).shape == (HEIGHT, WIDTH, 3)


def test_vocs_folders_and_lists(parted):
    train, test, both, everything = (Folder(parted, split) for split in ("train", "test", "test+train", None))
    ids = [[s.annotation(i).image_id for i in range(len(s))] for s in (train, test, both, everything)]
    assert ids == [["z", "x"], ["y"], ["y", "z", "x"], ["x", "y", "z"]]
    # The classes are those of the folder, so that every split has the same labels.
    assert train.classes == test.classes == ("ant", "bear", "wolf")
    assert train.annotation(0).labels.tolist() == [0]
    assert train.name.endswith(" train")


def test_classes_may_be_given(parted):
    source = Folder(parted, "train", classes=("wolf", "ant"))
    assert [source.annotation(i).labels.tolist() for i in range(2)] == [[1], [0]]
    with pytest.raises(ValueError, match=r"y\.xml, object 0: expected a class among wolf, ant, got 'bear'"):
        Folder(parted, "test", classes=("wolf", "ant")).annotation(0)
    for classes in ("wolf", (), ("wolf", "wolf")):
        with pytest.raises(ValueError, match="`classes` must be"):
            Folder(parted, classes=classes)


def test_a_image_or_annotation_alone_is_missing(flat):
    write_image(flat / "d.png")
    (flat / "e.xml").write_text(voc_xml(("wolf", 1, 1, 9, 9)))
    with pytest.raises(FileNotFoundError, match=r"2 of 5 images .* first is .*d\.xml"):
        Folder(flat)
    source = Folder(flat, missing="skip")
    assert len(source) == 3
    assert [(os.path.basename(p.file), p.action) for p in source.issues] == [
        ("d.xml", "skipped"),
        ("e.jpg", "skipped"),
    ]


def test_a_listed_name_without_files_is_missing(parted):
    (parted / "ImageSets" / "Main" / "train.txt").write_text("z\nnone\n")
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images .*none\.jpg"):
        Folder(parted, "train")
    assert len(Folder(parted, "train", missing="skip")) == 1


def test_two_images_of_one_stem(flat):
    write_image(flat / "a.png")
    with pytest.raises(ValueError, match="both a.jpg and a.png"):
        Folder(flat)


def test_bad_folders_and_splits(parted, tmp_path_factory):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Folder(parted / "nowhere")
    with pytest.raises(ValueError, match="no images with VOC XML"):
        Folder(tmp_path_factory.mktemp("empty"))
    with pytest.raises(FileNotFoundError, match="val.txt, found test, train"):
        Folder(parted, "val")
    for split in ("", "../train", "train+", "/etc/passwd"):
        with pytest.raises(ValueError, match="`split` must be"):
            Folder(parted, split)
    (parted / "ImageSets" / "Main" / "evil.txt").write_text("../../x\n")
    with pytest.raises(ValueError, match=r"evil\.txt, line 1"):
        Folder(parted, "evil")


def test_a_faulty_annotation_names_the_file(flat):
    (flat / "b.xml").write_text("<annotation><object></annotation>")
    source = Folder(flat)
    assert source.classes == ("bear", "wolf") and len(source) == 3
    assert [str(issue).split(":")[0] for issue in source.issues] == [str(flat / "b.xml")]
    with pytest.raises(ValueError, match=r"b\.xml: cannot be read as XML"):
        source.image(1)


def test_the_real_bccd(shared):
    folder = shared / "data" / "bccd"
    everything = Folder(folder)
    assert everything.classes == ("Platelets", "RBC", "WBC")
    # Two stray clicks, where xmin = xmax and ymin = ymax; the other 4886 boxes are in order.
    assert [(os.path.basename(p.file), p.object, p.action) for p in everything.issues] == [
        ("BloodImage_00338.xml", 12, "dropped"),
        ("BloodImage_00343.xml", 3, "dropped"),
    ]
    labels = np.concatenate([everything.annotation(i).labels for i in range(364)])
    assert np.bincount(labels).tolist() == [361, 4153, 372]
    parts = {name: Folder(folder, name) for name in ("train", "val", "test")}
    assert {name: len(part) for name, part in parts.items()} == {"train": 205, "val": 87, "test": 72}
    assert [len(part.issues) for part in parts.values()] == [1, 1, 0]
    one = parts["test"].annotation(0)
    assert (one.height, one.width) == parts["test"].image(0).shape[:2] == (480, 640)


def test_links_to_nothing_and_folders_named_as_files_are_no_end(tmp_path):
    for name in ("a", "b", "c"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.xml").write_text("<annotation/>")
    (tmp_path / "z.xml").mkdir()
    (tmp_path / "b.png").unlink()
    (tmp_path / "b.png").symlink_to(tmp_path / "absent.png")
    (tmp_path / "c.xml").unlink()
    (tmp_path / "c.xml").symlink_to(tmp_path / "absent.xml")
    source = Folder(tmp_path, classes=["cat"])
    assert [issue.action for issue in source.issues if issue.action == "skipped"] == ["skipped"] * 2
    assert source.image(0).shape == (8, 8, 3)
