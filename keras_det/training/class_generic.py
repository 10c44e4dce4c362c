"""ClassGeneric's tables and figure (section 4.2), and what its recognition layer names rightly."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_det.data import whole_images
from keras_det.data.by_class import chosen_classes, images_of
from keras_det.data.source import Source
from keras_det.metrics import GroundTruth, proposals
from keras_det.metrics.voc import Curve
from keras_det.models.class_generic import ClassGeneric
from keras_det.training.evaluation import EpochEvaluation, collect, evaluator_of


def held_out_curves(
    models: Mapping[str, ClassGeneric], source: Source, held_out: Sequence[str] | int, batch_size: int = 16
) -> dict[str, Curve]:
    """Precision and recall on the images of held-out classes alone (Tables 1 and 2, Figure 1).

    Both tables are measured on these images; they differ in what the networks were trained on: Table 1's on the boxes
    of the other classes, Table 2's on all.

    Args:
        models: dict from names to `ClassGeneric` networks.
        source: a `keras_det.data.Source` never trained on.
        held_out: names of the classes, or how many, as `keras_det.data.by_class.chosen_classes` takes them.
        batch_size: images sent through the networks together.

    Returns:
        Dict from names to `keras_det.metrics.voc.Curve`; `keras_det.metrics.proposals.pr_auc` gives a curve's area.

    Raises:
        ValueError: `held_out` names no classes of the source, or no image shows them alone.
    """
    source, curves = images_of(source, chosen_classes(source.classes, held_out)), {}
    for name, model in models.items():
        evaluator = evaluator_of(model, source)
        collect(model, source, evaluator, batch_size)
        curves[name] = proposals.agnostic_curve(evaluator.truth, evaluator.results())
    return curves


def recognition(model: ClassGeneric, source: Source, batch_size: int = 16) -> dict[str, float]:
    """What fraction of a source's images the recognition layer names rightly: with its likeliest class, with five.

    An image is named rightly by any class of its objects; those without objects are left out.

    Args:
        model: a `ClassGeneric` with the source's classes.
        source: a `keras_det.data.Source`.
        batch_size: images sent through the network together.

    Returns:
        `{"top1", "top5"}` in 0 .. 1, the latter for more than five classes; NaN where no image has objects.

    Raises:
        ValueError: the source's classes are not the model's.
    """
    if tuple(source.classes) != model.class_names:
        raise ValueError(f"the source's classes {tuple(source.classes)} are not the model's {model.class_names}.")
    truth = GroundTruth.from_source(source)
    shown = np.zeros((len(source), len(source.classes)), bool)
    shown[truth.image, truth.labels] = True
    right = np.full((len(source), len(source.classes)), np.nan)
    for images, indexes in whole_images(source, batch_size):
        ranked = np.argsort(-model.class_probabilities(images), axis=1, kind="stable")
        right[indexes] = np.maximum.accumulate(np.take_along_axis(shown[indexes], ranked, axis=1), axis=1)
    right = right[shown.any(axis=1) & ~np.isnan(right[:, 0])]
    counts = [k for k in (1, 5) if k == 1 or k < len(source.classes)]
    return {f"top{k}": float(right[:, k - 1].mean()) if len(right) else float("nan") for k in counts}


class RecognizeImages(EpochEvaluation):
    """Adds `val_top1` and, of more than five classes, `val_top5` to the epoch's logs: see `recognition`."""

    def evaluate(self) -> dict[str, float]:
        """`recognition` on the source."""
        return {f"val_{name}": value for name, value in recognition(self.model, self.source).items()}
