"""Train SSD300 from scratch on microscope images of blood cells (BCCD) and measure it once on the test list.

The data set (https://github.com/Shenggan/BCCD_Dataset, MIT) is a folder of VOC XML, named by the argument. Choices were
made on the validation list. Cost: at most 60 minutes on 2 cores. Expected: test mAP@0.5 of at least 0.65. Writes
`results/ssd_bccd.json`, the curves and an image of detections.

    python benchmarks/prove_ssd_bccd.py ../shared/data/bccd
"""

import shutil
import sys
from pathlib import Path

import keras
from results import FOLDER, write_result

from keras_det.data import load
from keras_det.models import SSD300
from keras_det.training import RECIPES, evaluate, train
from keras_det.training.run import draw_detections

SEED = 0
RUN = Path("runs/prove/ssd_bccd")


def main(folder):
    recipe = RECIPES["ssd300-bccd"]
    source, val, test = (load(f"folder:{folder}", split) for split in ("train", "val", "test"))
    keras.utils.set_random_seed(SEED)
    model = SSD300(classes=source.classes, **recipe.config)
    shutil.rmtree(RUN, ignore_errors=True)
    rows = train(model, recipe, source, RUN, val, seed=SEED, verbose=2)
    minutes = sum(row["seconds"] for row in rows) / 60
    best = SSD300(weights=RUN / "best.weights.h5")  # by the validation list
    metrics, _ = evaluate(best, test)
    shutil.copy(RUN / "curves.png", FOLDER / "ssd_bccd_curves.png")
    draw_detections(best, test, FOLDER / "ssd_bccd_detections.png")
    result = {
        "training_minutes": round(minutes, 2),
        "steps": recipe.steps,
        "images": {"train": len(source), "val": len(val), "test": len(test)},
        "annotation_issues": [str(issue) for s in (source, val, test) for issue in s.issues],
        "val_map50": max(row.get("val_map50", 0) for row in rows),
        "test": metrics,
    }
    write_result("ssd_bccd", result, SEED)
    print(f"test mAP@0.5 {metrics['map50']:.4f} after {minutes:.1f} minutes")


if __name__ == "__main__":
    main(sys.argv[1])
