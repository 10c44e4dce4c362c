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

def largest_difference(ones, others):
    return max(float(np.abs(np.array(a) - np.array(b)).max()) for a, b in zip(ones, others))

def train(scope):
    keras.utils.set_random_seed(0)
    with scope:
        model = models.SSD300(weights="shapes", classes=["ellipse", "rectangle", "triangle", "star", "ring", "cross"])
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False  # each replica would normalise by its own half of the batch
        model.compile(optimizer=keras.optimizers.SGD(1e-3))
    batches = model.batches(load("shapes", images=8, seed=5), 4, training=False)
    history = model.fit(batches, epochs=2, shuffle=False, verbose=0).history
    before = [np.array(weight) for weight in model.weights]
    bad = batches.take(1).map(lambda images, labels: (images * float("nan"), labels))
    skipped = model.fit(bad, verbose=0).history
    return model, {name: value[-1] for name, value in history.items()}, model.evaluate(
        batches, return_dict=True, verbose=0), skipped["skipped_steps"][-1], largest_difference(before, model.weights)

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
one, alone, tested, *_ = train(tf.distribute.get_strategy().scope())
two, mirrored, mirrored_tested, skipped, moved_by_nan = train(strategy.scope())
print(json.dumps({"far": largest_difference(one.weights, two.weights),
                  "moved": largest_difference(one.weights, models.SSD300(weights="shapes").weights),
                  "alone": alone, "mirrored": mirrored, "tested": tested, "mirrored_tested": mirrored_tested,
                  "skipped": skipped, "moved_by_nan": moved_by_nan, "replicas": strategy.num_replicas_in_sync}))
"""


def test_two_replicas_train_as_one():
    result = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["replicas"] == 2 and found["moved"] > 1e-4
    assert found["far"] < 1e-5
    assert set(found["mirrored"]) == {"loss", "localization", "confidence", "matched", "skipped_steps"}
    for name in ("loss", "localization", "confidence", "matched"):  # sums over the replicas, not means of their parts
        assert found["mirrored"][name] == pytest.approx(found["alone"][name], rel=1e-4)
        assert found["mirrored_tested"][name] == pytest.approx(found["tested"][name], rel=1e-4)
    assert found["tested"]["matched"] == found["alone"]["matched"]  # no batch counted that was none
    assert found["skipped"] == 1 and found["moved_by_nan"] == 0  # one step, however many replicas


def test_an_unknown_strategy_is_named():
    with pytest.raises(ValueError, match="none, mirrored"):
        strategies.scope("pipeline")
