"""Training runs: the papers' schedules as data, evaluation during training, folders that can be resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_det.training.recipe import Recipe
from keras_det.training.recipes import RECIPES, validation_split

if TYPE_CHECKING:  # else in `__getattr__`
    from keras_det.training.evaluation import EvaluateDetections, evaluate
    from keras_det.training.planning import plan
    from keras_det.training.run import train

__all__ = ["RECIPES", "EvaluateDetections", "Recipe", "evaluate", "validation_split", "plan", "train"]


def __getattr__(name: str):
    """What needs Keras is imported when it is used, so that the recipes can be read without."""
    import importlib

    modules = {"EvaluateDetections": "evaluation", "evaluate": "evaluation", "plan": "planning", "train": "run"}
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"keras_det.training.{modules[name]}"), name)
