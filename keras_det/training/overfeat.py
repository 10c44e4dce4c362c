"""OverFeat's figures: classification by voting, ILSVRC's localization error, detection by merge and by suppression."""

import keras
import numpy as np
import tensorflow as tf

from keras_det.data import whole_images
from keras_det.data.shapes import Shapes
from keras_det.metrics import Evaluator, Truth, ilsvrc


def single_objects(source):
    """The pictures of a source that show one object: what classification and localization are measured on.

    Args:
        source: a `keras_det.data.Source`. Rendered scenes are rendered anew with one object each.

    Raises:
        ValueError: no picture has one object.
    """
    if isinstance(source, Shapes):
        return source.with_objects((1, 1))
    one = [i for i in range(len(source)) if len(source.annotation(i).labels) == 1]
    if not one:
        raise ValueError(f"{source.name} has no picture with one object.")
    return source.subset(one)


def top_errors(networks, source, batch_size=16, k=(1, 5), **options):
    """Top-k errors of a network or an ensemble (Table 2).

    Args:
        networks: an `OverFeat`, or several whose votes are averaged.
        source: pictures with one object.
        batch_size: pictures sent through the network together.
        k: guesses allowed.
        **options: as `OverFeat.classify` takes them.

    Returns:
        List of errors in 0 .. 1.
    """
    from keras_det.models.overfeat import vote

    networks = networks if isinstance(networks, (list, tuple)) else [networks]
    run = tf.function(lambda images: vote(networks, images, **options))
    classes, votes, labels = networks[0].classes, [], []
    for images, indexes in whole_images(source, batch_size):
        votes.append(run(images).numpy())
        labels += [classes.index(source.classes[source.annotation(int(i)).labels[0]]) for i in indexes]
    votes, labels = np.concatenate(votes), np.array(labels)
    ranked = np.argsort(-votes, axis=1, kind="stable")
    return [ilsvrc.top_k_error(ranked, labels, min(n, len(classes))) for n in k]


def localization_error(network, source, batch_size=16, k=5, scales=None, centre=False, how=None):
    """ILSVRC's localization error (section 4.4, Figure 9): no guess has the class and an overlap of 0.5.

    Args:
        network: an `OverFeat` with a regressor.
        source: pictures with one object.
        batch_size: pictures sent through the network together.
        k: guesses allowed; a guess is the best box of one of the k best classes.
        scales: as `OverFeat.scored_windows` takes them.
        centre: only the window in the middle.
        how: as `OverFeat.combine` takes it.

    Returns:
        In 0 .. 1.
    """

    windows = tf.function(lambda images: network.scored_windows(images, scales, centre), reduce_retracing=True)
    combine = network.compiled_combine(how)
    evaluator = Evaluator(source)
    _collect(network, source, batch_size, [(evaluator, lambda images: combine(*windows(images)))])
    truth = evaluator.truth
    return ilsvrc.localization_error(*ilsvrc.best_per_class(evaluator.results(), len(truth.image_ids), k), truth, k=k)


def figures(network, source, batch_size=16):
    """What OverFeat is judged by, beside the detections' usual figures.

    Args:
        network: an `OverFeat`.
        source: a `keras_det.data.Source`; classification and localization use `single_objects` of it.
        batch_size: pictures sent through the network together.

    Returns:
        `top1` (share of right first guesses), and with a regressor `localization_error` at 5 guesses,
        `localization_error_1` at one, `map50_merge` and `map50_nms`.
    """
    single = single_objects(source)
    found = {"top1": 1 - top_errors(network, single, batch_size, (1,))[0]}
    if network.regressor is None:
        return found
    for name, k in (("localization_error", 5), ("localization_error_1", 1)):
        found[name] = localization_error(network, single, batch_size, min(k, len(network.classes)))
    truth = Truth.from_source(source)
    windows = tf.function(network.scored_windows, reduce_retracing=True)
    ways = {how: Evaluator(truth) for how in ("merge", "nms")}
    for images, indexes in whole_images(source, batch_size):
        scored = windows(images)
        for how, evaluator in ways.items():
            _update(network, source, evaluator, indexes, network.compiled_combine(how)(*scored))
    return found | {f"map50_{how}": evaluator.result(("area",))["map50"] for how, evaluator in ways.items()}


def _collect(network, source, batch_size, runs):
    """Put what each function finds in a source's pictures into its evaluator."""
    for images, indexes in whole_images(source, batch_size):
        for evaluator, run in runs:
            _update(network, source, evaluator, indexes, run(images))


def _update(network, source, evaluator, indexes, found):
    """Add a batch of detections with the source's labels."""
    known = [source.classes.index(c) if c in source.classes else -1 for c in network.classes]
    label_of = np.array([*known, -1], "int32")
    found = {key: keras.ops.convert_to_numpy(value) for key, value in found.items()}
    evaluator.update(indexes, found | {"labels": label_of[found["labels"]]})
