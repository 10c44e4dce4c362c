"""DetectorNet's baseline on rendered scenes: the sliding window classifier, on the same backbone, in the same table.

The classifier is trained from scratch on crops of the scenes that DetectorNet's embedded weights were trained on, then
in two rounds on hard negatives too. Both detectors run on the same scenes never trained on, images of 300 pixels. There
boxes 16 pixels apart, 8,554 of them, overlap every object by more than a half, as the paper's 5 pixels do; the result
says so for several distances: a perfect classifier reaches no more objects than the grid does. Cost: about an hour
on 2 cores, half of it training. Writes `results/sliding_windows.json`.

    python benchmarks/prove_sliding_windows.py
"""

import time

import keras
import numpy as np
from results import write_result

from keras_det.boxes import iou
from keras_det.data import Negatives, load
from keras_det.models import Classifier, DetectorNet, SlidingWindows
from keras_det.training import RECIPES, evaluate
from keras_det.training.mining import hard_negatives

SEED = 0
HELD_OUT = {"images": 20, "seed": 1}
STRIDES = {"mining": 24, "held-out scenes": 16}  # of scenes of 192 and of 300 pixels
BATCH = 32
STEPS, MINING_STEPS, ROUNDS = 2400, 500, 2
LEARNING_RATE = 3e-3
MINED = {"images": 60, "each": 30, "fraction": 0.25}


def train(classifier, batches, steps, learning_rate):
    """Train on batches; minutes."""
    warmup = steps // 20
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, alpha=0.01, warmup_target=learning_rate, warmup_steps=warmup
    )
    classifier.compile(keras.optimizers.AdamW(schedule, weight_decay=5e-4))
    start = time.perf_counter()
    classifier.fit(batches, steps_per_epoch=steps // 10, epochs=10, shuffle=False, verbose=2)
    return (time.perf_counter() - start) / 60


def reached(model, source):
    """Boxes of an image, and the fraction of the objects that one of them overlaps by more than a half."""
    windows = model.windows(*source.image(0).shape[:2])
    best = [np.asarray(iou(source.annotation(i).boxes, windows)).max(axis=1) for i in range(len(source))]
    return {"boxes": len(windows), "reached": round(float((np.concatenate(best) > 0.5).mean()), 4)}


def measured(model, held_out):
    """mAP and seconds an image, the first image's compilation left out."""
    evaluate(model, held_out.take(1), batch_size=1, metrics=("area",))
    start = time.perf_counter()
    metrics, _ = evaluate(model, held_out, batch_size=1, metrics=("area",))
    seconds = (time.perf_counter() - start) / len(held_out)
    return metrics | {"seconds_per_image": round(seconds, 3)}


def main():
    keras.utils.set_random_seed(SEED)
    recipe = RECIPES["detectornet-shapes"]
    source, held_out = load(recipe.data, **recipe.data_options), load(recipe.data, **HELD_OUT)
    detectornet = DetectorNet(weights="shapes")
    sampling = RECIPES["detectornet-classifier-voc12"].config
    classifier = Classifier(
        **sampling | {"classes": source.classes, "backbone": "tiny", "image_size": detectornet.image_size[0]}
    )
    ratios = DetectorNet.cluster_aspect_ratios(source, count=8, seed=SEED)

    def baseline(stride):
        return SlidingWindows(classifier=classifier, aspect_ratios=ratios, stride=stride)

    def batches(seed, negatives=None):
        options = {"negatives": negatives, "negative_fraction": MINED["fraction"], "repeat": True}
        return baseline(STRIDES["mining"]).batches(source, BATCH, training=True, seed=seed, **options)

    minutes, rows, mined = train(classifier, batches(SEED), STEPS, LEARNING_RATE), {}, None
    for done in range(ROUNDS + 1):
        name = f"sliding windows, {done} rounds of hard negatives" if done else "sliding windows"
        rows[name] = measured(baseline(STRIDES["held-out scenes"]), held_out)
        print(name, rows[name]["map50"], flush=True)
        if done == ROUNDS:
            break
        images = source.subset(range(done * MINED["images"], (done + 1) * MINED["images"]))
        start = time.perf_counter()
        found = hard_negatives(baseline(STRIDES["mining"]), images, MINED["each"])
        found = Negatives(source, found.images + done * MINED["images"], found.boxes)
        mined = found if mined is None else mined + found
        print(f"{len(found)} hard negatives", flush=True)
        minutes += (time.perf_counter() - start) / 60
        minutes += train(classifier, batches(SEED + done + 1, mined), MINING_STEPS, LEARNING_RATE / 3)
    found, _ = evaluate(detectornet, held_out, batch_size=1, metrics=("area",))
    rows["DetectorNet, first stage"] = {"map50": found["map50_first_stage"]}
    rows["DetectorNet"] = measured(detectornet, held_out)
    for name, row in rows.items():
        print(f"{name:42}{row['map50']:8.3f}{row.get('seconds_per_image', float('nan')):8.2f} s")
    result = {
        "training_minutes": round(minutes, 2),
        "steps": STEPS + ROUNDS * MINING_STEPS,
        "mined": MINED | {"windows": len(mined)},
        "held_out": HELD_OUT,
        "boxes_of_500_x_375_at_5_pixels": baseline(5).count(375, 500),
        "grids": {f"{stride} pixels apart": reached(baseline(stride), held_out) for stride in (5, 8, 16, 24, 32)},
        "measured_at": STRIDES["held-out scenes"],
        "rows": rows,
    }
    write_result("sliding_windows", result, SEED)


if __name__ == "__main__":
    main()
