"""DeepMultiBox's objective: an assignment of predictions to objects, and the loss under it."""

from keras import ops

from keras_det.boxes import assign
from keras_det.types import Tensor

MATCHING = ("priors", "predictions")


def match_costs(boxes: Tensor, logits: Tensor, objects: Tensor, alpha: float) -> Tensor:
    """What the loss changes by when prediction k is given object m: the costs of matching to predictions.

    `alpha / 2 |l_k - g_m|^2 - log c_k + log (1 - c_k)`, in which the last two terms are minus the logit of c_k.

    Args:
        boxes: `[B, K, 4]` predicted l.
        logits: `[B, K]` of the confidences c.
        objects: `[B, M, 4]` g.
        alpha: weight of F_match.

    Returns:
        `[B, M, K]` float32.
    """
    return alpha / 2 * squared_distances(objects, boxes) - ops.expand_dims(logits, 1)


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """`|a - b|^2` of all pairs of `[B, M, 4]` and `[B, K, 4]` boxes: `[B, M, K]`, nothing of `[B, M, K, 4]`."""
    pairs = zip(ops.unstack(first, axis=-1), ops.unstack(second, axis=-1))
    return sum(ops.square(ops.expand_dims(a, 2) - ops.expand_dims(b, 1)) for a, b in pairs)


def matching_losses(boxes: Tensor, logits: Tensor, objects: Tensor, matched_prior: Tensor) -> tuple[Tensor, Tensor]:
    """F_match and F_conf of each image under an assignment.

    Args:
        boxes: `[B, K, 4]` predicted l.
        logits: `[B, K]` of the confidences c.
        objects: `[B, M, 4]` g.
        matched_prior: `[B, M]` int32, the box of each object, -1 for none.

    Returns:
        `(F_match [B], F_conf [B])`: half the squared distances of the matched pairs, and the cross-entropy of all
        confidences with 1 for matched boxes and 0 for the others. Gradients flow to the boxes by `l_i - g_j` and to the
        confidences by `(c_i - sum_j x_ij) / (c_i (1 - c_i))`.
    """
    used = matched_prior >= 0
    box_index = ops.maximum(matched_prior, 0)
    mine = ops.take_along_axis(boxes, ops.expand_dims(box_index, 2), axis=1)
    distances = ops.sum(ops.square(mine - objects), axis=-1)
    f_match = ops.sum(ops.where(used, distances, 0.0), axis=1) / 2
    index = ops.reshape(ops.arange(boxes.shape[1], dtype="int32"), (1, 1, -1))
    matched = ops.any(ops.expand_dims(matched_prior, 2) == index, axis=1)  # sum_j x_ij
    return f_match, ops.sum(sigmoid_cross_entropy(ops.cast(matched, "float32"), logits), axis=1)


def sigmoid_cross_entropy(targets: Tensor, logits: Tensor) -> Tensor:
    """Elementwise `-t log c - (1 - t) log (1 - c)` of `c = sigmoid(logit)`, finite for every finite logit."""
    return ops.softplus(logits) - targets * logits


def match_objects(
    boxes: Tensor | None,
    logits: Tensor | None,
    priors: Tensor,
    objects: Tensor,
    valid: Tensor,
    matching: str,
    alpha: float | None,
) -> Tensor:
    """The assignment of one of the paper's two variants.

    Args:
        boxes, logits, objects, alpha: as in `match_costs`.
        priors: `[K, 4]`.
        valid: `[B, M]` bool.
        matching: `"predictions"` solves for the least loss (equation 3); `"priors"` for the least squared distance
            between the objects and the priors ("Training Details"), which does not depend on the predictions.

    Returns:
        `[B, M]` int32, see `keras_det.boxes.assign`. No gradient flows through it.
    """
    if matching == "priors":
        priors = ops.expand_dims(ops.convert_to_tensor(priors, "float32"), 0)
        return assign(squared_distances(objects, priors), valid)
    costs = match_costs(ops.stop_gradient(boxes), ops.stop_gradient(logits), objects, alpha)
    return assign(costs, valid)
