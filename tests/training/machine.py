"""One of several machines that train a network together: `python machine.py FOLDER`, with TF_CONFIG."""

import contextlib
import json
import os
import sys

import keras
import numpy as np

from keras_det import models
from keras_det.data import load
from keras_det.training import strategies, train
from keras_det.training.recipes import Recipe

RECIPE = Recipe(
    "multibox",
    "shapes",
    "test",
    optimizer={"class_name": "SGD", "global_clipnorm": 1.0},
    learning_rate=0.05,
    warmup=0,
    batch_size=4,
    steps=4,
    steps_per_epoch=2,
    augment=False,
)


def run(folder, scope):
    """Train on rendered scenes; the network, and of each epoch the loss and the evaluation's figure."""
    source = load("shapes", images=10, seed=3)
    with scope or contextlib.nullcontext():
        keras.utils.set_random_seed(0)
        model = models.MultiBox(backbone="tiny", image_size=64, boxes=12)
        rows = train(model, RECIPE, source, folder, val_source=source.take(3), verbose=0)
    return model, [[row["loss"], row["val_pr_auc"]] for row in rows]


if __name__ == "__main__":
    # Before anything else, as `MultiWorkerMirroredStrategy` wants it.
    several = strategies.scope("multiworker")
    model, metrics = run(sys.argv[1], several)
    first = json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 0
    assert strategies.is_chief(model) is first
    total = sum(float(np.abs(np.array(weight)).sum()) for weight in model.weights)
    print(json.dumps({"weights": total, "metrics": metrics}))
