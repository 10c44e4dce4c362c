"""Evaluation and mining see each image's own pixels, as `detect` does."""

from types import SimpleNamespace

import numpy as np
import pytest
import small_models

from keras_det.data import Shapes, batches, whole_images
from keras_det.data.crops import GivenCrops
from keras_det.data.source import Annotation, Source
from keras_det.models import SSD300
from keras_det.training.evaluation import collect, evaluate, evaluator_of
from keras_det.training.mining import hard_negatives


class Mixed(Source):
    """Noise of several sizes, mixed, one object each; images named in `broken` cannot be read."""

    sizes = ((40, 60), (60, 40), (40, 60), (512, 512), (40, 60), (60, 40), (40, 60))

    def __init__(self, broken=()):
        self.name, self.classes, self.broken = "mixed", tuple(small_models.CLASSES), broken

    def __len__(self):
        return len(self.sizes)

    def annotation(self, i):
        none = np.zeros(1, bool)
        box = np.array([[0.1, 0.2, 0.5, 0.7]], "float32")
        return Annotation(str(i), *self.sizes[i], box, [i % 3], none, none, [1.0])

    def image(self, i):
        if i in self.broken:
            raise ValueError(f"image {i} is broken")
        return np.random.default_rng(i).integers(0, 256, (*self.sizes[i], 3)).astype("uint8")


@pytest.fixture(scope="module")
def ssd():
    return small_models.build("ssd300", score_threshold=0.0, iou_threshold=1.0, max_detections=20)


def test_batches_are_of_one_size_and_hold_every_image_once():
    source = Mixed()
    found = list(whole_images(source, 3))
    assert [indexes.tolist() for _, indexes in found] == [[0, 2, 4], [1, 5], [3], [6]]
    for images, indexes in found:
        for image, i in zip(images, indexes):
            np.testing.assert_array_equal(image, source.image(i))


def test_large_images_make_small_batches(monkeypatch):
    monkeypatch.setattr("keras_det.data.batching._BATCH_PIXELS", 2 * 40 * 60)
    assert sorted(len(indexes) for _, indexes in whole_images(Mixed(), 3)) == [1, 2, 2, 2]


def test_few_images_wait_for_others_of_their_size(monkeypatch):
    monkeypatch.setattr("keras_det.data.batching._WAITING_BYTES", 3 * 2 * 40 * 60)
    found = [indexes.tolist() for _, indexes in whole_images(Mixed(), 8)]
    assert sorted(i for indexes in found for i in indexes) == list(range(7))
    assert max(map(len, found)) == 2


def test_unreadable_images_are_skipped_and_named():
    skipped = []
    found = [i for _, indexes in whole_images(Mixed(broken=(2,)), 2, skipped) for i in indexes]
    assert sorted(found) == [0, 1, 3, 4, 5, 6] and "image 2 is broken" in str(skipped[0])


def test_an_image_of_512_pixels_reaches_serve_as_it_is(ssd, monkeypatch):
    seen, serve = set(), ssd.serve

    def spy(images):
        seen.add(tuple(images.shape[1:3]))
        return serve(images)

    monkeypatch.setattr(ssd, "serve", spy)
    monkeypatch.setattr(ssd, "_compile", lambda: spy)
    monkeypatch.setattr(ssd, "_compiled_serve", None)
    evaluate(ssd, Mixed(), metrics=("area",))
    assert seen == set(Mixed.sizes)


def test_what_is_evaluated_is_what_detect_finds(ssd):
    source = Mixed()
    evaluator = evaluator_of(ssd, source)
    collect(ssd, source, evaluator, 3)
    results = evaluator.results()
    for i in range(len(source)):
        (found,) = ssd.detect(source.image(i), score_threshold=0.0)
        mine = results.image == i
        np.testing.assert_array_equal(np.sort(results.scores[mine]), np.sort(found.scores))


def test_ssd_has_the_figures_of_images_resized_beforehand():
    model = SSD300(weights="shapes")
    source = Shapes(images=6, seed=4, size=256)
    evaluator = evaluator_of(model, source)
    for images, labels in batches(source, 4, model.image_size, training=False):
        evaluator.update(labels["index"].numpy(), model.detections(images))
    before, (now, _) = evaluator.result(("area",)), evaluate(model, source, 4, ("area",))
    assert before["map50"] > 0.5
    np.testing.assert_allclose(list(now.values()), list(before.values()), atol=1e-6)


def test_mining_cuts_crops_of_the_image_itself_and_knows_its_objects():
    """One image cannot be read; a detector that finds the objects, and only those, has no false detections."""
    source, seen = Mixed(broken=(0,)), []

    def mine(boxes):
        def detections(images):
            seen.append(images.shape[1:3])
            return {"boxes": np.array([boxes], "float32"), "num_detections": np.array([len(boxes)])}

        return hard_negatives(SimpleNamespace(detections=detections, image_size=(16, 16)), source)

    true, wrong = [0.1, 0.2, 0.5, 0.7], [0.6, 0.0, 1.0, 0.4]
    assert len(mine([true])) == 0 and sorted(seen) == sorted(Mixed.sizes[1:])
    mined = mine([true, wrong])
    assert sorted(mined.images) == list(range(1, len(source))) and (mined.boxes == np.float32(wrong)).all()
    for images, labels in batches(mined, 2, (16, 16), training=True, augment=GivenCrops((16, 16))):
        assert images.numpy().std(axis=(1, 2, 3)).min() > 40  # noise of 74; in a thumbnail of 512 it is averaged away
        assert (labels["labels"].numpy() == -1).all()
