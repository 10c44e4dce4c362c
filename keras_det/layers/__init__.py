"""The detectors' own Keras layers, all serialisable."""

from keras_det.layers.l2_norm import L2Norm
from keras_det.layers.multibox_head import MultiBoxHead
from keras_det.layers.prior_box import PriorBox

__all__ = ["L2Norm", "MultiBoxHead", "PriorBox"]
