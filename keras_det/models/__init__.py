"""The detectors, one file for each paper."""

from keras_det.models.detections import Detections
from keras_det.models.detector import Detector
from keras_det.models.ssd import SSD300, SSD512, SSDLite320

__all__ = ["SSD300", "SSD512", "Detections", "Detector", "SSDLite320"]
