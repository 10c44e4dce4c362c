"""Training runs: the papers' schedules as data, evaluation during training, folders that can be resumed."""

from keras_det.training.evaluation import EvaluateDetections, evaluate, images_without
from keras_det.training.planning import plan
from keras_det.training.recipe import Recipe
from keras_det.training.recipes import RECIPES, validation_split
from keras_det.training.run import train

__all__ = ["RECIPES", "EvaluateDetections", "Recipe", "evaluate", "validation_split", "images_without", "plan", "train"]
