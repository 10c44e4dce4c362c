import keras
import numpy as np
import pytest

from keras_det.weights.variables import assign, parameters, place, shapes


def network(name="net"):
    layers = [keras.Input((3,)), keras.layers.Dense(2, name="a"), keras.layers.BatchNormalization(name="b")]
    return keras.Sequential(layers, name=name)


def test_names_do_not_depend_on_the_networks_name():
    assert shapes(network()) == shapes(network("other"))
    assert shapes(network())["a/kernel"] == (3, 2)
    assert [place(v) for v in network().weights] == list(shapes(network()))


def test_a_variable_of_no_layer_is_the_networks_own():
    class Scaled(keras.Model):
        def __init__(self, name):
            super().__init__(name=name)
            self.scale = self.add_weight(name="scale", initializer="ones")

    assert shapes(Scaled("one")) == shapes(Scaled("other")) == {"scale": ()}


def test_round_trip():
    first, second = network(), network()
    values = {name: np.random.default_rng(0).random(shape, "f4") for name, shape in shapes(first).items()}
    assign(first, values)
    assign(second, parameters(first))
    for name, value in parameters(second).items():
        np.testing.assert_array_equal(value, values[name])


def test_all_or_nothing():
    net = network()
    before = parameters(net)
    values = {name: value + 1 for name, value in before.items()}
    del values["b/gamma"]
    values |= {"c/bias": np.zeros(1), "a/kernel": np.zeros((2, 3))}
    with pytest.raises(ValueError) as error:
        assign(net, values, "x")
    problems = "missing: b/gamma; unknown: c/bias; misshapen: a/kernel (2, 3) for (3, 2)"
    assert str(error.value) == f"x do not fit the network; {problems}."
    for name, value in parameters(net).items():
        np.testing.assert_array_equal(value, before[name])


def test_two_parameters_of_one_name():
    inputs = keras.Input((3,))
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="a")], name="inner")
    net = keras.Model(inputs, keras.layers.Dense(2, name="a")(inner(inputs)))
    assert shapes(net) == {"a/kernel": (3, 3), "a/bias": (3,), "a/kernel.2": (3, 2), "a/bias.2": (2,)}
    values = {name: value + 1 for name, value in parameters(net).items()}
    assign(net, values)
    for name, value in parameters(net).items():
        np.testing.assert_array_equal(value, values[name])
