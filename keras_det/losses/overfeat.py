"""OverFeat's objectives: classification of windows with negatives chosen on the fly, and regression of box edges."""

import keras
from keras import ops

from keras_det.types import Tensor


def classification_loss(
    classes: Tensor, logits: Tensor, negatives: int | None, noise: Tensor | None = None
) -> dict[str, Tensor]:
    """Cross-entropy of an image's windows (OverFeat sections 3.1 and 5).

    All windows of an object count. Of the background's, as many as asked for: the most offending ones, those whose loss
    is highest, or random ones.

    Args:
        classes: `[B, N]` int32 class of each window, 0 for background where the network has it, -1 for windows that
            take no part.
        logits: `[B, N, K]` float.
        negatives: windows of background that count in an image at most, or `None` where class 0 is no background.
        noise: `[B, N]` float that chooses them at random, the largest first; `None` takes the most offending ones.

    Returns:
        `{"classification": [B], "windows": [B]}` float32: sum of the losses of the windows that count, and how
        many they are.

    >>> import numpy as np
    >>> logits = np.log(np.array([[[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]], "float32"))
    >>> terms = classification_loss(np.array([[1, 0, 0, -1]]), logits, negatives=1)
    >>> np.exp(-np.asarray(terms["classification"])).round(2).tolist(), np.asarray(terms["windows"]).tolist()
    ([0.10...], [2.0])
    """
    classes, logits = ops.cast(classes, "int32"), ops.cast(logits, "float32")
    losses = keras.losses.sparse_categorical_crossentropy(ops.maximum(classes, 0), logits, from_logits=True)
    if negatives is None:
        counted = classes >= 0
    else:
        rank = ops.stop_gradient(losses) if noise is None else noise
        rank = ops.where(classes == 0, rank, -1.0)
        best = ops.top_k(rank, min(negatives, classes.shape[1]))[0]
        chosen = ops.logical_and(classes == 0, rank >= best[:, -1:])
        counted = ops.logical_or(classes > 0, chosen)
    counted = ops.cast(counted, "float32")
    return {"classification": ops.sum(losses * counted, axis=1), "windows": ops.sum(counted, axis=1)}


def regression_loss(has_object: Tensor, boxes: Tensor, predictions: Tensor) -> dict[str, Tensor]:
    """Squared distance of box edges in the window's frame, the paper's l2 loss (OverFeat section 4.2).

    Args:
        has_object: `[B, N]` bool, windows that at least half of an object lies in; the others are left out.
        boxes: `[B, N, 4]` the object's edges in the window's frame.
        predictions: `[B, N, 4]`.

    Returns:
        `{"localization": [B], "objects": [B]}` float32: half the squared distance, summed over windows and edges, and
        the number of windows.
    """
    counted = ops.cast(has_object, "float32")
    distance = ops.sum(ops.square(ops.cast(predictions, "float32") - boxes), axis=-1) / 2
    return {"localization": ops.sum(distance * counted, axis=1), "objects": ops.sum(counted, axis=1)}
