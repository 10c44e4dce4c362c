"""Trains small models on one replica and on several, logical devices of the CPU, and prints how far they end apart.

A process of its own, since logical devices must be made before TensorFlow starts, and one for each number of replicas,
since a device joins one group for all collective operations: `python replicas.py REPLICAS [MODEL ...]`. With two, also
a whole network.
"""

import functools
import json
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from small_models import batch, build, linear, values

IMAGES, BATCH = 5, 4  # the last batch is partial: one replica alone has an image


@functools.cache
def strategy(replicas):
    """The strategy of that many replicas; a second one would number its collective operations from the start again."""
    devices = [f"CPU:{k}" for k in range(replicas)]
    return tf.distribute.MirroredStrategy(devices) if replicas > 1 else tf.distribute.get_strategy()


def train(case, replicas, form, **options):
    """The compiled model after two epochs, its weights before, and the metrics of the second epoch."""
    with strategy(replicas).scope():
        model = build(case, form)
        optimizer = keras.optimizers.SGD(**{"learning_rate": 1e-3, "momentum": 0.9} | options)
        model.compile(optimizer=optimizer)
    before = values(model.weights)
    data = tf.data.Dataset.from_tensor_slices(batch(model, IMAGES)).batch(BATCH)
    history = model.fit(data, epochs=2, shuffle=False, verbose=0).history
    return model, before, {name: each[-1] for name, each in history.items()}


def distance(ones, others):
    """The largest difference of two lists of arrays."""
    return max(float(np.abs(a - b).max()) for a, b in zip(ones, others, strict=True))


def compare(case, replicas, form, **options):
    """How several replicas differ from one, as JSON values, and the two models."""
    one, before, alone = train(case, 1, form, **options)
    many, _, together = train(case, replicas, form, **options)
    after = values(one.weights)
    found = {"moved": distance(before, after), "far": distance(after, values(many.weights))}
    return found | {"alone": [alone], "together": [together]}, one, many


def evaluate(model):
    """The metrics on all images."""
    data = tf.data.Dataset.from_tensor_slices(batch(model, IMAGES)).batch(BATCH)
    return model.evaluate(data, return_dict=True, verbose=0)


def moved_by_nan(model):
    """How many steps a batch of NaN is counted as, and how far it moves a model without momentum."""
    images, labels = batch(model, BATCH)
    before = values(model.weights)
    bad = tf.data.Dataset.from_tensors((np.full_like(images, np.nan), labels))
    skipped = model.fit(bad, verbose=0).history["skipped_steps"][-1]
    return skipped, distance(before, values(model.weights))


def one_replica_overflows(replicas):
    """How far a step in float16 moves weights whose gradient is infinite on one replica alone, and the loss's scale."""
    keras.config.set_dtype_policy("mixed_float16")
    with strategy(replicas).scope():
        model = build("classifier")
        model.compile(optimizer=keras.optimizers.SGD(1e-3))
        model.optimizer.build(model.trainable_variables)
    before, scale = values(model.weights), float(model.optimizer.dynamic_scale.numpy())

    @tf.function
    def step():
        def replica():
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            value = tf.where(index == 1, float("inf"), 1.0)
            gradients = model._sum_gradients([value * tf.ones(v.shape) for v in model.trainable_variables])
            model.optimizer.apply(gradients, model.trainable_variables)

        strategy(replicas).run(replica)

    step()
    return distance(before, values(model.weights)), float(model.optimizer.dynamic_scale.numpy()) / scale


def main():
    """Print what the test looks at, as JSON."""
    replicas = int(sys.argv[1])
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # which takes longer than the steps
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    found = {case: compare(case, replicas, linear)[0] for case in sys.argv[2:]}
    if replicas == 2:
        options = {"learning_rate": 0.1, "momentum": 0.0, "global_clipnorm": 0.1, "use_ema": True}
        found["whole"], one, many = compare("multibox", replicas, lambda model: model, **options)
        found["whole"]["alone"].append(evaluate(one))
        found["whole"]["together"].append(evaluate(many))
        found["nan"] = moved_by_nan(many)
        found["overflow"] = one_replica_overflows(replicas)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
