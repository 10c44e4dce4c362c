"""keras_det: the convolutional detectors that founded the field, each one whole, in Keras 3."""

from keras_det.registration import register_with_keras
from keras_det.version import __version__

__all__ = ["__version__"]

register_with_keras()
