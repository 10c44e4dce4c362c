"""Compiled programs of a detector on Keras's TensorFlow and JAX backends, and their times."""

import time

import keras
import numpy as np

OBJECTS, ROWS = 8, 16  # of an image, and rows of padded labels


def inference(model, part):
    """A function of images on the device, compiled.

    Args:
        model: a `Detector`.
        part: method of the model, or a function of images that uses the model's variables.

    Returns:
        `(function, first)`: the function takes the values in the list `first` before its other arguments.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(part), []
    import jax

    def run(values, *arguments):
        with keras.StatelessScope(state_mapping=list(zip(model.variables, values))):
            return part(*arguments)

    return jax.jit(run), [[variable.value for variable in model.variables]]


def training(model):
    """The compiled step that `fit` runs: a function of a batch, which keeps the model's state itself."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(model.train_step)
    return JaxStep(model)


class JaxStep:
    """Keras's `train_step` on JAX, jitted with its state donated, as `fit` has it."""

    def __init__(self, model):
        import jax

        groups = model.trainable_variables, model.non_trainable_variables, model.optimizer.variables
        # Copies, since the step gives the memory of its state away.
        self.state = tuple([v.value.copy() for v in group] for group in (*groups, model.metrics_variables))
        self.step = jax.jit(model.train_step, donate_argnums=0)

    def compile(self, batch):
        """Compile for a batch; what XLA says of it."""
        self.step = self.step.lower(self.state, batch).compile()
        return self.step

    def __call__(self, batch):
        """One step; its metrics."""
        logs, self.state = self.step(self.state, batch)
        return logs


def images_of(model, batch, seed=0):
    """Random images of the network's size on the device, float32."""
    images = np.random.default_rng(seed).integers(0, 256, (batch, *model.image_size, 3)).astype("float32")
    return keras.ops.convert_to_tensor(images)


def labels_of(model, batch, seed=0):
    """Random labels on the device, `OBJECTS` objects of `ROWS` rows an image."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.7, (batch, ROWS, 2))
    boxes = np.concatenate([low, np.minimum(low + rng.uniform(0.05, 0.6, low.shape), 1)], axis=-1).astype("float32")
    labels = rng.integers(0, len(model.classes), (batch, ROWS)).astype("int32")
    labels[:, OBJECTS:] = -1
    return {"boxes": keras.ops.convert_to_tensor(boxes), "labels": keras.ops.convert_to_tensor(labels)}


def wait(value):
    """Wait until the device has computed a value."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.test.experimental.sync_devices()
    else:
        import jax

        jax.block_until_ready(value)


def seconds_each(function, arguments, least=1.0, most=200):
    """Seconds of a call when calls follow each other: for at least so long, after three calls that warm up."""
    for _ in range(3):
        wait(function(*arguments))
    start, calls = time.perf_counter(), 0
    while calls < most and (calls < 3 or time.perf_counter() - start < least):
        found, calls = function(*arguments), calls + 1
        if calls % 10 == 0:  # no endless queue on the device
            wait(found)
    wait(found)
    return (time.perf_counter() - start) / calls
