"""Train the embedded MultiBox from scratch on rendered scenes; measure it on scenes and on a class never trained on.

Cost: about 35 minutes on 2 cores, of which 20 train the embedded network. Expected: at least 0.80 of the held-out
objects found with 10 boxes at overlap 0.5. Writes `results/multibox_shapes.json`, two images and the weights
`keras_det/weights/embedded/multibox_shapes.weights.h5`.

With --measure nothing is trained: the embedded network is measured again, for a change of what is done with a trained
one, and the other networks' metrics are kept.

    python benchmarks/prove_multibox_shapes.py [--resume] [--measure]
"""

import json
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
from results import FOLDER, of_training, write_result, write_weights

from keras_det import visualize
from keras_det.data import images_of, load
from keras_det.metrics import GroundTruth, proposals
from keras_det.models import MultiBox
from keras_det.training import RECIPES, evaluate, train
from keras_det.training.multibox import at_scales, find_boxes, fixed_boxes, uniform_boxes
from keras_det.training.run import read_csv

SEED = 0
HELD_OUT = {"images": 1000, "seed": 1}
RUN = Path("runs/prove/multibox_shapes")
BUDGETS = (1, 3, 5, 10, 25, 50, 100)
UNSEEN = "star"  # the class whose boxes the second network never sees
UNSEEN_STEPS, CURVE_STEPS = 1500, 600


def main():
    recipe = RECIPES["multibox-shapes"]
    held_out = load(recipe.data, **HELD_OUT)
    if "--measure" in sys.argv:
        result = json.loads((FOLDER / "multibox_shapes.json").read_text())["metrics"]
        write_result("multibox_shapes", result | measured(MultiBox(weights="shapes"), held_out), SEED)
        return
    resume = "--resume" in sys.argv
    source = load(recipe.data, **recipe.data_options)
    model, minutes = trained(recipe, source, RUN, resume)
    path = write_weights(model, "multibox_shapes")
    shutil.copy(RUN / "curves.png", FOLDER / "multibox_shapes_curves.png")
    shutil.copy(RUN / "detections.png", FOLDER / "multibox_shapes_detections.png")
    result = of_training(model, recipe, minutes, path) | {
        **measured(model, held_out),
        "unseen_class": unseen_class(recipe, source, resume),
        "matching": matching_curves(recipe, source, resume),
    }
    write_result("multibox_shapes", result, SEED)
    print(f"after {minutes:.1f} minutes")


def measured(model, held_out):
    """The embedded network's metrics."""
    metrics, _ = evaluate(model, held_out)
    print(f"detection rate@10 {metrics['detection_rate@10']:.4f}")
    return {"held_out": {**HELD_OUT, **metrics}, "detection_rate": beside_fixed_boxes(model, held_out)}


def trained(recipe, source, folder, resume):
    """The network of a recipe and the minutes its training took; a whole run is loaded, not repeated."""
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    keras.utils.set_random_seed(SEED)
    config = MultiBox.fit_config(recipe.config, source, recipe.augment, SEED)
    model = MultiBox(**config)
    val = load(recipe.data, **recipe.val_options)
    rows = train(model, recipe, source, folder, val, seed=SEED, resume=(folder / "last.weights.h5").exists(), verbose=2)
    return model, sum(row["seconds"] for row in rows) / 60


def beside_fixed_boxes(model, source):
    """Detection rate at each budget, beside the priors and random boxes, at one and at two scales."""
    truth, results = find_boxes(model, source)
    second = find_boxes(at_scales(model, 2), source)[1]
    seen = np.random.default_rng(SEED).permutation(model.priors)
    rows = {
        "network": results,
        "network, max center + 1 scale": second,
        "its priors": fixed_boxes(truth, seen),
        "uniform boxes": fixed_boxes(truth, uniform_boxes(len(seen), SEED)),
    }
    table = {}
    for name, found in rows.items():
        rates = proposals.detection_rate(proposals.best_ious(truth, found, BUDGETS))
        table[name] = {f"@{budget}": round(float(rate), 4) for budget, rate in zip(BUDGETS, rates)}
        print(f"{name:32}", *(f"{rate:7.3f}" for rate in rates))
    return table


def unseen_class(recipe, source, resume):
    """Detection rate on a class that no training scene shows, beside the classes that were seen."""
    seen = [name for name in source.classes if name != UNSEEN]
    scenes = images_of(source.subset(range(120_000)), seen)
    short = recipe.replace(steps=UNSEEN_STEPS)
    model, minutes = trained(short, scenes, RUN.with_name("multibox_unseen"), resume)
    held_out = load(recipe.data, **HELD_OUT)
    _, results = find_boxes(model, held_out)
    truth = GroundTruth.from_source(held_out)
    best = proposals.best_ious(truth, results, (10, 100))
    labels = truth.labels[~truth.ignored]
    table = {"steps": UNSEEN_STEPS, "training_minutes": round(minutes, 2), "training_scenes": len(scenes)}
    for label, name in enumerate(truth.classes):
        rates = proposals.detection_rate(best[:, labels == label])
        table[name + (" (never seen)" if name == UNSEEN else "")] = dict(zip(("@10", "@100"), rates.round(4).tolist()))
    print(table)
    return table


def matching_curves(recipe, source, resume):
    """The same steps with prior matching and with matching to predictions: the loss, and the held-out objects found.

    The second assignment is the one of least loss, so its loss is the lower one by definition; what shows which learns
    sooner is the detection rate.
    """
    epoch = 20
    short = recipe.replace(steps=CURVE_STEPS, steps_per_epoch=epoch, evaluate_every=5)
    losses, rates = {}, {}
    for matching in ("priors", "predictions"):
        plan = short.replace(config=recipe.config | {"matching": matching})
        folder = RUN.with_name(f"multibox_{matching}")
        trained(plan, source, folder, resume)
        rows = read_csv(folder / "results.csv")
        losses[matching] = [row["loss"] for row in rows]
        rates[matching] = {epoch * row["epoch"]: row["val_detection_rate@10"] for row in rows if row["epoch"] % 5 == 0}
    lines = {f"{name}: loss / 50": (np.arange(1, len(y) + 1) * epoch, np.array(y) / 50) for name, y in losses.items()}
    lines |= {f"{name}: detection rate@10": (list(y), list(y.values())) for name, y in rates.items()}
    path = FOLDER / "multibox_matching_curves.png"
    visualize.plot_lines(lines, path, xlabel="steps", ylabel="200 held-out scenes; loss", ylim=(0, 1))
    print("detection rate@10 by steps:", rates)
    return {"detection_rate@10_by_steps": rates, "loss_every_20_steps": losses}


if __name__ == "__main__":
    main()
