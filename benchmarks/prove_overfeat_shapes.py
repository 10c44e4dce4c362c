"""Train the embedded OverFeat from scratch on rendered scenes and measure it on scenes never trained on.

A narrow fast network learns classification, localization and detection at once, with batch normalisation, which is then
folded into the convolutions. Cost: at most 40 minutes on 2 cores. Wanted: top-1 of at least 95 % on scenes with one
object, a localization error of at most 20 % that several scales make lower than the centre window's, and mAP@0.5 of at
least 0.50. A regressor for each class (PCR in Figure 9) is trained afterwards, on the fixed trunk. Writes
`results/overfeat_shapes.json` and `keras_det/weights/embedded/overfeat_shapes.weights.h5`.

    python benchmarks/prove_overfeat_shapes.py [--resume] [--steps N]
"""

import argparse
import hashlib
import shutil
from pathlib import Path

import keras
from overfeat_tables import figure_9, show, table_2
from results import FOLDER, write_result

from keras_det.data import load
from keras_det.models import OverFeat
from keras_det.training import RECIPES, overfeat, train
from keras_det.weights.registry import EMBEDDED_FOLDER

SEED = 0
HELD_OUT = {"images": 300, "seed": 1}
RUN = Path("runs/prove/overfeat_shapes")
PER_CLASS_STEPS = 1800


def per_class(trained, recipe, source):
    """The trained network with a regressor for each class in place of the one for all; only that is trained."""
    model = OverFeat(classes=source.classes, **recipe.arguments | {"per_class": True})
    for mine, theirs in ((model.features_model, trained.features_model), (model.classifier, trained.classifier)):
        mine.set_weights(theirs.get_weights())
        mine.trainable = False
    plan = recipe.replace(steps=PER_CLASS_STEPS)
    model.compile(plan.build_optimizer())
    batches = model.batches(source, plan.batch_size, training=True, seed=SEED + 1, repeat=True)
    model.fit(batches, steps_per_epoch=plan.steps // 6, epochs=6, shuffle=False, verbose=2)
    return model.folded()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resume", action="store_true", help="go on with the last run")
    parser.add_argument("--steps", type=int, help="training steps; default: the recipe's")
    given = parser.parse_args()
    recipe = RECIPES["overfeat-shapes"].replace(steps=given.steps)
    source = load(recipe.data, **recipe.data_options)
    val = load(recipe.data, **recipe.val_options)
    keras.utils.set_random_seed(SEED)
    model = OverFeat(classes=source.classes, **recipe.arguments)
    if not given.resume:
        shutil.rmtree(RUN, ignore_errors=True)
    rows = train(model, recipe, source, RUN, val, seed=SEED, resume=given.resume, verbose=2)
    minutes = sum(row["seconds"] for row in rows) / 60
    plain = model.folded()
    path = EMBEDDED_FOLDER / "overfeat_shapes.weights.h5"
    plain.save_weights(path, optimizer=False)
    for name in ("curves", "detections"):
        shutil.copy(RUN / f"{name}.png", FOLDER / f"overfeat_shapes_{name}.png")
    held_out = load("shapes", **HELD_OUT)
    single = overfeat.single_objects(held_out)
    result = {
        "training_minutes": round(minutes, 2),
        "steps": recipe.steps,
        "scenes_seen": recipe.steps * recipe.batch_size,
        "parameters": plain.count_params(),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "held_out": {**HELD_OUT, **overfeat.figures(plain, held_out)},
        "table_2": table_2([plain], single),
        "figure_9": figure_9(plain, single) | figure_9(per_class(model, recipe, source), single),
    }
    write_result("overfeat_shapes", result, SEED)
    show("Table 2: top-1 and top-5 error, %", result["table_2"])
    show("Figure 9: localization error at 5 guesses and at 1, %", result["figure_9"])
    print(result["held_out"])


if __name__ == "__main__":
    main()
