"""The detectors, one file for each paper."""

from keras_det import weights as zoo
from keras_det.models.class_generic import ClassGeneric
from keras_det.models.classifier import Classifier
from keras_det.models.detections import Detections
from keras_det.models.detector import Detector
from keras_det.models.detectornet import DetectorNet
from keras_det.models.multibox import MultiBox, MultiBoxDetector, OneBoxPerClass
from keras_det.models.overfeat import OverFeat
from keras_det.models.sliding_windows import SlidingWindows
from keras_det.models.ssd import SSD300, SSD512, SSDLite320
from keras_det.models.ssd_tfod import SSDLite300, SSDMobileNet300

__all__ = [
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
]

_MODELS = {
    "ssd300": SSD300,
    "ssd512": SSD512,
    "ssdlite320": SSDLite320,
    "ssdlite300": SSDLite300,
    "ssd_mobilenet300": SSDMobileNet300,
    "detectornet": DetectorNet,
    "sliding_windows": SlidingWindows,
    "multibox": MultiBox,
    "multibox_detector": MultiBoxDetector,
    "one_box_per_class": OneBoxPerClass,
    "classifier": Classifier,
    "class_generic": ClassGeneric,
    "overfeat": OverFeat,
}


def list() -> dict:
    """Every model's name and the names of its registered weights.

    >>> "shapes" in list()["ssd300"]
    True
    """
    return {name: [entry.name for entry in zoo.entries(name)] for name in _MODELS}


def get(name: str) -> type:
    """The class of a model by its name in commands, such as `"ssd300"`.

    Raises:
        ValueError: no model of that name.

    >>> get("ssd300").__name__
    'SSD300'
    """
    found = {key.replace("_", ""): model for key, model in _MODELS.items()}.get(name.replace("_", ""))
    if found is None:
        raise ValueError(f"`model` must be one of {', '.join(_MODELS)}; got {name!r}.")
    return found
