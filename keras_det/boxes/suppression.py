"""Greedy non-maximum suppression per class, batched, in tensor operations that every backend and exporter has."""

from keras import ops

from keras_det.boxes.overlap import iou
from keras_det.types import Tensor

BLOCK = 256  # candidates looked at in one round: two rounds are the rule, and a round's overlaps stay in the cache


def nms(
    boxes: Tensor,
    scores: Tensor,
    score_threshold: float = 0.01,
    iou_threshold: float = 0.45,
    max_per_class: int = 400,
    max_detections: int = 200,
    class_agnostic: bool = False,
) -> dict[str, Tensor]:
    """Per class non-maximum suppression (SSD section 3.7), or whatever the class.

    Of each class the `max_per_class` best boxes over `score_threshold` are candidates. Candidates of all classes are
    visited from the highest score down; one is kept unless a kept one of its class overlaps it by more than
    `iou_threshold`. A candidate never depends on a lower one, so the work stops when `max_detections` are kept. Of
    equal scores the lower class comes first, then the lower box.

    Args:
        boxes: `[B, A, 4]` rel_yxyx boxes shared by the classes.
        scores: `[B, A, C]` scores in 0 .. 1, without background.
        score_threshold: a candidate's score is higher than this.
        iou_threshold: IoU over which the lower score is suppressed.
        max_per_class: candidates of a class before suppression (the authors' `nms_top_k`).
        max_detections: detections of an image after suppression, D.
        class_agnostic: let kept boxes of any class suppress, not only those of the same class.

    Returns:
        Detections dict: `boxes [B, D, 4]`, `scores [B, D]`, `labels [B, D]` int32, `num_detections [B]` int32, sorted
        by score and padded with score 0, label -1 and zero boxes.

    >>> import numpy as np
    >>> boxes = np.array([[[0, 0, 1, 1], [0, 0, 1, 0.9], [0, 0, 0.1, 0.1]]], "float32")
    >>> found = nms(boxes, np.array([[[0.9], [0.8], [0.7]]], "float32"), max_detections=3)
    >>> np.asarray(found["scores"]).round(1).tolist(), int(found["num_detections"][0])
    ([[0.8999999761581421, 0.699999988079071, 0.0]], 2)
    """
    candidates = _candidates(
        ops.cast(boxes, "float32"), ops.cast(scores, "float32"), score_threshold, max_per_class, max_detections
    )
    kept = _visit(*candidates, iou_threshold, max_detections, class_agnostic)
    found = kept["scores"] > 0
    return {
        "boxes": ops.where(ops.expand_dims(found, -1), kept["boxes"], 0.0),
        "scores": kept["scores"],
        "labels": ops.where(found, kept["labels"], -1),
        "num_detections": ops.sum(ops.cast(found, "int32"), axis=-1),
    }


def _candidates(boxes, scores, score_threshold, max_per_class, max_detections):
    """Boxes, scores and labels of the candidates, by descending score, in a whole number of blocks."""
    scores = ops.where(scores > score_threshold, scores, 0.0)
    anchors, classes = scores.shape[1:]
    per_class = min(max_per_class, anchors)
    scores, index = ops.top_k(ops.transpose(scores, (0, 2, 1)), per_class)
    scores, index = ops.reshape(scores, (-1, classes * per_class)), ops.reshape(index, (-1, classes * per_class))
    scores, order = ops.top_k(scores, classes * per_class)
    labels = ops.cast(order // per_class, "int32")
    boxes = _gather(boxes, _gather(ops.cast(index, "int32"), order))
    padding = -(classes * per_class) % BLOCK
    widths = ((0, 0), (0, padding))
    return ops.pad(boxes, (*widths, (0, 0))), ops.pad(scores, widths), ops.pad(labels, widths)


def _visit(boxes, scores, labels, iou_threshold, max_detections, class_agnostic):
    """Visit the sorted candidates block by block and keep what nothing kept before suppresses."""
    batch, blocks = ops.shape(scores)[0], scores.shape[1] // BLOCK

    def suppresses(*pairs):
        return _suppresses(*pairs, iou_threshold=iou_threshold, class_agnostic=class_agnostic)

    def work_left(start, kept_boxes, kept_scores, kept_labels):
        open_list = kept_scores[:, -1] <= 0
        first = ops.take(scores, ops.minimum(start, blocks - 1) * BLOCK, axis=1)
        return ops.logical_and(start < blocks, ops.any(ops.logical_and(open_list, first > 0)))

    def visit_block(start, kept_boxes, kept_scores, kept_labels):
        here = start * BLOCK + ops.arange(BLOCK, dtype="int32")
        block_boxes, block_scores, block_labels = (ops.take(x, here, axis=1) for x in (boxes, scores, labels))
        by_kept = suppresses(block_boxes, block_labels, kept_boxes, kept_labels)
        by_kept = ops.logical_and(by_kept, ops.expand_dims(kept_scores > 0, 1))
        alive = ops.logical_and(block_scores > 0, ops.logical_not(ops.any(by_kept, axis=-1)))
        within = suppresses(block_boxes, block_labels, block_boxes, block_labels)
        alive = _greedy(alive, within)
        all_scores = ops.concatenate([kept_scores, ops.where(alive, block_scores, 0.0)], axis=1)
        kept_scores, order = ops.top_k(all_scores, max_detections)
        all_boxes = ops.concatenate([kept_boxes, block_boxes], axis=1)
        all_labels = ops.concatenate([kept_labels, block_labels], axis=1)
        return start + 1, _gather(all_boxes, order), kept_scores, _gather(all_labels, order)

    nothing = (
        ops.zeros((), "int32"),
        ops.zeros((batch, max_detections, 4)),
        ops.zeros((batch, max_detections)),
        ops.zeros((batch, max_detections), "int32"),
    )
    _, boxes, scores, labels = ops.while_loop(work_left, visit_block, nothing)
    return {"boxes": boxes, "scores": scores, "labels": labels}


def _gather(values, index):
    """`[B, N, ...]` values at `[B, K]` places of the second axis; `take_along_axis` has no ONNX form in older Keras."""
    rows, indices = ops.shape(values)[0], values.shape[1]
    first = ops.expand_dims(ops.arange(rows, dtype="int32") * indices, 1)
    return ops.take(ops.reshape(values, (-1, *values.shape[2:])), ops.cast(index, "int32") + first, axis=0)


def _suppresses(boxes, labels, other_boxes, other_labels, iou_threshold, class_agnostic):
    """`[B, N, M]` bool: whether the other box, once kept, suppresses this one."""
    if class_agnostic:
        return iou(boxes, other_boxes) > iou_threshold
    same_class = ops.expand_dims(labels, 2) == ops.expand_dims(other_labels, 1)
    return ops.logical_and(iou(boxes, other_boxes) > iou_threshold, same_class)


def _greedy(alive, suppresses):
    """Solve `keep[i] = alive[i] and no earlier j with keep[j] suppresses i` by iteration.

    After n rounds the first n answers are final, and chains of suppression are short, so it ends after a few.
    """
    size = alive.shape[1]
    earlier = ops.reshape(ops.arange(size), (size, 1)) > ops.reshape(ops.arange(size), (1, size))
    suppresses = ops.cast(ops.logical_and(suppresses, earlier), "float32")

    def step(changed, now):
        suppressed = ops.squeeze(ops.matmul(suppresses, ops.expand_dims(ops.cast(now, "float32"), -1)), -1) > 0
        then = ops.logical_and(alive, ops.logical_not(suppressed))
        return ops.any(ops.not_equal(now, then)), then

    return ops.while_loop(lambda changed, now: changed, step, (ops.ones((), "bool"), alive))[1]
