"""Matching of objects to default boxes (SSD section 2.2), batched and without a host call."""

from keras import ops

from keras_det.types import Tensor


def match(
    ious: Tensor,
    valid: Tensor,
    threshold: float = 0.5,
    valid_boxes: Tensor | None = None,
    negative_threshold: float | None = None,
) -> Tensor:
    """Match default boxes to objects: each object's best box first, then every box that overlaps enough.

    The first stage is the greedy bipartite matching of the authors' code: of all free pairs the one of highest overlap
    is taken, again and again, so that of two objects that claim one box the better overlap wins and the other takes its
    best free box. Objects come before boxes in the arguments, since minima and maxima over the short axis are fast
    that way round.

    Args:
        ious: `[B, M, A]` float, IoU of M objects with A default boxes.
        valid: `[B, M]` bool, false for padding; such objects are matched to nothing.
        threshold: boxes whose overlap with their best object is higher than this are matched to it too.
        valid_boxes: optional `[A]` bool; default boxes that are false are never matched.
        negative_threshold: boxes that overlap an object by more than this and are matched to none are ignored, as
            RetinaNet's and Faster R-CNN's are between 0.4 and 0.5, or 0.3 and 0.7; `None` ignores none.

    Returns:
        `[B, A]` int32: the object matched to each default box, -1 for a negative, -2 for one to ignore. Each valid
        object that overlaps any valid box has at least one, as long as there are boxes left.

    >>> import numpy as np
    >>> ious = np.array([[[0.9, 0.1, 0.6], [0.8, 0.3, 0.0]]], "float32")  # both objects claim box 0
    >>> np.asarray(match(ious, np.array([[True, True]]))).tolist()
    [[0, 1, 0]]
    >>> np.asarray(match(ious[:, :1], np.array([[True]]), threshold=0.7, negative_threshold=0.4)).tolist()
    [[0, -1, -2]]
    """
    ious = ops.convert_to_tensor(ious)
    allowed = ops.expand_dims(ops.cast(valid, "bool"), -1)
    if valid_boxes is not None:
        allowed = ops.logical_and(allowed, ops.cast(valid_boxes, "bool"))
    ious = ops.where(allowed, ious, 0.0)
    best_object = ops.cast(ops.argmax(ious, axis=1), "int32")
    best = ops.max(ious, axis=1)
    unmatched = -1 if negative_threshold is None else ops.where(best > negative_threshold, -2, -1)
    matched = ops.where(best > threshold, best_object, unmatched)
    boxes = ops.arange(ious.shape[2], dtype="int32")
    owns = ops.expand_dims(_bipartite(ious), -1) == boxes
    owner = ops.cast(ops.argmax(ops.cast(owns, "int32"), axis=1), "int32")
    return ops.where(ops.any(owns, axis=1), owner, matched)


def _bipartite(ious):
    """`[B, M]` int32: the box of each object after greedy bipartite matching, or -1.

    The other objects take at most M - 1 boxes, so an object's box is always among the M that it overlaps most, and the
    search runs on `[B, M * M]` pairs.
    """
    objects, anchors = ops.shape(ious)[1:]
    candidates = min(objects, anchors) if isinstance(objects, int) else ops.minimum(objects, anchors)
    ious, boxes = ops.top_k(ious, candidates)
    ious = ops.reshape(ious, (-1, objects * candidates))
    boxes = ops.cast(ops.reshape(boxes, (-1, objects * candidates)), "int32")
    owners = ops.arange(objects * candidates, dtype="int32") // candidates
    index = ops.arange(objects, dtype="int32")

    def pairs_left(taken, free):
        return ops.any(free > 0)

    def take_the_best(taken, free):
        best = ops.expand_dims(ops.cast(ops.argmax(free, axis=1), "int32"), 1)
        left = ops.take_along_axis(free, best, axis=1) > 0
        box, thing = ops.take_along_axis(boxes, best, axis=1), ops.take(owners, best)
        gone = ops.logical_and(left, ops.logical_or(boxes == box, owners == thing))
        taken = ops.where(ops.logical_and(left, index == thing), box, taken)
        return taken, ops.where(gone, 0.0, free)

    nothing = ops.zeros_like(ious[:, :objects], dtype="int32") - 1
    return ops.while_loop(pairs_left, take_the_best, (nothing, ious))[0]
