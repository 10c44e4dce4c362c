"""Evaluation: small functions on columns of truth and results, and one streaming class.

`GroundTruth` and `Predictions` hold what is compared, `Evaluator` collects a detector's batches; `voc`, `coco` and
`ilsvrc` are the protocols, `proposals` has class-agnostic measures, `diagnosis` and `tide` say where a detector goes
wrong.
"""

from keras_det.metrics import coco, diagnosis, ilsvrc, proposals, voc
from keras_det.metrics.coco import coco_metrics
from keras_det.metrics.columns import GroundTruth, Predictions
from keras_det.metrics.evaluator import Evaluator
from keras_det.metrics.tide_errors import tide
from keras_det.metrics.voc import average_precision, voc_ap

__all__ = [
    "Evaluator",
    "Predictions",
    "GroundTruth",
    "average_precision",
    "coco",
    "coco_metrics",
    "diagnosis",
    "ilsvrc",
    "proposals",
    "tide",
    "voc",
    "voc_ap",
]
