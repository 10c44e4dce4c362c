"""Feature extractors: each builds a Keras model from preprocessed images to a dict of feature maps by name."""

from keras_det.backbones.alex_net import alexnet
from keras_det.backbones.efficientnet_lite import efficientnet_lite0
from keras_det.backbones.mobilenet import mobilenet_v1, mobilenet_v2, mobilenet_v3_large
from keras_det.backbones.table import BACKBONES, Backbone
from keras_det.backbones.tiny_net import tiny
from keras_det.backbones.vectors_and_maps import VECTOR_BACKBONES, fine_map, last_vector
from keras_det.backbones.vgg import vgg16

__all__ = [
    "BACKBONES",
    "VECTOR_BACKBONES",
    "Backbone",
    "alexnet",
    "efficientnet_lite0",
    "fine_map",
    "last_vector",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "tiny",
    "vgg16",
]
