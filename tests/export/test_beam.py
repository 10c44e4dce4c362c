"""Detection by Apache Beam: the same detections as without, from files and records; bad images apart."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_det import models
from keras_det.data import load
from keras_det.export import saved_model

pytest.importorskip("apache_beam", reason="apache_beam is not installed; `make extras` does it")

from keras_det.export import beam

pytestmark = pytest.mark.needs("apache_beam")


def record(encoded, name):
    parts = {"image/encoded": encoded, "image/filename": name}
    lists = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in parts.items() if v}
    return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString()


def lines(folder, name):
    return [json.loads(line) for file in folder.glob(f"{name}-*.jsonl") for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Scenes 0 to 2 as files, 3 and 4 as records, a bad image of each kind, and what the command wrote."""
    folder, scenes = tmp_path_factory.mktemp("beam"), load("shapes", images=5, seed=5)
    for i in range(3):
        Image.fromarray(scenes.image(i)).save(folder / f"{i}.png")
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:500])
    with tf.io.TFRecordWriter(str(folder / "a.tfrecord-0-of-1")) as writer:
        for i in (3, 4):
            writer.write(record(tf.io.encode_png(scenes.image(i)).numpy(), b"%d" % i))
        writer.write(record(b"", b"empty"))
    model = models.SSD300(weights="shapes")
    exported = saved_model(model, folder / "model")
    inputs = [str(folder / "*.png"), str(folder / "*.tfrecord*")]
    options = ["--model", str(exported), "--output", str(folder / "out"), "--score_threshold", "0.4"]
    beam.main(["--input", *inputs, *options, "--runner", "FnApiRunner"])
    return model, scenes, folder


def test_the_detections_are_the_models(found):
    model, scenes, folder = found
    given = {
        one["image"].rsplit("/")[-1].split(".")[0]: one["detections"] for one in lines(folder / "out", "detections")
    }
    assert sorted(given) == list("01234")
    for i in range(5):
        expected = model.detect(scenes.image(i), score_threshold=0.4)[0]
        assert [one["name"] for one in given[str(i)]] == list(expected.names) and len(expected.boxes)
        np.testing.assert_allclose([one["score"] for one in given[str(i)]], expected.scores, atol=1e-4)
        np.testing.assert_allclose([one["box"] for one in given[str(i)]], expected.boxes, atol=1e-4)


def test_bad_images_go_to_an_output_of_their_own(found):
    bad = {one["image"].rsplit("/")[-1]: one["reason"] for one in lines(found[2] / "out", "bad")}
    assert sorted(bad) == ["cut.png", "empty"]
    assert bad["empty"] == "the image cannot be read: Input is empty." and "PNG" in bad["cut.png"]


def test_what_is_no_saved_model_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        beam.main(["--input", "*.jpg", "--model", str(tmp_path), "--output", str(tmp_path)])
    assert "saved_model.pb" in capsys.readouterr().err
