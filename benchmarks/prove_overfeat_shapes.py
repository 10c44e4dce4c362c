"""Train the embedded OverFeat from scratch on rendered scenes and measure it on scenes never trained on.

A narrow fast network learns classification, localization and detection at once, with batch normalization, which is then
folded into the convolutions. Cost: at most 40 minutes on 2 cores. Wanted: top-1 of at least 95 % on scenes with one
object, a localization error of at most 20 % that several scales make lower than the center window's, and mAP@0.5 of at
least 0.84. A regressor for each class (PCR in Figure 9) is trained afterwards, on the fixed backbone. Writes
`results/overfeat_shapes.json` and `keras_det/weights/embedded/overfeat_shapes.weights.h5`, whose `detect_threshold` is
that of the greatest F1 on the scenes that the training was watched on.

With --measure nothing is trained but the regressor for each class: the embedded weights are measured again, with the
recipe's arguments, for a change of what is done with a trained network.

    python benchmarks/prove_overfeat_shapes.py [--resume] [--steps N] [--measure]
"""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

import keras
from results import FOLDER, of_training, write_result

from keras_det.backbones import overfeat as networks
from keras_det.data import load
from keras_det.metrics.diagnosis import best_threshold
from keras_det.models import OverFeat
from keras_det.training import RECIPES, overfeat, train
from keras_det.training.multibox import find_boxes
from keras_det.weights.registry import EMBEDDED_FOLDER

SEED = 0
HELD_OUT = {"images": 300, "seed": 1}
RUN = Path("runs/prove/overfeat_shapes")
PATH = EMBEDDED_FOLDER / "overfeat_shapes.weights.h5"
PER_CLASS_STEPS = 1800
VOTES, ALL_SCALES = "1 network, 6 scales, fine stride, their highest vote", "SCR, scales 1-6"  # as the model is used


def trained(recipe, source, val, resume):
    """The network of the recipe without batch normalization, and the minutes that its training took."""
    keras.utils.set_random_seed(SEED)
    model = OverFeat(classes=source.classes, **recipe.config)
    if not resume:
        shutil.rmtree(RUN, ignore_errors=True)
    rows = train(model, recipe, source, RUN, val, seed=SEED, resume=resume, verbose=2)
    for name in ("curves", "detections"):
        shutil.copy(RUN / f"{name}.png", FOLDER / f"overfeat_shapes_{name}.png")
    return model.folded(), sum(row["seconds"] for row in rows) / 60


def embedded(recipe, source):
    """The embedded network with the recipe's present arguments, and the minutes that its training took."""
    model = OverFeat(classes=source.classes, **recipe.config | {"batch_norm": False})
    model.set_weights(OverFeat(weights=PATH).get_weights())
    minutes = json.loads((FOLDER / "overfeat_shapes.json").read_text())["metrics"]["training_minutes"]
    return model, minutes


def per_class(plain, recipe, source):
    """The trained network with a regressor for each class in place of the one for all; only that is trained."""
    keras.utils.set_random_seed(SEED)
    model = OverFeat(**plain.get_config() | {"per_class": True, "batch_norm": True})
    for mine, theirs in ((model.features_model, plain.features_model), (model.classifier, plain.classifier)):
        networks.unfold_batch_norm(theirs, mine)
        mine.trainable = False
    plan = recipe.replace(steps=PER_CLASS_STEPS)
    model.compile(plan.build_optimizer())
    batches = model.batches(source, plan.batch_size, training=True, seed=SEED + 1, repeat=True)
    model.fit(batches, steps_per_epoch=plan.steps // 6, epochs=6, shuffle=False, verbose=2)
    return model.folded()


def show(title, rows):
    """Print a table of two errors a row."""
    print(title)
    for name, (first, second) in rows.items():
        print(f"  {name:45s} {100 * first:6.2f} {100 * second:6.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resume", action="store_true", help="continue the last run")
    parser.add_argument("--steps", type=int, help="training steps; default: the recipe's")
    parser.add_argument("--measure", action="store_true", help="measure the embedded weights, train nothing")
    given = parser.parse_args()
    recipe = RECIPES["overfeat-shapes"].replace(steps=given.steps)
    source = load(recipe.data, **recipe.data_options)
    val = load(recipe.data, **recipe.val_options)
    plain, minutes = embedded(recipe, source) if given.measure else trained(recipe, source, val, given.resume)
    threshold = float(round(best_threshold(*find_boxes(plain, val))))
    plain.config = dataclasses.replace(plain.config, detect_threshold=threshold)
    plain.save_weights(PATH, optimizer=False)
    held_out = load("shapes", **HELD_OUT)
    single = overfeat.single_objects(held_out)
    table, bars = overfeat.table_2([plain], single), overfeat.figure_9(plain, single)
    (top1, top5), (five, one) = (1 - error for error in table[VOTES]), bars[ALL_SCALES]
    metrics = {"top1": top1, "top5": top5, "localization_error": five, "localization_error_1": one}
    result = of_training(plain, recipe, minutes, PATH) | {
        "bytes": PATH.stat().st_size,
        "detect_threshold": threshold,
        "held_out": {**HELD_OUT, **metrics, **overfeat.detection_metrics(plain, held_out)},
        "table_2": table,
        "figure_9": bars | overfeat.figure_9(per_class(plain, recipe, source), single),
    }
    write_result("overfeat_shapes", result, SEED)
    show("Table 2: top-1 and top-5 error, %", result["table_2"])
    show("Figure 9: localization error at 5 guesses and at 1, %", result["figure_9"])
    print(result["held_out"])
    print(f"detect_threshold {threshold}, for the recipe and the registry")


if __name__ == "__main__":
    main()
