"""Time of targets and of suppression over grids of 10^4 to 10^6 boxes: `python benchmarks/box_grid.py [--rounds N]`.

Prints a table and writes benchmarks/results/box_grid.json. Beside both stands the forward pass of ClassGeneric's
network (five convolutions, two dense layers of 4096, one image of 224 x 224); the goal is less than 5 % of it. The
last layer of 10^6 cells would be 16 GB, so a part of it (2 GB, many times what a cache holds) is passed as often as
there are parts: the same arithmetic and the same traffic. Targets are those of one image with five objects; the
distribution that is decoded is that of such a target with noise, so that it has peaks to find.
"""

import argparse

import keras
import numpy as np
import tensorflow as tf
from results import write_result
from timing import in_turn

from keras_det.losses import box_grid_targets
from keras_det.models import ClassGeneric

GRIDS = ((16, 16, 8, 5), (32, 32, 12, 8), (56, 56, 32, 10))
LARGEST_LAYER = 120_000  # cells whose last layer, of 4096 rows, is built: 2 GB
GOAL = 0.05


def objects(count=5, seed=0):
    """`[1, count, 4]` boxes."""
    g = np.random.default_rng(seed)
    low = g.uniform(0, 0.6, (1, count, 2))
    return np.concatenate([low, low + g.uniform(0.1, 0.4, (1, count, 2))], axis=2).astype("float32")


def measure(shape, rounds, seed=0):
    """Metrics of one grid."""
    keras.utils.set_random_seed(seed)
    parts = -(-int(np.prod(shape)) // LARGEST_LAYER)
    model = ClassGeneric(grid_shape=shape if parts == 1 else GRIDS[0])
    decoder = ClassGeneric(backbone="tiny", image_size=64, grid_shape=shape)  # the same suppression, a small network
    grid = decoder.grid
    boxes, valid = objects(), np.ones((1, 5), bool)
    image = tf.constant(np.random.default_rng(seed).integers(0, 256, (1, 224, 224, 3)), tf.float32)
    target = box_grid_targets(grid, boxes, valid)
    noise = np.random.default_rng(seed).normal(size=target.shape)
    logits = tf.constant(np.log(np.maximum(target, 1e-9)) + noise, tf.float32)
    if parts == 1:
        network = tf.function(lambda x: model(x)["boxes"])
    else:
        features, last = tf.function(model.features), tf.function(keras.layers.Dense(-(-grid.size // parts)))

        def network(x):
            feature = features(x)
            return np.concatenate([last(feature) for _ in range(parts)], axis=1)

    targets = tf.function(lambda b: box_grid_targets(grid, b, valid))
    softmax, decode = tf.function(grid.call), tf.function(lambda z: decoder.decode({"boxes": z})["scores"])
    functions = [
        lambda: np.asarray(network(image)),
        lambda: targets(tf.constant(boxes)).numpy(),
        lambda: decode(logits).numpy(),
        lambda: softmax(logits).numpy(),
    ]
    forward, target_ms, decode_ms, softmax_ms = (1e3 * np.median(in_turn(functions, rounds), axis=0)).tolist()
    return {
        "cells": grid.total,
        "in use": grid.size,
        "forward ms": round(forward, 2),
        "passes of the last layer": parts,
        "targets ms": round(target_ms, 2),
        "suppression ms": round(decode_ms - softmax_ms, 2),
        "targets fraction": round(target_ms / forward, 4),
        "suppression fraction": round((decode_ms - softmax_ms) / forward, 4),
        "softmax ms": round(softmax_ms, 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    rows = []
    for shape in GRIDS:
        rows.append(measure(shape, rounds))
        print(rows[-1], flush=True)
    names = (
        "cells",
        "in use",
        "forward ms",
        "targets ms",
        "suppression ms",
        "targets fraction",
        "suppression fraction",
    )
    print("  ".join(f"{name:>17s}" for name in names))
    for row in rows:
        print("  ".join(f"{row[name]:17}" for name in names))
    write_result("box_grid", {"goal": GOAL, "grids": rows}, seed=0)


if __name__ == "__main__":
    main()
