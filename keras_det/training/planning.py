"""What a training would be, and what it would need, without training: `keras-det train --dry-run`."""

import contextlib
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf

from keras_det.data.source import Source
from keras_det.models.network import Network
from keras_det.training.evaluation import check
from keras_det.training.recipe import Recipe
from keras_det.training.run import in_words
from keras_det.types import Tensor

VIEWS = ("Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient")  # operations that copy nothing
MEASURED_STEPS = 3
KEPT_ANYWAY = ("ReadVariableOp", "Const", "Placeholder", "Shape", "Size")


def plan(
    model: Network,
    recipe: Recipe,
    source: Source,
    val_source: Source | None = None,
    seed: int = 0,
    measure: bool = False,
) -> dict[str, Any]:
    """Check data, shapes and memory of a training by reading every annotation and one batch, and by tracing one step.

    Args:
        model: a network with the source's classes, not compiled.
        recipe: a `Recipe`.
        source: data to train on.
        val_source: data to evaluate on during training.
        seed: seed of order and augmentation.
        measure: take some steps on that batch, which change the model, and time them.

    Returns:
        A dict of JSON values: `model`, `starts_from`, `parameters`, `data`, `images`, `objects`, `annotation_issues`,
        `val_data`, `val_images`, `batch` and `outputs` (shapes by name), `steps`, `steps_per_epoch`, `epochs`, `passes`
        through the data, `replicas`, `precision`, `optimizer`, `learning_rates` (pairs of step and rate), `gpu_hours`
        and `memory`, see `memory`; with `measure` also `seconds_per_step`, `hours_without_evaluation` and
        `process_memory`, the most that the process has had, in MB.

    Raises:
        ValueError: the data or the validation data have no images, cannot be read or have too many faulty objects, or
            the model's classes are others.
    """
    replicas = model.distribute_strategy.num_replicas_in_sync
    optimizer = recipe.build_optimizer(replicas)
    options, skipped = recipe.batch_options(model), []
    batches = model.batches(source, recipe.batch_size, training=True, seed=seed, skipped=skipped, **options)
    with in_words((source, skipped)):
        images, labels = next(iter(batches))
    if val_source is not None:
        check(model, val_source)
    per_replica = -(-images.shape[0] // replicas)
    batch = tf.nest.map_structure(lambda value: value[:per_replica], (images, labels))
    needed, outputs = memory(model, optimizer, *batch)
    per_epoch = recipe.steps_per_epoch or max(len(source) // recipe.batch_size, 1)
    found = _measured(model, recipe, images, labels) if measure else {}
    return {
        "model": type(model).__name__,
        "starts_from": model.starts_from,
        "parameters": sum(int(np.prod(v.shape)) for v in model.trainable_variables),
        "data": source.name,
        "images": len(source),
        "objects": sum(len(source.annotation(i)) for i in range(len(source))),
        "annotation_issues": len(source.issues),
        "val_data": val_source.name if val_source else None,
        "val_images": len(val_source) if val_source else 0,
        "batch": {"images": images.shape.as_list()} | {k: v.shape.as_list() for k, v in labels.items()},
        "outputs": outputs,
        "steps": recipe.steps,
        "steps_per_epoch": per_epoch,
        "epochs": -(-recipe.steps // per_epoch),
        "passes": recipe.steps * recipe.batch_size / len(source),
        "replicas": replicas,
        "precision": recipe.precision,
        "optimizer": type(optimizer).__name__,
        "learning_rates": learning_rates(recipe, replicas),
        "gpu_hours": recipe.gpu_hours,
        "memory": needed,
        **found,
    }


def _measured(model, recipe, images, labels):
    """Seconds of a step, hours of all of them, and the most memory that the process has had, in MB."""
    replicas = model.distribute_strategy.num_replicas_in_sync
    model.compile(optimizer=recipe.build_optimizer(replicas), jit_compile=recipe.jit_compile)
    times = []
    for _ in range(1 + MEASURED_STEPS):  # the first compiles
        start = time.perf_counter()
        model.train_on_batch(images, labels)
        times.append(time.perf_counter() - start)
    seconds = float(np.median(times[1:]))
    found = {"seconds_per_step": round(seconds, 4), "hours_without_evaluation": round(recipe.steps * seconds / 3600, 3)}
    with contextlib.suppress(ImportError):  # Windows has none
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        found["process_memory"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
    return found


def learning_rates(recipe: Recipe, replicas: int = 1, points: int = 5) -> list[list[float]]:
    """Pairs of a step and its learning rate: where the schedule changes, and evenly spread between."""
    schedule = recipe.build_schedule(recipe.learning_rate * (replicas if recipe.scale_learning_rate else 1))
    spread = np.linspace(0, recipe.steps - 1, points).astype(int)
    lr_milestones = recipe.lr_milestones if recipe.schedule == "step" else ()
    ends = [recipe.warmup, *(lr_gamma + 1 for lr_gamma in lr_milestones)]
    steps = sorted({int(step) for step in (*spread, *ends) if step < recipe.steps})
    rate_at = schedule if callable(schedule) else lambda update: schedule
    return [[step, float(rate_at(step // recipe.accumulate))] for step in steps]


def memory(
    model: Network, optimizer: Any, images: Tensor, labels: dict[str, Tensor]
) -> tuple[dict[str, float], dict[str, list[int]]]:
    """The memory of one replica's training step in MB, and the shapes of the outputs.

    Parameters, gradients and the optimizer's variables are counted. Activations are the tensors of the traced step that
    its forward pass makes and its backward pass reads, each once. Those within XLA's or control flow's functions and
    the scratch memory of convolutions do not count, so a device needs somewhat more than the sum.

    Args:
        model: a network, not compiled.
        optimizer: its optimizer, which is built.
        images: one replica's part of a batch.
        labels: and its labels.

    Returns:
        `(dict of parameters, gradients, optimizer, activations, batch, total; dict from output to shape)`.
    """
    optimizer.build(model.trainable_variables)
    shapes, forward = {}, []

    def step(images, labels):
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            loss = sum(model.compute_losses(model.encode_targets(labels), outputs).values())
        named = outputs if isinstance(outputs, dict) else {"outputs": outputs}
        shapes.update({name: value.shape.as_list() for name, value in named.items()})
        forward.extend(tf.compat.v1.get_default_graph().get_operations())
        return [g for g in tape.gradient(loss, model.trainable_variables) if g is not None]

    graph = tf.function(step, autograph=False).get_concrete_function(images, labels).graph
    parts = {
        "parameters": _bytes(model.variables),
        "gradients": _bytes(model.trainable_variables),
        "optimizer": _bytes(optimizer.variables),
        "activations": _activations(graph, forward),
        "batch": _bytes(tf.nest.flatten((images, labels))),
    }
    parts["total"] = sum(parts.values())
    return {name: round(value / 1e6, 1) for name, value in parts.items()}, shapes


def _bytes(tensors):
    return sum(int(np.prod(t.shape)) * tf.as_dtype(t.dtype).size for t in tensors)


def _activations(graph, forward):
    """Bytes of what the operations in `forward` make and the others of the graph read."""
    names = {operation.name for operation in forward}
    read = {}
    for operation in graph.get_operations():
        for tensor in operation.inputs if operation.name not in names else ():
            while tensor.op.type in VIEWS:
                tensor = tensor.op.inputs[0]
            if tensor.op.name in names and tensor.op.type not in KEPT_ANYWAY and tensor.shape.is_fully_defined():
                read[tensor.name] = tensor
    return _bytes([tensor for tensor in read.values() if tensor.dtype.size])
