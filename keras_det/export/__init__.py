"""Detectors as files that need neither this package nor Keras."""

from keras_det.export.check import EXPORTS, Report, benchmark, check, export
from keras_det.export.onnx import onnx
from keras_det.export.saved_model import saved_model
from keras_det.export.tflite import tflite

__all__ = ["EXPORTS", "Report", "benchmark", "check", "export", "onnx", "saved_model", "tflite"]
