"""Detectors as files that need neither this package nor Keras."""

from keras_det.export.saved_model import saved_model

__all__ = ["saved_model"]
