"""A detector's figures on a data source, after training or during it."""

import keras
import numpy as np
from rich.progress import track

from keras_det.metrics import Evaluator


def evaluate(model, source, batch_size=16, metrics=("voc2007_11point", "area", "coco"), progress=False):
    """Run the whole inference over a source and evaluate it in original pixels.

    Args:
        model: a `Detector`.
        source: a `keras_det.data.Source` with the model's classes, or some of them: detections of others do not count.
        batch_size: pictures sent through the network together.
        metrics: as `Evaluator.result` takes them.
        progress: show a progress bar on the terminal.

    Returns:
        `(figures, evaluator)`: a flat dict of floats, see `keras_det.metrics.Evaluator.result`, and the evaluator,
        which holds every detection.
    """
    evaluator = Evaluator(source)
    collect(model, source, evaluator, batch_size, progress)
    return evaluator.result(metrics), evaluator


def collect(model, source, evaluator, batch_size=16, progress=False):
    """Put a model's detections on every picture of a source into an empty evaluator of this source."""
    batches = model.batches(source, batch_size, training=False)
    label_of = np.array([source.classes.index(c) if c in source.classes else -1 for c in model.classes] + [-1], "int32")
    for images, labels in track(batches, "evaluate", total=-(-len(source) // batch_size), disable=not progress):
        found = model.detections(images)
        evaluator.update(np.asarray(labels["index"]), found | {"labels": label_of[found["labels"]]})


class EvaluateDetections(keras.callbacks.Callback):
    """Evaluates during `fit` and adds `val_map50`, `val_map50_voc07` and `val_AP` to the epoch's logs.

    The annotations are read once. `benchmarks/metrics.py` measures what this costs beside the passes themselves.

    Args:
        source: a `keras_det.data.Source` that training does not see.
        every: epochs between two evaluations; the epochs between repeat the last figures.
        batch_size: pictures sent through the network together.
        metrics: as `Evaluator.result` takes them.
    """

    def __init__(self, source, every=1, batch_size=16, metrics=("area",)):
        super().__init__()
        self.source = source
        self.every = every
        self.batch_size = batch_size
        self.metrics = metrics
        self.figures = {}
        self.evaluator = Evaluator(source)

    def on_epoch_end(self, epoch, logs=None):
        """Evaluate where it is this epoch's turn."""
        if (epoch + 1) % self.every == 0:
            self.evaluator.reset()
            collect(self.model, self.source, self.evaluator, self.batch_size)
            figures = self.evaluator.result(self.metrics)
            self.figures = {f"val_{k}": v for k, v in figures.items() if k in ("map50", "map50_voc07", "AP")}
        if logs is not None:
            logs.update(self.figures)
