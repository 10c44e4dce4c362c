"""Train the embedded SSD300 from scratch on rendered scenes and measure it on scenes never trained on.

Cost: about 15 minutes on 2 cores. Expected: mAP@0.5 of at least 0.90. Writes `results/ssd_shapes.json` and the weights
`keras_det/weights/embedded/ssd300_shapes.weights.h5`; the same seed gives the same weights on the same processor.

    python benchmarks/prove_ssd_shapes.py [--resume]
"""

import shutil
import sys
from pathlib import Path

import keras
from results import FOLDER, of_training, write_result

from keras_det.data import load
from keras_det.models import SSD300
from keras_det.training import RECIPES, evaluate, train
from keras_det.weights.registry import EMBEDDED_FOLDER

SEED = 0
HELD_OUT = {"images": 1000, "seed": 1}
RUN = Path("runs/prove/ssd_shapes")


def main():
    recipe = RECIPES["ssd300-shapes"]
    source = load(recipe.data, **recipe.data_options)
    val = load(recipe.data, **recipe.val_options)
    held_out = load(recipe.data, **HELD_OUT)
    keras.utils.set_random_seed(SEED)
    model = SSD300(classes=source.classes, **recipe.config)
    resume = "--resume" in sys.argv
    if not resume:
        shutil.rmtree(RUN, ignore_errors=True)
    rows = train(model, recipe, source, RUN, val, seed=SEED, resume=resume, verbose=2)
    minutes = sum(row["seconds"] for row in rows) / 60
    metrics, _ = evaluate(model, held_out)
    path = EMBEDDED_FOLDER / "ssd300_shapes.weights.h5"
    path.parent.mkdir(exist_ok=True)
    model.save_weights(path, optimizer=False)
    shutil.copy(RUN / "curves.png", FOLDER / "ssd_shapes_curves.png")
    shutil.copy(RUN / "detections.png", FOLDER / "ssd_shapes_detections.png")
    result = of_training(model, recipe, minutes, path) | {
        "held_out": {**HELD_OUT, **metrics},
    }
    write_result("ssd_shapes", result, SEED)
    print(f"mAP@0.5 {metrics['map50']:.4f} on {HELD_OUT['images']} held-out scenes after {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
