"""Training objectives as pure functions of targets and outputs, one value for each image."""

from keras_det.losses.box_grid import box_grid_targets, cross_entropy, entropy
from keras_det.losses.matching import MATCHING, match_costs, match_objects, matching_losses
from keras_det.losses.multibox import (
    confidence_losses,
    hard_negatives,
    localization_losses,
    multibox_loss,
    sigmoid_multibox_loss,
    smooth_l1,
)

__all__ = [
    "MATCHING",
    "box_grid_targets",
    "confidence_losses",
    "cross_entropy",
    "entropy",
    "hard_negatives",
    "localization_losses",
    "match_costs",
    "match_objects",
    "matching_losses",
    "multibox_loss",
    "sigmoid_multibox_loss",
    "smooth_l1",
]
