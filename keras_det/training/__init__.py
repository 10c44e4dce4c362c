"""Training runs: the papers' schedules as data, evaluation during training, folders that can be resumed."""

from keras_det.training.evaluate import EvaluateDetections, evaluate, images_without
from keras_det.training.plan import plan
from keras_det.training.recipe import Recipe
from keras_det.training.recipes import RECIPES, hold_out
from keras_det.training.run import train

__all__ = ["RECIPES", "EvaluateDetections", "Recipe", "evaluate", "hold_out", "images_without", "plan", "train"]
