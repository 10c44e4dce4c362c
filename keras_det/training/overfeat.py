"""OverFeat's metrics: classification by voting, ILSVRC's localization error, detection by merge and by suppression."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_det.data import whole_images
from keras_det.data.shapes import Shapes
from keras_det.data.source import Source
from keras_det.metrics import Evaluator, GroundTruth, ilsvrc
from keras_det.models.overfeat import OverFeat
from keras_det.training.evaluation import labels_of


def single_objects(source: Source) -> Source:
    """The images of a source that show one object: what classification and localization are measured on.

    Args:
        source: a `keras_det.data.Source`. Rendered scenes are rendered anew with one object each.

    Raises:
        ValueError: no image has one object.
    """
    if isinstance(source, Shapes):
        return source.with_objects((1, 1))
    one = [i for i in range(len(source)) if len(source.annotation(i).labels) == 1]
    if not one:
        raise ValueError(f"{source.name} has no image with one object.")
    return source.subset(one)


def top_errors(
    networks: OverFeat | Sequence[OverFeat],
    source: Source,
    batch_size: int = 16,
    k: Sequence[int] = (1, 5),
    **options: Any,
) -> list[float]:
    """Top-k errors of a network or an ensemble (Table 2).

    Args:
        networks: an `OverFeat`, or several whose votes are averaged.
        source: images with one object.
        batch_size: images sent through the network together.
        k: guesses allowed.
        **options: as `OverFeat.classify` takes them.

    Returns:
        List of errors in 0 .. 1.
    """
    from keras_det.models.overfeat import vote

    networks = networks if isinstance(networks, Sequence) else [networks]
    sizes_known = options.get("ten_views", False)
    run = tf.function(lambda images: vote(networks, images, **options), reduce_retracing=not sizes_known)
    return _errors(lambda images: {"": run(images)}, networks[0].classes, source, batch_size, k)[""]


def _errors(run, classes, source, batch_size, k=(1, 5)):
    """Top-k errors of each kind of votes that a function gives of images."""
    votes, labels = {}, []
    for images, indexes in whole_images(source, batch_size):
        for name, value in run(images).items():
            votes.setdefault(name, []).append(value.numpy())
        names = (source.classes[source.annotation(int(i)).labels[0]] for i in indexes)
        labels += [classes.index(name) if name in classes else len(classes) for name in names]  # never guessed
    ranked = {name: np.argsort(-np.concatenate(parts), axis=1, kind="stable") for name, parts in votes.items()}
    return {
        name: [ilsvrc.top_k_error(order, np.array(labels), min(n, len(classes))) for n in k]
        for name, order in ranked.items()
    }


def localization_errors(
    network: OverFeat,
    source: Source,
    batch_size: int = 16,
    k: Sequence[int] = (5, 1),
    scales: Sequence[tuple[int, int]] | None = None,
    center: bool = False,
    how: str | None = None,
) -> list[float]:
    """ILSVRC's localization errors (section 4.4, Figure 9): no guess has the class and an overlap of 0.5.

    Args:
        network: an `OverFeat` with a regressor.
        source: images with one object.
        batch_size: images sent through the network together.
        k: guesses allowed; a guess is the best box of one of the k best classes.
        scales: as `OverFeat.scored_windows` takes them.
        center: only the window in the middle.
        how: as `OverFeat.combine` takes it.

    Returns:
        List of errors in 0 .. 1.
    """
    windows = tf.function(lambda images: network.scored_windows(images, scales, center), reduce_retracing=True)
    return _located(network, source, batch_size, lambda images: {"": windows(images)}, k, how)[""]


def _located(network, source, batch_size, windows, k=(5, 1), how=None):
    """Localization errors of each kind of scored windows that a function gives of images."""
    evaluators, combine = {}, network.compiled_combine(how)
    truth = GroundTruth.from_source(source)
    for images, indexes in whole_images(source, batch_size):
        for name, scored in windows(images).items():
            evaluator = evaluators.setdefault(name, Evaluator(truth))
            _update(network, source, evaluator, indexes, combine(*scored))
    counts = [min(n, len(network.classes)) for n in k]
    found = {}
    for name, evaluator in evaluators.items():
        best = [ilsvrc.best_per_class(evaluator.results(), len(truth.image_ids), n) for n in counts]
        found[name] = [ilsvrc.localization_error(*boxes, truth, k=n) for boxes, n in zip(best, counts)]
    return found


def table_2(networks: Sequence[OverFeat], source: Source, batch_size: int = 16) -> dict[str, list[float]]:
    """The ways to vote of Table 2, as many as the networks' scales allow.

    Args:
        networks: a list of `OverFeat` networks of the same classes; the first alone gives all rows but the ensemble's.
        source: images with one object.
        batch_size: images sent through the networks together.

    Returns:
        Dict from each row's name to `[top-1 error, top-5 error]` in 0 .. 1. Scales are as the networks have them; the
        paper's four are the first, second, fourth and sixth.
    """
    one, scales = networks[0], networks[0].scales
    four = (0, 1, 3, 5) if len(scales) == 6 else range(min(len(scales), 4))

    def mean(votes, which):
        return tf.reduce_mean(tf.concat([votes[i] for i in which], 0), 0)

    def run(images):  # every scale goes through each network once
        votes = [one.scale_votes(images, size) for size in scales]
        several = [
            mean(votes if network is one else {i: network.scale_votes(images, scales[i]) for i in four}, four)
            for network in networks
        ]
        rows = {
            "1 network, scale 1, coarse stride": mean([one.scale_votes(images, scales[0], fine=False)], [0]),
            "1 network, scale 1, fine stride": mean(votes, [0]),
            f"1 network, {_named(four)}": several[0],
            f"1 network, {_named(scales)}": mean(votes, range(len(scales))),
            f"1 network, {_named(scales)}, their highest vote": tf.reduce_max(tf.concat(votes, 0), 0),
        }
        if len(networks) > 1:
            rows[f"{len(networks)} networks, {_named(four)}"] = sum(several) / len(several)
        return rows

    rows = _errors(tf.function(run, reduce_retracing=True), one.classes, source, batch_size)
    return rows | {"1 network, 4 corners + center + flip": top_errors(one, source, batch_size, ten_views=True)}


def figure_9(network: OverFeat, source: Source, batch_size: int = 16) -> dict[str, list[float]]:
    """The bars of Figure 9: from the center window alone to all scales.

    Args:
        network: an `OverFeat` with a regressor.
        source: images with one object.
        batch_size: images sent through the network together.

    Returns:
        Dict from each bar's name to `[localization error at 5 guesses, at 1]` in 0 .. 1. SCR is a regressor for all
        classes, PCR one for each.

    Raises:
        ValueError: a network without regressor.
    """
    if network.regressor is None:
        raise ValueError("Figure 9 needs a network with a regressor: one for localization or detection.")
    kind, scales = "PCR" if network.config.per_class else "SCR", network.scales

    def windows(images):  # every scale goes through the network once
        each = [network.scored_windows(images, [size]) for size in scales]
        bars = {f"{kind}, center window": network.scored_windows(images, scales[:1], center=True)}
        for last in sorted({min(n, len(scales)) for n in (2, 4, len(scales))}):
            name = f"{kind}, scales 1-{last}" if last > 1 else f"{kind}, scale 1"
            bars[name] = tuple(tf.concat(parts, 1) for parts in zip(*each[:last]))
        return bars

    return _located(network, source, batch_size, tf.function(windows, reduce_retracing=True))


def metrics(network: OverFeat, source: Source, batch_size: int = 16) -> dict[str, float]:
    """What OverFeat is judged by, beside the detections' usual metrics.

    Args:
        network: an `OverFeat`.
        source: a `keras_det.data.Source`; classification and localization use `single_objects` of it.
        batch_size: images sent through the network together.

    Returns:
        `top1` and `top5` (fraction of images whose label is among as many guesses; with fewer classes than five, 1),
        and with a regressor `localization_error` at 5 guesses, `localization_error_1` at one, `map50_merge` and
        `map50_nms`.
    """
    single = single_objects(source)
    errors = top_errors(network, single, batch_size)
    found = {f"top{n}": 1 - error for n, error in zip((1, 5), errors)}
    if network.regressor is None:
        return found
    errors = localization_errors(network, single, batch_size)
    found |= dict(zip(("localization_error", "localization_error_1"), errors))
    return found | detection_metrics(network, source, batch_size)


def detection_metrics(network: OverFeat, source: Source, batch_size: int = 16) -> dict[str, float]:
    """`map50_merge` and `map50_nms` of a network with a regressor, as of `metrics`."""
    truth = GroundTruth.from_source(source)
    windows = tf.function(network.scored_windows, reduce_retracing=True)
    ways = {how: Evaluator(truth) for how in ("merge", "nms")}
    for images, indexes in whole_images(source, batch_size):
        scored = windows(images)
        for how, evaluator in ways.items():
            _update(network, source, evaluator, indexes, network.compiled_combine(how)(*scored))
    return {f"map50_{how}": evaluator.result(("area",))["map50"] for how, evaluator in ways.items()}


def _named(scales):
    """The number of scales, as Table 2 has it."""
    return f"{len(scales)} scale{'s' if len(scales) > 1 else ''}, fine stride"


def _update(network, source, evaluator, indexes, found):
    """Add a batch of detections with the source's labels."""
    label_of = labels_of(network, source.classes)
    found = {key: keras.ops.convert_to_numpy(value) for key, value in found.items()}
    evaluator.update(indexes, found | {"labels": label_of[found["labels"]]})
