"""What one does with detections: go through them, choose, convert, look."""

import io
import sys
import types

import numpy as np
import pytest
from PIL import Image

from keras_det.models import Detections


@pytest.fixture
def found():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.5, (7, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.5, (7, 2))], axis=1).astype("float32")
    scores = np.sort(rng.random(7).astype("float32"))[::-1]
    labels = np.array([0, 1, 2, 1, 0, 2, 1], "int32")
    return Detections(boxes, scores, labels, ("cat", "dog", "owl"), np.zeros((100, 200, 3), "uint8"), "a.jpg")


def test_going_through_them(found):
    rows = list(found)
    assert len(rows) == len(found) == 7
    for row, expected in zip(rows, found.to_dict()["objects"]):
        assert row.name == expected["name"] and row.score == expected["score"]
        np.testing.assert_allclose(row.box, expected["box"], atol=0.01)
    assert found[-1] == rows[-1] and found[np.int64(2)] == rows[2]
    with pytest.raises(IndexError):
        found[7]


def test_parts_are_detections(found):
    assert list(found[:3]) == list(found)[:3] and found[:3].image is found.image
    assert list(found[found.labels == 1]) == [one for one in found if one.name == "dog"]
    assert len(found[:0]) == 0 and list(found[:0]) == []


def test_filter(found):
    assert found.filter("dog").names == ["dog"] * 3 and found.filter(["cat", "owl"]).names == [
        "cat",
        "owl",
        "cat",
        "owl",
    ]
    best = found.filter(score_threshold=float(found.scores[2]))
    assert len(best) == 3 and best.source == "a.jpg"
    with pytest.raises(ValueError, match="`names` must be of cat, dog, owl; got 'cow'"):
        found.filter("cow")


def test_repr_names_the_best(found):
    first = ", ".join(f"{one.name} {one.score:.2f}" for one in found[:5])
    assert repr(found) == f"<7 detections in a.jpg: {first}, ...>"
    assert repr(found[:1]) == f"<1 detection in a.jpg: cat {found.scores[0]:.2f}>"
    assert repr(found[:0]) == "<0 detections in a.jpg>"


def test_yolo(found):
    for line, box, label in zip(found.to_yolo().splitlines(), found.boxes, found.labels):
        index, x, y, width, height, _ = map(float, line.split())
        assert index == label
        np.testing.assert_allclose([y - height / 2, x - width / 2, y + height / 2, x + width / 2], box, atol=2e-6)


def test_others_tables(found, monkeypatch):
    frames = types.SimpleNamespace(DataFrame=lambda columns: columns)
    monkeypatch.setitem(sys.modules, "pandas", frames)
    table = found.to_pandas()
    assert list(table) == ["name", "label", "score", "xmin", "ymin", "xmax", "ymax"]
    np.testing.assert_array_equal(np.stack([table[k] for k in ("xmin", "ymin", "xmax", "ymax")], 1), found.boxes_pixels)
    monkeypatch.setitem(sys.modules, "supervision", types.SimpleNamespace(Detections=lambda **given: given))
    given = found.to_supervision()
    np.testing.assert_array_equal(given["xyxy"], found.boxes_pixels)
    assert given["data"]["class_name"].tolist() == found.names


@pytest.mark.needs("supervision")
def test_supervision_takes_them(found):
    theirs = found.to_supervision()
    assert len(theirs) == 7 and theirs.class_id.tolist() == found.labels.tolist()


def test_what_is_not_installed_is_named(found, monkeypatch):
    for convert, module in ((found.to_pandas, "pandas"), (found.to_supervision, "supervision")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ModuleNotFoundError, match=f"pip install {module}"):
            convert()


def test_notebooks_show_a_bounded_image(found):
    large = Detections(found.boxes, found.scores, found.labels, found.classes, np.zeros((3000, 1500, 3), "uint8"))
    image = Image.open(io.BytesIO(large._repr_png_()))
    assert image.size == (512, 1024)
