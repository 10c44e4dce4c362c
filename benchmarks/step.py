"""What SSD's matching, hard negative mining and loss add to a training step, and the memory that they take.

Cost: three minutes and 6 GB at the default size. Expected: at most 10 % of forward and backward for SSD300 on VGG16 at
batch 32; memory linear in the boxes. Writes `results/step.json`, at the default size alone.

    python benchmarks/step.py
    python benchmarks/step.py --backbone tiny --batch 4 --memory-batch 1
"""

import argparse
import resource

import keras
import numpy as np
import tensorflow as tf
from results import write_result
from timing import shortest

from keras_det.models import SSD300

SEED = 0
OBJECTS = (16, 56)  # in an image, and rows of padded labels: VOC's images have up to 56 objects
TIMES = (1, 2, 4, 8)  # as many boxes, for the memory


def labels_of(images, objects, rows, classes, rng):
    """Padded labels of random objects."""
    low = rng.uniform(0, 0.7, (images, rows, 2))
    boxes = np.concatenate([low, np.minimum(low + rng.uniform(0.05, 0.6, low.shape), 1)], axis=-1)
    labels = rng.integers(0, classes, (images, rows))
    labels[:, objects:] = -1
    return {"boxes": tf.constant(boxes, tf.float32), "labels": tf.constant(labels, tf.int32)}


def outputs_of(model, images, rng):
    """Random outputs for all default boxes."""
    boxes = len(model.default_boxes)
    shapes = {"offsets": 4, "logits": len(model.classes) + 1}
    return {name: tf.constant(rng.normal(size=(images, boxes, n)), tf.float32) for name, n in shapes.items()}


def objective(model):
    """A compiled function of labels and outputs: matching, mining, loss and its gradient at the outputs."""

    @tf.function
    def run(labels, outputs):
        targets = model.encode_targets(labels)
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            loss = sum(model.compute_losses(targets, outputs).values())
        return loss, tape.gradient(loss, outputs)

    return run


def passes(model):
    """A compiled function of images: the network forward and, from any gradient at the outputs, backward."""

    @tf.function
    def run(images):
        with tf.GradientTape() as tape:
            loss = sum(tf.reduce_sum(value) for value in model(images, training=True).values())
        return tape.gradient(loss, model.trainable_variables)

    return run


def time_step(model, batch, rng):
    """Seconds of the parts of a step, and their fraction of forward and backward."""
    labels, outputs = labels_of(batch, *OBJECTS, len(model.classes), rng), outputs_of(model, batch, rng)
    matching, objective_of = tf.function(model.encode_targets), objective(model)
    images = tf.constant(rng.uniform(0, 255, (batch, *model.image_size, 3)), tf.float32)
    network = passes(model)
    found = {
        "matching": shortest(lambda: matching(labels), 5),
        "matching, mining and loss": shortest(lambda: objective_of(labels, outputs), 5),
        "forward and backward": shortest(lambda: network(images), 2),
    }
    return found, found["matching, mining and loss"] / found["forward and backward"]


def measure_memory(model, batch, rng):
    """Highest memory of the process, in MiB over that before, with more and more boxes."""
    own = model.default_boxes
    before, rows = highest_memory(), []
    for times in TIMES:
        model.default_boxes = np.tile(own, (times, 1))
        run = objective(model)
        run(labels_of(batch, *OBJECTS, len(model.classes), rng), outputs_of(model, batch, rng))
        rows.append({"boxes": len(model.default_boxes), "mib": highest_memory() - before})
    model.default_boxes = own
    return rows


def highest_memory():
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vgg16")
    parser.add_argument("--batch", type=int, default=32, help="images of the timed step")
    parser.add_argument("--memory-batch", type=int, default=8, help="images whose loss's memory is measured")
    options = parser.parse_args()
    keras.utils.set_random_seed(SEED)
    rng = np.random.default_rng(SEED)
    model = SSD300(backbone=options.backbone)
    memory = measure_memory(model, options.memory_batch, rng)  # before the passes, whose memory is larger
    times, fraction = time_step(model, options.batch, rng)
    for name, value in times.items():
        print(f"{name:28} {1000 * value:10.1f} ms")
    print(f"matching, mining and loss are {fraction:.2%} of forward and backward at batch {options.batch}")
    for row in memory:
        print(f"{row['boxes']:7} boxes {row['mib']:8.0f} MiB at batch {options.memory_batch}")
    if options.backbone == "vgg16":
        metrics = {"batch": options.batch, "seconds": times, "fraction": fraction, "memory_batch": options.memory_batch}
        write_result("step", metrics | {"memory": memory, "objects": OBJECTS[0], "rows": OBJECTS[1]}, SEED)


if __name__ == "__main__":
    main()
