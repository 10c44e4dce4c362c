"""The source itself runs against a stand-in for TensorFlow Datasets, and against the package where it is installed."""

import base64
import enum
import io
import json
import sys
import types
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from test_voc import voc_xml

from keras_det.data.tfds import Tfds
from keras_det.data.voc import Voc
from keras_det.weights.registry import VOC_CLASSES

HEIGHT, WIDTH = 40, 60


def encoded(value=90):
    file = io.BytesIO()
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def boxes(*pixels):
    """ymin, xmin, ymax, xmax in pixels, as TFDS keeps them."""
    return (np.array(pixels, np.float64).reshape(-1, 4) / [HEIGHT, WIDTH, HEIGHT, WIDTH]).astype(np.float32)


def voc_example(name, corners, labels, difficult, image=None):
    objects = {"bbox": boxes(*corners), "label": np.array(labels, np.int64), "is_difficult": np.array(difficult, bool)}
    return {"image": image or encoded(), "image/filename": name.encode(), "objects": objects}


def coco_example(number, corners, labels, crowd, area):
    objects = {
        "area": np.array(area, np.int64),
        "bbox": boxes(*corners),
        "id": np.arange(len(labels)),
        "is_crowd": np.array(crowd, bool),
        "label": np.array(labels, np.int64),
    }
    name = f"{number:012d}.jpg".encode()
    return {"image": encoded(), "image/filename": name, "image/id": np.int64(number), "objects": objects}


class Format(enum.Enum):
    TFRECORD = "tfrecord"
    ARRAY_RECORD = "array_record"


class Features(dict):
    """A stand-in for FeaturesDict: an example is serialized as JSON."""

    @staticmethod
    def serialize(example):
        def plain(value):
            if isinstance(value, bytes):
                return {"bytes": base64.b64encode(value).decode()}
            return {"array": np.asarray(value).tolist(), "dtype": str(np.asarray(value).dtype)}

        flat = {k: {n: plain(v) for n, v in p.items()} if k == "objects" else plain(p) for k, p in example.items()}
        return json.dumps(flat).encode()

    def deserialize_example_np(self, serialized, decoders):
        assert decoders == {"image": "left encoded"}

        def restore(value):
            if "bytes" in value:
                return base64.b64decode(value["bytes"])
            if "array" in value:
                return np.array(value["array"], value["dtype"])
            return {name: restore(part) for name, part in value.items()}

        return restore(json.loads(serialized))


class Splits(dict):
    """A stand-in for SplitDict."""

    def __getitem__(self, key):
        parts = key.split("+")
        if any(part not in self for part in parts):
            raise ValueError(f"Unknown split {key!r}.\nSee https://www.tensorflow.org/datasets/splits")
        instructions = [instruction for part in parts for instruction in dict.__getitem__(self, part)]
        return types.SimpleNamespace(file_instructions=instructions)


class Builder:
    """A stand-in for DatasetBuilder; splits hold (examples, skip, take) for each file."""

    def __init__(self, name, classes, splits, folder=None, lacking=()):
        self.name = name
        self.prepared = False
        label = types.SimpleNamespace(names=list(classes))
        features = Features(image=0, objects={k: v for k, v in {"bbox": 0, "label": label}.items() if k not in lacking})
        for key in lacking:
            features.pop(key, None)
        self.examples = {split: [e for files in parts for e in files[0]] for split, parts in splits.items()}
        instructions = Splits({split: self.write(folder, split, parts) for split, parts in splits.items()})
        form = Format.ARRAY_RECORD if folder is None else Format.TFRECORD
        self.info = types.SimpleNamespace(features=features, splits=instructions, file_format=form)

    @staticmethod
    def write(folder, split, parts):
        found = []
        for number, (examples, skip, take) in enumerate(parts):
            filename = f"{folder}/{split}-{number}.tfrecord"
            if folder is not None:
                with tf.io.TFRecordWriter(filename) as writer:
                    for example in examples:
                        writer.write(Features.serialize(example))
            found.append(types.SimpleNamespace(filename=filename, skip=skip, take=take))
        return found

    def download_and_prepare(self):
        self.prepared = True

    def as_data_source(self, split, decoders):
        assert decoders == {"image": "left encoded"}
        return [example for part in split.split("+") for example in self.examples[part]]


@pytest.fixture
def install(monkeypatch):
    """Puts a stand-in for the package in place that knows one builder."""

    def put(name, builder):
        package = types.ModuleType("tensorflow_datasets")
        package.decode = types.SimpleNamespace(SkipDecoding=lambda: "left encoded")

        def find(asked, data_dir=None):
            builder.data_dir = data_dir
            if asked != name:
                raise ValueError(f"Dataset {asked} not found.\nAvailable datasets:\n- a\n- b")
            return builder

        package.builder = find
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", package)
        return builder

    return put


@pytest.mark.parametrize("form", ["tfrecord", "array_record"])
def test_voc(install, tmp_path, form):
    examples = [
        voc_example("000005.jpg", [(1, 1, 40, 60), (21, 31, 30, 45)], [11, 7], [False, True], encoded(1)),
        voc_example("000007.jpg", [], [], [], encoded(2)),
        voc_example("000009.jpg", [(5, 5, 5, 9), (2, 2, 4, 4)], [0, 14], [False, False], encoded(3)),
    ]
    splits = {"train": [(examples[:1], 0, 1)], "validation": [(examples[1:], 0, -1)]}
    builder = install("voc/2007", Builder("voc", VOC_CLASSES, splits, tmp_path if form == "tfrecord" else None))
    source = Tfds("voc/2007", "train+validation", data_dir=tmp_path)
    assert builder.prepared and builder.data_dir == str(tmp_path)
    assert (len(source), source.name, source.classes) == (3, "tfds voc/2007 train+validation", VOC_CLASSES)
    first, second, third = (source.annotation(i) for i in range(3))
    assert [one.image_id for one in (first, second, third)] == ["000005", "000007", "000009"]
    assert (first.height, first.width) == (HEIGHT, WIDTH)
    # The corners count from 1 and are inclusive, as in VOC's own files.
    np.testing.assert_array_equal(first.boxes, np.float32([[0, 0, 1, 1], [20 / 40, 30 / 60, 30 / 40, 45 / 60]]))
    assert (first.labels.tolist(), first.difficult.tolist()) == ([11, 7], [False, True])
    np.testing.assert_allclose(first.area, [2400, 150], rtol=1e-6)
    assert second.boxes.shape == (0, 4)
    assert third.labels.tolist() == [14]
    (issue,) = source.issues
    assert (issue.object, issue.action) == (0, "dropped")
    assert "000009.jpg" in issue.file
    assert [source.image(i)[0, 0, 0] for i in range(3)] == [1, 2, 3]
    assert source.image(0).shape == (HEIGHT, WIDTH, 3)
    assert source.path(0) is None
    assert len(Tfds("voc/2007", "validation")) == 2


def test_coco(install):
    examples = [
        coco_example(42, [(0, 0, 40, 60), (4, 6, 24, 36)], [0, 79], [True, False], [7, 500]),
        coco_example(7, [(30, 30, 50, 80), (9, 9, 3, 3)], [3, 4], [False, False], [1, 2]),
    ]
    install("coco/2017", Builder("coco", map(str, range(80)), {"validation": [(examples, 0, -1)]}))
    source = Tfds("coco/2017", "validation")
    first, second = (source.annotation(i) for i in range(2))
    assert [first.image_id, second.image_id] == ["42", "7"]
    np.testing.assert_allclose(first.boxes, [[0, 0, 1, 1], [0.1, 0.1, 0.6, 0.6]], atol=1e-7)
    assert (first.labels.tolist(), first.is_crowd.tolist()) == ([0, 79], [True, False])
    assert (first.area.tolist(), first.difficult.tolist()) == ([7, 500], [False, False])
    np.testing.assert_allclose(second.boxes, [[0.75, 0.5, 1, 1]])
    assert [(p.object, p.action) for p in source.issues] == [(0, "clipped"), (1, "dropped")]


def test_parts_of_files(install, tmp_path):
    examples = [voc_example(f"{i}.jpg", [(1, 1, 9, 9 + i)], [i], [False], encoded(i)) for i in range(7)]
    install("voc/2007", Builder("voc", VOC_CLASSES, {"train": [(examples[:4], 1, 2), (examples[4:], 2, -1)]}, tmp_path))
    source = Tfds("voc/2007", "train")
    assert [source.annotation(i).image_id for i in range(3)] == ["1", "2", "6"]
    assert [source.image(i)[0, 0, 0] for i in (2, 0, 1)] == [6, 1, 2]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_record_file_cut_short(install, tmp_path, cut):
    install(
        "voc/2007", Builder("voc", VOC_CLASSES, {"train": [([voc_example("a.jpg", [], [], [])] * 2, 0, 2)]}, tmp_path)
    )
    file = tmp_path / "train-0.tfrecord"
    content = file.read_bytes()
    file.write_bytes(content[:-cut])
    with pytest.raises(ValueError, match=r"train-0\.tfrecord: the TFRecord file is cut short"):
        Tfds("voc/2007", "train")
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"train-0\.tfrecord: 1 records, expected at least 2"):
        Tfds("voc/2007", "train")
    file.write_bytes(content + b"\xff" * 20)
    with pytest.raises(ValueError, match="corrupt at byte"):
        Tfds("voc/2007", "train")


def test_a_corrupt_image(install):
    install(
        "voc/2007",
        Builder("voc", VOC_CLASSES, {"train": [([voc_example("a.jpg", [(1, 1, 9, 9)], [1], [0], b"x")], 0, 1)]}),
    )
    source = Tfds("voc/2007", "train")
    assert len(source.annotation(0)) == 0
    assert [p.action for p in source.issues] == ["skipped"]
    with pytest.raises(ValueError, match=r"a\.jpg: .*not an image"):
        source.image(0)


def test_wrong_names_and_splits(install):
    install("voc/2007", Builder("voc", VOC_CLASSES, {"train": [([], 0, 0)], "test": [([], 0, 0)]}))
    with pytest.raises(ValueError, match="has no 'voc/1066': Dataset voc/1066 not found.$"):
        Tfds("voc/1066", "train")
    for split in (None, "", "val"):
        with pytest.raises(ValueError, match="split of voc/2007 must be one of train, test"):
            Tfds("voc/2007", split)


@pytest.mark.parametrize("lacking, words", [(["image"], "image"), (["objects"], "objects"), (["bbox"], "objects/bbox")])
def test_a_data_set_without_objects(install, lacking, words):
    install("mnist", Builder("mnist", "ab", {"train": [([], 0, 0)]}, lacking=lacking))
    with pytest.raises(ValueError, match=f"mnist is no data set for detection: it has no feature {words}"):
        Tfds("mnist", "train")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'keras_det\[tfds\]'"):
        Tfds("voc/2007", "train")


@pytest.mark.needs("tensorflow_datasets")
@pytest.mark.parametrize("form", ["tfrecord", "array_record"])
def test_the_package_itself_gives_what_voc_gives(tmp_path, form):
    """TFDS's own builder of VOC runs on a small VOCdevkit, instead of on what it would download."""
    import tensorflow_datasets as tfds

    folder = tmp_path / "VOCdevkit" / "VOC2007"
    rng = np.random.default_rng(0)
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    lists = {"train": ["000001", "000002", "000003"], "val": ["000004", "000005"], "test": ["000006"]}
    for name, stems in lists.items():
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(stems))
        for stem in stems:
            height, width = rng.integers(100, 500, 2).tolist()
            Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(folder / f"JPEGImages/{stem}.jpg")
            corners = rng.integers(1, 50, (4, 4)) + [0, 0, 49, 49]
            objects = [(VOC_CLASSES[k], *row.tolist(), k % 2) for k, row in enumerate(corners)]
            text = voc_xml(*objects, size=(height, width)).replace(
                "<part>", "<pose>Left</pose><truncated>0</truncated><part>"
            )
            (folder / "Annotations" / f"{stem}.xml").write_text(
                text.replace("<name> ", "<name>").replace(" </name>", "</name>")
            )
    builder = tfds.builder("voc/2007", data_dir=tmp_path / "tfds", file_format=form)
    manager = mock.Mock(downloaded_size=1, register_checksums=False)
    manager.download_and_extract = lambda urls: dict.fromkeys(urls, str(tmp_path))
    with mock.patch.object(builder, "_make_download_manager", return_value=manager):
        builder.download_and_prepare()
    ours = Voc(tmp_path / "VOCdevkit", "2007_train+2007_val")
    theirs = Tfds("voc/2007", "train+validation", data_dir=tmp_path / "tfds")
    place = {theirs.annotation(i).image_id: i for i in range(len(theirs))}
    assert (len(ours), theirs.issues, theirs.classes) == (len(theirs), [], VOC_CLASSES)
    for i in range(len(ours)):
        one, other = ours.annotation(i), theirs.annotation(place[ours.annotation(i).image_id])
        assert (one.height, one.width) == (other.height, other.width)
        for field in ("boxes", "labels", "difficult", "is_crowd", "area"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
        np.testing.assert_array_equal(ours.image(i), theirs.image(place[one.image_id]))
