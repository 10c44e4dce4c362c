"""When does pretraining on class labels help class-generic detection? ClassGeneric's sections 3.3 and 4.2, rendered.

Two of the six classes, drawn at random (seed 0), are held out. A network of 64 pixels is pretrained on 20,000 framed
images of one object each, whose boxes nobody sees, until it names more than nine in ten of new ones rightly. From it
and from random weights, detection is trained from the boxes of 50 to 600 scenes: any scenes, or such as show none of
the held-out classes. Three seeds, each with initial weights, pretraining and scenes of its own. The learning
rate of each start is chosen once, on validation scenes of the first seed.

Cost: about an hour on 2 free cores. Each cell that is done is kept in `cells/class_generic_pretraining.json`,
from which the script continues, a seed at a time. Writes `results/class_generic_pretraining.json` and the AUC against
the number of scenes, `results/class_generic_pretraining.png`.

    python benchmarks/class_generic_pretraining.py
"""

import itertools
import json
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from prove_class_generic_shapes import NETWORK as LARGE
from prove_class_generic_shapes import framing, held_out_classes, rendered, top1_error
from results import FOLDER, write_result

from keras_det.data import images_of, load
from keras_det.files import write_text
from keras_det.models import ClassGeneric
from keras_det.training.evaluation import evaluate

SEEDS = (0, 1, 2)
SIZE = 64  # pixels of the network's input
NETWORK = LARGE | {"image_size": SIZE, "grid_shape": (8, 8, 7, 5)}
CLASS_IMAGES, VAL_CLASS_IMAGES = 20_000, 1000
SCENES = (50, 100, 300, 600)  # with boxes
VALIDATION, EVALUATED = 200, {"all scenes": 400, "held-out scenes": 300}
BATCH = 32
CLASS_ROUNDS = ((4000, 2e-3), (2000, 1e-3), (2000, 1e-3), (2000, 1e-3))  # steps and rates of pretraining, until
HIGHEST_ERROR = 0.1  # of new images is named wrongly
BOX_STEPS = 300
RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3, 32e-3, 64e-3, 128e-3)  # of detection
SWEPT = (300,)  # scenes that the rates are compared on
STARTS, BOXES = ("pretrained", "random"), ("all", "held-out removed")
RUN = Path("runs/prove/class_generic_pretraining")  # of weights
CELLS = FOLDER.parent / "cells" / "class_generic_pretraining.json"


class Training:
    """Trains on one kind of label, any number of times with one compiled step."""

    def __init__(self, classes, supervision):
        self.supervision = supervision
        self.model = ClassGeneric(classes=classes, **NETWORK)
        self.peak, self.steps = (keras.Variable(1.0, trainable=False) for _ in range(2))
        self.model.compile(keras.optimizers.AdamW(WarmCosine(self.peak, self.steps), weight_decay=1e-4))

    def run(self, weights, source, steps, rate, seed):
        """Train from these weights."""
        self.model.set_weights(weights)
        for variable in self.model.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))
        self.peak.assign(rate)
        self.steps.assign(steps)
        options = {"supervision": self.supervision, "max_objects": 6, "repeat": True}
        batches = self.model.batches(source, BATCH, training=True, seed=seed, **options)
        self.model.fit(batches, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)


class WarmCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Fifty steps of linear warm-up to the value of a variable, then a cosine to zero at that of another."""

    def __init__(self, peak, steps):
        self.peak, self.steps = peak, steps

    def __call__(self, step):
        """The rate at a step."""
        step = keras.ops.cast(step, "float32")
        down = keras.ops.clip((step - 50) / (self.steps - 50), 0.0, 1.0)
        return self.peak * keras.ops.minimum(step / 50, (1 + keras.ops.cos(np.pi * down)) / 2)


def prepare(held_out):
    """Every source, rendered; a seed's scenes are rows of their own."""
    each, single = max(SCENES), {"size": 200, "objects": (1, 1)}
    scenes = load("shapes", images=10 * each * len(SEEDS), seed=0)
    kept = [k for k, name in enumerate(scenes.classes) if name not in held_out]
    free = (i for i in range(len(scenes)) if np.isin(scenes.annotation(i).labels, kept).all())
    evaluated = load("shapes", images=40 * EVALUATED["held-out scenes"], seed=1)
    return {
        "all": rendered(scenes.take(each * len(SEEDS)), SIZE),
        "held-out removed": rendered(scenes.subset(list(itertools.islice(free, each * len(SEEDS)))), SIZE),
        "classes": rendered(load("shapes", images=CLASS_IMAGES, seed=2, **single), SIZE, framing(2)),
        "validation classes": rendered(load("shapes", images=VAL_CLASS_IMAGES, seed=3, **single), SIZE, framing(3)),
        "validation": rendered(load("shapes", images=VALIDATION, seed=4), SIZE),
        "all scenes": rendered(evaluated.take(EVALUATED["all scenes"]), SIZE),
        "held-out scenes": rendered(images_of(evaluated, held_out).take(EVALUATED["held-out scenes"]), SIZE),
    }


def kept(name, make, *arguments):
    """The value of this name in `CELLS`, where it is missing made by `make(*arguments)`."""
    cells = json.loads(CELLS.read_text()) if CELLS.exists() else {}
    if name not in cells:
        cells[name] = make(*arguments)
        print(f"{name}: {cells[name]}", flush=True)
        write_text(CELLS, json.dumps(cells, indent=1) + "\n")
    return cells[name]


class Runs:
    """The runs on the prepared sources, each from a start of its seed."""

    def __init__(self, data):
        self.data, self.starts = data, {}
        self.trainings = {
            supervision: Training(data["classes"].classes, supervision) for supervision in ("classes", "boxes")
        }

    def start(self, kind, seed):
        """Weights: random ones, or those pretrained from them."""
        if (kind, seed) not in self.starts:
            keras.utils.set_random_seed(seed)
            model = ClassGeneric(classes=self.data["classes"].classes, **NETWORK)
            if kind == "pretrained":
                model.load_weights(RUN / f"pretrained, seed {seed}.weights.h5")
            self.starts[kind, seed] = model.get_weights()
        return self.starts[kind, seed]

    def pretrain(self, seed, done):
        """A round of training on class labels; the top-1 error on new images."""
        training, (steps, rate) = self.trainings["classes"], CLASS_ROUNDS[done]
        weights = self.start("pretrained" if done else "random", seed)
        training.run(weights, self.data["classes"], steps, rate, seed + len(SEEDS) * done)
        error = top1_error(training.model, self.data["validation classes"])
        self.starts["pretrained", seed] = training.model.get_weights()
        training.model.save_weights(RUN / f"pretrained, seed {seed}.weights.h5", optimizer=False)
        return {"top1_error": error}

    def detection(self, seed, start, scenes, boxes, rate, evaluated):
        """Train on boxes; the AUC of each evaluated source."""
        training, first = self.trainings["boxes"], seed * max(SCENES)
        source = self.data[boxes].subset(range(first, first + scenes))
        training.run(self.start(start, seed), source, BOX_STEPS, rate, seed)
        auc = {name: evaluate(training.model, self.data[name], batch_size=50)[0]["pr_auc"] for name in evaluated}
        return {"auc": auc}


def pretrained(runs, seed):
    """Rounds of pretraining until the error is low enough: what `Runs.pretrain` gave in each."""
    rounds = []
    while not rounds or (rounds[-1]["top1_error"] >= HIGHEST_ERROR and len(rounds) < len(CLASS_ROUNDS)):
        done = len(rounds)
        rounds.append(kept(f"pretraining, seed {seed}, round {done}", runs.pretrain, seed, done))
    return rounds


def swept(runs):
    """AUC on validation scenes by start and rate: the mean over the numbers of scenes of `SWEPT`."""

    def auc(start, rate, scenes):
        name = f"rate {rate}, {start}, {scenes} scenes"
        return kept(name, lambda: runs.detection(SEEDS[0], start, scenes, "all", rate, ["validation"]))["auc"][
            "validation"
        ]

    return {start: {rate: np.mean([auc(start, rate, n) for n in SWEPT]) for rate in RATES} for start in STARTS}


def meeting(auc, boxes, evaluated):
    """Scenes from which pretraining is no longer ahead, by means over the seeds, linear in the logarithm; or None."""
    lines = [[np.mean(auc[f"{start} / {n} / {boxes} / {evaluated}"]) for n in SCENES] for start in STARTS]
    ahead = np.subtract(*lines)
    if ahead[0] <= 0:
        return SCENES[0]
    for (n, here), (following, there) in itertools.pairwise(zip(SCENES, ahead)):
        if there <= 0:
            return round(float(n * (following / n) ** (here / (here - there))))
    return None


def draw(auc, meetings, path):
    """AUC against the number of scenes with boxes: means as lines, seeds as points, a rule where the starts meet."""
    figure = Figure((11, 4.8), layout="constrained")
    for axis, evaluated in zip(figure.subplots(1, 2), reversed(EVALUATED)):
        for start, boxes in itertools.product(STARTS, BOXES):
            values = np.array([auc[f"{start} / {n} / {boxes} / {evaluated}"] for n in SCENES])
            line, color = "-" if start == "pretrained" else "--", "C0" if boxes == "all" else "C3"
            axis.plot(SCENES, values.mean(axis=1), line, color=color, label=f"{start}, boxes: {boxes}")
            axis.plot(SCENES, values, ".", color=color, alpha=0.4, markersize=5)
        for boxes in BOXES:
            if meetings[evaluated][boxes] is not None:
                axis.axvline(
                    meetings[evaluated][boxes], color="C0" if boxes == "all" else "C3", linewidth=0.8, alpha=0.5
                )
        axis.set(xscale="log", xlabel="scenes with boxes", ylabel="AUC at IoU 0.5", title=evaluated, ylim=(0, None))
        axis.set_xticks(SCENES, labels=[str(n) for n in SCENES])
        axis.minorticks_off()
        axis.legend(fontsize=8, loc="upper left")
    figure.savefig(path, dpi=110)


def main():
    RUN.mkdir(parents=True, exist_ok=True)
    held_out = held_out_classes()
    runs = Runs(prepare(held_out))
    pretraining, auc = [], {}
    for seed in SEEDS:
        pretraining.append(pretrained(runs, seed))
        if seed == SEEDS[0]:
            sweep = swept(runs)
            rates = {start: max(of_rate, key=of_rate.get) for start, of_rate in sweep.items()}
        for start, scenes, boxes in itertools.product(STARTS, SCENES, BOXES):
            rate = rates[start]
            name = f"seed {seed}, {start}, {scenes} scenes, {boxes}, rate {rate}"
            found = kept(name, runs.detection, seed, start, scenes, boxes, rate, EVALUATED)
            for evaluated, value in found["auc"].items():
                auc.setdefault(f"{start} / {scenes} / {boxes} / {evaluated}", []).append(value)
    meetings = {name: {boxes: meeting(auc, boxes, name) for boxes in BOXES} for name in EVALUATED}
    draw(auc, meetings, FOLDER / "class_generic_pretraining.png")
    result = {
        "held_out": held_out,
        "network": NETWORK,
        "class_images": CLASS_IMAGES,
        "batch_size": BATCH,
        "pretraining_steps_and_rates": CLASS_ROUNDS,
        "detection_steps": BOX_STEPS,
        "detection_rates": rates,
        "validation_auc_by_rate": sweep,
        "evaluated": EVALUATED,
        "pretraining_top1_error": [[one["top1_error"] for one in rounds] for rounds in pretraining],
        "auc": auc,
        "curves_meet_at_scenes": meetings,
    }
    write_result("class_generic_pretraining", result, list(SEEDS))


if __name__ == "__main__":
    main()
