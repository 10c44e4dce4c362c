"""Keras's layers and albumentations' transforms as `augment=`: boxes go where the pixels go."""

import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_det.data import Annotation, Source, batches
from keras_det.models import SSD300

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else it asks the network for news when it is imported
ROOT = pathlib.Path(__file__).parents[2]
SIZE = (120, 160)
RED, GREEN = (250, 30, 30), (30, 220, 30)


class Rectangles(Source):
    """On gray, a red rectangle that differs from image to image, and a small green one in the corner."""

    name, classes = "rectangles", ("red", "green")

    def __init__(self, images=6, size=SIZE):
        self.images, self.size = images, size

    def __len__(self):
        return self.images

    def boxes(self, i):
        return np.array([[36 + i, 40, 84, 110 + i], [0, 0, 9, 9]]) / [120, 160, 120, 160]

    def image(self, i):
        image = np.full((*self.size, 3), 100, "uint8")
        for box, color in zip(self.boxes(i), (RED, GREEN)):
            top, left, bottom, right = np.round(box * [*self.size, *self.size]).astype(int)
            image[top:bottom, left:right] = color
        return image

    def annotation(self, i):
        boxes = self.boxes(i).astype("float32")
        labels = np.arange(len(boxes), dtype="int32")
        return Annotation(f"{i}", *self.size, boxes, labels, labels == 0, labels == 1, np.ones(len(boxes)))


class Empty(Rectangles):
    """Without objects."""

    def boxes(self, i):
        return np.zeros((0, 4))


def found(image, color):
    """The box of what has a color, in pixels."""
    at = np.argwhere(np.abs(image - color).max(-1) < 60)
    return np.concatenate([at.min(0), at.max(0) + 1]) if len(at) else None


def check(augment, tolerance=1.6, kept=None, source=None, size=SIZE):
    """The batches of six images, in which every box is around its color; how many objects are left."""
    dataset = batches(source or Rectangles(), 6, size, training=True, augment=augment, repeat=True).take(2)
    counts = []
    for images, labels in dataset.as_numpy_iterator():
        assert images.dtype == np.float32 and images.shape == (6, *size, 3)
        assert images.min() >= 0 and images.max() <= 255 and images.max() > 90
        for k, image in enumerate(images):
            present = labels["labels"][k] >= 0
            counts.append(present.sum())
            for box, label in zip(labels["boxes"][k][present], labels["labels"][k][present]):
                shown, box = found(image, (RED, GREEN)[label]), box * [*size, *size]
                if min(box[2:] - box[:2]) > 2:  # else no pixel may be of its color
                    assert shown is not None and np.abs(box - shown).max() <= tolerance, (label, box, shown)
            # Flags stay with their labels, also where another object is gone.
            np.testing.assert_array_equal(labels["difficult"][k][present], labels["labels"][k][present] == 0)
            np.testing.assert_array_equal(labels["is_crowd"][k][present], labels["labels"][k][present] == 1)
    if kept is not None:
        assert set(counts) == kept
    return dataset


LAYERS = keras.layers
KERAS = {
    "flip": (lambda: LAYERS.RandomFlip(), {2}),
    "vertical": (lambda: LAYERS.RandomFlip("vertical"), {2}),
    "shift": (lambda: LAYERS.RandomTranslation((-0.2, -0.1), 0.1, fill_mode="constant"), {1}),  # the corner leaves
    "zoom": (lambda: LAYERS.RandomZoom((-0.3, -0.2), (-0.3, -0.2), fill_mode="constant"), {1}),
    "crop": (lambda: LAYERS.CenterCrop(90, 100), {1}),
    "smaller": (lambda: LAYERS.Resizing(60, 80), {2}),
    "several": (lambda: [LAYERS.RandomFlip(), LAYERS.RandomBrightness(0.1), LAYERS.RandomContrast(0.1)], {2}),
    "sequential": (lambda: keras.Sequential([LAYERS.RandomFlip(), LAYERS.RandomHue(0.02)]), {2}),
    "jitter": (lambda: LAYERS.RandomColorJitter(brightness_factor=0.1, contrast_factor=0.1), {2}),
}


@pytest.mark.parametrize(("layers", "kept"), KERAS.values(), ids=KERAS)
def test_keras_layers(layers, kept):
    check(layers(), 2.6, kept)


def test_turned_boxes_are_around_their_pixels():
    check(LAYERS.RandomRotation(0.05, fill_mode="constant"), 2.6)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_layer_stays_as_it_was(policy):
    """It is used as it is: in full precision, with boxes of its own format, on a seed of the sample."""
    layer = LAYERS.RandomColorJitter(brightness_factor=0.1, bounding_box_format="yxyx", seed=5, dtype=policy)
    generators = layer.generator, layer.random_brightness.generator
    check(layer, kept={2})
    assert (layer.generator, layer.random_brightness.generator) == generators
    assert layer.bounding_box_format == "yxyx" and layer.dtype_policy.name == policy
    assert len(layer.variables) == 2  # the states of the generators
    image = np.full((1, 8, 8, 3), 100.0)
    assert np.std([np.mean(layer(image)) for _ in range(3)]) > 0


def samples(augment, seed, source=None, **options):
    dataset = batches(
        source or Rectangles(), 3, SIZE, training=True, augment=augment, seed=seed, repeat=True, **options
    )
    return [images for images, _ in dataset.take(4).as_numpy_iterator()]


def test_samples_are_a_function_of_the_seed():
    """So that a resumed run sees what an uninterrupted one would have seen."""
    layers = [LAYERS.RandomFlip(seed=1), LAYERS.RandomBrightness(0.4, seed=1)]
    first = samples(layers, 0)
    np.testing.assert_array_equal(first, samples(layers, 0))
    np.testing.assert_array_equal(first[2:], samples(layers, 0, first_step=2)[:2])
    assert not np.array_equal(first, samples(layers, 1))
    assert len({image.tobytes() for images in first for image in images}) == 12


def test_an_image_without_objects():
    check([LAYERS.RandomFlip(), LAYERS.RandomRotation(0.1)], kept={0}, source=Empty())


class Still(LAYERS.RandomFlip):
    """Moves pixels alone."""

    def transform_bounding_boxes(self, bounding_boxes, transformation, training=True):
        return bounding_boxes


REFUSED = {
    "still": (Still, "Still"),
    "elastic": (lambda: LAYERS.RandomElasticTransform(), "RandomElasticTransform"),
    "mixed": (lambda: LAYERS.MixUp(), "MixUp"),
    "scaled": (lambda: [LAYERS.RandomFlip(), LAYERS.Rescaling(1 / 255)], "got Rescaling"),
    "dense": (lambda: LAYERS.Dense(3), "Dense"),
}


@pytest.mark.parametrize(("layers", "name"), REFUSED.values(), ids=REFUSED)
def test_layers_that_do_not_move_boxes_are_refused(layers, name):
    if name.startswith("Random") and not hasattr(LAYERS, name):
        pytest.skip(f"this Keras has no {name}")
    with pytest.raises(ValueError, match=f"^`augment` must be Keras layers .*{name}, which does not in Keras"):
        batches(Rectangles(), 2, SIZE, training=True, augment=layers())


@pytest.mark.parametrize("layer", [lambda: LAYERS.RandomCrop(90, 100), lambda: LAYERS.RandomShear(0.2, 0.2)])
def test_layers_that_move_boxes_wrongly_are_found(layer):
    """Keras 3.15 exchanges the axes of `RandomCrop`'s boxes, and `RandomShear`'s do not hold what was in them."""
    try:
        check(layer(), 8)
    except ValueError as error:
        assert "which does not in Keras" in str(error)


@pytest.mark.parametrize("value", ["flip", [], ["flip"], 3, True])
def test_other_values_are_refused(value):
    with pytest.raises(ValueError, match="^`augment` must be a function, Keras preprocessing layers, or an"):
        batches(Rectangles(), 2, SIZE, training=True, augment=value)


def test_a_model_trains_on_them():
    """In place of the paper's patches, which would enlarge the objects."""
    source = Rectangles(4)
    model = SSD300(backbone="tiny", classes=source.classes)
    dataset = model.batches(source, 4, training=True, augment=LAYERS.RandomFlip())
    ((images, labels),) = dataset.as_numpy_iterator()
    assert images.shape == (4, 300, 300, 3)
    for image, boxes in zip(images, labels["boxes"]):
        assert np.abs(found(image, RED) / 300 - boxes[0]).max() < 0.01
    model.compile(keras.optimizers.SGD(1e-3))
    assert np.isfinite(model.fit(dataset, verbose=0).history["loss"][0])
    whole = model.batches(source, 4, training=False, augment=LAYERS.RandomFlip())
    plain = model.batches(source, 4, training=False)
    np.testing.assert_array_equal(*(next(iter(one))[0] for one in (whole, plain)))  # in evaluation nothing is


@pytest.mark.parametrize("augment", [False, lambda original, objects, seed: (original.whole()[:300, :300], objects)])
def test_no_augmentation_and_a_function(augment):
    source = Rectangles(2, (300, 300))
    model = SSD300(backbone="tiny", classes=source.classes)
    images, _ = next(iter(model.batches(source, 2, training=True, augment=augment)))
    expected = {source.image(i).tobytes() for i in range(2)}
    assert {image.astype("uint8").tobytes() for image in images.numpy()} == expected


ON_JAX = """
import sys
sys.path.insert(0, sys.argv[1])
import keras
from test_transforms import LAYERS, check

assert keras.backend.backend() == "jax"
check([LAYERS.RandomFlip(), LAYERS.RandomColorJitter(brightness_factor=0.1, contrast_factor=0.1)], kept={2})
"""


@pytest.mark.needs("jax")
def test_on_jax():
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    command = [sys.executable, "-c", ON_JAX, ROOT / "tests" / "data"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr[-3000:]


# --- albumentations

albumentations = pytest.mark.needs("albumentations")


def compose(*transforms, form="pascal_voc", **options):
    import albumentations as A

    made = [getattr(A, name)(**arguments) for name, arguments in transforms]
    return A.Compose(made, bbox_params=A.BboxParams(form, **options))


FLIP = ("HorizontalFlip", {"p": 0.5})
BRIGHTER = ("RandomBrightnessContrast", {"brightness_limit": 0.1, "contrast_limit": 0.1, "p": 1})
PIPELINES = {
    "coco": (lambda: compose(FLIP, form="coco", label_fields=["names", "ids"]), {2}),
    "yolo": (lambda: compose(FLIP, BRIGHTER, form="yolo"), {2}),
    "pascal_voc": (lambda: compose(("VerticalFlip", {"p": 1}), label_fields=["labels"]), {2}),
    "crop": (lambda: compose(("Crop", {"x_min": 20, "y_min": 15, "x_max": 150, "y_max": 100})), {1}),
    "smaller": (lambda: compose(("Resize", {"height": 60, "width": 80})), {2}),
    "min_area": (lambda: compose(FLIP, min_area=200), {1}),
    "one of": (lambda: one_of(), {2}),
}


def one_of():
    import albumentations as A

    parts = [A.OneOf([A.HorizontalFlip(p=1), A.VerticalFlip(p=1)], p=1)]
    return A.Compose(parts, bbox_params=A.BboxParams("albumentations"))


@albumentations
@pytest.mark.parametrize(("pipeline", "kept"), PIPELINES.values(), ids=PIPELINES)
def test_albumentations(pipeline, kept):
    check(pipeline(), 2.1, kept)


@albumentations
def test_albumentations_see_the_images_own_pixels():
    """A crop of 100 pixels of an image of 240 times 320 is enlarged to the network's size."""
    crop = ("Crop", {"x_min": 40, "y_min": 40, "x_max": 280, "y_max": 220})
    check(compose(crop), 2.1, {1}, Rectangles(size=(240, 320)))


@albumentations
def test_turned_by_albumentations():
    check(compose(("Affine", {"rotate": (-10, 10), "scale": (0.8, 1.2), "p": 1})), 4.1)
    check(compose(FLIP), kept={0}, source=Empty())


@albumentations
def test_albumentations_are_a_function_of_the_seed():
    pipeline = compose(FLIP, ("RandomBrightnessContrast", {"brightness_limit": 0.5, "p": 1}))
    first = samples(pipeline, 0)
    np.testing.assert_array_equal(first, samples(pipeline, 0))
    np.testing.assert_array_equal(first[2:], samples(pipeline, 0, first_step=2)[:2])
    assert not np.array_equal(first, samples(pipeline, 1))
    assert pipeline.processors["bboxes"].params.format == "pascal_voc"


@albumentations
def test_albumentations_that_do_not_move_boxes_are_refused():
    import albumentations as A

    class Masks(A.DualTransform):
        """Moves images and masks."""

    for value in (A.HorizontalFlip(), A.Compose([A.HorizontalFlip()])):
        with pytest.raises(ValueError, match=f"^`augment` must be an .*bbox_params.*got {type(value).__name__}"):
            batches(Rectangles(), 2, SIZE, training=True, augment=value)
    with pytest.raises(ValueError, match="^`augment` must move boxes as it moves pixels; got Masks, which does not"):
        nested = A.Compose([A.OneOf([A.HorizontalFlip(), Masks()])], bbox_params=A.BboxParams("yolo"))
        batches(Rectangles(), 2, SIZE, training=True, augment=nested)


@albumentations
def test_normalized_images_are_refused():
    with pytest.raises(Exception, match=r"`augment` must leave images uint8 RGB, .*got float32 \(120, 160, 3\)"):
        check(compose(("Normalize", {})))


@albumentations
def test_the_documentations_example(tmp_path, monkeypatch):
    (code,) = re.findall(r"^```py\n(.*?)^```", (ROOT / "docs" / "data.md").read_text(), flags=re.S | re.M)
    monkeypatch.chdir(tmp_path)
    model, scenes = SSD300(backbone="tiny", classes=Rectangles.classes), Rectangles()
    scope = {"model": model, "scenes": scenes}
    exec(compile(code, "docs/data.md", "exec"), scope)
    images, labels = next(iter(scope["dataset"]))
    assert images.shape[1:] == (300, 300, 3) and (labels["labels"] >= 0).numpy().any()
