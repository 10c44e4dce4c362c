"""Images of an evaluation, as the SSD paper draws them in its Figures 3, 4 and 6, and the other usual ones.

Each function takes the `GroundTruth` and `Predictions` of any detector and returns a matplotlib `Figure`, made without
pyplot's global state: `figure.savefig("errors.pdf")` writes it in any format.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from keras_det.fonts import in_their_scripts
from keras_det.metrics import diagnosis, voc
from keras_det.metrics.columns import GroundTruth, Predictions
from keras_det.metrics.tide_errors import ERRORS, Tide, tide

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COCO_GROUPS = {
    "vehicle": ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    "outdoor": ("traffic light", "fire hydrant", "stop sign", "parking meter", "bench"),
    "animal": ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    "accessory": ("backpack", "umbrella", "handbag", "tie", "suitcase"),
    "sports": ("frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard")
    + ("surfboard", "tennis racket"),
    "kitchen": ("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl"),
    "food": ("banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake"),
    "furniture": ("chair", "couch", "potted plant", "bed", "dining table", "toilet"),
    "electronic": ("tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    "appliance": ("microwave", "oven", "toaster", "sink", "refrigerator"),
    "indoor": ("book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
}
"""COCO's supercategories of several classes, taken as its similar classes."""

_KIND_NAMES = ("Cor", "Loc", "Sim", "Oth", "BG")
_KIND_COLORS = ("#ffffff", "#8db3dc", "#f2a65a", "#9ccc8f", "#b9a3d3")
_RED, _BLUE, _GREY = "#c1121f", "#2563a8", "#667085"
_WIDTH = 10.5  # inches, of every figure: the width of the report's page
_CLASSES_A_ROW = 7
_NUMBERED_CLASSES = 30
_LONGEST_NAME = 24


def groups_of(classes: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """The groups of similar classes that are known for a data set: VOC's, COCO's, or none.

    >>> sorted(groups_of(("cat", "dog", "car", "bus", "sofa", "tvmonitor")))
    ['animals', 'furniture', 'vehicles']
    >>> groups_of(("circle", "star"))
    {}
    """
    known = (diagnosis.VOC_GROUPS, COCO_GROUPS)
    counts = [len({name for group in groups.values() for name in group} & set(classes)) for groups in known]
    return known[int(np.argmax(counts))] if max(counts) else {}


def plot_false_positives(
    truth: GroundTruth,
    results: Predictions,
    groups: Mapping[str, Sequence[str]] | None = None,
    codes: np.ndarray | None = None,
) -> Figure:
    """What the best scored detections are, and of which kinds the false ones (SSD Figure 3).

    A column for all classes, and one for each group of similar classes. Top row: fractions of correct detections (Cor)
    and of false ones by localization (Loc), similar classes (Sim), others (Oth) and background (BG), as the number of
    detections grows to multiples of the number of objects; recall at IoU 0.5 (red) and 0.1 (red, dashed). Bottom row:
    kinds of the best scored false detections. Without groups the two lie side by side.

    Args:
        truth: The objects.
        results: The detections.
        groups: Similar classes by name of the group; `groups_of(truth.classes)` when left out.
        codes: What `diagnosis.kinds` gave for these groups, where it is at hand.
    """
    groups = groups_of(truth.classes) if groups is None else groups
    if codes is None:
        codes = diagnosis.kinds(truth, results, diagnosis.similar_classes(truth.classes, groups))
    panels = _panels(truth.classes, groups)
    if len(panels) == 1:
        (name, labels), figure = panels[0], _figure(_WIDTH, 2.8)
        left, right = figure.subplots(1, 2)
        _draw_trend(left, name, truth, results, codes, labels)
        _draw_top(right, results, codes, labels)
        left.set_ylabel("fraction of each kind (%)", fontsize=8)
        return in_their_scripts(figure)
    columns = min(len(panels), 4)
    blocks = -(-len(panels) // columns)
    figure = _figure(_WIDTH, 5 * blocks)
    axes = figure.subplots(2 * blocks, columns, squeeze=False)
    for place, (name, labels) in enumerate(panels):
        row, column = 2 * (place // columns), place % columns
        _draw_trend(axes[row, column], name, truth, results, codes, labels)
        _draw_top(axes[row + 1, column], results, codes, labels)
    for place in range(len(panels), blocks * columns):
        for row in (0, 1):
            axes[2 * (place // columns) + row, place % columns].set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("fraction of each kind (%)", fontsize=8)
    return in_their_scripts(figure)


def plot_sensitivity(
    truth: GroundTruth,
    results: Predictions,
    by: str,
    labels: Sequence[int] | None = None,
    sensitivity: Sequence[diagnosis.Sensitivity] | None = None,
) -> Figure:
    """Normalized average precision of each class by its objects' size or shape (SSD Figures 4 and 6).

    Points are bins with one standard error up and down, the dashed line is the class as a whole; the lowest and the
    highest bin carry their values.

    Args:
        truth: The objects.
        results: The detections.
        by: `"size"` (bins XS to XL) or `"shape"` (XT to XW).
        labels: The classes to draw; all when left out.
        sensitivity: What `diagnosis.sensitivity` gave, where it is at hand.
    """
    found = diagnosis.sensitivity(truth, results, by) if sensitivity is None else sensitivity
    names = diagnosis.SIZE_BINS if by == "size" else diagnosis.SHAPE_BINS
    labels = range(len(truth.classes)) if labels is None else labels
    rows = [labels[i : i + _CLASSES_A_ROW] for i in range(0, len(labels), _CLASSES_A_ROW)]
    figure = _figure(_WIDTH, 2.1 * len(rows))
    width = min(len(labels), _CLASSES_A_ROW)
    for axis, row in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows):
        for place, label in enumerate(row):
            _draw_bins(axis, 6 * place, _short(truth.classes[label]), found[label])
        ticks = [6 * place + k for place in range(len(row)) for k in range(5)]
        axis.set_xticks(ticks, names * len(row), fontsize=7)
        axis.set(xlim=(-1, 6 * width - 1), ylim=(0, 1.16), yticks=np.arange(0, 1.1, 0.25))
        axis.set_ylabel("normalized AP", fontsize=8)
        _plain(axis)
    return in_their_scripts(figure)


def plot_tide(truth: GroundTruth, results: Predictions, found: Tide | None = None) -> Figure:
    """AP that each of TIDE's six errors costs, and what false positives and false negatives cost together.

    Args:
        truth: The objects.
        results: The detections.
        found: What `tide.tide` gave, where it is at hand.
    """
    found = tide(truth, results) if found is None else found
    figure = _figure(_WIDTH, 2.9)
    left, right = figure.subplots(1, 2, width_ratios=(3, 1.4))
    top = max([*found.cost.values(), *found.special.values(), 0.01])
    for axis, names, values, color in (
        (left, ERRORS, found.cost, _BLUE),
        (right, ("FP", "FN"), found.special, _RED),
    ):
        bars = axis.bar(names, [100 * values[name] for name in names], color=color, width=0.62)
        axis.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
        axis.set_ylim(0, 115 * top)
        _plain(axis)
    left.set_ylabel("AP gained were it put right (points)", fontsize=8)
    left.set_title("errors", fontsize=9)
    right.set_title("all false, all missed", fontsize=9)
    return in_their_scripts(figure)


def plot_precision_recall(
    truth: GroundTruth,
    results: Predictions,
    labels: Sequence[int] | None = None,
    curves: Sequence[voc.Curve] | None = None,
) -> Figure:
    """Precision against recall of each class at IoU 0.5, with the monotone curve of which VOC takes the area.

    Args:
        truth: The objects.
        results: The detections.
        labels: The classes to draw; all when left out.
        curves: What `voc.curves` gave, where it is at hand.
    """
    curves = voc.curves(truth, results) if curves is None else curves
    labels = range(len(truth.classes)) if labels is None else labels
    rows = -(-len(labels) // 5)
    columns = -(-len(labels) // rows)
    figure = _figure(_WIDTH, 2 * rows + 0.3)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, label in zip(axes.flat, labels):
        _draw_curve(axis, _short(truth.classes[label]), curves[label])
    for axis in axes.flat[len(labels) :]:
        axis.set_axis_off()
    figure.supxlabel("recall", fontsize=8)
    figure.supylabel("precision", fontsize=8)
    return in_their_scripts(figure)


def plot_confusion(
    truth: GroundTruth,
    results: Predictions,
    score_threshold: float,
    labels: Sequence[int] | None = None,
    matrix: np.ndarray | None = None,
) -> Figure:
    """Which class was detected where which object is, counted; colors go by the root of the count.

    Args:
        truth: The objects.
        results: The detections.
        score_threshold: Only detections of at least this score count, as `diagnosis.best_threshold` gives one.
        labels: The classes to draw; all when left out.
        matrix: What `diagnosis.confusion_matrix` gave, where it is at hand.
    """
    from matplotlib.colors import PowerNorm

    if matrix is None:
        matrix = diagnosis.confusion_matrix(truth, results, score_threshold)
    count = len(truth.classes)
    labels = list(range(count) if labels is None else labels)
    shown = np.ix_([*labels, count], [*labels, count])
    matrix = matrix[shown]
    numbered = len(labels) <= _NUMBERED_CLASSES
    size = 9 if numbered else 6
    figure = _figure(_WIDTH, 1.6 + (0.3 if numbered else 0.14) * len(labels))
    axis = figure.subplots()
    largest = max(int(matrix.max()), 1)
    image = axis.imshow(matrix, cmap="Blues", norm=PowerNorm(0.5, 0, largest), aspect="auto")
    names = [_short(truth.classes[label]) for label in labels]
    places = np.arange(len(labels) + 1)
    turned = len(labels) > 8
    axis.set_xticks(places, [*names, "missed"], rotation=90 * turned, fontsize=size, parse_math=False)
    axis.set_yticks(places, [*names, "background"], fontsize=size, parse_math=False)
    axis.set_xlabel("detected as", fontsize=9)
    axis.set_ylabel("object", fontsize=9)
    if numbered:
        for row, column in np.argwhere(matrix):
            color = "white" if matrix[row, column] > 0.3 * largest else "black"
            axis.text(column, row, matrix[row, column], ha="center", va="center", fontsize=size, color=color)
    bar = figure.colorbar(image, ax=axis, pad=0.01)
    bar.set_label("count", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return in_their_scripts(figure)


def to_png(figure: Figure, dpi: int = 120) -> bytes:
    """A figure as PNG of at most 256 colors, which for plots is a third of the size and looks the same."""
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a class name in a script that the font lacks
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    image = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    buffer = BytesIO()
    image.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _short(name: str) -> str:
    """A class name on one line that fits into a plot."""
    name = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _plain(axis: Axes) -> None:
    """Light grid behind the data, no box around it."""
    axis.set_axisbelow(True)
    axis.grid(axis="y", color="#e4e7ec", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=7)


def _title(axis: Axes, text: str) -> None:
    axis.set_title(text, fontsize=9, parse_math=False)


def _panels(classes: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[tuple[str, list[int]]]:
    """All classes, then every group of which at least two classes are there."""
    panels = [("all classes", list(range(len(classes))))]
    for name, group in groups.items():
        labels = [label for label, known in enumerate(classes) if known in group]
        panels += [(name, labels)] if 1 < len(labels) < len(classes) else []
    return panels


def _draw_trend(
    axis: Axes, name: str, truth: GroundTruth, results: Predictions, codes: np.ndarray, labels: list[int]
) -> None:
    """Fractions of the kinds against the number of detections, and the two recalls."""
    found = diagnosis.trend(truth, results, codes, labels)
    kept = np.isfinite(found.fractions).all(axis=1)
    places = np.flatnonzero(kept)
    _title(axis, _short(name))
    if not len(places):
        _say(axis, "no objects or no detections")
        return
    _stack(axis, places, found.fractions[kept], _KIND_COLORS, _KIND_NAMES)
    axis.plot(places, 100 * found.strong_recall[kept], color=_RED, linewidth=1.8, label="recall 0.5")
    axis.plot(places, 100 * found.weak_recall[kept], color=_RED, linewidth=1.8, linestyle="--", label="recall 0.1")
    objects = np.isin(truth.labels[~truth.ignored], labels).sum()
    axis.set_xticks(places, [f"{m:g}" for m in found.multiples[kept]])
    axis.set_xlabel(f"detections (× {objects:,} objects)", fontsize=8)


def _draw_top(axis: Axes, results: Predictions, codes: np.ndarray, labels: list[int]) -> None:
    """Kinds of the best scored false detections."""
    counts, fractions = diagnosis.top_false_positives(results, codes, labels)
    if not len(counts):
        _say(axis, "no false detections")
        return
    places = np.arange(len(counts))
    _stack(axis, places, fractions, _KIND_COLORS[1:], _KIND_NAMES[1:])
    axis.set_xticks(places, [str(n) for n in counts])
    axis.set_xlabel("best scored false detections", fontsize=8)


def _stack(axis: Axes, places: np.ndarray, fractions: np.ndarray, colors: Sequence[str], names: Sequence[str]) -> None:
    """Stacked areas in per cent, each with its name where it is thickest."""
    if len(places) == 1:
        places, fractions = places[0] + np.array([-0.5, 0.5]), np.repeat(fractions, 2, axis=0)
    axis.stackplot(places, 100 * fractions.T, colors=colors, edgecolor="#475467", linewidth=0.5)
    ends = np.cumsum(fractions, axis=1)
    for k, name in enumerate(names):
        inner = fractions[1:-1, k] if len(places) > 2 else fractions[:, k]
        thickest = int(np.argmax(inner)) + (len(places) > 2)
        if fractions[thickest, k] > 0.07:
            middle = 100 * (ends[thickest, k] - fractions[thickest, k] / 2)
            ground = {"facecolor": colors[k], "edgecolor": "none", "pad": 0.6}
            axis.text(places[thickest], middle, name, ha="center", va="center", fontsize=7.5, bbox=ground, zorder=3)
    axis.set(xlim=(places[0], places[-1]), ylim=(0, 100))
    axis.tick_params(labelsize=7)


def _say(axis: Axes, text: str) -> None:
    axis.text(0.5, 0.5, text, ha="center", va="center", fontsize=8, color=_GREY, transform=axis.transAxes)
    axis.set(xticks=[], yticks=[])


def _draw_bins(axis: Axes, left: int, name: str, found: diagnosis.Sensitivity) -> None:
    """One class's five bins from `left` on."""
    places, shown = left + np.arange(5), np.isfinite(found.ap)
    axis.text(left + 2, 1.09, name, ha="center", fontsize=8, fontweight="bold", parse_math=False)
    if not shown.any():
        axis.text(left + 2, 0.5, "no objects", ha="center", fontsize=7, color=_GREY)
        return
    axis.plot([left - 0.4, left + 4.4], [found.overall] * 2, color="black", linestyle="--", linewidth=0.9)
    error = np.nan_to_num(found.error[shown])
    axis.errorbar(
        places[shown], found.ap[shown], error, color=_BLUE, ecolor=_RED, marker="o", markersize=3.5, linewidth=1.2
    )
    for place in {np.nanargmin(found.ap), np.nanargmax(found.ap)}:
        height = found.ap[place] + np.nan_to_num(found.error[place]) + 0.02
        axis.text(left + place, min(height, 1.01), f"{found.ap[place]:.2f}", ha="center", fontsize=6.5)


def _draw_curve(axis: Axes, name: str, curve: voc.Curve) -> None:
    """One class's curve and its monotone envelope."""
    ap = voc.ap_of_curve(curve)
    _title(axis, f"{name}  {ap:.3f}" if curve.objects else name)
    axis.set(xlim=(0, 1), ylim=(0, 1.03), xticks=(0, 0.25, 0.5, 0.75, 1), yticks=(0, 0.25, 0.5, 0.75, 1))
    _plain(axis)
    if not curve.objects:
        axis.text(0.5, 0.5, "no objects", ha="center", fontsize=8, color=_GREY)
        return
    if len(curve.recall):
        envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
        recall, height = np.append(0, curve.recall), np.append(envelope[0], envelope)
        axis.fill_between(recall, height, step="pre", color=_BLUE, alpha=0.15, lw=0)
        axis.plot(curve.recall, curve.precision, color=_BLUE, linewidth=1.1)
