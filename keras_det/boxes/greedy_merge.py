"""OverFeat's greedy merge: boxes that agree are averaged and their confidences add up, instead of suppressing."""

from keras import ops

from keras_det.types import Tensor

BLOCK = 64  # rows of the first search for nearest boxes that are computed together
HALVINGS = 3  # of what a minimum is sought in: the smaller ones of two halves vectorize, a reduction does not
_INFINITY = float("inf")
_GONE = 1e18  # left edge where there is no box; unlike infinity it is still a number after a subtraction


def match_score(a: Tensor, b: Tensor) -> Tensor:
    """How badly two boxes match, 0 for equal ones (OverFeat section 4.3).

    The paper's score is "the sum of the distance between centers of the two bounding boxes and the intersection area of
    the boxes". It gives no units and smaller is better, so here both terms are relative to the boxes, and the second
    one is what the intersection lacks:

        |center_a - center_b| / ((diagonal_a + diagonal_b) / 2)  +  1 - |a and b| / |a or b|

    It is 0 to 1 and a little more for boxes that overlap and over 1 for boxes that do not, whatever their size.

    Args:
        a: `[..., 4]` rel_yxyx.
        b: the same; shapes broadcast.

    Returns:
        `[...]` float32, at least 0.

    >>> import numpy as np
    >>> a = np.array([0.0, 0.0, 0.4, 0.3], "float32")
    >>> np.asarray(match_score(a, np.stack([a, a + 0.1, a + 0.5]))).round(4).tolist()
    [0.0, 0.949..., 2.414...]
    """
    a, b = (ops.cast(x, "float32") for x in (a, b))
    return _score(*(_measures([x[..., k] for k in range(4)]) for x in (a, b)))


def _measures(edges):
    """The edges of boxes, apart, which vectorizes, their area and their diagonal."""
    height, width = edges[2] - edges[0], edges[3] - edges[1]
    return [*edges, height * width, ops.sqrt(height * height + width * width)]


def _score(a, b):
    """`match_score` of boxes given by their `_measures`."""
    top, left = ops.maximum(a[0], b[0]), ops.maximum(a[1], b[1])
    bottom, right = ops.minimum(a[2], b[2]), ops.minimum(a[3], b[3])
    both = ops.maximum(bottom - top, 0.0) * ops.maximum(right - left, 0.0)
    either = a[4] + b[4] - both
    down, across = (a[0] + a[2]) - (b[0] + b[2]), (a[1] + a[3]) - (b[1] + b[3])
    distance = ops.sqrt(down * down + across * across) / ops.maximum(a[5] + b[5], 1e-9)
    return distance + (1.0 - both / ops.maximum(either, 1e-12))


def merge_boxes(boxes: Tensor, scores: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the two boxes that match best until no two match well enough (OverFeat section 4.3, (d) to (g)).

    A merged box is the mean of all the boxes that it holds, and its confidence their sum: two merged boxes count by how
    many each holds ("box merge compute the average of the bounding boxes coordinates" leaves that open). Rows are
    merged each for itself. The outcome is that of the direct search among all pairs for each merge; the work is O(N)
    for each merge and each search for a lost nearest box, since every box remembers its nearest one: O(N^2) in
    practice. Call it in a compiled function (`tf.function(merge_boxes, jit_compile=True)`), since a step is far less
    than what starts it.

    Args:
        boxes: `[R, N, 4]` rel_yxyx.
        scores: `[R, N]` confidences; a box of confidence 0 is padding.
        threshold: t, the largest `match_score` that merges.

    Returns:
        `(boxes [R, N, 4], scores [R, N], counts [R, N])`: of merged boxes, each in the place of one of its boxes;
        other places have count 0, score 0 and zero boxes. All float32.

    >>> import numpy as np
    >>> boxes = np.array([[[0, 0, 0.4, 0.4], [0, 0.5, 0.4, 0.9], [0, 0.04, 0.4, 0.44]]], "float32")
    >>> merged, scores, counts = merge_boxes(boxes, np.array([[0.5, 0.3, 0.4]], "float32"), 0.5)
    >>> np.asarray(counts).tolist(), np.asarray(scores).round(2).tolist()
    ([[0.0, 1.0, 2.0]], [[0.0, 0.3..., 0.8...]])
    """
    boxes, scores = ops.cast(boxes, "float32"), ops.cast(scores, "float32")
    given = boxes.shape[1]
    widths = [[0, 0], [0, -given % 2**HALVINGS]]
    boxes, scores = ops.pad(boxes, [*widths, [0, 0]]), ops.pad(scores, widths)
    count = ops.cast(scores > 0, "float32")
    top, left, *measures = _measures([boxes[..., k] for k in range(4)])
    measures = [top, ops.where(count > 0, left, _GONE), *measures]
    indices = ops.broadcast_to(ops.arange(boxes.shape[1], dtype="int32"), ops.shape(scores))
    nearest, bound = _nearest_boxes(measures, indices)

    def best_pair(nearest, bound, count):
        # i and its nearest box j, and what they hold; i twice if j is gone (-1), or where nothing is left to merge.
        low, i = _first_minimum(bound, indices)
        j = _at(nearest, i)
        j = ops.where(ops.logical_and(low <= threshold, j >= 0), j, i)
        return low, i, j, _at(count, i), ops.where(i == j, 0.0, _at(count, j))

    def work_left(*state):
        *_, low, _, _, _, _ = state
        return ops.any(low <= threshold)

    def step(*state):
        # i merges into j. Or i has lost its nearest box, `bound` is a lower bound of its scores, and it looks anew.
        # What is read before it is written is read once, since the compiler else copies whole rows.
        *measures, count, score, nearest, bound, _, i, j, held, into = state
        merging = i != j
        total = held + into
        box = _measures([(_at(m, i) * held + _at(m, j) * into) / ops.maximum(total, 1.0) for m in measures[:4]])
        top, left, *measures = (_put(m, j, value) for m, value in zip(measures, box))
        measures = [top, _put(left, i, ops.where(merging, _GONE, box[1])), *measures]
        count = _put(count, j, total)
        score = _put(score, j, _at(score, i) + ops.where(merging, _at(score, j), 0.0))
        row = _scores_of(box, j, measures, indices)
        lost = ops.logical_and(merging, ops.logical_or(nearest == i, nearest == j))
        bound = ops.minimum(row, bound)
        nearest = ops.where(row <= bound, j, ops.where(lost, -1, nearest))
        own_bound, own_nearest = _first_minimum(row, indices)
        bound = _put(_put(bound, i, ops.full_like(own_bound, _INFINITY)), j, own_bound)
        nearest = _put(nearest, j, own_nearest)
        return *measures, count, score, nearest, bound, *best_pair(nearest, bound, count)

    state = (*measures, count, scores, nearest, bound, *best_pair(nearest, bound, count))
    *measures, count, score = (value[:, :given] for value in ops.while_loop(work_left, step, state)[:8])
    there = measures[1] < _GONE
    boxes = ops.where(ops.expand_dims(there, -1), ops.stack(measures[:4], axis=-1), 0.0)
    return boxes, ops.where(there, score, 0.0), ops.where(there, count, 0.0)


def merge(
    boxes: Tensor,
    scores: Tensor,
    score_threshold: float = 0.05,
    merge_threshold: float = 0.5,
    max_per_class: int = 2000,
    max_detections: int = 100,
    max_classes: int | None = None,
) -> dict[str, Tensor]:
    """Detections by greedy merge, class by class (OverFeat section 4.3); it takes the place of `nms`.

    Of each class the `max_per_class` best boxes over `score_threshold` are merged with `merge_boxes`. That the least
    confident boxes are left out, and that only boxes of one class merge, is this package's way: the paper merges one
    set B of all classes' boxes and names no lowest confidence.

    Args:
        boxes: `[B, A, 4]` rel_yxyx boxes shared by the classes, or `[B, A, C, 4]`, the classes' own.
        scores: `[B, A, C]` confidences, without background.
        score_threshold: a box's confidence is higher than this.
        merge_threshold: t, the largest `match_score` that merges; from 1 on boxes that do not overlap merge too.
        max_per_class: boxes of a class that are merged at most. Time grows with its square where there are as many.
        max_detections: detections of an image, D.
        max_classes: classes of an image that are merged at most, those with the highest confidences; `None` is all.

    Returns:
        Detections dict as of `nms`. Scores are sums of confidences, over 1 where several windows agree.

    >>> import numpy as np
    >>> boxes = np.array([[[0, 0, 0.4, 0.4], [0, 0.5, 0.4, 0.9], [0, 0.04, 0.4, 0.44]]], "float32")
    >>> found = merge(boxes, np.array([[[0.5], [0.3], [0.4]]], "float32"), max_detections=3)
    >>> np.asarray(found["scores"]).round(2).tolist(), int(found["num_detections"][0])
    ([[0.8999999761581421, 0.30000001192092896, 0.0]], 2)
    """
    boxes, scores = ops.cast(boxes, "float32"), ops.cast(scores, "float32")
    anchors, classes = scores.shape[1:]
    k = min(max_per_class, anchors)
    scores = ops.transpose(ops.where(scores > score_threshold, scores, 0.0), (0, 2, 1))
    # Rows of one image and class each, `names` their classes.
    count = min(max_classes or classes, classes)
    names = ops.cast(ops.top_k(ops.max(scores, axis=2), count)[1], "int32")
    scores = ops.take_along_axis(scores, ops.expand_dims(names, 2), axis=1)
    scores, index = ops.top_k(ops.reshape(scores, (-1, anchors)), k)
    first = ops.arange(ops.shape(scores)[0], dtype="int32") // count
    if len(boxes.shape) == 4:
        first = first * classes + ops.reshape(names, (-1,))
        boxes = ops.transpose(boxes, (0, 2, 1, 3))
    boxes = ops.take(
        ops.reshape(boxes, (-1, 4)), ops.cast(index, "int32") + ops.expand_dims(first * anchors, 1), axis=0
    )
    boxes, scores, _ = merge_boxes(boxes, scores, merge_threshold)
    return _best(boxes, scores, names, max_detections)


def _best(boxes, scores, names, max_detections):
    """The best merged boxes of each image, from rows of one image and class each; `[B, R]` are the rows' classes."""
    indices = names.shape[1] * scores.shape[1]
    scores, order = ops.top_k(ops.reshape(scores, (-1, indices)), min(max_detections, indices))
    order = ops.cast(order, "int32")
    first = ops.expand_dims(ops.arange(ops.shape(scores)[0], dtype="int32") * indices, 1)
    boxes = ops.take(ops.reshape(boxes, (-1, 4)), order + first, axis=0)
    found = scores > 0
    labels = ops.take_along_axis(names, order // (indices // names.shape[1]), axis=1)
    labels = ops.where(found, labels, -1)
    missing = max(max_detections - indices, 0)
    return {
        "boxes": ops.pad(ops.where(ops.expand_dims(found, -1), boxes, 0.0), ((0, 0), (0, missing), (0, 0))),
        "scores": ops.pad(scores, ((0, 0), (0, missing))),
        "labels": ops.pad(labels + 1, ((0, 0), (0, missing))) - 1,
        "num_detections": ops.sum(ops.cast(found, "int32"), axis=-1),
    }


def _scores_of(box, own, measures, indices):
    """Match scores of a box with all others; it stands at the place `own`."""
    nothing = ops.logical_or(indices == own, measures[1] >= _GONE)
    return ops.where(nothing, _INFINITY, _score(box, measures))


def _nearest_boxes(measures, indices):
    """`[R, N]` place of the best match of each box, and its score; a block of rows at a time."""
    n = indices.shape[1]
    padded = [ops.pad(m, [[0, 0], [0, -n % BLOCK]]) for m in measures]
    others = [ops.expand_dims(m, 1) for m in measures]

    def block(number):
        rows = number * BLOCK + ops.arange(BLOCK, dtype="int32")
        own = [ops.expand_dims(ops.take(m, rows, axis=1), 2) for m in padded]
        score = _scores_of(own, ops.reshape(rows, (1, -1, 1)), others, ops.expand_dims(indices, 1))
        score = ops.where(own[1] >= _GONE, _INFINITY, score)
        bound = ops.min(score, axis=-1)  # not by halves, for which XLA would compute the scores again
        nearest = ops.where(score == ops.expand_dims(bound, -1), ops.expand_dims(indices, 1), n - 1)
        return ops.min(nearest, axis=-1), bound

    nearest, bound = ops.map(block, ops.arange((n + BLOCK - 1) // BLOCK, dtype="int32"))
    return tuple(ops.reshape(ops.transpose(x, (1, 0, 2)), (-1, n - n % -BLOCK))[:, :n] for x in (nearest, bound))


def _first_minimum(x, indices):
    """The minimum along the last axis, kept, and its first place; faster than `argmin` where XLA compiles it."""
    low = _least(x)
    return low, _least(ops.where(x == low, indices, x.shape[-1] - 1))


def _least(x):
    """Minimum along the last axis, kept."""
    for _ in range(HALVINGS):
        half = x.shape[-1] // 2
        x = ops.minimum(x[..., :half], x[..., half:])
    return ops.min(x, axis=-1, keepdims=True)


def _at(x, index):
    """`[R, 1]` values of `[R, N]` at places `[R, 1]`; a place of -1 gives anything."""
    flat, first = ops.reshape(x, (-1,)), ops.expand_dims(ops.arange(ops.shape(x)[0], dtype="int32") * x.shape[1], 1)
    return ops.take(flat, first + ops.maximum(index, 0), axis=0)


def _put(x, index, value):
    """`[R, N]` with values `[R, 1]` at places `[R, 1]`."""
    rows = ops.expand_dims(ops.arange(ops.shape(x)[0], dtype="int32"), 1)
    return ops.scatter_update(x, ops.concatenate([rows, index], axis=1), value[:, 0])
