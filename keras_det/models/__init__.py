"""The detectors, one file for each paper."""

from keras_det import weights as zoo
from keras_det.models.detections import Detections
from keras_det.models.detector import Detector
from keras_det.models.ssd import SSD300, SSD512, SSDLite320

__all__ = ["SSD300", "SSD512", "Detections", "Detector", "SSDLite320", "get", "list"]

_MODELS = {model.__name__.lower(): model for model in (SSD300, SSD512, SSDLite320)}


def list():
    """Every model's name and the names of its registered weights.

    >>> "shapes" in list()["ssd300"]
    True
    """
    return {name: [entry.name for entry in zoo.entries(name)] for name in _MODELS}


def get(name):
    """The class of a model by its name in commands, such as `"ssd300"`.

    Raises:
        ValueError: no model of that name.

    >>> get("ssd300").__name__
    'SSD300'
    """
    if name not in _MODELS:
        raise ValueError(f"`model` must be one of {', '.join(_MODELS)}; got {name!r}.")
    return _MODELS[name]
