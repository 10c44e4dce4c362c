"""The detectors, one file for each paper: a file beside this one that registers a model adds it to the zoo."""

import importlib

from keras_det import weights as zoo
from keras_det.models.class_generic import ClassGeneric
from keras_det.models.classifier import Classifier
from keras_det.models.detections import Detections
from keras_det.models.detector import Detector
from keras_det.models.detectornet import DetectorNet
from keras_det.models.fcos import FCOS
from keras_det.models.multibox import MultiBox, MultiBoxDetector, OneBoxPerClass
from keras_det.models.overfeat import OverFeat
from keras_det.models.registry import MODELS, register
from keras_det.models.sliding_windows import SlidingWindows
from keras_det.models.ssd import SSD300, SSD512, SSDLite320
from keras_det.models.ssd_tfod import SSDLite300, SSDMobileNet300
from keras_det.registration import model_classes

for _name, _module in model_classes().items():  # those above stand there for editors
    globals()[_name] = getattr(importlib.import_module(_module), _name)

__all__ = [
    "FCOS",
    "SSD300",
    "SSD512",
    "ClassGeneric",
    "Classifier",
    "Detections",
    "Detector",
    "DetectorNet",
    "MultiBox",
    "MultiBoxDetector",
    "OneBoxPerClass",
    "OverFeat",
    "SSDLite300",
    "SSDLite320",
    "SSDMobileNet300",
    "SlidingWindows",
    "get",
    "list",
    "register",
]
__all__ += sorted({entry.model.__name__ for entry in MODELS.values()} - {*__all__})  # pyright: ignore[reportUnsupportedDunderAll]


def list() -> dict:
    """Every model's name and the names of its registered weights.

    >>> "shapes" in list()["ssd300"]
    True
    """
    return {name: [entry.name for entry in zoo.entries(name)] for name in sorted(MODELS)}


def get(name: str) -> type:
    """The class of a model by its name in commands, such as `"ssd300"`.

    Raises:
        ValueError: no model of that name.

    >>> get("ssd300").__name__
    'SSD300'
    """
    found = {key.replace("_", ""): entry.model for key, entry in MODELS.items()}.get(name.replace("_", ""))
    if found is None:
        raise ValueError(f"`model` must be one of {', '.join(sorted(MODELS))}; got {name!r}.")
    return found
