"""OverFeat's dense evaluation beside cropping each window, its cost against the image's area, and the greedy merge.

Cost: about 2 minutes. Expected: at the six scales of Table 5 and fine stride at least 10 times fewer multiply-adds and
at least 5 times less time than a crop for each window; 5,000 boxes merged in under 100 ms. Writes `results/dense.json`
and `results/dense.png`.

    python benchmarks/dense.py
"""

import argparse
from functools import partial

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from results import FOLDER, write_result
from timing import shortest

from keras_det.backbones import overfeat as networks
from keras_det.boxes import merge_boxes
from keras_det.files import whole

SEED = 0
CLASSES = 1000
SIDES = (247, 349, 493, 697, 985, 1393)  # pixels; the area doubles from one to the next


def multiply_adds(variant, size, fine=True):
    """Multiply-adds of a dense pass over an image of `size` pixels at full width."""
    spec, weights = networks.ARCHITECTURES[variant], networks.layer_weights(variant, CLASSES)
    positions = np.prod([networks._positions(spec, side) for side in size], axis=0)
    positions[-3:] = np.prod([spec.cells(side, fine) for side in size])
    return int(np.dot(positions, weights))


def cells(variant, size, fine=True):
    """Windows of an image."""
    return int(np.prod([networks.ARCHITECTURES[variant].cells(side, fine) for side in size]))


def count(variant, fine=True):
    """Multiply-adds at all scales, dense and with a crop for each window."""
    scales = networks.ARCHITECTURES[variant].scales
    dense = sum(multiply_adds(variant, size, fine) for size in scales)
    windows = sum(cells(variant, size, fine) for size in scales)
    crops = windows * networks.count(variant, CLASSES)["connections"]
    return {"windows": windows, "dense": dense, "crops": crops, "ratio": crops / dense}


class Timed:
    """A narrow network, dense and window by window."""

    def __init__(self, variant, width):
        self.spec = networks.ARCHITECTURES[variant]
        self.backbone, self.head = networks.overfeat(variant, width), networks.classifier(variant, CLASSES, width)
        self.dense = tf.function(
            lambda images, fine=True: networks.run_dense(self.head, self.backbone(images), variant, fine)["output"]
        )

    def maps(self, image):
        """The outputs of all windows at once."""
        return self.dense(image).numpy()

    def windows(self, image, batch=32):
        """Every window of an image `[1, H, W, 3]` cropped and run by itself, in batches."""
        step, field = self.spec.stride, self.spec.field
        rows, columns = (self.spec.cells(side) for side in image.shape[1:3])
        places = list(np.ndindex(rows, columns))
        found = []
        for start in range(0, len(places), batch):
            some = places[start : start + batch]
            crops = [image[0, y * step : y * step + field, x * step : x * step + field] for y, x in some]
            crops += crops[:1] * (batch - len(crops))
            found.append(self.dense(np.stack(crops))[: len(some), 0, 0].numpy())
        return np.concatenate(found).reshape(rows, columns, -1)


def time_scales(network, rng):
    """Seconds at each scale, dense and window by window."""
    rows = []
    for size in network.spec.scales:
        image = rng.normal(size=(1, *size, 3)).astype("float32")
        row = {"size": size, "windows": int(np.prod([network.spec.cells(side) for side in size]))}
        row["dense_seconds"] = shortest(partial(network.maps, image), 3)
        row["crops_seconds"] = shortest(partial(network.windows, image), 1)
        rows.append(row | {"ratio": row["crops_seconds"] / row["dense_seconds"]})
    return rows


def difference(network, rng):
    """Largest relative difference of dense outputs and the network on what each cell sees, at scale 3.

    Layers with zero padding see `context` pixels around a window, so the crop has them too, where the image does.
    """
    spec = network.spec
    image = rng.normal(size=(1, *spec.scales[2], 3)).astype("float32")
    maps, margin = network.dense(image).numpy()[0], spec.context // spec.stride
    worst = 0.0
    for y, x in np.ndindex(*maps.shape[:2]):
        top, left = max(y - margin, 0), max(x - margin, 0)
        ends = [(n + margin) * spec.stride + spec.field for n in (y, x)]
        crop = image[:, top * spec.stride : ends[0], left * spec.stride : ends[1]]
        alone = network.dense(crop).numpy()[0, y - top, x - left]
        worst = max(worst, float(np.abs(alone - maps[y, x]).max()))
    return worst / float(np.abs(maps).max())


def time_areas(network, rng):
    """Seconds of a dense pass against the image's area, and the slope on logarithmic scales."""
    rows = []
    for side in SIDES:
        image = rng.normal(size=(1, side, side, 3)).astype("float32")
        rows.append({"side": side, "seconds": shortest(partial(network.maps, image), 3)})
    area, cost = np.log([r["side"] ** 2 for r in rows]), np.log([r["seconds"] for r in rows])
    return rows, float(np.polyfit(area[1:], cost[1:], 1)[0])


def time_merge(rng, rows, boxes):
    """Seconds to merge boxes around ten objects, a row for each class, compiled by XLA."""
    centers, sides = rng.uniform(0.2, 0.8, (10, 2)), rng.uniform(0.1, 0.5, (10, 2))
    which = rng.integers(0, 10, (rows, boxes))
    corners = np.concatenate([centers[which] - sides[which] / 2, centers[which] + sides[which] / 2], axis=-1)
    corners = (corners + rng.normal(size=corners.shape) * 0.02).astype("float32")
    scores = rng.uniform(0.1, 1, (rows, boxes)).astype("float32")
    run = tf.function(merge_boxes, jit_compile=True)
    merged = np.count_nonzero(run(corners, scores, 0.5)[2].numpy())
    return {
        "classes": rows,
        "boxes": rows * boxes,
        "seconds": shortest(lambda: run(corners, scores, 0.5)[0].numpy(), 3),
        "merged": merged,
    }


def draw(areas, path):
    """Seconds against area on logarithmic scales."""
    figure, axes = plt.subplots(figsize=(6, 4))
    for name, (rows, slope) in areas.items():
        axes.loglog(
            [r["side"] ** 2 for r in rows], [r["seconds"] for r in rows], "o-", label=f"{name}, slope {slope:.2f}"
        )
    axes.set(
        xlabel="area of the image (pixels)", ylabel="seconds of a dense pass, fine stride", title="OverFeat, width 1/8"
    )
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    with whole(path) as temporary:
        figure.savefig(temporary, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--width", type=float, default=1 / 8, help="fraction of the channels of the networks that are timed"
    )
    width = parser.parse_args().width
    keras.utils.set_random_seed(SEED)
    rng = np.random.default_rng(SEED)
    result, areas = {"width": width}, {}
    for variant in networks.ARCHITECTURES:
        network = Timed(variant, width)
        scales = time_scales(network, rng)
        total = {key: sum(row[key] for row in scales) for key in ("dense_seconds", "crops_seconds")}
        areas[variant] = time_areas(network, rng)
        result[variant] = {
            "multiply_adds_fine": count(variant),
            "multiply_adds_coarse": count(variant, fine=False),
            "scales": scales,
            **total,
            "time_ratio": total["crops_seconds"] / total["dense_seconds"],
            "largest_difference": difference(network, rng),
            "areas": areas[variant][0],
            "slope": areas[variant][1],
        }
        print(
            f"{variant}: {result[variant]['multiply_adds_fine']['ratio']:.1f} times fewer multiply-adds, "
            f"{result[variant]['time_ratio']:.1f} times faster, outputs differ by "
            f"{result[variant]['largest_difference']:.1e}, time grows with area^{areas[variant][1]:.2f}"
        )
    result["merge"] = [time_merge(rng, *shape) for shape in ((1, 5000), (5, 1000), (20, 250))]
    for row in result["merge"]:
        print(f"merge of {row['boxes']} boxes of {row['classes']} classes: {1000 * row['seconds']:.0f} ms")
    draw(areas, FOLDER / "dense.png")
    write_result("dense", result, SEED)


if __name__ == "__main__":
    main()
