"""Weights by name: their registry, download and verification, and the way from publishers' files to our parameters.

Nothing here knows a model. A model's constructor calls `find`, which gives the constructor arguments that the weights
need, and, once built, `load`.
"""

from keras_det.weights.convert_overfeat import read_released, released_size
from keras_det.weights.damage import DAMAGED
from keras_det.weights.download import add, fetch, home
from keras_det.weights.h5_file import check_h5, open_h5
from keras_det.weights.metadata import read_metadata
from keras_det.weights.registry import Integrity, Preprocessing, Reported, WeightsEntry, entries, get
from keras_det.weights.resolve import READERS, Found, check_available, find, load
from keras_det.weights.safetensors_file import read_safetensors, read_safetensors_metadata, write_safetensors
from keras_det.weights.tf_checkpoint import read_checkpoint
from keras_det.weights.torch_file import read_torch
from keras_det.weights.variables import assign, parameters
from keras_det.weights.zoo import describe, zoo_table

FILE_ENDINGS = (".weights.h5", ".safetensors")  # of the files that weights are saved to
READ_ENDINGS = (*FILE_ENDINGS, ".keras", *READERS)  # of those that they are read from

__all__ = [
    "DAMAGED",
    "FILE_ENDINGS",
    "Found",
    "Integrity",
    "Preprocessing",
    "READ_ENDINGS",
    "Reported",
    "WeightsEntry",
    "add",
    "assign",
    "check_available",
    "check_h5",
    "describe",
    "entries",
    "fetch",
    "find",
    "get",
    "home",
    "load",
    "open_h5",
    "parameters",
    "read_checkpoint",
    "read_metadata",
    "read_released",
    "read_safetensors",
    "read_safetensors_metadata",
    "read_torch",
    "released_size",
    "write_safetensors",
    "zoo_table",
]
