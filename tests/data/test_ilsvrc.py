"""ILSVRC on a miniature of its tree."""

import numpy as np
import pytest
from PIL import Image

from keras_det.data import Ilsvrc, load
from keras_det.training import RECIPES

NAMES = [
    ("n01440764", "tench, Tinca tinca"),
    ("n02012849", "crane"),
    ("n03126707", "crane"),
    ("n01443537", "goldfish"),
]
XML = """<annotation><filename>y</filename><size><width>{w}</width><height>{h}</height><depth>3</depth>
</size>{objects}</annotation>"""
OBJECT = (
    """<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""
)


def put(root, task, path, objects=None, size=(50, 40)):
    """An image of width and height `size`, and its XML unless there are no objects at all."""
    image = root / "Data" / task / f"{path}.JPEG"
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 10, 10)).save(image, "JPEG")
    if objects is not None:
        xml = root / "Annotations" / task / f"{path}.xml"
        xml.parent.mkdir(parents=True, exist_ok=True)
        xml.write_text(XML.format(w=size[0], h=size[1], objects="".join(OBJECT.format(*o) for o in objects)))


def put_list(root, task, name, lines):
    file = root / "ImageSets" / task / f"{name}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """`ILSVRC` inside the folder, as it is unpacked from the archive, with the names beside it."""
    outer = tmp_path_factory.mktemp("imagenet")
    root = outer / "ILSVRC"
    (outer / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} {name}\n" for wnid, name in NAMES))
    put(root, "CLS-LOC", "train/n01440764/n01440764_1", [("n01440764", 5, 4, 50, 40), ("n01440764", 0, 0, 10, 20)])
    put(root, "CLS-LOC", "train/n02012849/n02012849_7")
    put(root, "CLS-LOC", "val/ILSVRC2012_val_00000001", [("n01443537", 10, 10, 30, 20)])
    put(root, "CLS-LOC", "test/ILSVRC2012_test_00000001")
    both = ["n01440764/n01440764_1 1", "n02012849/n02012849_7 2"]
    put_list(root, "CLS-LOC", "train_cls", both)
    put_list(root, "CLS-LOC", "train_loc", both[:1])
    put_list(root, "CLS-LOC", "val", ["ILSVRC2012_val_00000001 1"])
    put_list(root, "CLS-LOC", "test", ["ILSVRC2012_test_00000001 1"])
    (root / "devkit" / "data").mkdir(parents=True)
    (root / "devkit" / "data" / "map_det.txt").write_text("n02672831 1 accordion\nn02691156 2 airplane\n")
    put(root, "DET", "train/ILSVRC2013_train/n02672831/n02672831_9", [("n02672831", 0, 0, 25, 40)])
    put(root, "DET", "train/ILSVRC2014_train_0000/ILSVRC2014_train_00000001", [("n02691156", 1, 1, 9, 9)])
    put(root, "DET", "val/ILSVRC2012_val_00000004", [])
    put_list(root, "DET", "train_1", ["ILSVRC2013_train/n02672831/n02672831_9 1"])
    put(root, "DET", "train/ILSVRC2013_train_extra0/ILSVRC2013_train_00000001")
    more = ["ILSVRC2014_train_0000/ILSVRC2014_train_00000001 1", "ILSVRC2013_train/n02672831/n02672831_9 -1"]
    put_list(root, "DET", "train_2", [*more, "ILSVRC2013_train_extra0/ILSVRC2013_train_00000001 -1"])
    put_list(root, "DET", "val1", ["ILSVRC2012_val_00000004 1"])
    return outer


def test_localization_data(root):
    source = load(f"ilsvrc:{root}", "CLS-LOC/train_loc")
    assert source.classes == ("tench", "crane (n02012849)", "crane (n03126707)", "goldfish")
    assert len(source) == 1 and source.issues == []
    one = source.annotation(0)
    np.testing.assert_allclose(one.boxes, [[0.1, 0.1, 1, 1], [0, 0, 0.5, 0.2]], rtol=1e-6)
    assert one.labels.tolist() == [0, 0] and one.image_id == "n01440764_1" and source.image(0).shape == (40, 50, 3)


def test_an_image_for_classification_alone_is_of_its_folders_class(root):
    source = load(f"ilsvrc:{root}", "CLS-LOC/train_cls")
    assert len(source) == 2 and source.issues == []
    one = source.annotation(1)
    assert one.labels.tolist() == [1] and one.boxes.tolist() == [[0, 0, 1, 1]]


def test_validation_and_test(root):
    (box,) = load(f"ilsvrc:{root / 'ILSVRC'}", "CLS-LOC/val").annotation(0).boxes
    np.testing.assert_allclose(box, [10 / 40, 10 / 50, 20 / 40, 30 / 50], rtol=1e-6)
    assert len(load(f"ilsvrc:{root}", "CLS-LOC/test").annotation(0)) == 0


def test_detection_data_is_the_union_of_the_classes_lists(root):
    source = load(f"ilsvrc:{root}", "DET/train+DET/val1")
    assert source.classes == ("accordion", "airplane") and len(source) == 4 and source.issues == []
    assert [source.annotation(i).labels.tolist() for i in range(4)] == [[0], [1], [], []]
    assert source.path(2).endswith("extra0/ILSVRC2013_train_00000001.JPEG")  # which has no file of boxes


def test_only_images_of_none_of_the_classes_need_no_boxes(root, tmp_path):
    put(tmp_path, "DET", "train/ILSVRC2013_train/n02672831/n02672831_9")
    put_list(tmp_path, "DET", "train_1", ["ILSVRC2013_train/n02672831/n02672831_9 1"])
    (tmp_path / "map_det.txt").write_text("n02672831 1 accordion\n")
    with pytest.raises(FileNotFoundError, match="1 of 1 images have no file or annotation"):
        load(f"ilsvrc:{tmp_path}", "DET/train")


def test_detection_needs_the_development_kits_names(root, tmp_path):
    """Folders of training images are of more ids than there are classes."""
    put(tmp_path, "DET", "train/ILSVRC2013_train/n02672831/n02672831_9", [("n02672831", 0, 0, 25, 40)])
    put_list(tmp_path, "DET", "train_1", ["ILSVRC2013_train/n02672831/n02672831_9 1"])
    with pytest.raises(FileNotFoundError, match="no .*map_det.txt, which names the classes of DET"):
        load(f"ilsvrc:{tmp_path}", "DET/train")


def test_every_recipe_finds_its_data(root):
    """On the miniature every split that a recipe names gives images and objects, all but the one that users add."""
    splits = {split for r in RECIPES.values() if r.data == "ilsvrc:ILSVRC" for split in (r.split, r.val_split) if split}
    assert splits == {
        "CLS-LOC/train_cls",
        "CLS-LOC/train_loc",
        "CLS-LOC/val",
        "DET/train",
        "DET/train+DET/val1",
        "DET/val2",
    }
    for split in splits - {"DET/val2"}:
        source = load(f"ilsvrc:{root}", split)
        assert source.image(0).shape == (40, 50, 3) and sum(len(source.annotation(i)) for i in range(len(source)))


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (None, "CLS-LOC/train_cls, CLS-LOC/train_loc, CLS-LOC/val"),
        ("train", "'CLS-LOC/train_loc'"),
        ("CLS-LOC/val+DET/val1", "of one task"),
        ("CLS-LOC/train_all", "no list .*train_all.txt"),
        ("DET/../val", "`split` must be"),
    ],
)
def test_wrong_splits_are_refused_with_those_there_are(root, split, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        Ilsvrc(root, split)


def test_faulty_files_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        Ilsvrc(tmp_path / "absent", "DET/val1")
    put(tmp_path, "CLS-LOC", "val/a", [("n99999999", 1, 1, 9, 9)])
    put_list(tmp_path, "CLS-LOC", "val", ["a 1"])
    with pytest.raises(FileNotFoundError, match="LOC_synset_mapping.txt, which names"):
        Ilsvrc(tmp_path, "CLS-LOC/val")
    names = tmp_path / "LOC_synset_mapping.txt"
    for text, said in (("tench\n", "line 1"), ("n01440764 a\nn01440764 b\n", "different ids"), ("", "different ids")):
        names.write_text(text)
        with pytest.raises(ValueError, match=said):
            Ilsvrc(tmp_path, "CLS-LOC/val")
    names.write_text("n01440764 tench\n")
    with pytest.raises(ValueError, match="object 0: 'n99999999' is none of the 1 classes' ids"):
        Ilsvrc(tmp_path, "CLS-LOC/val").annotation(0)
    put_list(tmp_path, "CLS-LOC", "val", ["../../a 1"])
    with pytest.raises(ValueError, match="line 1: expected an image's path"):
        Ilsvrc(tmp_path, "CLS-LOC/val")
    put_list(tmp_path, "CLS-LOC", "val", ["a 1", "b 2"])
    with pytest.raises(FileNotFoundError, match="1 of 2 images"):
        Ilsvrc(tmp_path, "CLS-LOC/val")
    assert len(Ilsvrc(tmp_path, "CLS-LOC/val", missing="skip")) == 1
