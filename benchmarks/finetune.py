"""Fine-tuning from weights against training from scratch, the same number of steps.

On rendered scenes under other class names, and on blood cells (BCCD, a folder of VOC XML named by the argument;
evaluated on the validation list). Cost: about 8 minutes on 2 cores. Writes `results/finetune.json`.

    python benchmarks/finetune.py ../shared/data/bccd
"""

import sys

import keras
from results import write_result

from keras_det.data import load, relabel
from keras_det.models import SSD300
from keras_det.training import RECIPES, evaluate

SEED = 0
STEPS = {"shapes": 100, "bccd": 300}
NAMES = {"ellipse": "round", "ring": "round", "rectangle": "angular", "triangle": "angular", "star": "spiky"}


def data(folder):
    """Training and evaluation sources of each data set."""
    scenes = [relabel(load("shapes", images=n, seed=s), NAMES) for n, s in ((4000, 12), (300, 13))]
    return {"shapes": scenes, "bccd": [load(f"folder:{folder}", split) for split in ("train", "val")]}


def run(name, source, val, weights):
    """mAP@0.5 after the steps, from weights or from scratch; both with the same network, schedule and images."""
    keras.utils.set_random_seed(SEED)
    start = {"weights": weights} if weights else {"backbone": "tiny"}
    model = SSD300(classes=source.classes, **start)
    recipe = RECIPES["finetune"].replace(steps=STEPS[name], augment=name == "bccd", warmup=20)
    model.compile(optimizer=recipe.build_optimizer())
    batches = model.batches(source, recipe.batch_size, training=True, augment=recipe.augment, repeat=True)
    model.fit(batches, steps_per_epoch=recipe.steps, shuffle=False, verbose=0)
    return evaluate(model, val, metrics=("area",))[0]["map50"]


def main(folder):
    metrics = {}
    for name, (source, val) in data(folder).items():
        metrics[name] = {"steps": STEPS[name], "images": len(source)}
        for label, weights in (("from_weights_shapes", "shapes"), ("from_scratch", None)):
            metrics[name][label] = run(name, source, val, weights)
            print(f"{name:8} {label:20} mAP@0.5 {metrics[name][label]:.3f} after {STEPS[name]} steps", flush=True)
    write_result("finetune", metrics, SEED)


if __name__ == "__main__":
    main(sys.argv[1])
