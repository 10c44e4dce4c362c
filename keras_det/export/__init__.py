"""Detectors as files that need neither this package nor Keras."""

from keras_det.export.checks import EXPORTS, Report, benchmark, check, export
from keras_det.export.to_onnx import onnx
from keras_det.export.to_saved_model import saved_model
from keras_det.export.to_tflite import tflite
from keras_det.export.to_web import web

__all__ = ["EXPORTS", "Report", "benchmark", "check", "export", "onnx", "saved_model", "tflite", "web"]
