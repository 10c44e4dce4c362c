"""Time of DetectorNet's box search beside the direct sum and beside the network: `python benchmarks/box_search.py`.

One image of 500 x 375, five masks, 20 classes: the search of all boxes on the merged masks of one scale, as `serve`
does three times, against equation 3 summed cell by cell for the same boxes, and against AlexNet on the image's 35
windows. Prints a table and writes `results/box_search.json`.
"""

import argparse
import time

import keras
import numpy as np
import tensorflow as tf
from results import write_result
from timing import shortest

from keras_det.boxes.integral import STEPS, count_boxes, search
from keras_det.models import DetectorNet

SEED = 0
CELLS = 24


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    keras.utils.set_random_seed(SEED)
    model = DetectorNet(classes=[f"class {k}" for k in range(options.classes)], refine=False)
    rng = np.random.default_rng(SEED)
    image = tf.constant(rng.integers(0, 256, (1, 375, 500, 3)), tf.uint8)
    masks = rng.random((options.classes, 5, CELLS, CELLS)).astype("float32")
    windows = tf.constant(rng.random((35, *model.image_size, 3)) * 255, tf.float32)
    plain = tf.function(lambda given: search(given, model.sizes))
    by_xla = tf.function(lambda given: search(given, model.sizes), jit_compile=True)
    network = tf.function(lambda given: model(given)["masks"])
    boxes = count_boxes(model.sizes)
    seconds = {
        "the search, plain operations": shortest(lambda: plain(masks), options.rounds),
        "the search, by XLA": shortest(lambda: by_xla(masks), options.rounds),
        "direct sums of the same boxes": direct_sums(masks[0], model.sizes, boxes) * options.classes,
        "the network on 35 windows": shortest(lambda: network(windows), 3),
        "a whole image, first stage": shortest(lambda: model.detections(image), 3),
    }
    fast, whole = seconds["the search, by XLA"], seconds["the network on 35 windows"]
    metrics = {
        "setting": {"image": [375, 500], "classes": options.classes, "boxes": boxes, "sizes": len(model.sizes)},
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "times_faster_than_direct": round(seconds["direct sums of the same boxes"] / fast, 1),
        "three_scales_fraction_of_network": round(3 * fast / whole, 4),
        "seconds_per_image_and_class": round(seconds["a whole image, first stage"] / options.classes, 4),
        "paper_seconds_per_image_and_class": "5 to 6 on 12 cores",
    }
    for name, value in seconds.items():
        print(f"{name:32}{value:12.4f} s")
    print(metrics)
    write_result("box_search", metrics, SEED)


def direct_sums(masks, sizes, boxes, sample=2000):
    """Seconds that equation 3 of one class's boxes takes summed over the cells, from a random sample of the boxes."""
    rng = np.random.default_rng(SEED)
    chosen = sizes[rng.integers(0, len(sizes), sample)]
    low = (rng.random((sample, 2)) * (STEPS + 1 - chosen)).astype(int)
    edges = np.arange(CELLS + 1) / CELLS

    def fraction(low, high):
        """`[sample, CELLS]` of each cell between two places."""
        return np.clip(np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1]), 0, None)

    start = time.perf_counter()
    y0, x0 = low.T / STEPS
    h, w = chosen.T / STEPS
    parts = [(y0, x0, h, w), (y0 - h / 4, x0 - w / 4, 1.5 * h, 1.5 * w), (y0, x0, h / 2, w), (y0 + h / 2, x0, h / 2, w)]
    parts += [(y0, x0, h, w / 2), (y0, x0 + w / 2, h, w / 2)]
    of = (0, 0, 1, 1, 3, 3), (None, None, 2, 2, 4, 4)
    for (y, x, height, width), *kinds in zip(parts, *of):
        rows, columns = fraction(y, y + height), fraction(x, x + width)
        for kind in kinds:
            if kind is not None:
                np.sum(rows[:, :, None] * columns[:, None] * masks[kind], axis=(1, 2))
    return (time.perf_counter() - start) / sample * boxes


if __name__ == "__main__":
    main()
