"""Training on several replicas, in a process of its own since logical devices must be made before TensorFlow starts."""

import json
import subprocess
import sys

import pytest

from keras_det.training import strategies

RUN = """
import json, sys
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_det import models
from keras_det.data import load

def train(scope):
    keras.utils.set_random_seed(0)
    with scope:
        model = models.SSD300(weights="shapes", classes=["ellipse", "rectangle", "triangle", "star", "ring", "cross"])
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False  # each replica would normalise by its own half of the batch
        model.compile(optimizer=keras.optimizers.SGD(1e-3, momentum=0.9))
    scenes = load("shapes", images=8, seed=5)
    history = model.fit(model.batches(scenes, 4, training=False), epochs=2, shuffle=False, verbose=0).history
    return model, history

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
one, alone = train(tf.distribute.get_strategy().scope())
two, mirrored = train(strategy.scope())

def distance(a, b):
    return max(float(np.abs(np.array(x) - np.array(y)).max()) for x, y in zip(a.weights, b.weights))

print(json.dumps({"far": distance(one, two), "moved": distance(one, models.SSD300(weights="shapes")),
                  "alone": alone["loss"], "mirrored": mirrored["loss"], "replicas": strategy.num_replicas_in_sync}))
"""


def test_two_replicas_train_as_one():
    result = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["replicas"] == 2 and found["moved"] > 1e-4
    assert found["far"] < 1e-5
    assert found["mirrored"] == pytest.approx(found["alone"], rel=1e-4)


def test_an_unknown_strategy_is_named():
    with pytest.raises(ValueError, match="none, mirrored"):
        strategies.scope("pipeline")
