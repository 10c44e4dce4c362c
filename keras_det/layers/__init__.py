"""The detectors' own Keras layers, all serializable."""

from keras_det.layers.box_grid import BoxGrid
from keras_det.layers.l2_norm import L2Norm
from keras_det.layers.local_contrast_norm import LocalContrastNorm
from keras_det.layers.local_response_norm import LocalResponseNorm
from keras_det.layers.mask_regression import MaskRegression
from keras_det.layers.multibox_head import MultiBoxHead
from keras_det.layers.prior_box import PriorBox

__all__ = [
    "BoxGrid",
    "L2Norm",
    "LocalContrastNorm",
    "LocalResponseNorm",
    "MaskRegression",
    "MultiBoxHead",
    "PriorBox",
]
