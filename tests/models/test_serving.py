"""From an image to boxes in that image's own frame, shown by a detector that finds the bright rectangle."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from PIL import Image

from keras_det import models
from keras_det.data import load
from keras_det.data.resize import resize
from keras_det.weights import entries


class Brightest(models.Detector):
    """Finds the pixels over 128: one detection for each image, or none."""

    def __init__(self, classes=("bright",), image_size=200):
        super().__init__()

    def call(self, images, training=False):
        return {"bright": ops.cast(ops.max(images, axis=-1) > 128, "float32")}

    def decode(self, outputs):
        edges = []
        for axis in (1, 2):
            bright = ops.max(outputs["bright"], axis=3 - axis)
            size = bright.shape[1]
            low = ops.argmax(bright, axis=1)
            high = size - ops.argmax(ops.flip(bright, axis=1), axis=1)
            edges.append((ops.cast(low, "float32") / size, ops.cast(high, "float32") / size))
        (ymin, ymax), (xmin, xmax) = edges
        found = ops.max(outputs["bright"], axis=(1, 2))
        return {
            "boxes": ops.stack([ymin, xmin, ymax, xmax], axis=-1)[:, None] * found[:, None, None],
            "scores": found[:, None],
            "labels": ops.cast(found, "int32")[:, None] - 1,
            "num_detections": ops.cast(found, "int32"),
        }


@pytest.fixture(scope="module")
def detector():
    return Brightest()


def random_image(height=90, width=210):
    """A dark image with a bright rectangle, rows 20 .. 50 and columns 130 .. 170."""
    pixels = np.zeros((height, width, 3), "uint8")
    pixels[20:50, 130:170] = 255
    return pixels


def pixels(found):
    assert len(found) == 1 and found.names == ["bright"]
    return found.boxes_pixels[0]


def test_boxes_are_in_the_frame_of_the_image(detector, tmp_path):
    Image.fromarray(random_image()).save(tmp_path / "a.png")
    for given in (
        random_image(),
        tmp_path / "a.png",
        Image.fromarray(random_image()),
        Image.fromarray(random_image()).convert("L"),
    ):
        np.testing.assert_allclose(pixels(detector.detect(given)[0]), [130, 20, 170, 50], atol=1.1)


def test_a_turned_photograph_is_found_as_a_viewer_shows_it(detector, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying; shown after a quarter turn clockwise
    Image.fromarray(random_image()).save(tmp_path / "a.jpg", exif=exif, quality=95)
    found = detector.detect(tmp_path / "a.jpg")[0]
    assert found.image.shape == (210, 90, 3)
    np.testing.assert_allclose(pixels(found), [90 - 50, 130, 90 - 20, 170], atol=1.6)


def test_every_image_of_a_list_gets_its_own_answer(detector):
    """Images of several sizes and more of one size than go through the network together, some without an object."""
    given = [random_image(), random_image(120, 180)] + [
        random_image() if i % 3 else np.zeros((90, 210, 3), "uint8") for i in range(19)
    ]
    results = detector.detect(given)
    assert [found.image.shape for found in results] == [image.shape for image in given]
    assert [len(found) for found in results] == [int(image.any()) for image in given]
    for found in results:
        if len(found):
            np.testing.assert_allclose(pixels(found), [130, 20, 170, 50], atol=1.1)


def test_the_score_threshold_is_the_callers(detector):
    assert len(detector.detect(random_image(), score_threshold=1.0)[0]) == 1
    assert len(detector.detect(random_image(), score_threshold=1.01)[0]) == 0


SLOW = {"DetectorNet": pytest.mark.long}  # its search is a large graph
EMBEDDED = [pytest.param(one, marks=SLOW.get(one.model, ()), id=one.model) for one in entries() if one.embedded]


@pytest.mark.parametrize("entry", EMBEDDED)
def test_what_is_shown_unasked_is_about_what_is_there(entry):
    """Scores are probabilities of a class, of one box among all, or sums over windows."""
    model, scenes = getattr(models, entry.model)(weights=entry.name), load("shapes", images=8, seed=1_000_000)
    shown = sum(map(len, model.detect([scenes.image(i) for i in range(8)])))
    objects = sum(len(scenes.annotation(i)) for i in range(8))
    assert 0.6 * objects <= shown <= 1.4 * objects


def test_nothing_gives_nothing(detector):
    assert detector.detect([]) == []


def test_serving_resizes_as_the_data_does(monkeypatch):
    model = models.SSD300(backbone="tiny", classes=["a", "b"], sources=("stage5",))
    seen = []
    monkeypatch.setattr(model, "call", lambda images, training: seen.append(np.asarray(images)) or {})
    monkeypatch.setattr(model, "decode", lambda outputs: {})
    rng = np.random.default_rng(0)
    for shape in ((2, 97, 451, 3), (1, 512, 300, 3), (1, 1, 1, 3), (1, 300, 300, 3)):
        images = rng.integers(0, 256, shape, dtype="uint8")
        model.serve(images)
        np.testing.assert_array_equal(seen[-1], resize(images, (300, 300)))


def test_serve_is_one_graph_for_images_of_all_sizes(detector):
    serve = tf.function(detector.serve, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    for height, width in ((90, 210), (200, 200), (400, 180)):
        boxes = serve(random_image(height, width)[None])["boxes"][0, 0]
        expected = np.array([20, 130, 50, 170]) / [height, width, height, width]
        np.testing.assert_allclose(boxes, expected, atol=1.1 * max(1 / 200, 1 / min(height, width)))


def test_a_detector_says_which_method_it_lacks():
    class Bare(models.Detector):
        """Has no method of its own."""

        def __init__(self, classes=("a",), image_size=8):
            super().__init__()

    bare = Bare()
    for method, missing in (("encode_targets", "encode_targets"), ("decode", "scored_boxes")):
        with pytest.raises(NotImplementedError, match=f"Bare does not define {missing}"):
            getattr(bare, method)({})
    assert bare.augmentation() is None and bare.count_targets({}) == {}


def test_trained_weights_are_served_at_once():
    """`detect` compiles once; it must not keep the weights of that moment."""
    keras.utils.set_random_seed(0)
    model = models.SSD300(backbone="tiny", classes=["a", "b"], sources=("stage5",))
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype="uint8")
    before = model.detect(image, score_threshold=0.0)[0].scores
    bias = next(v for v in model.weights if v.path.endswith("stage5_conf/bias"))
    bias.assign(np.tile([0.0, 5.0, 0.0], bias.shape[0] // 3))
    after = model.detect(image, score_threshold=0.0)[0].scores
    assert after[0] > 0.9 > before[0]
