"""Input: images per second of one core through SSD's augmentation: `python benchmarks/input.py [FOLDER ...]`.

Each FOLDER holds JPEG images with VOC XML. From the files on disk to float32 batches of 300 pixels, photometric
distortion, expansion, patch sampling and horizontal flip: `keras_det.data.batches` beside albumentations (2.x, with
`pip install albumentations` into the environment that runs this), which does the same operations on the same files: in
the paper's order, colors first, and with the colors at the sample's size, as we have them. All run in one process
that is bound to one core, in alternating rounds; a rate is images by the seconds of processor time that a round took
with all its threads, so that other load on the machine counts little. Then what each part of the way takes, and the
part of a training step that waits for input, on all cores: steps of SSD300 on the tiny backbone on the last FOLDER's
images, beside the same steps on one batch that is there already.

Prints a table and writes `results/input.json`. Needs Linux.
"""

import argparse
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from results import write_result

from keras_det.data import SSDAugmentation, batches, load
from keras_det.data.augment import DRAWS, MIN_OVERLAPS, PATCH_ASPECT, PATCH_SCALE, TRIALS
from keras_det.metrics.matching import paired_iou
from keras_det.models import SSD300
from keras_det.weights.registry import CAFFE_MEAN

OUR_ORDER = "albumentations, colors last"
AHEAD = 4  # batches that may lie ready
BATCH = 32
SEED = 0
SIZE = (300, 300)
DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", default=[str(DATA / "voc2012" / "VOC2012"), str(DATA / "bccd")])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=8, help="batches of 32 in a round")
    parser.add_argument("--steps", type=int, default=12, help="training steps; 0 leaves them out")
    options = parser.parse_args()
    metrics = {"load_average": [round(value, 1) for value in os.getloadavg()], "setting": vars(options)}
    with multiprocessing.get_context("spawn").Pool(1, bind_to_a_core) as pool:
        for folder in options.folders:
            metrics[Path(folder).name] = pool.apply(compare, (folder, options))
    if options.steps:
        metrics["training_step"] = waiting(options)
    write_result("input", metrics, SEED)


def bind_to_a_core():
    """Before TensorFlow makes its threads: it takes as many as there are cores to run on."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def compare(folder, options):
    """Rates of the ways on one folder, and what each part of ours takes."""
    source = load(f"folder:{folder}")
    images = [source.annotation(i) for i in range(len(source))]
    memory = sum(3 * one.height * one.width for one in images)
    ways = {
        "keras_det": ours(source, augment=SSDAugmentation(SIZE)),
        "keras_det, decoded images kept": ours(source, augment=SSDAugmentation(SIZE), cache_bytes=memory),
        "keras_det, only resized": ours(source),
    }
    try:
        ways |= {name: baseline(source, last) for name, last in (("albumentations", False), (OUR_ORDER, True))}
    except ImportError:
        print("albumentations is not installed (pip install albumentations): no comparison")
    rates = rates_of(ways, source, options)
    medians = {name: round(float(np.median(values)), 1) for name, values in rates.items()}
    print(f"{source.name}: {len(source)} images, {memory / 1e6:.0f} MB decoded")
    for name, rate in medians.items():
        print(f"{name:34} {rate:8.1f} images a second of one core, {1000 / rate:5.2f} ms")
    found = {"images": len(source), "images_per_core_second": medians, "rounds": rates}
    for theirs in ("albumentations", OUR_ORDER):
        for name in ("keras_det", "keras_det, decoded images kept") if theirs in ways else ():
            ratios = np.array(rates[name]) / rates[theirs]
            found[f"{name} by {theirs}"] = round(float(np.median(ratios)), 2)
            print(f"{name} by {theirs}: {np.median(ratios):.2f} (rounds {ratios.min():.2f} to {ratios.max():.2f})")
    return found | {"milliseconds_of_parts": where_the_time_goes(source, options)}


def rates_of(ways, source, options):
    """Images by seconds of processor time of each way, which take turns, in each round."""
    rates = {name: [] for name in ways}
    for way in ways.values():
        for _ in range(max(2, -(-len(source) // BATCH))):  # all images read once, graphs compiled
            next(way)
    for _ in range(options.rounds):
        for name, way in ways.items():
            rates[name].append(options.batches * BATCH / seconds(way, options.batches))
    return rates


class UpTo(SSDAugmentation):
    """The augmentation cut off after one of its parts; what lacks is a gray image."""

    def __init__(self, part):
        super().__init__(SIZE)
        self.part = part

    def __call__(self, original, objects, seed):
        """One sample as far as it goes."""
        image = tf.fill((*SIZE, 3), 127.0)
        if self.part == "reading and batching":
            return image, objects
        source, target, objects = self.geometry(original, objects, tf.random.stateless_uniform([sum(DRAWS)], seed))
        if self.part == "decoding":
            pixels = original.crop(*tf.unstack(source))
            objects["labels"] += 0 * tf.cast(pixels[0, 0, 0], tf.int32)  # else nothing is decoded
        elif self.part == "resizing":
            image = original.paste(source, target, SIZE)
        return image, objects


PARTS = ("reading and batching", "window and boxes", "decoding", "resizing")


def where_the_time_goes(source, options):
    """Milliseconds of an image in each part, from the way cut off after it."""
    ways = {part: ours(source, augment=UpTo(part)) for part in PARTS}
    ways["colors and horizontal flip"] = ours(source, augment=SSDAugmentation(SIZE))
    rates = rates_of(ways, source, options)
    spent = np.diff([0.0] + [1000 / np.median(rates[part]) for part in ways])
    for part, milliseconds in zip(ways, spent):
        print(f"  {part:32} {milliseconds:5.2f} ms")
    return {part: round(float(milliseconds), 2) for part, milliseconds in zip(ways, spent)}


def seconds(way, count):
    """Processor time of so many batches, what is fetched ahead included: until the process is idle again."""
    settle()
    start = time.process_time()
    for _ in range(count):
        next(way)
    return settle() - start


def settle():
    """Wait until the process does nothing; its processor time."""
    before = time.process_time()
    while True:
        time.sleep(0.1)
        now = time.process_time()
        if now - before < 0.002:
            return now
        before = now


def ours(source, **options):
    return iter(batches(source, BATCH, SIZE, training=True, seed=SEED, repeat=True, **options))


def baseline(source, colors_last):
    """Batches by albumentations, without end."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations as A
    import cv2
    from albumentations.augmentations.crops.transforms import BaseCrop

    cv2.setNumThreads(1)

    class Patch(BaseCrop):
        """One of the whole image, a free patch, and a patch of a least overlap, drawn as ours."""

        @property
        def targets_as_params(self):
            return ["bboxes"]

        def get_params_dependent_on_data(self, params, data):
            height, width = params["shape"][:2]
            patch = choose(self.random_generator, np.asarray(data["bboxes"])[:, :4]) * [width, height, width, height]
            x, y, right, bottom = (int(value) for value in patch.round())
            return {"crop_coords": (x, y, max(right, x + 1), max(bottom, y + 1))}

    def jitter(**changes):
        still = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0)}
        return A.ColorJitter(**still | changes, p=0.5)

    contrast = A.RandomBrightnessContrast(brightness_limit=0, contrast_limit=0.5, p=0.5)
    saturation, hue = jitter(saturation=(0.5, 1.5)), jitter(hue=(-0.05, 0.05))
    geometry = [
        A.CropAndPad(percent=(0, 1.5), sample_independently=True, keep_size=False, fill=CAFFE_MEAN, p=0.5),
        Patch(p=1),
        A.Resize(*SIZE),
        A.HorizontalFlip(p=0.5),
    ]
    colors = [
        A.RandomBrightnessContrast(brightness_limit=32 / 255, contrast_limit=0, p=0.5),
        A.OneOf([A.Sequential([contrast, saturation, hue]), A.Sequential([saturation, hue, contrast])], p=1),
    ]
    boxes = A.BboxParams(format="albumentations", label_fields=["labels"], clip=True, min_visibility=0.1)
    steps = geometry + colors if colors_last else colors + geometry
    transform = A.Compose(steps, bbox_params=boxes, seed=SEED)
    rng = np.random.default_rng(SEED)

    def stream():
        images, rows = [], []
        while True:
            for i in rng.permutation(len(source)):
                one = source.annotation(int(i))
                image = cv2.imread(source.path(int(i)), cv2.IMREAD_COLOR_RGB)
                sample = transform(image=image, bboxes=one.boxes[:, [1, 0, 3, 2]], labels=one.labels)
                images.append(sample["image"])
                rows.append((sample["bboxes"], sample["labels"]))
                if len(images) == BATCH:
                    yield np.stack(images).astype("float32"), rows
                    images, rows = [], []

    return stream()


def choose(rng, boxes):
    """A patch `[4]` xyxy relative to the image, by section 2.2, in numpy."""
    kind = rng.integers(len(MIN_OVERLAPS) + 2)
    whole = np.array([0.0, 0.0, 1.0, 1.0])
    if kind > len(MIN_OVERLAPS):
        return whole
    draw = rng.random((TRIALS, 4))
    scale = PATCH_SCALE[0] + draw[:, 0] * (PATCH_SCALE[1] - PATCH_SCALE[0])
    lowest = np.maximum(PATCH_ASPECT[0], scale**2)
    root = np.sqrt(lowest + draw[:, 1] * (np.minimum(PATCH_ASPECT[1], scale**-2) - lowest))
    size = np.minimum(np.stack([scale * root, scale / root], 1), 1)
    low = draw[:, 2:] * (1 - size)
    patches = np.concatenate([low, low + size], 1)
    if kind == len(MIN_OVERLAPS):
        return patches[0]
    fits = np.flatnonzero(paired_iou(patches[:, None], boxes).max(1, initial=0) >= MIN_OVERLAPS[kind])
    return patches[fits[0]] if len(fits) else whole


def waiting(options):
    """The part of a step that waits for input, on all cores."""
    source = load(f"folder:{options.folders[-1]}")
    model = SSD300(backbone="tiny", classes=source.classes)
    model.compile(optimizer="sgd")
    stream = iter(model.batches(source, BATCH, training=True, seed=SEED, repeat=True))
    ready = next(stream)
    step = tf.function(lambda data: model.train_step(data))
    step(ready)
    times = {"step, batch at hand": [], "step, input beside it": [], "wait for input": []}
    for _ in range(options.steps):
        times["step, batch at hand"].append(timed(lambda: step(ready)))
    for _ in range(AHEAD + options.steps):  # the first ones were fetched ahead
        batch = []
        times["wait for input"].append(timed(lambda: batch.append(next(stream))))  # noqa: B023
        times["step, input beside it"].append(timed(lambda: step(batch[0])))  # noqa: B023
    means = {name: float(np.mean(values[-options.steps :])) for name, values in times.items()}
    fraction = means["wait for input"] / (means["wait for input"] + means["step, input beside it"])
    for name, value in means.items():
        print(f"{name:34} {1000 * value:8.1f} ms a batch of {BATCH}")
    print(f"fraction of a training step that waits for input: {fraction:.1%}")
    return {"seconds": means, "fraction_waiting": round(fraction, 4)}


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
