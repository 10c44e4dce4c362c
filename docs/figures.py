"""Make the images of the README and of the documentation: `docs/images/`.

    python docs/figures.py [NAME ...]

Names are the files' without ending; all by default. Everything is drawn by the package's own functions, from scenes
that no network was trained on. DetectorNet's Figure 3 is made by `make prove-detectornet`.
"""

import os
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from keras_det import boxes, models, visualize
from keras_det.data import load
from keras_det.layers import PriorBox
from keras_det.layers.offset_max_pooling import OffsetMaxPooling
from keras_det.training import multibox

FOLDER = Path(__file__).resolve().parent / "images"
SEED = 1  # the scenes of the held-out figures


def main(names):
    """Make the named metrics, or all."""
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        sys.exit(f"figures.py: there is no figure {unknown[0]}, only {', '.join(FIGURES)}")
    for name in names or FIGURES:
        ending, draw = FIGURES[name]
        path = FOLDER / f"{name}.{ending}"
        temporary = path.with_name(f".{os.getpid()}-{path.name}")
        try:
            draw(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        print(path)


def scenes(count, size=300):
    """Scenes never trained on."""
    return load("shapes", images=count, seed=SEED, size=size)


def at_input_size(model, i):
    """Scene `i` at the size of the model's input, as a batch of one."""
    return scenes(i + 1, model.image_size[0]).image(i)[None].astype("float32")


def save(image, path):
    """Write a PIL image; JPEG in good quality."""
    image.save(path, quality=88)


def detections(path):
    """What the embedded SSD300 finds in eight scenes."""
    model, source = models.SSD300(weights="shapes"), scenes(8)
    save(visualize.grid([found.plot() for found in model.detect([source.image(i) for i in range(8)])]), path)


def ssd_figure_1(path):
    """Figure 1: objects, and the default boxes of an 8x8 and of a 4x4 map that are matched to them."""
    image, truth = scenes(4).image(3), scenes(4).annotation(3)
    maps = [PriorBox([pair], (2,)).boxes(cells, cells) for cells, pair in ((8, (0.2, 0.4)), (4, (0.4, 0.7)))]
    ious = boxes.iou(truth.boxes[None], np.concatenate(maps)[None])
    matched = np.asarray(boxes.match(ious, np.ones((1, len(truth.boxes)), bool)))[0]
    parts = np.split(matched, [len(maps[0])])
    images = [visualize.draw_boxes(image, truth.boxes, truth.labels, names=scenes(4).classes)]
    images += [visualize.draw_default_boxes(image, own, part, limit=64) for own, part in zip(maps, parts)]
    save(visualize.grid(images, titles=["objects", "8x8 map", "4x4 map"]), path)


def multibox_figure_1(path):
    """Figure 1: detection rate against the number of boxes."""
    budgets = list(range(1, 101))
    rates = multibox.detection_rates(models.MultiBox(weights="shapes"), scenes(100), budgets)
    lines = {name: (budgets, values) for name, values in rates.items()}
    visualize.plot_lines(lines, path, xlabel="boxes of an image", ylabel="objects found", ylim=(0, 1))


def multibox_boxes(path):
    """The priors, and the ten boxes that the network is surest of."""
    model, image = models.MultiBox(weights="shapes"), scenes(4).image(3)
    found = model.detections(image[None])
    images = [
        visualize.draw_default_boxes(image, model.priors),
        visualize.draw_boxes(image, found["boxes"][0][:10], scores=found["scores"][0][:10]),
    ]
    save(visualize.grid(images, titles=["100 priors", "the ten surest boxes"]), path)


def class_generic_map(path):
    """The distribution over places, summed over scales and ratios, and the boxes of its highest maxima."""
    model, source, images = models.ClassGeneric(weights="shapes"), scenes(8), []
    for i in (3, 5):
        image, count = source.image(i), len(source.annotation(i).boxes)
        distribution = np.asarray(model.grid(model(at_input_size(model, i))["boxes"]))[0]
        found = model.detections(image[None])
        boxes_, scores = found["boxes"][0][:count], found["scores"][0][:count]
        images += [image, visualize.draw_heat(image, distribution.sum(axis=(2, 3)))]
        images.append(visualize.draw_boxes(image, boxes_, scores=scores, truth=source.annotation(i).boxes))
    save(visualize.grid(images, columns=3, titles=["scene", "probability of places", "highest maxima"] * 2), path)


def overfeat_figure_3(path):
    """Figure 3: in one dimension, pooling at three offsets and the six outputs of a classifier of five cells."""
    last = np.asarray(OffsetMaxPooling(3)(np.arange(20.0, dtype="float32").reshape(1, 1, 20, 1).repeat(3, axis=1)))
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axis = figure.subplots()

    def row(y, name, cells, colors):
        axis.text(-0.6, y + 0.4, name, ha="right", va="center", fontsize=9)
        for (low, high), color in zip(cells, colors):
            axis.add_patch(Rectangle((low, y), high - low, 0.8, facecolor=color, edgecolor="black", linewidth=0.8))

    row(6, "20 cells before pooling", [(x, x + 1) for x in range(20)], ["#dddddd"] * 20)
    tints = ("#e8743b", "#3b8ee8", "#4caf50")
    for offset in range(3):
        ends = last[offset, 0, :, 0] + 1  # a region's maximum is its last cell here
        row(5 - 1.3 * offset, f"pooled at offset {offset}", [(end - 3, end) for end in ends], [tints[offset]] * 6)
    outputs = [(3 * k + o, 3 * k + o + 1) for k in range(2) for o in range(3)]
    row(0.6, "6 outputs, one a place", [(x + 7, x + 8) for x, _ in outputs], [tints[x % 3] for x, _ in outputs])
    axis.set(xlim=(-6.5, 20.2), ylim=(0.3, 7))
    axis.axis("off")
    figure.savefig(path, format="png", dpi=110)


def overfeat_merge(path, confident=0.98):
    """Section 4.3: the boxes that the windows of all scales predict, in the colors of their classes, and merged."""
    model, source, images = models.OverFeat(weights="shapes"), scenes(8), []
    for i in (3, 5):
        image = source.image(i)
        boxes_, scores = model.scored_windows(image[None])
        every, scores_ = np.asarray(boxes_)[0], np.asarray(scores)[0]
        sure = scores_.max(1) > confident
        images.append(visualize.draw_boxes(image, every[sure], scores_[sure].argmax(1)))
        for how in ("merge", "nms"):
            found = model.combine(boxes_, scores, how)
            best = slice(0, len(source.annotation(i).boxes))
            kept = [np.asarray(found[name])[0][best] for name in ("boxes", "labels", "scores")]
            images.append(visualize.draw_boxes(image, *kept, names=model.classes))
    titles = ["boxes of confident windows", "merged", "suppressed"] * 2
    save(visualize.grid(images, columns=3, titles=titles), path)


FIGURES = {
    "detections": ("jpg", detections),
    "ssd_figure_1": ("jpg", ssd_figure_1),
    "multibox_figure_1": ("png", multibox_figure_1),
    "multibox_boxes": ("jpg", multibox_boxes),
    "class_generic_map": ("jpg", class_generic_map),
    "overfeat_figure_3": ("png", overfeat_figure_3),
    "overfeat_merge": ("jpg", overfeat_merge),
}


if __name__ == "__main__":
    main(sys.argv[1:])
