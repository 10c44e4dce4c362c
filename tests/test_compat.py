"""What `keras_det/_compat.py` relies on is there and does what it is relied on for; a failure names the release."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_det import _compat

KERAS, TENSORFLOW = f"Keras {keras.__version__}", f"TensorFlow {tf.__version__}"


class Twice(keras.layers.Layer):
    """A layer that is no model and holds another."""

    def __init__(self):
        super().__init__()
        self.norm = keras.layers.BatchNormalization()

    def call(self, x):
        return self.norm(self.norm(x))


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((2,))
    made = keras.Model(inputs, keras.Sequential([Twice(), keras.layers.Dense(1)])(inputs))
    made.compile("sgd", "mse")
    return made


def test_the_loss_metric(model):
    message = f"{KERAS} keeps a compiled model's mean loss elsewhere than in `_loss_tracker`: see set_loss_metric"
    assert isinstance(vars(model).get("_loss_tracker"), keras.metrics.Mean), message
    metric = keras.metrics.Mean(name="loss")
    _compat.set_loss_metric(model, metric)
    assert model.metrics[0] is metric, message
    history = model.fit(np.ones((4, 2)), np.ones((4, 1)), batch_size=2, verbose=0).history
    assert history["loss"] == [pytest.approx(float(metric.result()))], message


def test_gradients_are_left_alone():
    message = f"{KERAS} sums the replicas' gradients elsewhere than in `_all_reduce_sum_gradients`: see leave_gradients"
    assert hasattr(keras.optimizers.SGD(), "_all_reduce_sum_gradients"), message
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        variable = keras.Variable([1.0, 2.0])
        optimizer = keras.optimizers.SGD(1.0)
        optimizer.build([variable])
    asked = []
    optimizer._all_reduce_sum_gradients = lambda pairs: asked.append(len(pairs)) or list(pairs)
    strategy.run(lambda: optimizer.apply([tf.constant([0.25, 0.5])], [variable]))
    assert asked == [1], message
    _compat.leave_gradients(optimizer)
    strategy.run(lambda: optimizer.apply([tf.constant([0.25, 0.5])], [variable]))
    np.testing.assert_array_equal(variable, [0.5, 1.0])


def test_every_layer_is_found(model):
    message = f"{KERAS} gives no layers by `_flatten_layers`: see layers_within"
    assert hasattr(model, "_flatten_layers"), message
    kinds = [type(layer) for layer in _compat.layers_within(model)]
    assert {keras.Sequential, Twice, keras.layers.BatchNormalization, keras.layers.Dense} <= {*kinds}, message


def test_fit_builds_the_optimizer_by_the_models_own_way():
    message = f"{KERAS} does not ask `_maybe_symbolic_build` before it trains: see OptimizerBuild"
    theirs = inspect.signature(keras.Model._maybe_symbolic_build).parameters
    ours = inspect.signature(_compat.OptimizerBuild._maybe_symbolic_build).parameters
    assert [*theirs] == [*ours], message
    asked = []

    class Own(_compat.OptimizerBuild, keras.Sequential):
        def build_optimizer(self):
            asked.append(True)
            with strategy.scope():
                self.optimizer.build(self.trainable_variables)

    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        model = Own([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    assert asked, message


def test_tflites_schema():
    message = f"{TENSORFLOW} has no such `schema_py_generated`: see tflite_schema"
    try:
        schema = _compat.tflite_schema()
    except ImportError as error:
        pytest.fail(f"{message}: {error}")
    assert {"ModelT", "BufferT", "MetadataT", "TensorMapT"} <= {*dir(schema)}, message
    assert {"InitFromPackedBuf", "Pack"} <= {*dir(schema.ModelT)}, message


def test_the_message_of_a_saved_model(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    read = _compat.saved_model_message().FromString((tmp_path / "saved_model.pb").read_bytes())
    assert len(read.meta_graphs) == 1, f"{TENSORFLOW}: see saved_model_message"


def test_what_a_preprocessing_layer_draws_from():
    class Counted(keras.random.SeedGenerator):
        def __init__(self):
            self.count = 0

        def next(self, ordered=True):
            self.count += 1
            return tf.constant([0, self.count], tf.int64)

    message = f"{KERAS} keeps a layer's generator, dtype or box format elsewhere: see preprocessing"
    layer = keras.layers.RandomColorJitter(brightness_factor=0.5, hue_factor=0.1, dtype="mixed_bfloat16")
    within = layer.random_hue
    before = within.generator, within.dtype_policy, within.bounding_box_format
    seeds, images = Counted(), tf.fill([1, 4, 4, 3], 100.0)
    with _compat.preprocessing(layer, seeds, "xyxy"):
        first = tf.function(layer)(images)
    assert seeds.count >= 2 and first.dtype == tf.float32, message
    with _compat.preprocessing(layer, Counted(), "xyxy"):
        np.testing.assert_array_equal(first, tf.function(layer)(images), message)
    assert (within.generator, within.dtype_policy, within.bounding_box_format) == before, message
