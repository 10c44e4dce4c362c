"""A network's configuration: a frozen dataclass whose fields are the arguments of its constructors."""

from __future__ import annotations

import dataclasses
import inspect
import numbers
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

NOT_CONFIGURATION = ("self", "weights", "backbone_weights")  # they fill the network, and say nothing of its form


@dataclasses.dataclass(frozen=True)
class Config:
    """The base of all: values that JSON can hold, lists as tuples, and what is built from a nested configuration."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # the fields, which `config_class` makes

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = _frozen(getattr(self, field.name))
            _check_type(field.name, value, field.type)
            object.__setattr__(self, field.name, value)

    def to_dict(self) -> dict[str, Any]:
        """The constructor's arguments as JSON has them: tuples are lists."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def config_class(network: type, base: type) -> type[Config]:
    """The configuration of a network's class.

    Args:
        network: its constructor, and those of the classes up to `base`, have the fields as their arguments; a default
            of the class goes before one of a class that it inherits from.
        base: the class at which to end.
    """
    fields: dict[str, tuple] = {}
    for cls in reversed(network.__mro__[: network.__mro__.index(base)]):
        if "__init__" not in vars(cls):
            continue
        kinds = typing.get_type_hints(cls.__init__)
        for name, parameter in inspect.signature(cls.__init__).parameters.items():
            if name in NOT_CONFIGURATION or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            inherited = fields[name][1] if name in fields else Any
            default = () if parameter.default is parameter.empty else (dataclasses.field(default=parameter.default),)
            fields[name] = (name, kinds.get(name, inherited), *default)
    return dataclasses.make_dataclass(
        f"{network.__name__}Config", fields.values(), bases=(Config,), frozen=True, kw_only=True
    )


def given_arguments(network: type, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The fields that a call of the constructor names, whatever their values.

    Raises:
        TypeError: as Python does, for a call that does not fit the signature.
    """
    signature = inspect.signature(network.__init__)
    given = dict(signature.bind(None, *args, **kwargs).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            given |= given.pop(parameter.name, {})
    return {name: value for name, value in given.items() if name in network.Config.__dataclass_fields__}


def check_values(
    config: Config,
    choices: Mapping[str, Collection] | None = None,
    counts: Iterable[str] = (),
    fractions: Iterable[str] = (),
    from_zero: Iterable[str] = (),
) -> None:
    """Refuse values that are out of range.

    Args:
        config: the configuration.
        choices: dict from names of fields to the values that they may have.
        counts: names of fields that are at least 1.
        fractions: of fields in 0 .. 1.
        from_zero: of fields that are at least 0, and finite.

    Raises:
        ValueError: naming the first such field.
    """
    for name, values in (choices or {}).items():
        if getattr(config, name) not in values:
            raise ValueError(f"`{name}` must be one of {', '.join(map(str, values))}; got {getattr(config, name)!r}.")
    for names, fits, words in (
        (counts, lambda value: value >= 1, "an integer of at least 1"),
        (fractions, lambda value: 0 <= value <= 1, "in 0 .. 1"),
        (from_zero, lambda value: 0 <= value < float("inf"), "a number of at least 0"),
    ):
        for name in names:
            if not fits(getattr(config, name)):
                raise ValueError(f"`{name}` must be {words}; got {getattr(config, name)!r}.")


def check_ratios(ratios: tuple) -> None:
    """Refuse aspect ratios that are no positive numbers, or none at all."""
    if not ratios or not all(isinstance(r, numbers.Real) and 0 < float(r) < float("inf") for r in ratios):
        raise ValueError(f"`aspect_ratios` must be positive numbers; got {ratios!r}.")


def _frozen(value):
    """A value that nothing changes from outside: lists and arrays as tuples, numpy's numbers as Python's."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def _plain(value):
    """A value as JSON has it."""
    return list(map(_plain, value)) if isinstance(value, tuple) else value


_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    tuple: "a list",
    Sequence: "a list",
    type(None): "None",
}


def _check_type(name, value, kind):
    """Refuse a value of another type than the field's."""
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    options = [typing.get_origin(option) or option for option in kinds]
    if Any not in options and not any(_is(value, option) for option in options):
        words = " or ".join(_WORDS.get(option) or option.__name__ for option in options)
        raise ValueError(f"`{name}` must be {words}; got {value!r}.")


def _is(value, kind):
    if kind is bool or not isinstance(value, bool):
        return isinstance(value, {float: numbers.Real, int: numbers.Integral}.get(kind, kind))
    return False
