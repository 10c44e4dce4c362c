"""Parameters of a network by name, in and out.

A network is anything with a `name` whose `weights` are a list of variables with `path`, `shape` and `assign`.
"""

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_det.weights.convert import raise_problems


def place(variable: Any) -> str:
    """Our name of a parameter, `LAYER/VARIABLE`: the same in two networks of one form, whatever they are called."""
    return "/".join(variable.path.split("/")[-2:])


def shapes(network: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's parameters, in order; of several of one name the second is called `NAME.2`.

    One that belongs to no layer has its own name alone, as networks of one form may be called differently.
    """
    found, count = {}, collections.Counter()
    for variable in network.weights:
        name = place(variable).removeprefix(f"{network.name}/")
        count[name] += 1
        found[name if count[name] == 1 else f"{name}.{count[name]}"] = tuple(variable.shape)
    return found


def parameters(network: Any) -> dict[str, np.ndarray]:
    """Names, as of `shapes`, and numpy arrays of a network's parameters."""
    return {name: np.asarray(variable) for name, variable in zip(shapes(network), network.weights)}


def assign(network: Any, values: Mapping[str, np.ndarray], what: str = "the parameters") -> None:
    """Set all of a network's parameters, or none of them.

    Args:
        network: the network.
        values: dict from names to arrays.
        what: what the values are, for the error.

    Raises:
        ValueError: names that are missing, unknown or misshapen, all in one error.
    """
    expected = shapes(network)
    common = expected.keys() & values.keys()
    problems = {
        "missing": sorted(expected.keys() - common),
        "unknown": sorted(values.keys() - common),
        "misshapen": [
            f"{name} {values[name].shape} for {expected[name]}"
            for name in sorted(common)
            if tuple(values[name].shape) != expected[name]
        ],
    }
    raise_problems(f"{what} do not fit the network", problems)
    for name, variable in zip(expected, network.weights):
        variable.assign(values[name])
