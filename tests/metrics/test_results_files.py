"""Results files of VOC and COCO: whatever images and classes are called, written and read again."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_det.data import load
from keras_det.metrics import GroundTruth, Predictions, coco, voc

CLASSES = ("hot dog", "a/b", "a%2Fb", "..", "\u732b", "c:*?")
IMAGES = ("scene 1", "b.c", "x 0.5 1 1 2 2", "\u732b")


def a_set():
    names = [f"{image}.jpg" for image in IMAGES]
    truth = GroundTruth(CLASSES, IMAGES, [[50, 60]] * 4, [0], [[1, 1, 9, 9]], [0], names=names)
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 30, (40, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 20, (40, 2))], 1)
    return truth, Predictions(rng.integers(0, 4, 40), boxes, rng.random(40), rng.integers(0, 6, 40))


def assert_same(one, other, atol=1e-6):
    def rows(found):
        order = np.lexsort((found.scores, found.image, found.labels))
        return [getattr(found, name)[order] for name in ("labels", "image", "scores", "boxes")]

    for left, right in zip(rows(one), rows(other)):
        np.testing.assert_allclose(left, right, atol=atol)


@pytest.mark.parametrize("prefix", voc.PREFIXES)
def test_vocs_files_hold_names_with_blanks_and_classes_with_any_sign(tmp_path, prefix):
    truth, results = a_set()
    paths = voc.write_results(tmp_path / "r", truth, results, prefix)
    assert len(set(paths)) == 6 and all(path.parent == tmp_path / "r" for path in paths)
    assert {path.name for path in paths} == {path.name for path in (tmp_path / "r").iterdir()}
    assert_same(voc.read_results(tmp_path / "r", truth), results)


def test_images_are_known_by_id_stem_and_file_name(tmp_path):
    truth, results = a_set()
    (tmp_path / "r").mkdir()
    for path in voc.write_results(tmp_path / "r", truth, results):
        text = path.read_text(encoding="utf-8")
        for image in IMAGES:
            text = text.replace(f"{image} 0", f"{image}.jpg 0")
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())  # a mark of its encoding, as editors write it
    assert_same(voc.read_results(tmp_path / "r", truth), results)
    coco.write_results(tmp_path / "r.json", truth, results)
    entries = json.loads((tmp_path / "r.json").read_text())
    assert {entry["file_name"] for entry in entries} == set(truth.names)  # numbers alone would say nothing
    for form in ("{}", "{}.jpg"):
        named = [{k: v for k, v in e.items() if k != "file_name"} for e in entries]
        named = [e | {"image_id": form.format(IMAGES[e["image_id"] - 1])} for e in named]
        (tmp_path / "n.json").write_text(json.dumps(named))
        assert_same(coco.read_results(tmp_path / "n.json", truth), results)
    backwards = GroundTruth(CLASSES, IMAGES[::-1], truth.sizes, [], [], [], names=truth.names[::-1])
    found = coco.read_results(tmp_path / "r.json", backwards)
    np.testing.assert_array_equal(3 - found.image, results.image)


def test_a_name_of_two_images_is_no_name(tmp_path):
    truth = GroundTruth(("a",), ("1", "2"), [[9, 9]] * 2, [], [], [], names=("x.jpg", "x.jpg"))
    assert truth.image_of() == {"1": 0, "2": 1}
    with pytest.raises(ValueError, match="names"):
        GroundTruth(("a",), ("1", "2"), [[9, 9]] * 2, [], [], [], names=("x.jpg",))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_turned_images_are_written_as_they_were_annotated(tmp_path, orientation):
    """The server's annotations are of the stored image; the detector has seen the upright one."""
    exif = Image.Exif()
    exif[274] = orientation
    (tmp_path / "val").mkdir()
    (tmp_path / "annotations").mkdir()
    Image.new("RGB", (60, 40)).save(tmp_path / "val" / "a.jpg", exif=exif)
    box = {"id": 1, "image_id": 3, "category_id": 7, "bbox": [6, 8, 12, 16], "area": 192, "iscrowd": 0}
    content = {
        "images": [{"id": 3, "file_name": "a.jpg", "height": 40, "width": 60}],
        "categories": [{"id": 7, "name": "x"}],
        "annotations": [box],
    }
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(content))
    truth = GroundTruth.from_source(load(f"coco:{tmp_path}"))
    found = Predictions(truth.image, truth.boxes, [0.5], truth.labels)
    coco.write_results(tmp_path / "r.json", truth, found)
    (entry,) = json.loads((tmp_path / "r.json").read_text())
    np.testing.assert_allclose(entry["bbox"], box["bbox"], atol=1e-4)
    assert (entry["image_id"], entry["category_id"]) == (3, 7)
    assert_same(coco.read_results(tmp_path / "r.json", truth), found, 1e-4)
    voc.write_results(tmp_path / "voc", truth, found)
    fields = (tmp_path / "voc" / "comp4_det_test_x.txt").read_text().split()
    np.testing.assert_allclose(np.float64(fields[2:]), [7, 9, 18, 24], atol=1e-3)
    assert_same(voc.read_results(tmp_path / "voc", truth), found, 1e-3)


def test_challenges_test_sets_have_no_annotations(tmp_path):
    """VOC2012's test and COCO's test-dev, as they are distributed."""
    kit = tmp_path / "VOCdevkit"
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (kit / "VOC2012" / part).mkdir(parents=True)
    (kit / "VOC2012" / "ImageSets" / "Main" / "test.txt").write_text("2008_000001\n2008_000004\n")
    (tmp_path / "coco" / "test2017").mkdir(parents=True)
    (tmp_path / "coco" / "annotations").mkdir()
    for name in ("VOCdevkit/VOC2012/JPEGImages/2008_000001.jpg", "VOCdevkit/VOC2012/JPEGImages/2008_000004.jpg"):
        Image.new("RGB", (60, 40)).save(tmp_path / name)
    Image.new("RGB", (60, 40)).save(tmp_path / "coco" / "test2017" / "000000000001.jpg")
    info = {
        "images": [{"id": 1, "file_name": "000000000001.jpg", "height": 40, "width": 60}],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person", "supercategory": "person"}],
    }
    (tmp_path / "coco" / "annotations" / "image_info_test-dev2017.json").write_text(json.dumps(info))
    from keras_det.data import is_annotated

    for spec, split, ids in (
        (f"voc:{kit}", "2012_test", ["2008_000001", "2008_000004"]),
        (f"coco:{tmp_path / 'coco'}", "test-dev2017", ["1"]),
    ):
        assert not is_annotated(spec, split)
        with pytest.raises(FileNotFoundError):
            load(spec, split)
        source = load(spec, split, annotated=False)
        one = source.annotation(0)
        assert [source.annotation(i).image_id for i in range(len(source))] == ids
        assert (one.height, one.width, len(one)) == (40, 60, 0) and source.issues == []
    assert source.category_ids == (1, 90)
    with pytest.raises(ValueError, match="`classes` must be given"):
        load(f"folder:{kit / 'VOC2012'}", annotated=False)
    source = load(f"folder:{kit / 'VOC2012'}", "test", annotated=False, classes=("cat",))
    assert len(source) == 2 and not is_annotated(f"folder:{kit / 'VOC2012'}")
