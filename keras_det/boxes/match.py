"""Matching of objects to default boxes (SSD section 2.2), batched and without a host call."""

from keras import ops


def match(overlaps, valid, threshold=0.5, usable=None):
    """Match default boxes to objects: each object's best box first, then every box that overlaps enough.

    The first stage is the greedy bipartite matching of the authors' code: of all free pairs the one of highest overlap
    is taken, again and again, so that of two objects that claim one box the better overlap wins and the other takes its
    best free box. Here all *mutually best* pairs are taken at once, which gives the same pairs in a few rounds
    instead of one round for each object.

    Args:
        overlaps: `[B, A, M]` float, jaccard overlap of A default boxes with M objects.
        valid: `[B, M]` bool, false for padding; such objects are matched to nothing.
        threshold: boxes whose overlap with their best object is higher than this are matched to it too.
        usable: optional `[A]` bool; default boxes that are false are never matched.

    Returns:
        `[B, A]` int32: the object matched to each default box, or -1. Each valid object that overlaps any usable box
        has at least one, as long as there are boxes left.

    >>> import numpy as np
    >>> overlaps = np.array([[[0.9, 0.8], [0.1, 0.3], [0.6, 0.0]]], "float32")  # both objects claim box 0
    >>> np.asarray(match(overlaps, np.array([[True, True]]))).tolist()
    [[0, 1, 0]]
    """
    overlaps, valid = ops.convert_to_tensor(overlaps), ops.cast(valid, "bool")
    objects = overlaps.shape[-1]
    allowed = ops.expand_dims(valid, 1)
    if usable is not None:
        allowed = ops.logical_and(allowed, ops.reshape(ops.cast(usable, "bool"), (1, -1, 1)))
    overlaps = ops.where(allowed, overlaps, 0.0)
    best_object = ops.cast(ops.argmax(overlaps, axis=2), "int32")
    matched = ops.where(ops.max(overlaps, axis=2) > threshold, best_object, -1)
    owner = _bipartite(overlaps, objects)
    return ops.where(owner >= 0, owner, matched)


def _bipartite(overlaps, objects):
    """`[B, A]` int32: the object that owns each box after greedy bipartite matching, or -1."""
    index = ops.arange(objects, dtype="int32")
    box_index = ops.reshape(ops.arange(overlaps.shape[1], dtype="int32"), (1, -1, 1))

    def pairs_left(owner, free):
        return ops.any(free > 0)

    def take_mutually_best(owner, free):
        best_box = ops.expand_dims(ops.cast(ops.argmax(free, axis=1), "int32"), 1)
        best_object = ops.expand_dims(ops.cast(ops.argmax(free, axis=2), "int32"), 2)
        chosen = ops.logical_and(best_box == box_index, best_object == index)
        chosen = ops.logical_and(chosen, free > 0)
        owner = ops.where(ops.any(chosen, 2), ops.cast(ops.argmax(ops.cast(chosen, "int32"), 2), "int32"), owner)
        gone = ops.logical_or(ops.any(chosen, axis=1, keepdims=True), ops.any(chosen, axis=2, keepdims=True))
        return owner, ops.where(gone, 0.0, free)

    owner = ops.zeros_like(overlaps[..., 0], dtype="int32") - 1
    return ops.while_loop(pairs_left, take_mutually_best, (owner, overlaps))[0]
