"""Data looked at, and written in another form."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_det.data import Coco, Folder, Yolo, load, writing
from keras_det.data.inspection import shared_images, summarize
from keras_det.data.source import Annotation, AnnotationIssue, Source
from keras_det.data.writing import write


class Few(Source):
    """Three images of files, one of which cannot be read, with flags, a box twice, and names as strangers give them."""

    classes = ("cat & dog", "хвост")
    name = "few"

    def __init__(self, folder):
        self.folder = folder
        for i in range(2):
            Image.fromarray(np.full((30, 50 + i, 3), 40 * i, "uint8")).save(folder / f"{i}.JPG", "jpeg")
        (folder / "2.JPG").write_bytes(b"no image")

    def __len__(self):
        return 3

    def path(self, i):
        return str(self.folder / f"{i}.JPG")

    def image(self, i):
        return np.asarray(Image.open(self.path(i)))

    def annotation(self, i):
        boxes = [[[0.1, 0.2, 0.5, 0.9], [0.1, 0.2, 0.5, 0.9], [1 / 3, 0.25, 1, 1]], [], []][i]
        n = len(boxes)
        crowd, hard = np.arange(n) == 2, np.arange(n) == 0
        return Annotation(
            f"a b/{i}", 30, 50 + i, np.reshape(boxes, (-1, 4)), [1, 1, 0][:n], hard, crowd, np.full(n, 9.0)
        )

    def _issues_of(self, i):
        return [AnnotationIssue(self.path(2), None, "not an image", "skipped")] if i == 2 else []


@pytest.fixture
def few(tmp_path):
    (tmp_path / "few").mkdir()
    return Few(tmp_path / "few")


READERS = {"coco": Coco, "voc": lambda root, split: Folder(root, split, classes=Few.classes), "yolo": Yolo}


@pytest.mark.parametrize("format", writing.FORMATS)
def test_what_is_written_is_read_again_and_what_is_lost_is_said(format, few, tmp_path):
    scenes = load("shapes", images=2, seed=1, size=64)
    found = write({"train": few, "val": few}, format, tmp_path / "out")
    again = READERS[format](tmp_path / "out", "val")
    assert (len(again), again.classes, again.issues) == (2, few.classes, [])
    one = again.annotation(0)
    np.testing.assert_allclose(one.boxes, few.annotation(0).boxes, atol=1e-4)
    assert one.labels.tolist() == [1, 1, 0]
    assert one.difficult.tolist() == ([True, False, False] if format == "voc" else [False] * 3)
    assert one.is_crowd.tolist() == ([False, False, True] if format == "coco" else [False] * 3)
    np.testing.assert_array_equal(again.image(1), few.image(1))
    assert found["images"] == {"train": 2, "val": 2}
    assert sum("not an image" in sentence for sentence in found["left_out"]) == 2  # of either split
    assert sum("lose their flag" in sentence for sentence in found["flags"]) == {"coco": 2, "voc": 2, "yolo": 4}[format]
    write({"test": scenes}, format, tmp_path / "scenes")
    assert not [path for path in tmp_path.iterdir() if path.name[0] == "."]
    with pytest.raises(FileExistsError, match="out exists"):
        write({"train": few}, format, tmp_path / "out")


def test_nothing_is_left_of_what_reads_otherwise(few, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "MOST_OFF", -1.0)
    with pytest.raises(ValueError, match="the image 0 has other objects when it is read again"):
        write({"train": few}, "yolo", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few"]


@pytest.mark.parametrize(
    ("splits", "format", "named"),
    [
        (["train"], "kitti", "`format`"),
        (["../x"], "coco", "plain name"),
        (["train", "other"], "coco", "other classes"),
        (["all"], "yolo", "one of train, val, test"),
    ],
)
def test_what_cannot_be_written_is_refused(splits, format, named, few, tmp_path):
    sources = {name: load("shapes", images=1) if name == "other" else few for name in splits}
    with pytest.raises(ValueError, match=named):
        write(sources, format, tmp_path / "out")


def test_a_summary_counts_what_there_is(few):
    found = summarize(few)
    assert (found["images"], found["without_objects"], found["objects"]) == (3, 2, 3)
    assert found["classes"] == {"cat & dog": 1, "хвост": 2} and (found["difficult"], found["crowds"]) == (1, 1)
    assert found["image_width"]["min"] == 50 and found["image_width"]["max"] == 52
    assert found["object_size"]["max"] == pytest.approx(np.sqrt(0.5), abs=1e-4)
    assert found["repeated_boxes"] == [[few.path(0), 0, 1]] and len(found["issues"]) == 1
    json.dumps(found)
    assert summarize(few.subset([1]))["object_size"] == {}


def test_images_of_two_splits_are_found_by_their_content(few, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.jpg").write_bytes((few.folder / "0.JPG").read_bytes())
    (other / "y.jpg").write_bytes((few.folder / "0.JPG").read_bytes())
    val = load(f"images:{other}")
    shared = shared_images({"train": few, "val": val})
    assert [sorted(files) for files in shared] == [sorted([few.path(0), val.path(0), val.path(1)])]
    assert shared_images({"val": val}) == []  # twice in one split


def test_vocs_order_of_classes_is_said_where_it_is_another(few, tmp_path):
    sources = {"train": few}
    assert not [flag for flag in write(sources, "coco", tmp_path / "coco")["flags"] if "classes" in flag]
    few.classes = ("хвост", "cat & dog")
    (sentence,) = [flag for flag in write(sources, "voc", tmp_path / "voc")["flags"] if "classes" in flag]
    assert "read as cat & dog, хвост, not as хвост, cat & dog" in sentence
    assert Folder(tmp_path / "voc", "train").classes == ("cat & dog", "хвост")


def test_files_keep_their_names_and_roboflows_valid_is_val(few, tmp_path):
    write({"train": few, "valid": few}, "yolo", tmp_path / "yolo")
    assert sorted(path.name for path in (tmp_path / "yolo" / "images" / "val").iterdir()) == ["0.jpg", "1.jpg"]
    with pytest.raises(ValueError, match="two of the splits val, valid are YOLO's val"):
        write({"val": few, "valid": few}, "yolo", tmp_path / "both")


def test_images_without_classes_are_not_converted(few, tmp_path):
    few.classes = ()
    with pytest.raises(ValueError, match="few has no classes, so there is nothing to convert"):
        write({"train": few}, "coco", tmp_path / "coco")
