"""DetectorNet class by class: each class's samples, its training, the whole put together, and the paper's table."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_det.data import relabel
from keras_det.data.source import Source
from keras_det.metrics import Evaluator, GroundTruth, Predictions, voc
from keras_det.models import DetectorNet, pretrained
from keras_det.models.classifier import Classifier
from keras_det.training.evaluation import collect, evaluator_of
from keras_det.training.recipe import Recipe
from keras_det.training.run import LAST, finished, train

POSITIVE = 0.4  # fraction of samples that cover an object of the class, section 6


def of_one_class(source: Source, name: str, negative_fraction: float) -> Source:
    """The training images of one class's network: its objects alone, so often that 40 % of the samples cover one.

    Where the class is rare its images come several times, where it is frequent the others do.

    Args:
        source: a `keras_det.data.Source`.
        name: the class.
        negative_fraction: of samples without an object, of images that have one, as `DetectorNet` takes it: at most
            0.6, with which images without an object are left out.

    Returns:
        A view of the source with this class alone, in which each image comes at least once.

    Raises:
        ValueError: a name that is no class, or no object of it; or `negative_fraction` leaves fewer than 40 %.
    """
    if negative_fraction > 1 - POSITIVE:
        raise ValueError(f"`negative_fraction` must be at most {1 - POSITIVE}; got {negative_fraction}.")
    own = relabel(source, {name: name})
    shows = np.array([len(own.annotation(i)) > 0 for i in range(len(own))])
    if not shows.any():
        raise ValueError(f"{source.name} has no {name!r} to train on.")
    showing, others = np.flatnonzero(shows), np.flatnonzero(~shows)
    wanted = POSITIVE / (1 - negative_fraction)
    if wanted < 1 and len(others):
        count = int(np.ceil(max(len(showing) / wanted, len(others) / (1 - wanted))))
        showing = np.resize(showing, round(count * wanted))
        others = np.resize(others, count - len(showing))
    else:
        others = others[:0]
    return own.subset(np.concatenate([showing, others]))


def train_by_class(
    build: Callable[[str], DetectorNet],
    recipe: Recipe,
    source: Source,
    folder: str | os.PathLike,
    val_source: Source | None = None,
    seed: int = 0,
    resume: bool = False,
    verbose: int | str = "auto",
) -> dict[str, list[dict[str, Any]]]:
    """Train a network of each class alone, one after the other, as the paper's hundred networks are trained.

    Each run is a folder of its own, with what `keras_det.training.train` leaves. `assemble` makes one detector of them.

    Args:
        build: of a class's name, gives a `DetectorNet` of this class alone, the same options for every class.
        recipe: a `Recipe`; its steps are those of each class.
        source: data to train on; each class gets `of_one_class` of them.
        folder: where to.
        val_source: data to evaluate on during training.
        seed: seed of weights, order and augmentation.
        resume: leave out the classes that are done, and resume the one that was stopped.
        verbose: as of `train`.

    Returns:
        The rows of `results.csv` by class, of those trained now.

    Raises:
        ValueError: as `of_one_class` and `train`.
        FileExistsError: the folder holds runs and `resume` is false.
    """
    rows = {}
    for name, run in _runs(source.classes, folder).items():
        if resume and finished(run, recipe):
            continue
        keras.utils.set_random_seed(seed)
        model = build(name)
        own = of_one_class(source, name, model.config.negative_fraction)
        val = None if val_source is None else relabel(val_source, {name: name})
        going_on = resume and (run / LAST).exists()
        rows[name] = train(model, recipe, own, run, val, seed=seed, resume=going_on, verbose=verbose)
    return rows


def _runs(classes, folder):
    """The folder of each class's run, in label order."""
    slugs = (re.sub(r"[^\w-]+", "_", name) for name in classes)
    return {name: Path(folder) / f"{k:03d}-{slug}" for k, (name, slug) in enumerate(zip(classes, slugs))}


def files_of(path: str | os.PathLike) -> Sequence[str | os.PathLike]:
    """The weight files of a detector: itself, or of a folder of `train_by_class` those of its classes, in order.

    Raises:
        FileNotFoundError: a folder without such files.
    """
    if not Path(path).is_dir():
        return [path]
    files = sorted(Path(path).glob("[0-9]*-*/best.weights.h5"))
    if not files:
        raise FileNotFoundError(f"{path} has no runs of single classes with best.weights.h5.")
    return files


def assemble(files: Sequence[str | os.PathLike], classifier: Classifier | None = None) -> DetectorNet:
    """One detector of the networks of several files, each of other classes.

    Args:
        files: weights of `DetectorNet`, as its `weights` takes them.
        classifier: a `Classifier` that prunes, see `DetectorNet.pruned_by`.

    Returns:
        A `DetectorNet` of all their classes. Networks of one class for all five masks become those of `"class"`.

    Raises:
        ValueError: options that differ, a class twice, or several files of which one has a network for several classes.
    """
    if len(files) == 1:
        whole = DetectorNet(weights=files[0])
        return whole if classifier is None else whole.pruned_by(classifier)
    parts = [pretrained.find_checkpoint("DetectorNet", file).config for file in files]
    whole = DetectorNet(**_common(files, parts) | {"classifier": classifier})
    networks = iter(whole.class_networks())
    for file in files:
        donor = DetectorNet(weights=file)
        for theirs in donor.class_networks() or [donor.weights]:
            for variable, value in zip(next(networks), theirs, strict=True):
                variable.assign(value)
    return whole


def _common(files, parts):
    """The arguments of a detector of all classes of the parts."""
    parts = [
        part | {"mode": "class"} if part["mode"] == "all" and len(part["classes"]) == 1 else part for part in parts
    ]
    for file, part in zip(files, parts):
        if part["mode"] == "all":
            raise ValueError(
                f"{file} has one network for {len(part['classes'])} classes, which cannot be put together."
            )
        shared = [name for name in part if name not in ("classes", "classifier")]
        other = [name for name in shared if part[name] != parts[0][name]]
        if other:
            raise ValueError(f"{file} has another {other[0]} than {files[0]}.")
    classes = [name for part in parts for name in part["classes"]]
    return parts[0] | {"classes": classes}


def find_boxes(
    files: Sequence[str | os.PathLike],
    source: Source,
    classifier: Classifier | None = None,
    batch_size: int = 4,
    first_stage: bool = False,
) -> tuple[GroundTruth, Predictions]:
    """Detections of the networks of some files on a source, one file's after the other's, as Algorithm 1 is applied.

    Args:
        files: weights of `DetectorNet`, each of other classes; never more than one is in memory.
        source: a `keras_det.data.Source` with these classes.
        classifier: a `Classifier` that prunes.
        batch_size: images sent through the network together.
        first_stage: leave out the refinement.

    Returns:
        `(truth, results)` of all classes of the source.
    """
    truth, found = GroundTruth.from_source(source), []
    for file in files:
        model = DetectorNet(weights=file)
        model = model if classifier is None else model.pruned_by(classifier)
        evaluator, own = Evaluator(truth), relabel(source, {name: name for name in model.classes})
        collect(model, own, evaluator, batch_size, detections=model.first_stage_detections if first_stage else None)
        found.append(evaluator.results())
    return truth, Predictions(*(np.concatenate([getattr(part, name) for part in found]) for name in _COLUMNS))


def first_stage_metrics(model: DetectorNet, source: Source, batch_size: int = 16) -> dict[str, float]:
    """`map50_first_stage`: mAP at 0.5 without the refinement, whatever the model's `refine` is."""
    evaluator = evaluator_of(model, source)
    collect(model, source, evaluator, batch_size, detections=model.first_stage_detections)
    return {"map50_first_stage": evaluator.result(("area",))["map50"]}


_COLUMNS = ("image", "boxes", "scores", "labels")


def table_1(
    rows: Mapping[str, tuple[GroundTruth, Predictions]], iou_threshold: float = 0.5
) -> dict[str, dict[str, float]]:
    """Average precision of each class (Table 1), the 2007 form.

    Args:
        rows: dict from a detector's name to `(truth, results)`, as `find_boxes` gives them.
        iou_threshold: overlap above which a box is right.

    Returns:
        Dict from names to dicts from class names, and `mean`.
    """
    table = {}
    for name, (truth, results) in rows.items():
        values = voc.voc_ap(truth, results, "voc2007_11point", iou_threshold)
        table[name] = dict(zip(truth.classes, values.tolist())) | {"mean": float(np.nanmean(values))}
    return table


def precision_recall(
    truth: GroundTruth, results: Predictions, name: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision as the score falls (Figure 4), of one class or of all together: `([N], [N])` in 0 .. 1.

    Raises:
        ValueError: `name` is no class of the truth.
    """
    if name is not None:
        if name not in truth.classes:
            raise ValueError(f"there is no class {name!r}, only {', '.join(truth.classes)}.")
        curve = voc.curves(truth, results)[truth.classes.index(name)]
        return curve.recall, curve.precision
    outcome = voc.match(truth, results).outcome[np.argsort(-results.scores, kind="stable")]
    true, false = np.cumsum(outcome == voc.TRUE), np.cumsum(outcome == voc.FALSE)
    return true / max((~truth.ignored).sum(), 1), true / np.maximum(true + false, 1)
