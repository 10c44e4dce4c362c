"""Geometry of boxes on tensors, without state; everything here runs on every Keras backend."""

from keras_det.boxes.convert import convert
from keras_det.boxes.iou import area, iou
from keras_det.boxes.match import match
from keras_det.boxes.nms import nms
from keras_det.boxes.offsets import decode_offsets, encode_offsets

__all__ = ["area", "convert", "decode_offsets", "encode_offsets", "iou", "match", "nms"]
