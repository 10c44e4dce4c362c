import numpy as np
import pytest

from keras_det.weights import convert
from keras_det.weights.convert import Converter, Rule, torch_depthwise_kernel, torch_kernel
from keras_det.weights.convert_ssd import _yx

RULES = (
    Rule("a.weight", "a/kernel", torch_kernel),
    Rule("a.bias", "a/bias"),
    Rule("d.weight", "d/depthwise_kernel", torch_depthwise_kernel),
    Rule("a.counter", None),
)
CONVERTER = Converter("a test", dict, RULES)
SHAPES = {"a/kernel": (3, 5, 2, 4), "a/bias": (4,), "d/depthwise_kernel": (3, 5, 7, 1)}


def theirs():
    rng = np.random.default_rng(0)
    return {
        "a.weight": rng.standard_normal((4, 2, 3, 5)),
        "a.bias": rng.standard_normal(4).astype("f4"),
        "d.weight": rng.standard_normal((7, 1, 3, 5)).astype("f2"),
        "a.counter": np.array(3),
    }


def test_names_layout_and_dtype():
    values = CONVERTER.convert(theirs(), SHAPES)
    assert {name: value.shape for name, value in values.items()} == SHAPES
    assert all(value.dtype == "float32" and value.flags.c_contiguous for value in values.values())
    assert values["a/kernel"][1, 4, 0, 3] == np.float32(theirs()["a.weight"][3, 0, 1, 4])
    assert values["d/depthwise_kernel"][2, 1, 6, 0] == theirs()["d.weight"][6, 0, 2, 1]


def test_every_problem_in_one_error():
    parameters = theirs()
    del parameters["a.bias"], parameters["a.counter"]
    parameters |= {"e.weight": np.zeros(1), "a.weight": np.zeros((4, 2, 3))}
    shapes = {"a/kernel": (3, 5, 2, 4), "a/bias": (4,), "f/bias": (1,)}
    with pytest.raises(ValueError) as error:
        CONVERTER.convert(parameters, shapes)
    assert str(error.value) == (
        "the parameters are not those of a test; missing: a.bias, a.counter; unknown: e.weight; "
        "misshapen: a.weight (4, 2, 3) for a/kernel (3, 5, 2, 4); without a place in this network: d/depthwise_kernel; "
        "not in such a file at all: f/bias."
    )


@pytest.mark.parametrize("array", [np.zeros((2, 4, 3, 5), "f4"), np.zeros((4, 2, 3, 5), "i4"), np.zeros(4, "f4")])
def test_misshapen_or_of_another_type(array):
    with pytest.raises(ValueError, match="misshapen: a.weight"):
        CONVERTER.convert(theirs() | {"a.weight": array}, SHAPES)


def test_renamed_without_a_network():
    assert CONVERTER.rename(theirs()).keys() == SHAPES.keys()
    with pytest.raises(ValueError, match="missing: a.bias; misshapen: a.weight .4,."):
        CONVERTER.rename({k: v for k, v in theirs().items() if k != "a.bias"} | {"a.weight": np.zeros(4)})


def test_long_lists_are_cut():
    with pytest.raises(ValueError, match=f"unknown: x000, .*x019 and {80} more"):
        CONVERTER.convert(theirs() | {f"x{i:03}": np.zeros(1) for i in range(100)}, SHAPES)
    assert convert.MAX_NAMED == 20


def test_order_of_coordinates():
    """Channels [box, (x, y, w, h)] become [box, (y, x, h, w)], whatever stands before them."""
    bias = np.arange(8)
    np.testing.assert_array_equal(_yx(bias), [1, 0, 3, 2, 5, 4, 7, 6])
    kernel = np.random.default_rng(0).standard_normal((3, 3, 5, 8))
    np.testing.assert_array_equal(_yx(kernel), kernel[..., [1, 0, 3, 2, 5, 4, 7, 6]])
