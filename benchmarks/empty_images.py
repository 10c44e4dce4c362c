"""Hard negatives of each image, as SSD's paper mines them, against those of the whole batch, on scenes many of which
show no object of the known classes.

SSD300 on the tiny backbone from the embedded weights `shapes`, fine-tuned on two of the six classes. The others stay in
the images, unlabeled: what an image without objects can teach is that they are background. Cost: about 10 minutes on
2 cores. Writes `results/empty_images.json`.

    python benchmarks/empty_images.py
"""

import argparse

import keras
import numpy as np
from results import write_result

from keras_det.data import load, relabel
from keras_det.models import SSD300
from keras_det.training import RECIPES, evaluate

KEPT = {"ring": "hoop", "star": "spark"}  # new names, so that the class predictors start anew
SEEDS = (0, 1, 2)
THRESHOLD = 0.5


def scenes(images, seed):
    """Scenes of one to three objects, of which about half show none of the kept classes; they are their own kind."""
    source = relabel(load("shapes", images=images, seed=seed, objects=(1, 3)), KEPT)
    empty = [len(source.annotation(i)) == 0 for i in range(images)]
    return source, np.array(empty)


def run(mining, source, val, empty, steps, seed):
    """Average precision, and false detections per image without objects, after the steps."""
    keras.utils.set_random_seed(seed)
    model = SSD300(weights="shapes", classes=source.classes, mining=mining)
    recipe = RECIPES["finetune"].replace(steps=steps, batch_size=8, augment=False, warmup=20)
    model.compile(optimizer=recipe.build_optimizer())
    batches = model.batches(source, recipe.batch_size, training=True, augment=False, repeat=True, seed=seed)
    model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)
    metrics, evaluator = evaluate(model, val, metrics=("area",))
    found = evaluator.results()
    shown = found.image[found.scores >= THRESHOLD]
    return {"map50": metrics["map50"], "false_per_empty_image": float(empty[shown].sum() / empty.sum())}


def main(steps, images, seeds):
    source, _ = scenes(images, 21)
    val, empty = scenes(max(images // 4, 8), 22)
    metrics = {"steps": steps, "images": images, "val_images": len(val), "empty_fraction": float(empty.mean())}
    for mining in ("image", "batch"):
        runs = [run(mining, source, val, empty, steps, seed) for seed in seeds]
        metrics[mining] = {name: [one[name] for one in runs] for name in runs[0]}
        metrics[mining] |= {f"{name}_mean": float(np.mean([one[name] for one in runs])) for name in runs[0]}
        print(mining, metrics[mining], flush=True)
    write_result("empty_images", metrics, list(seeds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    options = parser.parse_args()
    main(options.steps, options.images, options.seeds)
