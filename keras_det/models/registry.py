"""The zoo's registry: models by their names in commands, and what the tests of the zoo need to know of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras


@dataclasses.dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes:
        name: in commands, such as `"ssd300"`.
        model: the class.
        small: constructor arguments of the smallest form that still has all its parts, beside `classes`; the tests of
            the zoo build it.
        extra_metrics: see `register`.
    """

    name: str
    model: type
    small: dict[str, Any]
    extra_metrics: str | None


MODELS: dict[str, Entry] = {}


def register(name: str, small: dict[str, Any] | None = None, extra_metrics: str | None = None) -> Callable:
    """Make a class a model of the zoo, which commands, recipes, saved files and the zoo's tests know by its name.

    The decorator stands on a class at the top of a file of `keras_det/models/`, its name as a literal: what is
    registered there can be told without importing the file.

    Args:
        name: in commands: lower case, words divided by `_`.
        small: constructor arguments of a small form for the tests of the zoo, beside `classes`.
        extra_metrics: `"module:function"`, for what the model is judged by beside a detector's usual metrics: a
            function of a model, a source and a batch size that returns a dict of floats. It is imported when it is
            needed, since evaluation stands on a higher floor than models.

    Raises:
        ValueError: another class has this name.
    """

    def add(model):
        if name in MODELS and MODELS[name].model.__qualname__ != model.__qualname__:
            raise ValueError(f"`name` must be new; {name!r} is {MODELS[name].model.__name__}.")
        MODELS[name] = Entry(name, model, small or {}, extra_metrics)
        return keras.saving.register_keras_serializable("keras_det")(model)

    return add


def entry_of(model: type) -> Entry | None:
    """The entry of a class, or of the nearest class that it inherits from; `None` for a class of somebody else's."""
    entries = {entry.model: entry for entry in MODELS.values()}
    return next((entries[cls] for cls in model.__mro__ if cls in entries), None)
