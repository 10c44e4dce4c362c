"""The assignment problem, exact and batched, in tensor operations that run inside a compiled step."""

from keras import ops

from keras_det.types import Tensor


def assign(costs: Tensor, valid: Tensor) -> Tensor:
    """Give every object a box of its own so that the sum of the costs is the least (DeepMultiBox, "Optimization").

    The Hungarian method with shortest augmenting paths, on all images of the batch at once: objects whose cheapest box
    nobody else wants get it at the start; every other object adds one augmenting path, found by Dijkstra's algorithm
    over the boxes. At most M paths of at most M steps, each a few operations on `[B, K]`. Sums are float32.

    Args:
        costs: `[B, M, K]` finite cost of giving object m box k. A cost that is not finite makes the assignment of its
            image meaningless, but not endless.
        valid: `[B, M]` bool, false for padding, whose costs are not looked at.

    Returns:
        `[B, M]` int32 index of the object's box, -1 for padding. Where an image has more objects than boxes, every box
        gets an object, the sum is the least of all such choices, and the objects left over have -1.

    >>> import numpy as np
    >>> costs = np.array([[[1.0, 2.0, 9.0], [1.5, 5.0, 9.0]]], "float32")
    >>> np.asarray(assign(costs, np.ones((1, 2), bool))).tolist()
    [[1, 0]]
    """
    costs, valid = ops.cast(ops.convert_to_tensor(costs), "float32"), ops.cast(valid, "bool")
    objects, boxes = costs.shape[1:]
    costs = ops.where(ops.expand_dims(valid, -1), costs, 0.0)
    if objects > boxes:  # dummy boxes dearer than any true one take the objects that are left over
        dear = ops.max(costs, axis=(1, 2), keepdims=True) + 1.0
        dummies = ops.broadcast_to(dear, (ops.shape(costs)[0], objects, objects - boxes))
        costs = ops.concatenate([costs, dummies], axis=2)
    matched_box = _solve(costs, valid)
    return ops.where(ops.logical_and(valid, matched_box < boxes), matched_box, -1)


def _solve(costs, valid):
    """`assign` for M <= K."""
    u, matched_box, matched_object = _start(costs, valid)
    v = ops.zeros_like(costs[:, 0])
    waiting = ops.logical_and(valid, matched_box < 0)
    order = ops.argsort(ops.cast(ops.logical_not(waiting), "int32"), axis=1)
    counts = ops.sum(ops.cast(waiting, "int32"), axis=1)
    most = ops.max(counts)

    def add(turn, u, v, matched_box, matched_object):
        row = ops.cast(ops.take(order, turn, axis=1), "int32")
        return (turn + 1, *_augment(costs, u, v, matched_box, matched_object, row, counts > turn))

    state = (ops.zeros((), "int32"), u, v, matched_box, matched_object)
    return ops.while_loop(lambda turn, *_: turn < most, add, state)[3]


def _start(costs, valid):
    """Potentials of the objects, and the assignment of those whose cheapest box no earlier object has."""
    objects, boxes = costs.shape[1:]
    u, best = ops.min(costs, axis=2), ops.cast(ops.argmin(costs, axis=2), "int32")
    same = ops.expand_dims(best, 1) == ops.expand_dims(best, 2)
    earlier = ops.reshape(ops.arange(objects), (objects, 1)) > ops.reshape(ops.arange(objects), (1, objects))
    taken = ops.any(ops.logical_and(ops.logical_and(same, earlier), ops.expand_dims(valid, 1)), axis=2)
    matched_box = ops.where(ops.logical_and(valid, ops.logical_not(taken)), best, -1)
    holds = ops.expand_dims(matched_box, 2) == ops.reshape(ops.arange(boxes, dtype="int32"), (1, 1, boxes))
    number = ops.reshape(ops.arange(1, objects + 1, dtype="int32"), (1, objects, 1))
    return u, matched_box, ops.max(ops.where(holds, number, 0), axis=1) - 1


def _augment(costs, u, v, matched_box, matched_object, start, active):
    """Give one more object of each active image a box, along the shortest augmenting path.

    Args:
        costs: `[B, M, K]`.
        u, v: `[B, M]`, `[B, K]` potentials; no cost is below u + v.
        matched_box, matched_object: `[B, M]`, `[B, K]` the box of each object and the object of each box, -1 for none.
        start: `[B]` the object.
        active: `[B]` bool.
    """
    objects, boxes = costs.shape[1:]
    box_index = ops.reshape(ops.arange(boxes, dtype="int32"), (1, boxes))
    object_index = ops.reshape(ops.arange(objects, dtype="int32"), (1, objects))
    infinity = ops.full_like(v, float("inf"))

    def searching(step, row, sink, *_):
        return ops.logical_and(step < objects, ops.any(sink < 0))

    def search(step, row, sink, distance, before, done, closed, seen):
        """Close the nearest open box; it is the sink if it is free, else its object is looked at next."""
        going = sink < 0
        row_costs = _at(costs, row) - ops.expand_dims(_at(u, row) - distance, 1) - v
        seen = ops.logical_or(seen, ops.logical_and(object_index == ops.expand_dims(row, 1), ops.expand_dims(going, 1)))
        better = ops.logical_and(row_costs < done, ops.logical_not(closed))
        better = ops.logical_and(better, ops.expand_dims(going, 1))
        done = ops.where(better, row_costs, done)
        before = ops.where(better, ops.expand_dims(row, 1), before)
        nearest = ops.cast(ops.argmin(ops.where(closed, infinity, done), axis=1), "int32")
        here = ops.logical_and(box_index == ops.expand_dims(nearest, 1), ops.expand_dims(going, 1))
        closed = ops.logical_or(closed, here)
        distance = ops.where(going, _at(done, nearest), distance)
        owner = _at(matched_object, nearest)
        sink = ops.where(ops.logical_and(going, owner < 0), nearest, sink)
        return step + 1, ops.where(going, ops.maximum(owner, 0), row), sink, distance, before, done, closed, seen

    sink = ops.where(active, -1, 0)
    nothing, none = ops.zeros_like(v, dtype="bool"), ops.zeros_like(u, dtype="bool")
    state = (
        ops.zeros((), "int32"),
        start,
        sink,
        ops.zeros_like(u[:, 0]),
        ops.full_like(matched_object, -1),
        infinity,
        nothing,
    )
    _, _, sink, distance, before, done, closed, seen = ops.while_loop(searching, search, (*state, none))
    found = ops.logical_and(active, sink >= 0)
    shift = ops.where(found, distance, 0.0)[:, None]
    own = ops.take_along_axis(done, ops.maximum(matched_box, 0), axis=1)
    own = ops.where(object_index == ops.expand_dims(start, 1), 0.0, own)
    u = ops.where(ops.logical_and(seen, found[:, None]), u + shift - own, u)
    v = ops.where(ops.logical_and(closed, found[:, None]), v - shift + done, v)
    return u, v, *_flip(matched_box, matched_object, before, start, sink, found)


def _flip(matched_box, matched_object, before, start, sink, found):
    """Swap the path's edges, from the sink back to the object it began with."""
    box_index = ops.reshape(ops.arange(matched_object.shape[1], dtype="int32"), (1, matched_object.shape[1]))
    object_index = ops.reshape(ops.arange(matched_box.shape[1], dtype="int32"), (1, matched_box.shape[1]))

    def going_back(step, box, going, *_):
        return ops.logical_and(step < matched_box.shape[1], ops.any(going))

    def go_back(step, box, going, matched_box, matched_object):
        row = ops.maximum(_at(before, box), 0)
        previous = _at(matched_box, row)
        here = ops.expand_dims(going, 1)
        matched_box = ops.where(
            ops.logical_and(here, object_index == ops.expand_dims(row, 1)), box[:, None], matched_box
        )
        matched_object = ops.where(
            ops.logical_and(here, box_index == ops.expand_dims(box, 1)), row[:, None], matched_object
        )
        return step + 1, ops.maximum(previous, 0), ops.logical_and(going, row != start), matched_box, matched_object

    state = (ops.zeros((), "int32"), ops.maximum(sink, 0), found, matched_box, matched_object)
    return ops.while_loop(going_back, go_back, state)[3:]


def _at(values, index):
    """`[B, N, ...]` values at `[B]` places of the second axis."""
    index = ops.reshape(index, (-1,) + (1,) * (len(values.shape) - 1))
    if len(values.shape) == 3:
        index = ops.repeat(index, values.shape[2], axis=2)
    return ops.take_along_axis(values, index, axis=1)[:, 0]
