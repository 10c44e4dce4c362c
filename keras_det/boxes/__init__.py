"""Geometry of boxes on tensors, without state; everything here runs on every Keras backend."""

from keras_det.boxes.assignment import assign
from keras_det.boxes.clusters import kmeans
from keras_det.boxes.crop import crop_and_resize
from keras_det.boxes.formats import convert
from keras_det.boxes.greedy_merge import match_score, merge, merge_boxes
from keras_det.boxes.letterboxing import canvas_window, from_window, letterbox
from keras_det.boxes.matching import match
from keras_det.boxes.offsets import decode_offsets, encode_offsets
from keras_det.boxes.overlap import area, intersection, iou
from keras_det.boxes.suppression import nms

__all__ = [
    "area",
    "assign",
    "canvas_window",
    "convert",
    "crop_and_resize",
    "decode_offsets",
    "encode_offsets",
    "from_window",
    "intersection",
    "iou",
    "kmeans",
    "letterbox",
    "match",
    "match_score",
    "merge",
    "merge_boxes",
    "nms",
]
