"""DetectorNet's rival on rendered scenes: the sliding window classifier, on the same trunk, in the same table.

The classifier is trained from scratch on crops of the scenes that DetectorNet's embedded weights were trained on, then
in two rounds on hard negatives too. Both detectors run on the same scenes never trained on, as pictures of 128 pixels.
The paper's 5 pixels between boxes would be 14,000 boxes a picture and hours here, so the grid is sparse; the result
says how many boxes a picture has at each distance. Cost: about 20 minutes on 2 cores. Writes
`results/sliding_windows.json`.

    python benchmarks/prove_sliding_windows.py
"""

import time

import keras
import numpy as np
from results import write_result

from keras_det.data import load
from keras_det.models import Classifier, DetectorNet, SlidingWindows
from keras_det.training import RECIPES, evaluate
from keras_det.training.mining import hard_negatives, with_negatives

SEED = 0
HELD_OUT = {"images": 40, "seed": 1}
STRIDES = {"mining": 24, "held-out scenes": 16}
BATCH = 32
STEPS, MINING_STEPS, ROUNDS = 2400, 500, 2
LEARNING_RATE = 3e-3
MINED = {"pictures": 60, "each": 30, "share": 0.25}


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


def measured(model, held_out):
    """mAP and seconds a picture, the first picture's compilation left out."""
    evaluate(model, held_out.take(1), batch_size=1, metrics=("area",))
    start = time.perf_counter()
    figures, _ = evaluate(model, held_out, batch_size=1, metrics=("area",))
    seconds = (time.perf_counter() - start) / len(held_out)
    return figures | {"seconds_a_picture": round(seconds, 3)}


def main():
    keras.utils.set_random_seed(SEED)
    recipe = RECIPES["detectornet-shapes"]
    source, held_out = load(recipe.data, **recipe.data_options), load(recipe.data, **HELD_OUT)
    detectornet = DetectorNet(weights="shapes")
    sampling = RECIPES["detectornet-classifier-voc12"].arguments
    classifier = Classifier(
        **sampling | {"classes": source.classes, "backbone": "tiny", "image_size": detectornet.image_size[0]}
    )
    ratios = DetectorNet.cluster_aspect_ratios(source, count=8, seed=SEED)

    def rival(stride):
        return SlidingWindows(classifier=classifier, aspect_ratios=ratios, stride=stride)

    def batches(seed):
        return classifier.batches(source, BATCH, training=True, seed=seed, repeat=True)

    minutes, rows, mined = train(classifier, batches(SEED), STEPS, LEARNING_RATE), {}, None
    for done in range(ROUNDS + 1):
        name = f"sliding windows, {done} rounds of hard negatives" if done else "sliding windows"
        rows[name] = measured(rival(STRIDES["held-out scenes"]), held_out)
        print(name, rows[name]["map50"], flush=True)
        if done == ROUNDS:
            break
        pictures = source.subset(range(done * MINED["pictures"], (done + 1) * MINED["pictures"]))
        start = time.perf_counter()
        crops = hard_negatives(rival(STRIDES["mining"]), pictures, MINED["each"])
        mined = crops if mined is None else np.concatenate([mined, crops])
        print(f"{len(crops)} hard negatives", flush=True)
        minutes += (time.perf_counter() - start) / 60
        mixed = with_negatives(batches(SEED + done + 1), mined, MINED["share"], SEED)
        minutes += train(classifier, mixed, MINING_STEPS, LEARNING_RATE / 3)
    found, _ = evaluate(detectornet, held_out, batch_size=1, metrics=("area",))
    rows["DetectorNet, first stage"] = {"map50": found["map50_first_stage"]}
    rows["DetectorNet"] = measured(detectornet, held_out)
    for name, row in rows.items():
        print(f"{name:42}{row['map50']:8.3f}{row.get('seconds_a_picture', float('nan')):8.2f} s")
    side = detectornet.image_size[0]
    result = {
        "training_minutes": round(minutes, 2),
        "steps": STEPS + ROUNDS * MINING_STEPS,
        "mined": MINED | {"crops": len(mined)},
        "held_out": HELD_OUT,
        "boxes": {
            "of 500 x 375, 5 pixels apart": rival(5).count(375, 500),
            f"of {side} x {side}, 5 pixels apart": rival(5).count(side, side),
            **{f"of {side} x {side}, {use}": rival(stride).count(side, side) for use, stride in STRIDES.items()},
        },
        "rows": rows,
    }
    write_result("sliding_windows", result, SEED)


if __name__ == "__main__":
    main()
