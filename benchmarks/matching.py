"""Time of DeepMultiBox's assignment beside the network's own passes and scipy: `python benchmarks/matching.py`.

Batch 128, K = 200, M = 12 objects at most, as in the paper. The assignment runs inside the compiled step; scipy has to
be called on the host, image by image. Prints a table and writes `results/matching.json`.
"""

import argparse

import keras
import numpy as np
import tensorflow as tf
from results import write_result
from scipy.optimize import linear_sum_assignment
from timing import shortest

from keras_det.losses import match_costs, match_objects
from keras_det.models import MultiBox

SEED = 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--boxes", type=int, default=200)
    parser.add_argument("--objects", type=int, default=12)
    parser.add_argument("--backbone", default="alexnet")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    keras.utils.set_random_seed(SEED)
    model = MultiBox(boxes=options.boxes, backbone=options.backbone)
    images, objects, valid = sample(options, model.image_size)
    outputs = {name: tf.constant(value) for name, value in fake_outputs(options, model).items()}

    @tf.function
    def passes():
        with tf.GradientTape() as tape:
            found = model(images, training=True)
            loss = sum(tf.reduce_sum(value) for value in found.values())
        return tape.gradient(loss, model.trainable_variables)

    @tf.function
    def matched(matching):
        arguments = outputs["boxes"], outputs["logits"], model.priors, objects, valid, matching, 0.3
        return match_objects(*arguments)

    def scipy():
        costs = match_costs(outputs["boxes"], outputs["logits"], objects, 0.3).numpy()
        return [linear_sum_assignment(cost[rows]) for cost, rows in zip(costs, valid.numpy())]

    seconds = {
        "forward and backward pass": shortest(passes, 1 if options.backbone == "alexnet" else options.rounds),
        "matching to predictions": shortest(lambda: matched("predictions"), 20),
        "prior matching": shortest(lambda: matched("priors"), 20),
        "scipy on the host": shortest(scipy, 20),
    }
    whole = seconds["forward and backward pass"]
    for name, value in seconds.items():
        print(f"{name:28} {1000 * value:10.1f} ms {value / whole:8.2%}")
    fractions = {name: round(value / whole, 5) for name, value in seconds.items()}
    milliseconds = {name: round(1000 * value, 2) for name, value in seconds.items()}
    write_result("matching", {"setting": vars(options), "milliseconds": milliseconds, "fraction": fractions}, SEED)


def sample(options, size):
    """Images, objects and which of them are true."""
    rng = np.random.default_rng(SEED)
    images = rng.integers(0, 256, (options.batch, *size, 3)).astype("float32")
    low = rng.random((options.batch, options.objects, 2)) * 0.7
    objects = np.concatenate([low, low + 0.05 + rng.random(low.shape) * 0.25], -1).astype("float32")
    valid = np.arange(options.objects) < rng.integers(1, options.objects + 1, (options.batch, 1))
    return tf.constant(images), tf.constant(objects), tf.constant(valid)


def fake_outputs(options, model):
    """Outputs as of a half-trained network: priors moved, confidences of every kind."""
    rng = np.random.default_rng(SEED + 1)
    boxes = model.priors + rng.normal(0, 0.05, (options.batch, options.boxes, 4))
    return {
        "boxes": boxes.astype("float32"),
        "logits": rng.normal(-3, 2, (options.batch, options.boxes)).astype("float32"),
    }


if __name__ == "__main__":
    main()
