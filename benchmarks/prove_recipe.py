"""Train a recipe on rendered scenes from scratch, and measure its network on scenes never trained on.

    python benchmarks/prove_recipe.py fcos-shapes [--resume]

Writes `results/NAME.json`, and the run's curves beside it. Cost: the recipe says it.
"""

import argparse
import shutil
from pathlib import Path

import keras
from results import FOLDER, of_training, write_result

from keras_det import models
from keras_det.data import load
from keras_det.training import RECIPES, evaluate, train

SEED = 0
HELD_OUT = {"images": 1000, "seed": 1}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=[name for name in RECIPES if name.endswith("-shapes")])
    parser.add_argument("--resume", action="store_true", help="continue the last run")
    given = parser.parse_args()
    recipe, name = RECIPES[given.recipe], given.recipe.replace("-", "_")
    source, val = load(recipe.data, **recipe.data_options), load(recipe.data, **recipe.val_options)
    keras.utils.set_random_seed(SEED)
    model = models.get(recipe.model)(classes=source.classes, **recipe.config)
    folder = Path("runs/prove") / name
    if not given.resume:
        shutil.rmtree(folder, ignore_errors=True)
    rows = train(model, recipe, source, folder, val, seed=SEED, resume=given.resume, verbose=2)
    minutes = sum(row["seconds"] for row in rows) / 60
    metrics, _ = evaluate(model, load(recipe.data, **HELD_OUT))
    shutil.copy(folder / "curves.png", FOLDER / f"{name}_curves.png")
    path = folder / "best.weights.h5"
    write_result(name, of_training(model, recipe, minutes, path) | {"held_out": HELD_OUT | metrics}, SEED)
    print(f"mAP@0.5 {metrics['map50']:.4f} on {HELD_OUT['images']} held-out scenes after {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
