"""The protocol of ClassGeneric's section 4 on rendered scenes, from scratch, over three seeds; the embedded weights.

This is what happens with weak pretraining, which ends with a third to a half of the class images named wrongly, and
with more boxes than class labels; in `class_generic_pretraining.py` both are as in the paper.

Two of the six classes, drawn at random (seed 0), are held out: half of the runs train on as many scenes that show none
of them, and the evaluation is on scenes that show nothing else. Class labels, of all six classes, are a source of their
own: images of one object each, framed as photographs are, whose boxes nobody sees. Each seed has these runs:

    recognition from random weights          the pretraining, on class labels alone
    boxes, random or pretrained start, without the held-out classes or with all: the four cells of Tables 1 and 2
    the same from few scenes with boxes, since pretraining is for labels that are scarce; first seed only
    recognition from the detector            the reverse transfer of section 4.2, its last paragraph; first seed only

Cost: about 40 minutes on 2 free cores for all seeds. Prints Tables 1 and 2, writes `results/class_generic_shapes.json`
and the paper's Figures 1 and 2 as `results/class_generic_shapes_*.png`, and the weights of the pretrained network of
the first seed, trained with all boxes of many scenes. Each seed that is done is kept in `runs/prove/`; `--resume` goes
on with the others.

    python benchmarks/prove_class_generic_shapes.py [--resume]
"""

import argparse
import dataclasses
import hashlib
import itertools
import json
import shutil
import time
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from results import FOLDER, write_result, write_weights

from keras_det import visualize
from keras_det.boxes import iou
from keras_det.data import images_of, load
from keras_det.data.resize import resize
from keras_det.data.source import Source
from keras_det.files import whole, write_image, write_text
from keras_det.metrics import proposals
from keras_det.models import ClassGeneric
from keras_det.training.evaluation import evaluate
from keras_det.weights.registry import EMBEDDED_FOLDER

SEEDS = (0, 1, 2)
HELD_OUT = 2  # classes
SIZE = 128  # pixels of the network's input
SCENES = {"many": 10_000, "few": 500}  # with boxes
CLASS_IMAGES = 6_000
VAL_SCENES, VAL_HELD_OUT, VAL_CLASS_IMAGES = 600, 400, 600
BATCH = 32
STEPS = {"boxes": 600, "classes": 1000}
CURVE = 10  # points of a curve of the loss
LEARNING_RATE = 2e-3
NETWORK = {
    "backbone": "tiny",
    "image_size": SIZE,
    "grid_shape": (16, 16, 7, 5),
    "scales": (0.08, 0.6),
    "aspect_ratios": (0.45, 2.2),
    "widths": (0.5, 0.5, 0.5, 0.5),
    "sub_cell": True,
}
WEIGHTS = "class_generic_shapes"
RUN = Path("runs/prove/class_generic_shapes")
STARTS, LABELLED = ("pretrained", "random"), ("held-out removed", "all")
EVALUATED = ("held-out scenes", "all scenes")


class InMemory(Source):
    """Images that are rendered once and kept, with their annotations."""

    def __init__(self, name, classes, pixels, annotations):
        self.name, self.classes = name, tuple(classes)
        self.pixels, self.annotations = pixels, annotations

    def __len__(self):
        return len(self.pixels)

    def annotation(self, i):
        """The objects of image `i`."""
        return self.annotations[self._check_index(i)]

    def image(self, i):
        """Image `i`."""
        return self.pixels[self._check_index(i)]

    def path(self, i):
        """No image has a file."""
        return None


def rendered(source, size=SIZE, frame=None):
    """A source's images, resized as the detector does; `frame(image, annotation)` crops them first."""
    pixels = np.empty((len(source), size, size, 3), "uint8")
    annotations = []
    for i in range(len(source)):
        image, annotation = source.image(i), source.annotation(i)
        if frame is not None:
            image, annotation = frame(image, annotation)
        pixels[i] = np.round(resize(image[None].astype("float32"), (size, size))[0])
        annotations.append(dataclasses.replace(annotation, height=size, width=size))
    return InMemory(source.name, source.classes, pixels, annotations)


def framing(seed):
    """A function that cuts a square around an image's only object, 1.1 to 2 times its side, not quite centered."""
    g = np.random.default_rng(seed)

    def frame(image, annotation):
        box, size = annotation.boxes[0] * len(image), len(image)
        side = min(size, (box[2:] - box[:2]).max() * g.uniform(1.1, 2.0))
        center = (box[:2] + box[2:]) / 2 + g.uniform(-0.1, 0.1, 2) * side
        top, left = np.clip(center - side / 2, 0, size - side).astype(int)
        cut = image[top : top + int(side), left : left + int(side)]
        whole = np.array([[0, 0, 1, 1]], "float32")  # says nothing of where the object is
        return cut, dataclasses.replace(annotation, boxes=whole)

    return frame


def train(model, source, supervision, seed):
    """Train on one kind of label; seconds, and the mean loss of each tenth of the steps."""
    steps = STEPS[supervision]
    schedule = keras.optimizers.schedules.CosineDecay(0.0, steps - 50, warmup_target=LEARNING_RATE, warmup_steps=50)
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-4))
    batches = model.batches(source, BATCH, training=True, seed=seed, supervision=supervision, repeat=True)
    start = time.perf_counter()
    history = model.fit(batches, steps_per_epoch=steps // CURVE, epochs=CURVE, shuffle=False, verbose=0).history
    return time.perf_counter() - start, [round(value, 3) for value in history["loss"]]


def top1_error(model, source):
    """Fraction of the class images that the recognition layer names wrongly."""
    labels = np.array([source.annotation(i).labels[0] for i in range(len(source))])
    found = [np.asarray(model(source.pixels[i : i + 64])["classes"]).argmax(1) for i in range(0, len(source), 64)]
    return float((np.concatenate(found) != labels).mean())


def cell(*keys):
    """Name of an area in the results."""
    return " / ".join(keys)


def one_seed(seed, data):
    """All runs of one seed: metrics, precision-recall curves, models."""
    keras.utils.set_random_seed(seed)
    start = ClassGeneric(classes=data["classes"].classes, **NETWORK)
    auc, curves, seconds, losses, models = {}, {}, {}, {}, {}
    weights = {"random": start.get_weights()}

    def run(name, model, source, supervision):
        seconds[name], losses[name] = train(model, source, supervision, seed)

    run("recognition, random start", start, data["classes"], "classes")
    errors = {"random start": top1_error(start, data["val classes"])}
    weights["pretrained"] = start.get_weights()
    for count, begin, labeled in itertools.product(SCENES if seed == SEEDS[0] else ["many"], STARTS, LABELLED):
        model = ClassGeneric(classes=data["classes"].classes, **NETWORK)
        model.set_weights(weights[begin])
        source = data["scenes" if labeled == "all" else "scenes without held-out"].take(SCENES[count])
        run(f"boxes, {count}, {begin}, {labeled}", model, source, "boxes")
        for evaluated in EVALUATED:
            metrics, evaluator = evaluate(model, data[evaluated], batch_size=50)
            auc[cell(count, begin, labeled, evaluated)] = metrics["pr_auc"]
            curves[count, begin, labeled, evaluated] = proposals.agnostic_curve(evaluator.truth, evaluator.results())
        models[count, begin, labeled] = model
        found = [f"{value:.3f}" for value in list(auc.values())[-len(EVALUATED) :]]
        print(f"seed {seed}, {count}, {begin}, {labeled}:", *found, flush=True)
    if seed == SEEDS[0]:
        detector = ClassGeneric(classes=data["classes"].classes, **NETWORK)
        detector.set_weights(models["many", "random", "all"].get_weights())
        run("recognition, from the detector", detector, data["classes"], "classes")
        errors["from the detector"] = top1_error(detector, data["val classes"])
    print(f"seed {seed}, top-1 error:", errors, flush=True)
    return {"auc": auc, "top1_error": errors, "seconds_of_training": seconds, "losses": losses}, curves, models


def held_out_classes():
    """Names of the classes that are held out."""
    classes = load("shapes", images=1).classes
    return [classes[k] for k in sorted(np.random.default_rng(0).choice(len(classes), HELD_OUT, replace=False))]


def prepare(held_out):
    """Every source, rendered."""
    most = max(SCENES.values())
    scenes = load("shapes", images=10 * most, seed=0)
    kept = [k for k, name in enumerate(scenes.classes) if name not in held_out]
    free = (i for i in range(len(scenes)) if np.isin(scenes.annotation(i).labels, kept).all())
    val = load("shapes", images=40 * VAL_HELD_OUT, seed=1)
    single = {"size": 200, "objects": (1, 1)}
    return {
        "scenes": rendered(scenes.take(most)),
        "scenes without held-out": rendered(scenes.subset(list(itertools.islice(free, most)))),
        "classes": rendered(load("shapes", images=CLASS_IMAGES, seed=2, **single), frame=framing(2)),
        "val classes": rendered(load("shapes", images=VAL_CLASS_IMAGES, seed=3, **single), frame=framing(3)),
        "all scenes": rendered(val.take(VAL_SCENES)),
        "held-out scenes": rendered(images_of(val, held_out).take(VAL_HELD_OUT)),
    }


def print_tables(auc, held_out):
    """Tables 1 and 2 in the paper's layout, then the same on all scenes; mean and range over the seeds."""
    titles = {
        "held-out removed": f"AUC after training without the boxes of {len(held_out)} classes ({', '.join(held_out)})",
        "all": "AUC after training on all bounding box labels",
    }
    for count, evaluated in itertools.product(SCENES, EVALUATED):
        for number, (labeled, title) in enumerate(titles.items(), start=1):
            print(f"\nTable {number}: {title}; {SCENES[count]} scenes; {evaluated}")
            for begin in STARTS:
                values = auc[cell(count, begin, labeled, evaluated)]
                print(f"  {begin:12s} {np.mean(values):.3f}  ({min(values):.3f} to {max(values):.3f})")


def draw_curves(curves, path):
    """Figure 1: precision and recall in the four cases, on the held-out classes; from many scenes and from few."""
    figure = Figure((11, 4.5), layout="constrained")
    axes = dict(zip(SCENES, figure.subplots(1, len(SCENES))))
    for (count, begin, labeled, evaluated), curve in curves.items():
        if evaluated == EVALUATED[0]:
            line, color = "-" if begin == "pretrained" else "--", "C0" if labeled == "all" else "C3"
            name = f"{begin}, boxes: {labeled}, AUC {proposals.pr_auc(curve):.3f}"
            axes[count].plot(curve.recall, curve.precision, line, color=color, label=name)
    for count, axis in axes.items():
        title = f"held-out classes, trained on {SCENES[count]} scenes"
        axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=title)
        axis.legend(fontsize=8, loc="lower left")
    with whole(path) as temporary:
        figure.savefig(temporary, dpi=110)


def draw_losses(losses, path):
    """The objective of the box runs on their way, means over the seeds: where each start is ahead."""
    steps = STEPS["boxes"] // CURVE * (np.arange(CURVE) + 0.5)
    lines = {
        f"{begin}, {SCENES[count]:,} scenes": (steps, np.mean(losses[f"boxes, {count}, {begin}, all"], axis=0))
        for count, begin in itertools.product(SCENES, STARTS)
    }
    visualize.plot_lines(lines, path, xlabel="step", ylabel="cross-entropy over its least value", ylim=(0.8, 4.5))


def draw_images(model, source, path, each=4):
    """Figure 2: scenes of held-out classes, correct detections, then incorrect ones; truth green, found blue."""
    rows = {True: [], False: []}
    for i in range(len(source)):
        truth = source.annotation(i).boxes
        boxes = model.detections(source.pixels[i][None])["boxes"][0][: len(truth)]
        paired_iou = np.asarray(iou(truth, boxes))
        correct = bool((paired_iou.max(axis=1) > 0.5).all() and len(set(paired_iou.argmax(axis=1))) == len(truth))
        if len(rows[correct]) < each:
            rows[correct].append(draw(source.pixels[i], truth, boxes))
    write_image(path, visualize.grid(rows[True] + rows[False], columns=each))


def draw(pixels, truth, boxes, scale=2):
    """An image with the true boxes in green and the others in blue."""
    image = Image.fromarray(pixels).resize((SIZE * scale, SIZE * scale))
    canvas = ImageDraw.Draw(image)
    for rows, color in ((truth, (0, 255, 0)), (boxes, (40, 80, 255))):
        for ymin, xmin, ymax, xmax in rows * SIZE * scale:
            canvas.rectangle((xmin, ymin, max(xmax - 1, xmin), max(ymax - 1, ymin)), outline=color, width=2)
    return image


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resume", action="store_true", help="leave out the seeds that are done")
    if not parser.parse_args().resume:
        shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir(parents=True, exist_ok=True)
    held_out = held_out_classes()
    left = [seed for seed in SEEDS if not (RUN / f"{seed}.json").exists()]
    data = prepare(held_out) if left else None
    for seed in left:
        metrics, curves, models = one_seed(seed, data)
        if seed == SEEDS[0]:
            unseen = models["many", "pretrained", "held-out removed"]
            draw_images(unseen, data["held-out scenes"], FOLDER / "class_generic_shapes_detections.png")
            draw_curves(curves, FOLDER / "class_generic_shapes_curves.png")
            write_weights(models["many", "pretrained", "all"], WEIGHTS)
        write_text(RUN / f"{seed}.json", json.dumps(metrics))
    write([json.loads((RUN / f"{seed}.json").read_text()) for seed in SEEDS], held_out, data or prepare(held_out))


def write(parts, held_out, data):
    """Print the tables and write the metrics of all seeds, and of the embedded weights as they are loaded."""
    path, model = EMBEDDED_FOLDER / f"{WEIGHTS}.weights.h5", ClassGeneric(**NETWORK)
    every = {
        kind: {name: [part[kind][name] for part in parts if name in part[kind]] for name in parts[0][kind]}
        for kind in ("auc", "top1_error", "losses", "seconds_of_training")
    }
    print_tables(every["auc"], held_out)
    draw_losses(every["losses"], FOLDER / "class_generic_shapes_losses.png")
    result = {
        "held_out": held_out,
        "network": NETWORK,
        "steps": STEPS,
        "scenes": SCENES,
        "class_images": CLASS_IMAGES,
        "evaluated": {"all scenes": VAL_SCENES, "held-out scenes": VAL_HELD_OUT, "class images": VAL_CLASS_IMAGES},
        "cells_in_use": model.grid.size,
        "parameters": model.count_params(),
        **every,
        "embedded": {name: evaluate(ClassGeneric(weights=path), data[name], batch_size=50)[0] for name in EVALUATED},
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "megabytes": round(path.stat().st_size / 1e6, 2),
    }
    write_result("class_generic_shapes", result, list(SEEDS))


if __name__ == "__main__":
    main()
