"""From a publisher's parameters to ours: renaming, transposing and permuting, all or nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

MAX_NAMED = 20  # entries of one kind that an error names


def same(array: np.ndarray) -> np.ndarray:
    """The array as it is."""
    return array


def torch_kernel(array: np.ndarray) -> np.ndarray:
    """A convolution kernel from PyTorch's `[out, in, h, w]` to Keras's `[h, w, in, out]`."""
    return array.transpose(2, 3, 1, 0)


def torch_depthwise_kernel(array: np.ndarray) -> np.ndarray:
    """A depthwise kernel from PyTorch's `[channels, 1, h, w]` to Keras's `[h, w, channels, 1]`."""
    return array.transpose(2, 3, 0, 1)


@dataclass(frozen=True)
class Rule:
    """How one parameter of a publisher becomes one of ours.

    Attributes:
        theirs: the publisher's name.
        ours: our name, `LAYER/VARIABLE`; `None` for an entry that has no use in our network, such as a counter.
        change: function of the array.
    """

    theirs: str
    ours: str | None
    change: Callable[[np.ndarray], np.ndarray] = same


@dataclass(frozen=True)
class Converter:
    """One publisher's file format and names for one network.

    Attributes:
        publisher: whose files these are.
        read: function from a path to a dict from the publisher's names to arrays.
        rules: one rule for every entry of the file.
    """

    publisher: str
    read: Callable[[Path], dict[str, np.ndarray]] = field(repr=False)
    rules: tuple[Rule, ...] = field(repr=False)

    def convert(
        self, parameters: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, np.ndarray]:
        """Parameters under our names, in our layout.

        Args:
            parameters: the publisher's names and arrays.
            shapes: our names and shapes: what the network needs, no more and no less.

        Returns:
            Dict from our names to float32 arrays.

        Raises:
            ValueError: entries that are missing, unknown or misshapen, all named in this one error.
        """
        used = [rule for rule in self.rules if rule.ours is not None]
        missing = [rule.theirs for rule in self.rules if rule.theirs not in parameters]
        unknown = sorted(set(parameters) - {rule.theirs for rule in self.rules})
        misshapen, values = [], {}
        for rule in used:
            if rule.theirs in parameters and rule.ours in shapes:
                array = parameters[rule.theirs]
                values[rule.ours] = value = _changed(rule, array)
                if value is None or value.shape != tuple(shapes[rule.ours]):
                    misshapen.append(f"{rule.theirs} {_describe(array)} for {rule.ours} {tuple(shapes[rule.ours])}")
        ours = {rule.ours for rule in used}
        problems = {
            "missing": missing,
            "unknown": unknown,
            "misshapen": misshapen,
            "without a place in this network": sorted(ours - set(shapes)),
            "not in such a file at all": sorted(set(shapes) - ours),
        }
        raise_problems(f"the parameters are not those of {self.publisher}", problems)
        return values

    def rename(self, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What `convert` gives without a network to compare with: every parameter under our name, in our layout.

        Raises:
            ValueError: entries that are missing or misshapen, named.
        """
        used = [rule for rule in self.rules if rule.ours is not None]
        missing = [rule.theirs for rule in used if rule.theirs not in parameters]
        misshapen, values = [], {}
        for rule in used:
            if rule.theirs in parameters:
                values[str(rule.ours)] = value = _changed(rule, parameters[rule.theirs])
                if value is None:
                    misshapen.append(f"{rule.theirs} {_describe(parameters[rule.theirs])}")
        problems = {"missing": missing, "misshapen": misshapen}
        raise_problems(f"the parameters are not those of {self.publisher}", problems)
        return values

    def known(self, parameters: Mapping[str, np.ndarray]) -> int:
        """How many of the names a file of this publisher would have."""
        return len(parameters.keys() & {rule.theirs for rule in self.rules})

    def num_classes(self, parameters: Mapping[str, np.ndarray]) -> int | None:
        """Outputs per default box, background included, or `None` when the predictors are not there."""
        arrays = {rule.ours: parameters[rule.theirs] for rule in self.rules if rule.theirs in parameters}
        for name, array in arrays.items():
            conf = arrays.get(str(name).replace("_loc/", "_conf/"))
            if str(name).endswith("_loc/bias") and conf is not None and array.size:
                return conf.size * 4 // array.size
        return None


def _changed(rule, array):
    """The rule's result as contiguous float32, or `None` for an array that the rule cannot take."""
    if array.dtype.kind != "f":
        return None
    try:
        return np.asarray(rule.change(array), "float32", order="C")
    except ValueError:
        return None


def _describe(array):
    return f"{tuple(array.shape)}" if array.dtype.kind == "f" else f"{tuple(array.shape)} {array.dtype}"


def raise_problems(what: str, problems: Mapping[str, Sequence[str]]) -> None:
    """One `ValueError` that names every entry of every kind of problem; nothing where there is none.

    Args:
        what: beginning of the sentence.
        problems: dict from a kind of problem to names.
    """
    parts = []
    for kind, names in problems.items():
        if names:
            more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
            parts.append(f"{kind}: {', '.join(names[:MAX_NAMED])}{more}")
    if parts:
        raise ValueError(f"{what}; {'; '.join(parts)}.")
