"""Images of what a detector sees, finds and learns. Functions return PIL images, or write a file."""

import colorsys
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from keras_det.files import whole
from keras_det.fonts import in_their_scripts, legible

GAP = 4  # pixels between the images of a grid
TILE = 640  # pixels of the longer side of an image among others
SHEET = 2**22  # pixels of a sheet of images
TRUTH = (255, 255, 255)


HEAT = ((255, 90, 0), (255, 60, 60), (60, 160, 255), (80, 220, 80), (255, 210, 0))  # full, bottom, top, left, right


def color(label: int) -> tuple[int, int, int]:
    """The color of a class, RGB: hues a golden section apart, so that neighbors differ.

    >>> color(0) == color(0), color(0) == color(1)
    (True, False)
    """
    red, green, blue = colorsys.hsv_to_rgb(0.02 + label * 0.618034 % 1.0, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_boxes(
    image: np.ndarray | Image.Image,
    boxes: np.ndarray,
    labels: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    truth: np.ndarray | None = None,
    longest: int | None = None,
) -> Image.Image:
    """Draw boxes with tags on an image.

    Args:
        image: `[H, W, 3]` uint8 RGB, or a PIL image.
        boxes: `[n, 4]` rel_yxyx.
        labels: `[n]` int; chooses the colors and, with `names`, the tags.
        scores: `[n]` in 0 .. 1, written into the tags.
        names: class names.
        truth: `[m, 4]` rel_yxyx true boxes, drawn dashed and white.
        longest: pixels of the longer side at most: a larger image is scaled down first, so that lines and letters keep
            their size. `None` keeps the image's size.

    Returns:
        A PIL image.

    Raises:
        ValueError: boxes, labels and scores of different lengths.
    """
    canvas = _canvas(image)
    if longest is not None:
        canvas.thumbnail((longest, longest))
    boxes = np.asarray(boxes, "float32").reshape(-1, 4)
    for name, values in (("labels", labels), ("scores", scores)):
        if values is not None and len(values) != len(boxes):
            raise ValueError(f"`{name}` must have one entry for each of the {len(boxes)} boxes; got {len(values)}.")
    draw, line = ImageDraw.Draw(canvas), max(1, round(min(canvas.size) / 200))
    for box in () if truth is None else np.asarray(truth, "float32").reshape(-1, 4):
        _dashed(draw, _pixels(box, canvas.size), line)
    size = max(10, round(min(canvas.size) / 28))
    for i in reversed(range(len(boxes))):  # the best score on top
        label = 0 if labels is None else int(labels[i])
        draw.rectangle(_pixels(boxes[i], canvas.size), outline=color(label), width=line)
        words = [names[label]] if names is not None and labels is not None else []
        words += [f"{scores[i]:.2f}"] if scores is not None else []
        if words:
            text, font = legible(" ".join(words), size)
            _tag(draw, text, _pixels(boxes[i], canvas.size), color(label), font, canvas.size)
    return canvas


def draw_default_boxes(
    image: np.ndarray | Image.Image, default_boxes: np.ndarray, matched: np.ndarray | None = None, limit: int = 200
) -> Image.Image:
    """Draw default boxes thinly on an image, those that are matched in color.

    Args:
        image: `[H, W, 3]` uint8 RGB, or a PIL image.
        default_boxes: `[A, 4]` rel_yxyx.
        matched: `[A]` int, the object matched to each box or -1; `None` draws all alike.
        limit: boxes drawn at most; evenly chosen among all, matched ones first.
    """
    canvas = _canvas(image)
    draw = ImageDraw.Draw(canvas)
    matched = np.full(len(default_boxes), -1) if matched is None else np.asarray(matched)
    others = np.flatnonzero(matched < 0)
    room = max(limit - int((matched >= 0).sum()), 0)
    for i in others[:: max(1, -(-len(others) // max(room, 1)))][:room]:
        draw.rectangle(_pixels(default_boxes[i], canvas.size), outline=(150, 150, 150))
    for i in np.flatnonzero(matched >= 0)[:limit]:
        draw.rectangle(_pixels(default_boxes[i], canvas.size), outline=color(int(matched[i])), width=2)
    return canvas


def draw_masks(
    image: np.ndarray | Image.Image, masks: np.ndarray, boxes: np.ndarray | None = None
) -> tuple[Image.Image, Image.Image]:
    """A class's masks over an image, as DetectorNet's Figure 3 shows them.

    Args:
        image: PIL image or `[H, W, 3]` array in 0 .. 255.
        masks: `[5, h, w]` of the whole image in 0 .. 1: full, bottom, top, left, right.
        boxes: `[N, 4]` rel_yxyx to draw, if any.

    Returns:
        Two PIL images: the full mask as a heat map, and the four halves in four colors.
    """
    drawn = _glow(image, masks[:1], HEAT[:1]), _glow(image, masks[1:], HEAT[1:])
    return drawn if boxes is None else (draw_boxes(drawn[0], boxes), draw_boxes(drawn[1], boxes))


def draw_heat(image: np.ndarray | Image.Image, values: np.ndarray) -> Image.Image:
    """A map over an image, such as the scores of a grid's cells; its highest value is brightest.

    Args:
        image: PIL image or `[H, W, 3]` array in 0 .. 255.
        values: `[h, w]` of the whole image, 0 or more.

    Returns:
        A PIL image of the same size.
    """
    values = np.asarray(values, "float32")
    return _glow(image, values[None] / max(float(values.max()), 1e-9), HEAT[:1])


def _glow(image, planes, colors):
    """Planes in 0 .. 1 over a darkened image, each in its color."""
    canvas = _canvas(image)
    mixed = np.asarray(canvas, float) * 0.45
    for plane, rgb in zip(planes, colors):
        plane = Image.fromarray(np.clip(plane, 0, 1).astype("float32")).resize(canvas.size, Image.Resampling.BILINEAR)
        mixed = mixed + np.asarray(plane)[..., None] * np.array(rgb) * 0.6
    return Image.fromarray(np.clip(mixed, 0, 255).astype("uint8"))


def grid(
    images: Sequence[np.ndarray | Image.Image], columns: int = 4, titles: Sequence[str] | None = None
) -> Image.Image:
    """Images side by side, each in a cell of the largest one's size, on a sheet of bounded size.

    Images of more than `TILE` pixels are scaled down, and all of them where the sheet would have more than `SHEET`.

    Args:
        images: PIL images or uint8 arrays, at least one.
        columns: images in a row.
        titles: text over each image.

    Returns:
        A PIL image.

    Raises:
        ValueError: no images.
    """
    images = [_canvas(image) for image in images]
    if not images:
        raise ValueError("`images` must hold at least one image.")
    columns = min(columns, len(images))
    head, rows = 18 if titles else 0, -(-len(images) // columns)
    largest = [min(max(image.size[k] for image in images), TILE) for k in (0, 1)]
    tile = TILE * min(1.0, (SHEET / (rows * columns * largest[0] * largest[1])) ** 0.5)
    for image in images:
        image.thumbnail((tile, tile))
    width, height = (max(image.size[k] for image in images) for k in (0, 1))
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + head + GAP) + GAP), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for i, image in enumerate(images):
        x, y = GAP + i % columns * (width + GAP), GAP + i // columns * (height + head + GAP)
        if titles:
            text, font = legible(titles[i], 12)
            draw.text((x, y), text, fill=(0, 0, 0), font=font)
        sheet.paste(image, (x, y + head))
    return sheet


def plot_curves(
    rows: Sequence[Mapping[str, float]], losses: Sequence[str], path: str | os.PathLike, best: int | None = None
) -> None:
    """Write an image of a run's losses and of its mAP against the epoch.

    Args:
        rows: dicts with `epoch`, the losses and perhaps `val_map50`, as a run's `results.csv` holds them.
        losses: names of the columns that are losses: `"loss"` and the model's `loss_terms`; others may be counts.
        path: PNG file to write.
        best: the epoch whose weights are kept as the best, which a line marks.
    """
    scores = [n for n in dict.fromkeys(n for row in rows for n in row) if n.startswith("val_")]
    figure, axes = _figure(2 if scores else 1)
    for axis, names in zip(axes, (losses, scores)):
        for name in names:
            points = [(row["epoch"], row[name]) for row in rows if name in row]
            axis.plot(*zip(*points), marker=".", label=name.removeprefix("val_"))
        if best is not None:
            axis.axvline(best, color="0.5", linestyle=":", label=f"best, epoch {best}")
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set_title("training loss")
    axes[0].set_ylim(bottom=0)
    if scores:
        axes[1].set_title("validation")
        axes[1].set_ylim(0, 1)
    _save(figure, path)


def plot_histograms(panels: Mapping[str, Mapping[str, np.ndarray]], path: str | os.PathLike) -> None:
    """Write an image of histograms side by side.

    Args:
        panels: dict from what the numbers of a panel are to a dict from a group's name to its `[n]` numbers; groups lie
            over each other. No number is negative.
        path: PNG file to write.
    """
    figure, axes = _figure(len(panels))
    for axis, (label, groups) in zip(axes, panels.items()):
        largest = max((float(each.max()) for each in groups.values() if len(each)), default=1.0)
        bins = np.linspace(0, largest, 41)
        for name, each in groups.items():
            axis.hist(each, bins=bins, histtype="stepfilled", alpha=0.5, label=f"{name}: {len(each)}")
        axis.set(xlabel=label, ylabel="count")
        axis.legend(fontsize="small")
        axis.grid(alpha=0.3)
    _save(figure, path)


def plot_precision_recall(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], path: str | os.PathLike) -> None:
    """Write an image of precision against recall.

    Args:
        curves: dict from a name to `(recall, precision)`, arrays of one length.
        path: PNG file to write.
    """
    plot_lines(curves, path, xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))


def plot_lines(lines: Mapping[str, tuple[np.ndarray, np.ndarray]], path: str | os.PathLike, **axes: Any) -> None:
    """Write an image of lines.

    Args:
        lines: dict from a name to `(x, y)`, arrays of one length.
        path: PNG file to write.
        **axes: `xlabel`, `ylabel`, `xlim`, `ylim` as matplotlib's `Axes.set` takes them.
    """
    figure, (axis,) = _figure(1)
    for name, (x, y) in lines.items():
        axis.plot(x, y, label=name)
    axis.set(**axes)
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    _save(figure, path)


def plot_bars(rows: Mapping[str, Mapping[str, float]], path: str | os.PathLike, **axes: Any) -> None:
    """Write an image of bars, a group for each row.

    Args:
        rows: dict from a row's name to a dict from a bar's name to its height, the same names in each row.
        path: PNG file to write.
        **axes: `ylabel`, `ylim` as matplotlib's `Axes.set` takes them.
    """
    figure, (axis,) = _figure(1)
    names = list(next(iter(rows.values())))
    for k, name in enumerate(names):
        places = [i + (k - (len(names) - 1) / 2) * 0.8 / len(names) for i in range(len(rows))]
        bars = axis.bar(places, [row[name] for row in rows.values()], 0.8 / len(names), label=name)
        axis.bar_label(bars, fmt="{:.3f}", fontsize="x-small")
    axis.set_xticks(range(len(rows)), list(rows), rotation=30, ha="right", fontsize="small")
    axis.set(**axes)
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize="small")
    _save(figure, path)


def _figure(columns):
    """A matplotlib figure of its own, without pyplot's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * columns, 4), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _save(figure, path):
    """Write the figure as PNG to a temporary file and move it in place."""
    with whole(path) as temporary:
        in_their_scripts(figure).savefig(temporary, format="png", dpi=110)


def _canvas(image):
    """A PIL image in RGB that may be drawn on."""
    if isinstance(image, Image.Image):
        return image.convert("RGB").copy()
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image must be [H, W, 3] uint8 or a PIL image; got {image.dtype} {image.shape}.")
    return Image.fromarray(image)


def _pixels(box, size):
    """`(x0, y0, x1, y1)` of a rel_yxyx box, inside the image and in order, so that Pillow can draw it."""
    ymin, xmin, ymax, xmax = (float(v) for v in np.clip(box, 0, 1))
    width, height = size
    x0, y0 = min(round(xmin * width), width - 1), min(round(ymin * height), height - 1)
    return x0, y0, max(x0, round(xmax * width) - 1), max(y0, round(ymax * height) - 1)


def _dashed(draw, box, line):
    """A dashed rectangle."""
    x0, y0, x1, y1 = box
    dash = 4 * line
    for start in range(x0, x1, 2 * dash):
        for y in (y0, y1):
            draw.line([(start, y), (min(start + dash, x1), y)], fill=TRUTH, width=line)
    for start in range(y0, y1, 2 * dash):
        for x in (x0, x1):
            draw.line([(x, start), (x, min(start + dash, y1))], fill=TRUTH, width=line)


def _tag(draw, text, box, fill, font, size):
    """A label at the box's upper left corner, above it where there is room, always inside the image."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = max(0, min(box[0], size[0] - width))
    y = box[1] - height if box[1] >= height else box[1]
    draw.rectangle([x, y, x + width, y + height], fill=fill)
    dark = sum(fill) > 380
    draw.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0) if dark else (255, 255, 255), font=font)
