"""Training runs: the papers' schedules as data, evaluation during training, folders that can be resumed."""

from keras_det.training.evaluate import EvaluateDetections, evaluate
from keras_det.training.recipes import RECIPES, Recipe, hold_out
from keras_det.training.run import train

__all__ = ["RECIPES", "EvaluateDetections", "Recipe", "evaluate", "hold_out", "train"]
