import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_det.data import voc as module
from keras_det.data.voc import Voc, read_list, read_xml
from keras_det.weights.registry import VOC_CLASSES

HEIGHT, WIDTH = 40, 60


def voc_xml(*objects, size=(HEIGHT, WIDTH)):
    """The text of an annotation; objects are (name, xmin, ymin, xmax, ymax[, difficult])."""
    text = "<annotation><filename>../../etc/passwd</filename><path>/etc/passwd</path>"
    if size is not None:
        text += f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>"
    for name, xmin, ymin, xmax, ymax, *rest in objects:
        text += f"<object><name> {name} </name>" + "".join(f"<difficult>{flag}</difficult>" for flag in rest)
        text += "<part><name>head</name><bndbox><xmin>1</xmin><ymin>3</ymin></bndbox></part>"
        text += (
            f"<bndbox><xmax>{xmax}</xmax><xmin>{xmin}</xmin><ymin>{ymin}</ymin><ymax>{ymax}</ymax></bndbox></object>"
        )
    return text + "</annotation>"


def write_image(path, height=HEIGHT, width=WIDTH, **options):
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(path, **options)


@pytest.fixture
def devkit(tmp_path):
    """A VOCdevkit, and the function that adds an image to one of its lists."""

    def add(stem, *objects, year=2007, split="train", xml=None, size=(HEIGHT, WIDTH), image=True):
        folder = tmp_path / f"VOC{year}"
        for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        with open(folder / "ImageSets" / "Main" / f"{split}.txt", "a") as file:
            file.write(f"{stem}\n")
        if image:
            write_image(folder / "JPEGImages" / f"{stem}.jpg")
        text = voc_xml(*objects, size=size) if xml is None else xml
        (folder / "Annotations" / f"{stem}.xml").write_bytes(text if isinstance(text, bytes) else text.encode())

    add.root = tmp_path
    return add


def test_a_box_is_counted_from_one_and_inclusive(devkit):
    devkit("000005", ("dog", 1, 1, 60, 40, 0), ("cat", 31, 21, 45, 30, 1), ("person", 1.5, "2.25", 7, 9))
    source = Voc(devkit.root, "2007_train")
    one = source.annotation(0)
    assert (one.image_id, one.height, one.width) == ("000005", HEIGHT, WIDTH)
    expected = [[0, 0, 1, 1], [20 / 40, 30 / 60, 30 / 40, 45 / 60], [1.25 / 40, 0.5 / 60, 9 / 40, 7 / 60]]
    np.testing.assert_allclose(one.boxes, expected, atol=1e-7)
    assert [VOC_CLASSES[label] for label in one.labels] == ["dog", "cat", "person"]
    assert one.difficult.tolist() == [False, True, False]
    assert one.is_crowd.tolist() == [False] * 3
    np.testing.assert_allclose(one.area, [2400, 150, 6.5 * 7.75], rtol=1e-5)
    assert source.issues == []
    assert source.image(0).shape == (HEIGHT, WIDTH, 3)
    assert source.path(0).endswith("VOC2007/JPEGImages/000005.jpg")
    assert (source.name, source.classes) == ("voc 2007_train", VOC_CLASSES)


def test_a_union_takes_each_image_once(devkit):
    devkit("a", ("dog", 1, 1, 9, 9), split="train")
    devkit("b", ("cat", 1, 1, 9, 9), split="val")
    devkit("2012_c", ("cat", 1, 1, 9, 9), year=2012, split="trainval")
    lists = devkit.root / "VOC2007" / "ImageSets" / "Main"
    (lists / "trainval.txt").write_text("\n  b\r\na\nb\n\n")
    ids = {}
    for split in ("2007_train", "2007_trainval + 2012_trainval", "2007_trainval+2007_train", "2012_trainval"):
        source = Voc(devkit.root, split)
        ids[split] = [source.annotation(i).image_id for i in range(len(source))]
    assert list(ids.values()) == [["a"], ["b", "a", "2012_c"], ["b", "a"], ["2012_c"]]


def test_two_years_with_one_name_are_an_error(devkit):
    for year in (2007, 2012):
        devkit("a", ("dog", 1, 1, 9, 9), year=year)
    with pytest.raises(ValueError, match="called a"):
        Voc(devkit.root, "2007_train+2012_train")


def test_missing_images(devkit):
    devkit("a", ("dog", 1, 1, 9, 9))
    devkit("b", ("dog", 1, 1, 9, 9), image=False)
    devkit("c", ("dog", 1, 1, 9, 9))
    (devkit.root / "VOC2007" / "Annotations" / "c.xml").unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of 3 images .* first is .*JPEGImages/b.jpg.*missing='skip'"):
        Voc(devkit.root, "2007_train")
    source = Voc(devkit.root, "2007_train", missing="skip")
    assert len(source) == 1
    assert [(p.file.rpartition("/")[2], p.action) for p in source.issues] == [
        ("b.jpg", "skipped"),
        ("c.xml", "skipped"),
    ]
    with pytest.raises(ValueError, match="`missing` must be"):
        Voc(devkit.root, "2007_train", missing="maybe")
    (devkit.root / "VOC2007" / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(ValueError, match="none of the 3"):
        Voc(devkit.root, "2007_train", missing="skip")


def test_bad_splits_say_what_there_is(devkit):
    devkit("a", ("dog", 1, 1, 9, 9), split="train")
    devkit("a", ("dog", 1, 1, 9, 9), split="train_train")
    for split in (None, "", "train", "2007", "2007_train+", "2007_../x", "2007_train/../val"):
        with pytest.raises(ValueError, match=r"has the splits 2007_train(\.|; did you mean 2007_train\?)$"):
            Voc(devkit.root, split)
    with pytest.raises(FileNotFoundError, match="val.txt; .* has the splits 2007_train"):
        Voc(devkit.root, "2007_val")
    with pytest.raises(FileNotFoundError, match="VOC2012; .* has the splits 2007_train"):
        Voc(devkit.root, "2012_train")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Voc(devkit.root / "nowhere", "2007_train")


@pytest.mark.parametrize("line", ["../secret", "a/b", "..", ".", "/etc/passwd", "..\\b", "000012  1", "a\0b"])
def test_a_list_holds_plain_names_only(devkit, line):
    devkit(line if line == "000012  1" else "a", ("dog", 1, 1, 9, 9))
    file = devkit.root / "VOC2007" / "ImageSets" / "Main" / "train.txt"
    file.write_text(f"a\n{line}\n")
    with pytest.raises(ValueError, match="train.txt, line 2: expected the name of one image"):
        Voc(devkit.root, "2007_train")


def test_a_list_may_be_hostile(tmp_path):
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xff\n")
    assert read_list(tmp_path / "bytes.txt") == ["\xff\xff"]
    with open(tmp_path / "huge.txt", "wb") as file:
        file.truncate(2**27)
    with pytest.raises(ValueError, match="huge.txt.*at most"):
        read_list(tmp_path / "huge.txt")


@pytest.mark.parametrize(
    ("size", "action"),
    [
        *((size, "corrected") for size in (None, (0, 0), (HEIGHT, 0), ("x", "y"), (-1, 5), ("nan", WIDTH))),
        *((size, "mismatched") for size in ((WIDTH, HEIGHT), (400, 600))),
    ],
)
def test_the_images_own_size_counts(devkit, size, action):
    devkit("a", ("dog", 1, 1, 60, 40), size=size)
    source = Voc(devkit.root, "2007_train")
    one = source.annotation(0)
    assert (one.height, one.width) == (HEIGHT, WIDTH)
    np.testing.assert_allclose(one.boxes, [[0, 0, 1, 1]])
    (issue,) = source.issues
    assert (issue.object, issue.action) == (None, action)
    assert issue.file.endswith("a.xml") and "40 x 60" in issue.message
    assert ("--rescale-boxes" in issue.message) == (action == "mismatched")


def test_boxes_are_rescaled_from_the_annotated_size_when_asked(devkit):
    devkit("a", ("dog", 101, 51, 300, 200), size=(400, 600))  # annotated at ten times the size
    source = Voc(devkit.root, "2007_train", rescale_boxes=True)
    one = source.annotation(0)
    np.testing.assert_allclose(one.boxes, [[50 / 400, 100 / 600, 200 / 400, 300 / 600]], rtol=1e-6)
    np.testing.assert_allclose(one.area, [15 * 20], rtol=1e-5)
    assert (one.height, one.width) == (HEIGHT, WIDTH)
    assert [p.action for p in source.issues] == ["rescaled"]


def test_a_size_in_decimals_is_a_size(devkit):
    devkit("a", ("dog", 1, 1, 60, 40), size=(f"{HEIGHT}.0", f" {WIDTH} "))
    assert Voc(devkit.root, "2007_train").issues == []


def exif_of(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(2, 9))
def test_boxes_of_a_turned_image_lie_on_what_they_enclose(devkit, orientation):
    """Annotated upright, and as it is stored: the box is where the white object is."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[8:24, 6:18] = 255
    devkit("a", ("dog", 7, 9, 18, 24))
    file = devkit.root / "VOC2007" / "JPEGImages" / "a.jpg"
    Image.fromarray(pixels).save(file, exif=exif_of(orientation), quality=100, subsampling=0)
    source = Voc(devkit.root, "2007_train")
    image, one = source.image(0), source.annotation(0)
    assert image.shape[:2] == (one.height, one.width) == ((WIDTH, HEIGHT) if orientation > 4 else (HEIGHT, WIDTH))
    (issue,) = source.issues
    assert f"EXIF orientation {orientation}" in issue.message
    rows, columns = np.nonzero(image[..., 0] > 127)
    seen = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    if orientation < 5:  # the size fits both: taken as upright, and listed
        assert issue.action == "kept"
        np.testing.assert_allclose(one.boxes[0] * [40, 60, 40, 60], [8, 6, 24, 18], atol=1e-4)
    else:
        assert issue.action == "turned"
        np.testing.assert_allclose(one.boxes[0] * [60, 40, 60, 40], seen, atol=1e-4)
        # Today's tools annotate what they show.
        xml = voc_xml(("dog", seen[1] + 1, seen[0] + 1, seen[3], seen[2]), size=(WIDTH, HEIGHT))
        (devkit.root / "VOC2007" / "Annotations" / "a.xml").write_text(xml)
        source = Voc(devkit.root, "2007_train")
        np.testing.assert_allclose(source.annotation(0).boxes, one.boxes, atol=1e-6)
        assert source.issues == []


def test_an_unreadable_image_is_reported(devkit):
    devkit("a", ("dog", 1, 1, 60, 40))
    devkit("b", ("dog", 1, 1, 60, 40), size=None)
    for stem in "ab":
        (devkit.root / "VOC2007" / "JPEGImages" / f"{stem}.jpg").write_bytes(b"no image")
    source = Voc(devkit.root, "2007_train")
    assert [len(source.annotation(i)) for i in range(2)] == [1, 0]
    assert [(p.file[-5:], p.object, p.action) for p in source.issues] == [
        ("a.jpg", None, "skipped"),
        ("b.jpg", None, "skipped"),
    ]
    with pytest.raises(ValueError, match="a.jpg: not an image"):
        source.image(0)


def test_a_truncated_image_has_its_annotation(devkit):
    devkit("a", ("dog", 1, 1, 60, 40))
    file = devkit.root / "VOC2007" / "JPEGImages" / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[:-200])
    source = Voc(devkit.root, "2007_train")
    assert len(source.annotation(0)) == 1
    assert source.issues == []
    with pytest.raises(ValueError, match="a.jpg.*truncated"):
        source.image(0)


def test_faulty_boxes_are_reported_with_file_and_object(devkit):
    devkit("good", ("dog", 1, 1, 60, 40))
    devkit(
        "bad",
        ("dog", 5, 5, 9, 9),
        ("dog", 30, 10, 20, 20),
        ("cat", 0, 1, 61, 40),
        ("dog", "nan", 1, 5, 5),
        ("dog", 7, 8, 7, 8),
        ("cow", 70, 10, 90, 20),
        ("horse", 5, 5, 10, 10, 1),
        ("dog", 1, 1, "1e999", 5),
    )
    source = Voc(devkit.root, "2007_train")
    one = source.annotation(1)
    assert [VOC_CLASSES[label] for label in one.labels] == ["dog", "cat", "horse"]
    assert one.difficult.tolist() == [False, False, True]
    np.testing.assert_allclose(one.boxes[1], [0, 0, 1, 1])
    assert [(p.object, p.action) for p in source.issues] == [
        (1, "dropped"),
        (2, "clipped"),
        (3, "dropped"),
        (4, "dropped"),
        (5, "dropped"),
        (7, "dropped"),
    ]
    assert all(p.file.endswith("Annotations/bad.xml") for p in source.issues)


LAUGHS = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
HOSTILE = {
    "billion laughs": (
        f'<!DOCTYPE a [<!ENTITY a0 "ha">{LAUGHS}]><annotation><object><name>&a11;</name></object></annotation>',
        "cannot be read as XML",
    ),
    "external entity": (
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object><name>&x;</name></object></annotation>',
        "cannot be read as XML",
    ),
    "hidden in utf-16": (
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY x "y">]><annotation/>'.encode("utf-16"),
        "cannot be read as XML",
    ),
    "truncated": (voc_xml(("dog", 1, 1, 9, 9))[:-30], "cannot be read as XML"),
    "empty": ("", "cannot be read as XML"),
    "binary": (bytes(range(256)), "cannot be read as XML"),
    "another root": ("<annotations/>", "expected the element <annotation>"),
    "an unknown class": (voc_xml(("dog", 1, 2, 9, 9), ("unicorn", 1, 2, 9, 9)), "object 1: .*class among.*'unicorn'"),
    "very deep": ("<annotation>" + "<a>" * 200_000 + "</a>" * 200_000 + "</annotation>", None),
    "too many objects": (
        "<annotation>" + "<object/>" * (module.MAX_OBJECTS + 1) + "</annotation>",
        "10001 objects, at most 10000",
    ),
    "too large": (b" " * (module.MAX_XML_BYTES + 1), "at most 4194304 are read"),
}


@pytest.mark.parametrize("content, words", HOSTILE.values(), ids=HOSTILE)
def test_hostile_annotations_are_errors_that_name_the_file(devkit, content, words):
    devkit("a", xml=content)
    source = Voc(devkit.root, "2007_train")
    if words is None:
        assert len(source.annotation(0)) == 0
        return
    with pytest.raises(ValueError, match=rf"a\.xml.*{words}"):
        source.annotation(0)
        source.image(0)  # of an unreadable annotation the image is left out
    if "class among" not in words:
        assert len(source.annotation(0)) == 0 and source.path(0) is None
        (issue,) = source.issues
        assert issue.action == "skipped" and re.search(words, issue.message)


def test_one_unreadable_annotation_leaves_its_image_out(devkit):
    from keras_det.data import batches, whole_images

    for stem in "abc":
        devkit(stem, ("dog", 1, 1, 60, 40), xml="<annotation>" if stem == "b" else None)
    source, skipped = Voc(devkit.root, "2007_train"), []
    assert [index for _, indexes in whole_images(source, 1) for index in indexes] == [0, 2]
    (labels,) = [labels for _, labels in batches(source, 4, (20, 30), training=False, skipped=skipped)]
    assert labels["index"].numpy().tolist() == [0, 2]
    assert [p.file.rpartition("/")[2] for p in skipped] == ["b.xml"] and "as XML" in skipped[0].message
    devkit("d", xml="")
    with pytest.raises(ValueError, match=r"2 of the 4 images of .* cannot be read.*b\.xml"):
        Voc(devkit.root, "2007_train").check()


FAULTY = {  # what is wrong with one object of two, and what becomes of it
    "empty": ("<object/>", "expected a <name>", "dropped"),
    "no name": (f"<object>{BOX}</object>", "expected a <name>", "dropped"),
    "blank name": (f"<object><name> </name>{BOX}</object>", "expected a <name>", "dropped"),
    "no box": ("<object><name>cat</name></object>", r"<bndbox><ymin>, got None", "dropped"),
    "a word": (
        f"<object><name>cat</name>{BOX.replace('<ymin>1', '<ymin>two')}</object>",
        "<ymin>, got 'two'",
        "dropped",
    ),
    "an odd flag": (
        f"<object><name>cat</name><difficult>Unspecified</difficult>{BOX}</object>",
        "'Unspecified', which is taken as not difficult",
        "corrected",
    ),
}


@pytest.mark.parametrize("text, words, action", FAULTY.values(), ids=FAULTY)
def test_one_faulty_object_is_listed_and_the_others_stay(devkit, text, words, action):
    devkit("a", xml=voc_xml(("dog", 1, 1, 60, 40)).replace("</annotation>", f"{text}</annotation>"))
    source = Voc(devkit.root, "2007_train")
    one = source.annotation(0)
    assert [VOC_CLASSES[label] for label in one.labels] == (["dog"] if action == "dropped" else ["dog", "cat"])
    assert not one.difficult.any()
    (issue,) = source.issues
    assert (issue.object, issue.action) == (1, action) and words in issue.message
    source.check()  # one is allowed, whatever fraction it is


@pytest.mark.parametrize("flag", ["", "0.0", "0", "False", "no", " 0 "])
def test_flags_that_plainly_say_no_are_no_fault(devkit, flag):
    devkit("a", ("dog", 1, 1, 60, 40, flag), ("dog", 1, 1, 60, 40, "1.0"))
    source = Voc(devkit.root, "2007_train")
    assert source.annotation(0).difficult.tolist() == [False, True]
    assert source.issues == []


def test_a_source_is_refused_over_a_fraction_of_faulty_objects(devkit):
    for n in range(5):
        devkit(f"{n}", *[("dog", 1, 1, 60, 40)] * 4, ("dog", 9, 9, 9, 9) if n < 2 else ("cat", 1, 1, 9, 9))
    source = Voc(devkit.root, "2007_train")
    source.check()  # 2 of 25
    source.take(1).check()  # 1 of 5
    with pytest.raises(
        ValueError, match=r"voc 2007_train: 2 of 10 objects are faulty, more than 10%; the first: .*0\.xml"
    ):
        source.take(2).check()


NAMES = {
    "utf-8": "\u732b",
    "utf-8-sig": "\u732b",
    "utf-16": "\u732b",
    "gbk": "\u72d7",  # the bytes of some signs are UTF-8, too
    "big5": "\u8c93",
    "shift_jis": "\u732b",
    "latin-1": "h\xe9risson",
    "nonsense": "cat",
}


@pytest.mark.parametrize(("encoding", "name"), NAMES.items())
@pytest.mark.parametrize("declared", [True, False])
def test_annotations_and_lists_in_other_encodings(tmp_path, encoding, name, declared):
    text, real = voc_xml((name, 1, 2, 9, 9)), "utf-8" if encoding == "nonsense" else encoding
    if declared:
        text = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>{text}'
    (tmp_path / "a.xml").write_bytes(text.encode(real))
    (tmp_path / "train.txt").write_bytes(f"{name} (1)\r\nb c\n".encode(real))
    if encoding in ("big5", "shift_jis") and not declared:  # nobody can tell them from GBK
        assert len(read_xml(tmp_path / "a.xml").names) == 1
        return
    xml = read_xml(tmp_path / "a.xml")
    assert xml.names == (name,)
    guessed = encoding in ("gbk", "latin-1") if not declared else encoding == "nonsense"
    assert [p.action for p in xml.issues] == (["corrected"] if guessed else [])
    if not declared:
        assert read_list(tmp_path / "train.txt") == [f"{name} (1)", "b c"]


def test_a_image_without_objects(devkit):
    devkit("a")
    one = Voc(devkit.root, "2007_train").annotation(0)
    assert one.boxes.shape == (0, 4)
    assert len(one) == 0


def test_read_xml_needs_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.xml"):
        read_xml(tmp_path / "nothing.xml")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 400))
def test_damaged_annotations_are_read_or_a_value_error(tmp_path_factory, noise, start, length):
    text = voc_xml(("dog", 1, 2, 9, 9, 1), ("cat", 1, 2, 9, 9)).encode()
    file = tmp_path_factory.mktemp("xml") / "a.xml"
    file.write_bytes(text[:start] + noise + text[start + length :])
    try:
        got = read_xml(file)
    except ValueError as error:
        assert "a.xml" in str(error)
    else:
        assert got.corners.shape == (len(got.names), 4)


def test_the_real_voc2007(shared):
    folder = shared / "data" / "voc2007"
    source = Voc(folder, "2007_present")
    assert (len(source), source.issues) == (35, [])
    truth = {entry["id"]: entry for entry in json.loads((folder / "test_ground_truth.json").read_text())}
    compared = 0
    for i in range(len(source)):
        one = source.annotation(i)
        if one.image_id not in truth:
            continue
        entry = truth[one.image_id]
        assert (one.height, one.width) == (entry["height"], entry["width"]) == source.image(i).shape[:2]
        pixels = one.boxes[:, [1, 0, 3, 2]] * np.tile([one.width, one.height], 2) + [1, 1, 0, 0]
        np.testing.assert_allclose(pixels, [o["bbox"] for o in entry["objects"]], atol=1e-3)
        assert [VOC_CLASSES[label] for label in one.labels] == [o["name"] for o in entry["objects"]]
        assert one.difficult.tolist() == [bool(o["difficult"]) for o in entry["objects"]]
        compared += 1
    assert compared == 25


def test_the_official_lists_of_an_incomplete_voc2007(shared):
    folder = shared / "data" / "voc2007"
    with pytest.raises(FileNotFoundError, match="4927 of 4952 images"):
        Voc(folder, "2007_test")
    source = Voc(folder, "2007_test", missing="skip")
    assert len(source) == 25
    assert len(source.issues) == 4927
    assert {p.action for p in source.issues} == {"skipped"}


def test_the_real_voc2012(shared):
    source = Voc(shared / "data" / "voc2012", "2012_present")
    annotations = [source.annotation(i) for i in range(len(source))]
    assert (len(source), sum(map(len, annotations)), source.issues) == (108, 284, [])
    assert set(np.concatenate([one.labels for one in annotations])) == set(range(20))
