import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_det.data import coco as module
from keras_det.data.coco import Coco

HEIGHT, WIDTH = 40, 60

CATEGORIES = [{"id": 90, "name": "brush"}, {"id": 1, "name": "person"}, {"id": 13, "name": "sign"}]


def instances():
    """A sound set: three images, the middle one without objects."""
    names = {5: "a.jpg", 9: "b.jpg", 7: "deep/c.png"}
    return {
        "images": [{"id": k, "file_name": name, "height": HEIGHT, "width": WIDTH} for k, name in names.items()],
        "categories": [dict(c) for c in CATEGORIES],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 13, "bbox": [0, 0, 60, 40], "area": 99.5, "iscrowd": 0},
            {"id": 2, "image_id": 5, "category_id": 90, "bbox": [6, 4, 30.5, 20], "area": 12, "iscrowd": 1},
            {"id": 3, "image_id": 7, "category_id": 1, "bbox": [15, 10, 30, 20], "segmentation": [[1, 2, 3]]},
            {"id": 4, "image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0},
        ],
    }


@pytest.fixture
def write(tmp_path):
    """Writes instances with their images, and gives the root."""

    def dump(content, split="val2017", folder="val2017", text=None):
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / folder / "deep").mkdir(parents=True, exist_ok=True)
        for name in ("a.jpg", "b.jpg", "deep/c.png"):
            Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)).save(tmp_path / folder / name)
        file = tmp_path / "annotations" / f"instances_{split}.json"
        file.write_bytes(json.dumps(content).encode() if text is None else text)
        return tmp_path

    return dump


def test_boxes_labels_flags_and_areas(write):
    source = Coco(write(instances()), "val2017")
    assert source.classes == ("person", "sign", "brush")
    assert source.category_ids == (1, 13, 90)
    assert source.annotation_file.endswith("annotations/instances_val2017.json")
    assert source.name == "coco val2017"
    first, second, third = (source.annotation(i) for i in range(3))
    assert [one.image_id for one in (first, second, third)] == ["5", "9", "7"]
    assert (first.height, first.width) == (HEIGHT, WIDTH)
    expected = [[4 / 40, 6 / 60, 24 / 40, 36.5 / 60], [2 / 40, 1 / 60, 6 / 40, 4 / 60]]
    np.testing.assert_allclose(first.boxes, expected, atol=1e-7)
    assert first.labels.tolist() == [2, 0]
    assert first.is_crowd.tolist() == [True, False]
    assert first.difficult.tolist() == [False, False]
    assert second.boxes.shape == (0, 4)
    np.testing.assert_allclose(third.boxes, [[0, 0, 1, 1], [0.25, 0.25, 0.75, 0.75]], atol=1e-7)
    np.testing.assert_allclose(third.area, [99.5, 600])  # that of the outline, or of the box where it is absent
    assert source.path(2).endswith("val2017/deep/c.png")
    assert source.image(2).shape == (HEIGHT, WIDTH, 3)
    assert source.issues == []
    assert source.take(1).category_ids == (1, 13, 90)


def test_an_area_that_is_none_is_the_boxs(write):
    content = instances()
    for entry, area in zip(content["annotations"], (-1, float("nan"), 5, 0)):
        entry["area"] = area
    source = Coco(write(content))
    np.testing.assert_allclose(source.annotation(2).area, [2400, 5], rtol=1e-6)
    np.testing.assert_allclose(source.annotation(0).area, [610, 0], rtol=1e-6)


FAULTY = {  # a value of the second annotation, and what is said
    "no list of four": ("bbox", [1, 2, 3], "four numbers under 'bbox', got [1, 2, 3]"),
    "a word": ("bbox", "abcd", "four numbers under 'bbox', got 'abcd'"),
    "nulls": ("bbox", [None] * 4, "four numbers under 'bbox', got [None"),
    "null": ("bbox", None, "four numbers under 'bbox', got None"),
    "empty": ("bbox", [], "four numbers under 'bbox', got []"),
    "beyond a double": ("bbox", [10**400] * 4, "four numbers under 'bbox', got [1000"),
    "no id": ("image_id", 5.5, "its image 5.5 is not among"),
    "null id": ("image_id", None, "its image None is not among"),
    "a list as id": ("image_id", [5], "its image [5] is not among"),
    "a huge id": ("image_id", 2**65, "its image 36893"),
    "not a number": ("category_id", float("nan"), "its category nan"),
    "a huge category": ("category_id", 2**65, "its category 36893"),
}


@pytest.mark.parametrize("key, value, words", FAULTY.values(), ids=FAULTY)
def test_one_faulty_annotation_is_listed_and_the_others_stay(write, key, value, words):
    content = instances()
    content["annotations"][1][key] = value
    source = Coco(write(content))
    assert [len(source.annotation(i)) for i in range(3)] == [1, 0, 2]
    (issue,) = source.issues
    assert (issue.object, issue.action) == (1, "dropped") and words in issue.message
    source.check()


@pytest.mark.parametrize("value", [None, 0, 0.0, "0", False, ""])
def test_null_crowds_and_areas_are_what_absent_ones_are(write, value):
    content = instances()
    content["annotations"][1] |= {"iscrowd": value, "area": None}
    source = Coco(write(content))
    assert source.annotation(0).is_crowd.tolist() == [False, False]
    np.testing.assert_allclose(source.annotation(0).area, [610, 12], rtol=1e-6)
    assert source.issues == []


def test_an_unclear_crowd_flag_is_listed(write):
    content = instances()
    content["annotations"][1]["iscrowd"] = "no"
    source = Coco(write(content))
    assert source.annotation(0).is_crowd.tolist() == [False, False]
    assert [(p.object, p.action) for p in source.issues] == [(1, "corrected")]


def test_numbers_in_other_forms_are_the_same_numbers(write):
    content = instances()
    for part, keys in {"images": ("id", "height", "width"), "annotations": ("image_id", "category_id")}.items():
        for number, entry in enumerate(content[part]):
            for key in keys:
                entry[key] = (float, str)[number % 2](entry[key])
    content["annotations"][0]["bbox"] = ["0", 0.0, "60.0", 40]
    expected, source = Coco(write(instances())), Coco(write(content))
    assert source.issues == [] and source.category_ids == expected.category_ids
    for i in range(3):
        one, same = source.annotation(i), expected.annotation(i)
        assert (one.image_id, one.height, one.width) == (same.image_id, same.height, same.width)
        np.testing.assert_array_equal(one.boxes, same.boxes)
        np.testing.assert_array_equal(one.labels, same.labels)


def test_ids_beyond_doubles_stay_exact(write):
    content = instances()
    move = 2**70
    for entry in content["images"]:
        entry["id"] += move
    for entry in content["annotations"]:
        entry["image_id"] += move
    source = Coco(write(content))
    assert [source.annotation(i).image_id for i in range(3)] == [str(move + k) for k in (5, 9, 7)]
    assert [len(source.annotation(i)) for i in range(3)] == [2, 0, 2]


def test_categories_of_one_name_are_one_class_and_groups_are_none(write):
    content = instances()
    content["categories"] = [
        {"id": 0, "name": "things", "supercategory": "none"},
        {"id": 1, "name": "person", "supercategory": "person"},
        {"id": 13, "name": "sign", "supercategory": "things"},
        {"id": 90, "name": "sign", "supercategory": "things"},
        {"id": 91, "name": "unused", "supercategory": "things"},
    ]
    source = Coco(write(content))
    assert source.classes == ("person", "sign", "unused")
    assert source.category_ids == (1, 13, 91)
    assert source.annotation(0).labels.tolist() == [1, 0]
    assert [p.action for p in source.issues] == ["corrected", "corrected"]
    assert "'things' (id 0)" in source.issues[0].message and "13, 90" in source.issues[1].message
    content["categories"].append({"id": 1, "name": "person"})  # the same twice
    assert Coco(write(content)).classes == source.classes
    content["images"].append(dict(content["images"][0]))
    source = Coco(write(content))
    assert len(source) == 3 and "listed before" in source.issues[0].message


def test_a_source_is_refused_over_a_fraction_of_faulty_annotations(write):
    content = instances()
    for entry in content["annotations"][:2]:
        entry["bbox"] = None
    with pytest.raises(ValueError, match=r"2 of 4 objects are faulty, more than 10%; the first: .*annotations"):
        Coco(write(content)).check()


def test_a_source_is_refused_over_a_fraction_of_sizes_that_are_not_the_images(write):
    """As one published data set, whose XML speaks of 200 x 200 while its images are 416 x 416."""
    content = instances()
    content["images"][0] |= {"height": 20, "width": 30}
    Coco(write(content)).check()  # one may always be
    content["images"][1] |= {"height": 20, "width": 30}
    root = write(content)
    words = "2 of 3 images are annotated at another size than they have, more than 10%; the first: .*--rescale-boxes"
    with pytest.raises(ValueError, match=words):
        Coco(root).check()
    Coco(root, rescale_boxes=True).check()


def test_boxes_and_areas_are_rescaled_when_asked(write):
    content = instances()
    content["images"][0] |= {"height": 20, "width": 30}
    content["annotations"][1] |= {"bbox": [3, 2, 15.25, 10], "area": 100}
    root = write(content)
    assert "--rescale-boxes" in Coco(root).issues[0].message
    source = Coco(root, rescale_boxes=True)
    np.testing.assert_allclose(source.annotation(0).boxes[0], [0.1, 0.1, 0.6, 36.5 / 60], atol=1e-6)
    np.testing.assert_allclose(source.annotation(0).area[0], 400)
    assert [p.action for p in source.issues][0] == "rescaled"


def test_the_only_split_and_images_in_a_folder_of_splits(write):
    root = write(instances(), split="train", folder="images/train")
    source = Coco(root)
    assert source.name == "coco train"
    assert source.path(0).endswith("images/train/a.jpg")
    write(instances(), split="val")
    for split in (None, "../val", "a/b", ""):
        with pytest.raises(ValueError, match=r"`split` must be like .* has train, val"):
            Coco(root, split)
    with pytest.raises(FileNotFoundError, match="has the splits train, val"):
        Coco(root, "test")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Coco(root / "nowhere")


def test_missing_images(write):
    root = write(instances())
    (root / "val2017" / "a.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images .*val2017/a.jpg.*missing='skip'"):
        Coco(root)
    source = Coco(root, missing="skip")
    assert [source.annotation(i).image_id for i in range(2)] == ["9", "7"]
    assert [len(source.annotation(i)) for i in range(2)] == [0, 2]
    assert [(p.file[-5:], p.action) for p in source.issues] == [("a.jpg", "skipped")]
    for name in ("b.jpg", "deep/c.png"):
        (root / "val2017" / name).unlink()
    with pytest.raises(ValueError, match="none of the 3"):
        Coco(root, missing="skip")
    with pytest.raises(ValueError, match="`missing` must be"):
        Coco(root, missing="no")


def test_faulty_boxes_and_strangers_are_reported_by_their_place(write):
    content = instances()
    boxes = [[5, 5, 0, 9], [5, 5, -3, 9], [50, 30, 20, 20], [float("nan"), 1, 2, 3], [70, 5, 9, 9], [1, 1, 1e400, 2]]
    content["annotations"] += [{"id": k, "image_id": 9, "category_id": 1, "bbox": b} for k, b in enumerate(boxes, 10)]
    content["annotations"].append({"id": 30, "image_id": 8, "category_id": 1, "bbox": [1, 2, 3, 4]})
    content["annotations"].append({"id": 31, "image_id": 9, "category_id": 2, "bbox": [1, 2, 3, 4]})
    source = Coco(write(content))
    np.testing.assert_allclose(source.annotation(1).boxes, [[30 / 40, 50 / 60, 1, 1]], atol=1e-7)
    np.testing.assert_allclose(source.annotation(1).area, [100], rtol=1e-5)
    assert [(p.object, p.action) for p in source.issues] == [
        (10, "dropped"),
        (11, "dropped"),
        (4, "dropped"),
        (5, "dropped"),
        (6, "clipped"),
        (7, "dropped"),
        (8, "dropped"),
        (9, "dropped"),
    ]
    words = ["image 8", "category 2", "no area", "inverted", "leaves", "not finite", "outside", "not finite"]
    assert all(word in p.message for word, p in zip(words, source.issues))
    assert all(p.file == source.annotation_file for p in source.issues)


@pytest.mark.parametrize(
    "size", [{}, {"height": 0, "width": 0}, {"height": 60, "width": 40}, {"height": "x", "width": None}]
)
def test_the_images_own_size_counts(write, size):
    content = instances()
    content["images"][2] = {"id": 7, "file_name": "deep/c.png", **size}
    source = Coco(write(content))
    one = source.annotation(2)
    assert (one.height, one.width) == (HEIGHT, WIDTH)
    np.testing.assert_allclose(one.boxes[1], [0.25, 0.25, 0.75, 0.75], atol=1e-7)
    (issue,) = source.issues
    assert (issue.object, issue.action) == (None, "mismatched" if size.get("height") == 60 else "corrected")
    assert "image 7 gives " + ("a size of 60 x 40" if size.get("height") == 60 else "no size") in issue.message


@pytest.mark.parametrize(("size", "action"), [((HEIGHT, WIDTH), "turned"), ((WIDTH, HEIGHT), None)])
def test_exif_turns_image_and_boxes_upright(write, size, action):
    content = instances()
    content["images"][2] |= {"height": size[0], "width": size[1]}
    content["annotations"][2] |= {"bbox": [0, 10, 60, 20] if action else [10, 0, 20, 60], "area": 1200}
    root = write(content)
    exif = Image.Exif()
    exif[274] = 8
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(root / "val2017" / "deep" / "c.png", exif=exif)
    source = Coco(root)
    one = source.annotation(2)
    assert source.image(2).shape[:2] == (one.height, one.width) == (WIDTH, HEIGHT)
    np.testing.assert_allclose(one.boxes[1], [0, 0.25, 1, 0.75], atol=1e-6)
    assert one.area[1] == pytest.approx(1200)
    assert [p.action for p in source.issues if "EXIF" in p.message] == ([action] if action else [])


def test_an_unreadable_image_is_reported(write):
    content = instances()
    del content["images"][0]["width"]
    root = write(content)
    for name in ("a.jpg", "deep/c.png"):
        (root / "val2017" / name).write_bytes(b"no image")
    source = Coco(root)
    assert [len(source.annotation(i)) for i in range(3)] == [0, 0, 2]
    assert [(p.file[-5:], p.action) for p in source.issues] == [("a.jpg", "skipped"), ("c.png", "skipped")]
    with pytest.raises(ValueError, match="c.png: not an image"):
        source.image(2)


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/passwd", "deep/../../x.jpg", "..", ".", "", "a\0.jpg", 3, None])
def test_file_names_stay_inside_their_folder(write, name):
    content = instances()
    content["images"][1]["file_name"] = name
    with pytest.raises(ValueError, match=r"instances_val2017\.json, images\[1\].*file_name"):
        Coco(write(content), missing="skip")


WRONG = {
    "images[2]: expected a whole number under 'id', got {'a': 1}": ("images", 2, "id", {"a": 1}),
    "images[2]: the id 9 occurs twice": ("images", 2, "id", 9),
    "categories[0]: expected a 'name', got 4": ("categories", 0, "name", 4),
    "categories[1]: the id 1 is already that of 'brush'": ("categories", 0, "id", 1),
}


@pytest.mark.parametrize("words, place", WRONG.items(), ids=range(len(WRONG)))
def test_wrong_values_name_file_and_entry(write, words, place):
    content = instances()
    part, number, key, value = place
    content[part][number][key] = value
    with pytest.raises(ValueError) as caught:
        Coco(write(content))
    assert "instances_val2017.json" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
def test_wrong_structures_name_file_and_entry(write, part):
    for value, words in (
        (None, f"expected a list under '{part}', got None"),
        ({}, f"expected a list under '{part}', got {{}}"),
        ([[]], f"{part}[0]: expected an object, got []"),
    ):
        with pytest.raises(ValueError) as caught:
            Coco(write({**instances(), part: value}))
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe\x00",
        json.dumps(instances()).encode()[:-40],
        b"[" * 500_000,
        b'{"images": [], "annotations": ' + b'{"a":' * 200_000,
        b'{"images": [{"id": ' + b"9" * 10_000 + b"}]}",
        b"[]",
        b"3",
        b"null",
    ],
    ids=["empty", "bytes", "truncated", "deep", "deep objects", "a long number", "list", "number", "null"],
)
def test_what_is_no_json_of_instances(write, text):
    with pytest.raises(ValueError, match=r"instances_val2017\.json: (cannot be read as JSON|expected an object)"):
        Coco(write(None, text=text))


def test_a_huge_file_is_not_read(write):
    root = write(instances())
    with open(root / "annotations" / "instances_val2017.json", "r+b") as file:
        file.truncate(module.MAX_JSON_BYTES + 1)
    with pytest.raises(ValueError, match="at most 1073741824 are read"):
        Coco(root)


def test_no_categories_and_no_annotations(write):
    with pytest.raises(ValueError, match="expected categories, got none"):
        Coco(write({**instances(), "categories": []}))
    source = Coco(write({**instances(), "annotations": []}))
    assert [len(source.annotation(i)) for i in range(3)] == [0, 0, 0]
    assert source.issues == []


@settings(max_examples=40, deadline=None)
@given(
    ids=st.lists(st.integers(0, 2**50), min_size=3, max_size=3, unique=True),
    categories=st.lists(st.integers(0, 10**6), min_size=1, max_size=5, unique=True),
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=12),
)
def test_grouping_equals_a_plain_loop(tmp_path_factory, ids, categories, rows):
    """Images and categories of any ids in any order; index 3 and those past the categories are strangers."""
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    (root / "x").mkdir()
    for k in range(3):
        Image.new("L", (100, 100)).save(root / "x" / f"{k}.png")
    known = [*ids, max(ids) + 1]
    kinds = [*categories, *(max(categories) + 1 + k for k in range(6))]
    content = {
        "images": [{"id": k, "file_name": f"{n}.png", "height": 100, "width": 100} for n, k in enumerate(ids)],
        "categories": [{"id": k, "name": str(k)} for k in categories],
        "annotations": [
            {"image_id": known[i], "category_id": kinds[c], "bbox": [n, 0, 50, 50]} for n, (i, c) in enumerate(rows)
        ],
    }
    (root / "annotations" / "instances_x.json").write_text(json.dumps(content))
    source = Coco(root)
    for i in range(3):
        mine = [(n, kinds[c]) for n, (k, c) in enumerate(rows) if k == i and c < len(categories)]
        one = source.annotation(i)
        assert one.image_id == str(ids[i])
        assert [source.category_ids[label] for label in one.labels] == [c for _, c in mine]
        assert [source.classes[label] for label in one.labels] == [str(c) for _, c in mine]
        np.testing.assert_allclose(one.boxes[:, 1], [n / 100 for n, _ in mine], atol=1e-7)
    strangers = [n for n, (i, c) in enumerate(rows) if i == 3 or c >= len(categories)]
    assert [p.object for p in source.issues] == strangers


@pytest.mark.parametrize("split, objects, crowds", [("train2017", 705, 6), ("val2017", 815, 11)])
def test_the_real_coco(shared, split, objects, crowds):
    source = Coco(shared / "data" / "coco_tiny", split)
    assert (len(source), len(source.classes), source.issues) == (80, 80, [])
    assert source.category_ids[-1] == 90
    with open(source.annotation_file) as file:
        content = json.load(file)
    annotations = [source.annotation(i) for i in range(80)]
    assert sum(map(len, annotations)) == objects
    assert sum(one.is_crowd.sum() for one in annotations) == crowds
    for one in annotations:
        truth = [a for a in content["annotations"] if a["image_id"] == int(one.image_id)]
        pixels = one.boxes[:, [1, 0, 3, 2]].astype(np.float64) * np.tile([one.width, one.height], 2)
        pixels[:, 2:] -= pixels[:, :2]
        np.testing.assert_allclose(pixels, [a["bbox"] for a in truth], atol=2e-3)
        np.testing.assert_allclose(one.area, [a["area"] for a in truth], rtol=1e-6)
        assert [source.category_ids[label] for label in one.labels] == [a["category_id"] for a in truth]
    assert source.image(3).shape == (annotations[3].height, annotations[3].width, 3)
