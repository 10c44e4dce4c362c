import copy
import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import keras_det.data
from keras_det.data import source as module
from keras_det.data.source import Annotation, AnnotationIssue, ReadSource, Source, clean_boxes


class Numbered(ReadSource):
    """Image i has i boxes, and one issue each."""

    def __init__(self, count):
        super().__init__("numbered", ("a", "b"), [AnnotationIssue("list", None, "one is absent", "skipped")])
        self.count = count
        self.reads = []
        self.extra = "attribute of the subclass"

    def __len__(self):
        return self.count

    def path(self, i):
        return f"{self._check_index(i)}.jpg"

    def image(self, i):
        return np.full((2, 3, 3), self._check_index(i), np.uint8)

    def _read(self, i):
        self.reads.append(i)
        boxes = np.tile(np.float32([0, 0, 1, 1]), (i, 1))
        zeros = np.zeros(i)
        return Annotation(str(i), 2, 3, boxes, zeros, zeros, zeros, zeros), [
            AnnotationIssue(f"{i}.xml", 0, "bad", "dropped")
        ]


def test_doctests():
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(keras_det.data).failed == 0


def test_annotation_converts_and_protects_its_arrays():
    one = Annotation("a", 4, 5, [[0, 0, 1, 1]], [2], [1], [0], [20])
    kinds = [getattr(one, k).dtype for k in ("boxes", "labels", "difficult", "is_crowd", "area")]
    assert kinds == [np.float32, np.int32, bool, bool, np.float32]
    with pytest.raises(ValueError, match="read-only"):
        one.boxes[0, 0] = 1
    given_array = np.zeros((1, 4), np.float32)
    Annotation("a", 4, 5, given_array, [2], [1], [0], [20])
    given_array[0, 0] = 1  # the caller's own array stays writable


@pytest.mark.parametrize("name", ["boxes", "labels", "difficult", "is_crowd", "area"])
def test_annotation_rejects_arrays_of_other_lengths(name):
    fields = {"boxes": np.zeros((2, 4)), **{k: np.zeros(2) for k in ("labels", "difficult", "is_crowd", "area")}}
    fields[name] = np.zeros((2, 3)) if name == "boxes" else np.zeros(3)
    with pytest.raises(ValueError, match=name):
        Annotation("a", 4, 5, **fields)


def test_annotations_are_read_once_and_only_when_asked_for():
    source = Numbered(5)
    view = source.take(3)
    assert source.reads == []
    assert view.annotation(2) is view.annotation(2) is source.annotation(2)
    assert source.reads == [2]
    assert [p.file for p in view.issues] == ["list", "0.xml", "1.xml", "2.xml"]
    assert sorted(source.reads) == [0, 1, 2]


def test_views_of_views():
    source = Numbered(6)
    view = source.subset([5, 0, 4, 4]).subset(np.array([3, 0]))
    assert len(view) == 2
    assert [view.path(i) for i in range(2)] == ["4.jpg", "5.jpg"]
    assert [view.image(i)[0, 0, 0] for i in range(2)] == [4, 5]
    assert [len(view.annotation(i)) for i in range(2)] == [4, 5]
    assert [p.file for p in view.issues] == ["list", "4.xml", "5.xml"]
    assert (view.name, view.classes, view.extra) == ("numbered", ("a", "b"), "attribute of the subclass")
    assert isinstance(view, Source)
    assert len(copy.copy(view)) == 2
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        view.nothing_of_this_name  # noqa: B018


def test_numbers_outside_are_errors():
    source = Numbered(3)
    for call in (source.annotation, source.image, source.path, source.take(3).annotation, source.take(3).path):
        for i in (-1, 3):
            with pytest.raises(IndexError, match=f"0 to 2, asked for {i}"):
                call(i)
    with pytest.raises(IndexError):
        source.subset([0, 3])
    assert len(source.take(99)) == 3
    assert len(source.take(0)) == 0
    with pytest.raises(ValueError, match="-1"):
        source.take(-1)


class OneBroken(Numbered):
    def image(self, i):
        if i in self.broken:
            raise ValueError(f"{i}.jpg: not an image")
        return super().image(i)


def test_readable_images_are_a_view_unless_too_many_are_not():
    source = OneBroken(4)
    source.broken = (2,)
    assert [source.readable().path(i) for i in range(3)] == ["0.jpg", "1.jpg", "3.jpg"]
    source.broken = (2, 3)
    with pytest.raises(ValueError, match="2 of the 4 images of numbered cannot be read, more than 0.01 .*2.jpg, 3.jpg"):
        source.readable()


FAULTS = [
    ([10, 20, 40, 60], None, [0.1, 0.1, 0.4, 0.3]),
    ([0, 0, 100, 200], None, [0, 0, 1, 1]),
    ([np.nan, 20, 40, 60], ("finite", "dropped"), None),
    ([10, 20, np.inf, 60], ("finite", "dropped"), None),
    ([-np.inf, 20, 40, 60], ("finite", "dropped"), None),
    ([40, 20, 10, 60], ("inverted", "dropped"), None),
    ([10, 60, 40, 20], ("inverted", "dropped"), None),
    ([10, 20, 10, 60], ("no area", "dropped"), None),
    ([10, 20, 40, 20], ("no area", "dropped"), None),
    ([-10, 20, 40, 60], ("leaves", "clipped"), [0, 0.1, 0.4, 0.3]),
    ([10, 20, 101, 60], ("leaves", "clipped"), [0.1, 0.1, 1, 0.3]),
    ([10, -1e300, 40, 1e300], ("leaves", "clipped"), [0.1, 0, 0.4, 1]),
    ([120, 20, 140, 60], ("outside", "dropped"), None),
    ([10, -20, 40, -5], ("outside", "dropped"), None),
    ([10, -20, 40, 0], ("outside", "dropped"), None),
    ([10, 20, 100.005, 60], None, [0.1, 0.1, 1, 0.3]),
    ([10, 20, 10 + 1e-9, 60], ("no area", "dropped"), None),
]


@pytest.mark.parametrize("corners, told, expected", FAULTS)
def test_the_rule_for_faulty_boxes(corners, told, expected):
    boxes, kept, issues = clean_boxes([[1, 1, 2, 2], corners], 100, 200, "a.xml")
    assert boxes.dtype == np.float32
    np.testing.assert_array_equal(kept, [0] if expected is None else [0, 1])
    if expected is not None:
        np.testing.assert_allclose(boxes[1], expected, atol=1e-7)
    if told is None:
        assert issues == []
        return
    (issue,) = issues
    assert (issue.file, issue.object, issue.action) == ("a.xml", 1, told[1])
    assert told[0] in issue.message
    assert "a.xml, object 1" in str(issue)


def test_first_pixel_one_is_inclusive():
    boxes, _, issues = clean_boxes([[1, 1, 100, 200], [11, 21, 12, 22], [5, 5, 5, 9]], 100, 200, "a", first_pixel=1)
    np.testing.assert_allclose(boxes, [[0, 0, 1, 1], [0.1, 0.1, 0.12, 0.11]], atol=1e-7)
    assert [(p.object, p.action) for p in issues] == [(2, "dropped")]


def test_numbers_name_the_objects():
    _, kept, issues = clean_boxes([[0, 0, 1, 1], [3, 3, 3, 3]], 9, 9, "a", numbers=[7, 42])
    assert (kept.tolist(), issues[0].object) == ([0], 42)
    assert [len(part) for part in clean_boxes(np.zeros((0, 4)), 9, 9, "a")] == [0, 0, 0]


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-50, 150) | st.sampled_from([0.0, 100.0, -0.0])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=8), st.sampled_from([0, 1]))
def test_what_is_kept_is_always_valid(rows, first_pixel):
    corners = np.array(rows, np.float64).reshape(-1, 4)
    boxes, kept, issues = clean_boxes(corners, 100, 37, "a", first_pixel=first_pixel)
    assert boxes.shape == (len(kept), 4)
    assert ((boxes >= 0) & (boxes <= 1)).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    dropped = {p.object for p in issues if p.action == "dropped"}
    assert dropped == set(range(len(corners))) - set(kept.tolist())
    for box, row in zip(boxes, kept):
        ideal = (corners[row] - [first_pixel, first_pixel, 0, 0]) / [100, 37, 100, 37]
        np.testing.assert_allclose(box, np.clip(ideal, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    "spec, split, error, words",
    [
        ("", None, ValueError, "`spec` must be"),
        ("imagenet:/x", None, ValueError, "imagenet"),
        ("voc", "2007_test", ValueError, "voc:/path/VOCdevkit"),
        ("coco:", None, ValueError, "coco:/path"),
        ("shapes:3", None, ValueError, "shapes:3"),
        ("shapes", "train", ValueError, "means nothing for shapes"),
        ("voc:/nowhere", "2007_test", FileNotFoundError, "/nowhere"),
        ("coco:/nowhere", None, FileNotFoundError, "/nowhere"),
        ("folder:/nowhere", None, FileNotFoundError, "/nowhere"),
    ],
)
def test_load_rejects(spec, split, error, words):
    with pytest.raises(error, match=words):
        keras_det.data.load(spec, split)


def test_load_passes_split_and_options(shared):
    data = shared / "data"
    assert len(keras_det.data.load(f"voc:{data}/voc2007", "2007_test", missing="skip")) == 25
    assert len(keras_det.data.load(f"coco:{data}/coco_tiny", "val2017")) == 80
    cells = keras_det.data.load(f"folder:{data}/bccd", "val", classes=["WBC", "RBC", "Platelets"])
    assert (len(cells), cells.classes[0]) == (87, "WBC")
    with pytest.raises(TypeError, match="color"):
        keras_det.data.load(f"voc:{data}/voc2007", "2007_present", color=True)


def test_a_source_and_its_views_say_what_they_are():
    source = keras_det.data.load("shapes", images=7)
    assert repr(source) == f"<{source.name}: 7 images, 6 classes>" and "3 images" in repr(source.take(3))


def test_images_of_another_source_are_left_out_by_their_files(tmp_path):
    for i in range(4):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.xml").write_text("<annotation/>")
    whole = keras_det.data.load(f"folder:{tmp_path}", classes=["cat"])
    rest = whole.without(keras_det.data.load(f"folder:{tmp_path}", classes=["cat"]).subset([1, 3]))
    assert [rest.annotation(i).image_id for i in range(len(rest))] == ["0", "2"]
    scenes = keras_det.data.load("shapes", images=3)
    assert scenes.without(keras_det.data.load("shapes", images=3, seed=9)) is scenes
    assert scenes.without(whole) is scenes
