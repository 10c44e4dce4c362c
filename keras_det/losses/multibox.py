"""SSD's objective (section 2.2): Smooth L1 on offsets, softmax loss on classes, hard negative mining."""

import keras
from keras import ops

from keras_det.types import Tensor


def smooth_l1(difference: Tensor) -> Tensor:
    """Elementwise Smooth L1: `x^2 / 2` where `|x| < 1`, else `|x| - 1/2`.

    >>> [float(v) for v in smooth_l1([0.5, -2.0])]
    [0.125, 1.5]
    """
    size = ops.abs(difference)
    small = ops.minimum(size, 1.0)
    return small * (size - small / 2)


def localization_losses(target_offsets: Tensor, offsets: Tensor, positive: Tensor) -> Tensor:
    """L_loc of each image, equation 2.

    Args:
        target_offsets: `[B, A, 4]` encoded objects, any finite value where not positive.
        offsets: `[B, A, 4]` predictions.
        positive: `[B, A]` bool, matched default boxes.

    Returns:
        `[B]` sums over the positives.
    """
    per_box = ops.sum(smooth_l1(offsets - target_offsets), axis=-1)
    return ops.sum(ops.where(positive, per_box, 0.0), axis=-1)


def confidence_losses(target_classes: Tensor, logits: Tensor) -> Tensor:
    """Softmax loss of each default box, equation 3.

    Args:
        target_classes: `[B, A]` int32 with 0 for background.
        logits: `[B, A, C + 1]` predictions.

    Returns:
        `[B, A]` losses, 0 or more.
    """
    return keras.losses.sparse_categorical_crossentropy(target_classes, logits, from_logits=True)


def hard_negatives(
    losses: Tensor, positive: Tensor, ratio: float = 3, valid: bool | Tensor = True, least: int = 0
) -> Tensor:
    """The negatives that take part in the loss: of each image the highest losses, `ratio` for each positive.

    Args:
        losses: `[B, A]` confidence loss of each default box.
        positive: `[B, A]` bool.
        ratio: negatives for each positive at most.
        valid: bool, broadcastable to `[B, A]`; false boxes are never chosen.
        least: negatives of an image at least.

    Returns:
        `[B, A]` bool. Of equal losses the lower box is taken first, so that the ratio is never exceeded.

    >>> import numpy as np
    >>> chosen = hard_negatives(np.array([[9.0, 1.0, 3.0, 3.0]]), np.array([[True, False, False, False]]), ratio=2)
    >>> np.asarray(chosen).tolist()
    [[False, False, True, True]]
    """
    negative = ops.logical_and(ops.logical_not(positive), valid)
    wanted = ops.maximum(ratio * ops.sum(ops.cast(positive, "int32"), axis=-1, keepdims=True), least)
    wanted = ops.minimum(wanted, ops.sum(ops.cast(negative, "int32"), axis=-1, keepdims=True))
    score = ops.where(negative, ops.cast(losses, "float32"), -1.0)
    descending = ops.flip(ops.sort(score, axis=-1), axis=-1)
    lowest = ops.take_along_axis(descending, ops.maximum(wanted - 1, 0), axis=-1)
    above = score > lowest
    room = wanted - ops.sum(ops.cast(above, "int32"), axis=-1, keepdims=True)
    tied = ops.logical_and(score == lowest, negative)
    tied = ops.logical_and(tied, ops.cumsum(ops.cast(tied, "int32"), axis=-1) <= room)
    return ops.logical_and(ops.logical_or(above, tied), wanted > 0)


def multibox_loss(
    targets: dict[str, Tensor],
    outputs: dict[str, Tensor],
    negative_ratio: float = 3,
    valid: bool | Tensor = True,
    over_batch: bool = False,
) -> dict[str, Tensor]:
    """Both terms of equation 1 before the division by N.

    Args:
        targets: `{"offsets": [B, A, 4], "classes": [B, A] int32}`, class 0 being background; default boxes of class -1
            are neither positive nor negative.
        outputs: `{"offsets": [B, A, 4], "logits": [B, A, C + 1]}`, float32.
        negative_ratio: hard negatives for each positive at most.
        valid: `[A]` bool; false boxes are neither positive nor negative.
        over_batch: mine among all images together, instead of in each for its own positives.

    Returns:
        `{"localization": [B], "confidence": [B], "matched": [B]}`, sums and the number of matched default boxes of each
        image, float32. An image without objects has 0 in all three, but for its mined negatives with `over_batch`.
    """
    positive, valid = targets["classes"] > 0, ops.logical_and(valid, targets["classes"] >= 0)
    losses = confidence_losses(ops.maximum(targets["classes"], 0), outputs["logits"])
    mined = ops.stop_gradient(losses), positive, valid
    if over_batch:  # as one image of all boxes
        mined = [ops.reshape(rows, (1, -1)) for rows in mined]
    negative = ops.reshape(hard_negatives(*mined[:2], negative_ratio, mined[2]), ops.shape(positive))
    return {
        "localization": localization_losses(targets["offsets"], outputs["offsets"], positive),
        "confidence": ops.sum(ops.where(ops.logical_or(positive, negative), losses, 0.0), axis=-1),
        "matched": ops.sum(ops.cast(positive, "float32"), axis=-1),
    }


def sigmoid_multibox_loss(
    targets: dict[str, Tensor],
    outputs: dict[str, Tensor],
    negative_ratio: float = 3,
    valid: bool | Tensor = True,
    least: int = 0,
) -> dict[str, Tensor]:
    """As `multibox_loss`, with a sigmoid for background and for each class: TensorFlow's Object Detection API's loss.

    Args:
        targets: as of `multibox_loss`.
        outputs: likewise.
        negative_ratio: hard negatives for each positive at most.
        valid: `[A]` bool; false boxes are neither positive nor negative.
        least: negatives of an image at least.

    Returns:
        As `multibox_loss`.
    """
    positive, valid = targets["classes"] > 0, ops.logical_and(valid, targets["classes"] >= 0)
    classes = ops.one_hot(targets["classes"], outputs["logits"].shape[-1])
    losses = ops.sum(ops.binary_crossentropy(classes, outputs["logits"], from_logits=True), axis=-1)
    negative = hard_negatives(ops.stop_gradient(losses), positive, negative_ratio, valid, least)
    return {
        "localization": localization_losses(targets["offsets"], outputs["offsets"], positive),
        "confidence": ops.sum(ops.where(ops.logical_or(positive, negative), losses, 0.0), axis=-1),
        "matched": ops.sum(ops.cast(positive, "float32"), axis=-1),
    }
