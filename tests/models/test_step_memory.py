"""What the objective keeps in memory, read from the compiled step's graph."""

import math

import numpy as np
import tensorflow as tf
from small_models import build

BATCH, ROWS = 2, 50


def tensor_sizes(model):
    """Elements of every tensor in the graph of matching, mining, loss and its gradient, loops included."""
    boxes, rng = len(model.default_boxes), np.random.default_rng(0)
    low = rng.uniform(0, 0.5, (BATCH, ROWS, 2))
    labels = {
        "boxes": tf.constant(np.concatenate([low, low + 0.3], axis=-1), tf.float32),
        "labels": tf.zeros((BATCH, ROWS), tf.int32),
    }
    shapes = {"offsets": 4, "logits": len(model.classes) + 1}
    outputs = {name: tf.zeros((BATCH, boxes, n)) for name, n in shapes.items()}

    @tf.function
    def objective(labels, outputs):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            loss = model.compute_loss(y=labels, y_pred=outputs)
        return tape.gradient(loss, outputs)

    graph = objective.get_concrete_function(labels, outputs).graph.as_graph_def(add_shapes=True)
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert any("while" in node.op.lower() for node in nodes)
    shapes = [shape for node in nodes for shape in node.attr["_output_shapes"].list.shape]
    return [math.prod(each.size for each in shape.dim) for shape in shapes if not shape.unknown_rank]


def test_memory_is_linear_in_the_boxes_and_no_pair_of_box_and_object_has_coordinates():
    model = build("ssd300", sources=("stage3",))
    boxes = len(model.default_boxes)
    sizes = tensor_sizes(model)
    assert BATCH * boxes * ROWS <= max(sizes) < 2 * BATCH * boxes * ROWS  # the overlaps, one number each
    model.default_boxes = np.tile(model.default_boxes, (2, 1))
    assert 1.8 * sum(sizes) < sum(tensor_sizes(model)) < 2.1 * sum(sizes)
