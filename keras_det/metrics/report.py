"""An evaluation as one HTML page that needs nothing else: metrics, plots and the worst images."""

from __future__ import annotations

import base64
import collections
import html
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from keras_det.files import write_text
from keras_det.metrics import coco, diagnosis, plots, voc, worst
from keras_det.metrics.columns import GroundTruth, Predictions
from keras_det.metrics.evaluator import METRICS, Evaluator
from keras_det.metrics.tide_errors import Tide, tide
from keras_det.version import __version__

MAX_CLASSES = 80
"""The most classes that are drawn: those with the most objects. Tables have all."""

_LONGEST_TEXT = 120
_PLOT_DENSITY = 1.25
_SIDES = {"s": "small", "m": "medium", "l": "large"}
_COCO_WORDS = {
    "AP": "overlap 0.50 to 0.95",
    "AP50": "overlap 0.50",
    "AP75": "overlap 0.75",
    "AR1": "1 detection an image",
    "AR10": "10 detections an image",
    "AR100": "100 detections an image",
} | {f"{kind}{side}": f"{word} objects" for kind in ("AP", "AR") for side, word in _SIDES.items()}
_TIDE_WORDS = {
    "Cls": "right place, wrong class",
    "Loc": "right class, placed too badly",
    "Both": "wrong class and placed badly",
    "Dupe": "a further detection of a found object",
    "Bkg": "on background",
    "Miss": "objects not found at all",
}
_WORST_WORDS = {
    "missed": ("Objects missed", "missed objects dashed, all counted detections in color"),
    "false": ("False detections", "wrong class or background in color, all objects dashed"),
    "misplaced": ("Badly placed", "overlap of 0.1 to 0.5 with an object of their class, which is dashed"),
}
_KIND_WORDS = (
    "Cor: correct. Loc: overlaps an object of its class by 0.1 but is placed too badly, or doubles a found one. "
    "Sim, Oth: on an object of a similar or another class. BG: on background. Red: recall at overlap 0.5, and at 0.1 "
    "(dashed)."
)
_BIN_WORDS = {
    "size": "Area of the box: XS (the smallest 10 % of the class), S (20 %), M (40 %), L (20 %), XL (the largest).",
    "shape": "Width over height: XT (the tallest 10 % of the class), T (20 %), M (40 %), W (20 %), XW (the widest).",
}

_STYLE = """
:root { --ink: #1d2939; --soft: #5b6675; --line: #dde2ea; --page: #f5f6f9; --card: #fff; --bar: #cfe0f5;
  --mark: #1f5fa8 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #a3adbd; --line: #333c4a; --page: #12161d;
  --card: #1b212b; --bar: #274568; --mark: #86b8f0; color-scheme: dark } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  overflow-wrap: anywhere }
main, header, footer { max-width: 1180px; margin: 0 auto; padding: 0 16px }
header { padding-top: 28px }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 6px }
h2 { font-size: 1.2rem; margin: 0 0 8px }
h3 { font-size: 1rem; margin: 20px 0 8px }
p { margin: 0 0 12px; max-width: 75ch }
.soft, figcaption, footer { color: var(--soft); font-size: .875rem }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 12px 0 20px }
a { color: var(--mark) }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px; margin: 0 0 18px }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(120px, 1fr)); gap: 10px; margin: 0 0 18px }
.cards div { border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px }
.cards b { display: block; font-size: 1.55rem; line-height: 1.25; font-variant-numeric: tabular-nums }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; overflow-wrap: normal }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--soft); font-weight: 600 }
th:first-child, td.words { text-align: left }
tbody th { color: var(--ink); max-width: 16rem; overflow: hidden; text-overflow: ellipsis }
td.name { text-align: left; font-weight: 600 }
td.bar { min-width: 96px; background: linear-gradient(var(--bar), var(--bar)) left / var(--share) 70% no-repeat }
figure { margin: 0 0 10px }
.plot img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 6px }
.plot.wide img { min-width: 640px }
.worst { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); gap: 6px 14px }
.worst img { display: block; width: 100%; height: 250px; object-fit: contain; background: var(--page);
  border-radius: 6px }
footer { padding-bottom: 28px }
"""


def write_report(
    truth: GroundTruth,
    results: Predictions,
    path: str | os.PathLike,
    images: Any = None,
    title: str = "Evaluation",
    metrics: Mapping[str, float] | None = None,
) -> pathlib.Path:
    """Write the evaluation of any detector as one HTML page.

    The page holds VOC's and COCO's metrics, a table of the classes, precision-recall curves, the confusion matrix,
    SSD's Figures 3, 4 and 6, TIDE's errors, and the worst images with their boxes. It asks for nothing from elsewhere
    and runs no script; names from files are escaped. Its size is bounded: plots show at most `MAX_CLASSES` classes,
    there are at most 18 images of at most 480 pixels a side, and names are cut, so that it stays under 4 MB and 1000
    bytes a class.

    Args:
        truth: The objects, of at least one image and class.
        results: The detections.
        path: The file, when it ends in `.html`; else the folder to write `report.html` into, made when absent.
        images: A `keras_det.data.Source` with the images, found by their ids; boxes on images that it lacks, or
            cannot read, are drawn on plain gray.
        title: Heading of the page.
        metrics: What `Evaluator.result` gave with all metrics, where it is at hand.

    Returns:
        The file written. An earlier one is replaced in one step.

    Raises:
        ValueError: There is no image or no class, `results` names others than those of `truth`, or `images` has none of
            the truth's images.

    >>> import tempfile
    >>> truth = GroundTruth(("cat",), ("a",), [[50, 80]], [0], [[10, 10, 30, 40]], [0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(truth, Predictions([0], [[10, 10, 30, 38]], [0.9], [0]), folder, title="Cats").name
    'report.html'
    """
    path = pathlib.Path(path)
    if path.is_dir() or path.suffix.lower() != ".html":
        path = path / "report.html"
    read_image = _images(images, truth)
    metrics = evaluate(truth, results) if metrics is None else metrics
    page = _page(title, _sections(truth, results, metrics, read_image))
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name may hold half of a surrogate pair, which JSON can spell and UTF-8 cannot.
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))
    return path


def evaluate(
    truth: GroundTruth, results: Predictions, metrics: Sequence[str] = METRICS, engine: str | None = None
) -> dict[str, float]:
    """The metrics of detections that are at hand as a whole, such as those of results files.

    Args:
        truth: The objects.
        results: The detections.
        metrics: As in `Evaluator.result`.
        engine: As in `Evaluator.result`.

    Returns:
        What `Evaluator.result` gives.

    >>> truth = GroundTruth(("cat",), ("a",), [[50, 80]], [0], [[10, 10, 30, 40]], [0])
    >>> evaluate(truth, Predictions([0], [[10, 10, 30, 38]], [0.9], [0]), ("area",))
    {'map50': 1.0, 'ap50/cat': 1.0}
    """
    return _Whole(truth, results).result(metrics, engine)


class _Whole(Evaluator):
    """An evaluator of results that come at once, in the precision that they have."""

    def __init__(self, truth: GroundTruth, results: Predictions):
        super().__init__(truth)
        self._results = results

    def results(self) -> Predictions:
        return self._results


def _sections(
    truth: GroundTruth, results: Predictions, metrics: Mapping[str, float], read_image: Callable
) -> list[tuple]:
    """`(id, heading, body)` of each section."""
    matches = voc.match(truth, results)
    curves = voc.curves(truth, results, matches=matches)
    groups = plots.groups_of(truth.classes)
    codes = diagnosis.kinds(truth, results, diagnosis.similar_classes(truth.classes, groups), matches)
    threshold = _threshold(truth, results, matches)
    matrix = diagnosis.confusion_matrix(truth, results, threshold)
    labels = _drawn_labels(truth)
    left_out = "" if len(labels) == len(truth.classes) else f" Drawn: the {len(labels)} classes with the most objects."
    return [
        ("metrics", "Figures", _metrics(truth, results, metrics)),
        ("classes", "Classes", _classes(truth, results, metrics, curves, matches, threshold)),
        (
            "curves",
            "Precision and recall",
            _words("Overlap 0.5; beside each class its average precision as an area." + left_out)
            + _plot(
                plots.plot_precision_recall(truth, results, labels, curves), "Precision-recall curve of each class"
            ),
        ),
        (
            "confusion",
            "Confusion matrix",
            _words(
                f"Detections scored {threshold:.3g} or higher, where the F1 of all classes together is greatest; "
                "overlap over 0.5. Numbers are counts, colors fractions of the row." + left_out
            )
            + _plot(plots.plot_confusion(truth, results, threshold, labels, matrix), "Confusion matrix"),
        ),
        (
            "false-positives",
            "False positives",
            _words(_KIND_WORDS)
            + _plot(
                plots.plot_false_positives(truth, results, groups, codes), "Kinds of detections against their number"
            ),
        ),
        *(_sensitivity(truth, results, by, labels, matches, left_out) for by in ("size", "shape")),
        ("tide", "What each kind of error costs", _tide(truth, results, tide(truth, results))),
        ("worst", "Worst images", _worst(truth, results, codes, matches, threshold, read_image)),
    ]


def _metrics(truth: GroundTruth, results: Predictions, metrics: Mapping[str, float]) -> str:
    cards = [
        ("VOC mAP (area)", _number(metrics["map50"])),
        ("VOC mAP (2007)", _number(metrics["map50_voc07"])),
        *((f"COCO {name}", _number(metrics[name])) for name in coco.SUMMARY[:3]),
        ("images", f"{len(truth.image_ids):,}"),
        ("objects", f"{len(truth.labels):,}"),
        ("detections", f"{len(results):,}"),
    ]
    boxes = "".join(f'<div><b>{value}</b><span class="soft">{name}</span></div>' for name, value in cards)
    names = coco.SUMMARY
    rows = [
        [_head(a), _cell(_COCO_WORDS[a], "words"), _bar(metrics[a]), _cell(b, "name"), _cell(_COCO_WORDS[b], "words")]
        + [_bar(metrics[b])]
        for a, b in zip(names[:6], names[6:])
    ]
    ignored = int(truth.ignored.sum())
    note = f"{ignored:,} of the objects are difficult or crowds: VOC's metrics and the plots leave them out. "
    return (
        f'<div class="cards">{boxes}</div>'
        + _words(
            (note if ignored else "")
            + "VOC's mAP is at overlap 0.5, by 2007's eleven points and by the area used from 2010 "
            "on. COCO's are means over classes of average precision (AP) and recall (AR); small objects are under "
            "32 × 32 pixels, large ones over 96 × 96. A dash stands where there is nothing to find."
        )
        + _table(("COCO", "", "value", "", "", "value"), rows)
    )


def _classes(
    truth: GroundTruth, results: Predictions, metrics: Mapping[str, float], curves, matches, threshold: float
) -> str:
    count = len(truth.classes)
    ignored = np.bincount(truth.labels[truth.ignored], minlength=count)
    detections = np.bincount(results.labels, minlength=count)
    kept = (results.scores >= threshold) & (matches.outcome != voc.IGNORED)
    right = np.bincount(results.labels[kept & (matches.outcome == voc.TRUE)], minlength=count)
    given = np.bincount(results.labels[kept], minlength=count)
    rows = [
        [
            _head(name),
            _cell(f"{curves[k].objects:,}"),
            _cell(f"{ignored[k]:,}"),
            _cell(f"{detections[k]:,}"),
            _bar(metrics[f"ap50/{name}"]),
            _bar(metrics[f"ap50_voc07/{name}"]),
            _bar(metrics[f"AP/{name}"]),
            _cell(_number(curves[k].recall[-1] if len(curves[k].recall) else 0.0 if curves[k].objects else math.nan)),
            _cell(_number(right[k] / given[k] if given[k] else math.nan)),
            _cell(_number(right[k] / curves[k].objects if curves[k].objects else math.nan)),
        ]
        for k, name in enumerate(truth.classes)
    ]
    heads = ("class", "objects", "ignored", "detections", "AP50", "AP50 (2007)", "COCO AP", "recall", "precision *")
    return _table((*heads, "recall *"), rows) + _words(
        f"* of detections scored {threshold:.3g} or higher; the other columns take all.", "soft"
    )


def _sensitivity(truth: GroundTruth, results: Predictions, by: str, labels, matches, left_out: str) -> tuple:
    found = diagnosis.sensitivity(truth, results, by, matches)
    names = diagnosis.SIZE_BINS if by == "size" else diagnosis.SHAPE_BINS
    ap = np.array([one.ap for one in found])
    means = [float(np.mean(column[np.isfinite(column)])) if np.isfinite(column).any() else math.nan for column in ap.T]
    row = [_head("mean over classes"), *(_bar(value) for value in means)]
    return (
        by,
        f"Sensitivity to {by}",
        _words(
            _BIN_WORDS[by] + " Average precision is normalized, so that bins with few objects compare with others; "
            "red bars are one standard error, the dashed line is the whole class." + left_out
        )
        + _plot(plots.plot_sensitivity(truth, results, by, labels, found), f"Normalized average precision by {by}")
        + _table(("normalized AP", *names), [row]),
    )


def _tide(truth: GroundTruth, results: Predictions, found: Tide) -> str:
    rows = [
        [_head(name), _cell(words, "words"), _cell(f"{found.counts[name]:,}"), _cell(f"{100 * found.cost[name]:.2f}")]
        for name, words in _TIDE_WORDS.items()
    ]
    rows += [
        [_head(name), _cell(words, "words"), _cell(""), _cell(f"{100 * found.special[name]:.2f}")]
        for name, words in (("FP", "all false detections"), ("FN", "all objects not found"))
    ]
    return (
        _words(
            "TIDE's six errors, and the points of AP at overlap 0.5 that each alone costs. AP as it is: "
            f"{100 * found.ap:.2f} points."
        )
        + _plot(plots.plot_tide(truth, results, found), "Average precision that each of TIDE's errors costs")
        + _table(("error", "", "number", "AP cost"), rows)
    )


def _worst(truth: GroundTruth, results: Predictions, codes, matches, threshold: float, read_image: Callable) -> str:
    found = worst.worst_images(truth, results, codes, matches, threshold)
    parts = [_words(f"The images with the most faults among detections scored {threshold:.3g} or higher.")]
    for error, images in found.items():
        heading, legend = _WORST_WORDS[error]
        parts.append(f"<h3>{heading}</h3>" + _words(legend[0].upper() + legend[1:] + ".", "soft"))
        shown = "".join(_worst_figure(truth, results, error, one, read_image) for one in images)
        parts.append(f'<div class="worst">{shown}</div>' if shown else _words("None."))
    return "".join(parts)


def _worst_figure(
    truth: GroundTruth, results: Predictions, error: str, one: worst.WorstImage, read_image: Callable
) -> str:
    image, note = read_image(one.image)
    drawn = worst.draw_worst(truth, results, one, image)
    names = collections.Counter(truth.classes[label] for label in one.labels).most_common(4)
    listed = ", ".join(f"{_text(name)} × {number}" for name, number in names)
    rest = len(one.labels) - sum(number for _, number in names)
    listed += f" and {rest} more" if rest else ""
    name = _text(truth.image_ids[one.image])
    image = _img(_jpeg(drawn), "jpeg", drawn.size, f"{len(one.labels)} {error} in {name}")
    caption = f"<b>{name}</b>: {len(one.labels)} {error}, {listed}{_text(note)}"
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _threshold(truth: GroundTruth, results: Predictions, matches) -> float:
    """The score of best F1; every score counts where nothing was detected rightly."""
    best = diagnosis.best_threshold(truth, results, matches)
    return best if math.isfinite(best) else float(results.scores.min(initial=0.0))


def _drawn_labels(truth: GroundTruth) -> list[int]:
    """The classes with the most objects, in label order."""
    objects = np.bincount(truth.labels[~truth.ignored], minlength=len(truth.classes))
    return sorted(np.argsort(-objects, kind="stable")[:MAX_CLASSES].tolist())


def _images(images: Any, truth: GroundTruth) -> Callable[[int], tuple[np.ndarray | None, str]]:
    """A function from an image's index to its image, or None, and a note where there should be one."""
    if images is None:
        return lambda image: (None, "")
    places = {images.annotation(i).image_id: i for i in range(len(images))}
    if not places.keys() & set(truth.image_ids):
        raise ValueError(f"images ({len(images)} images) has none of the truth's, such as {truth.image_ids[:1]}.")

    def read(image: int) -> tuple[np.ndarray | None, str]:
        place = places.get(truth.image_ids[image])
        if place is None:
            return None, " (no image)"
        try:
            return images.image(place), ""
        except (OSError, ValueError) as error:
            return None, f" (no image: {error})"

    return read


def _page(title: str, sections: Sequence[tuple]) -> str:
    links = "".join(f'<a href="#{name}">{heading}</a>' for name, heading, _ in sections)
    bodies = "".join(f'<section id="{name}"><h2>{heading}</h2>{body}</section>\n' for name, heading, body in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{_text(title)}</h1><nav>{links}</nav></header>
<main>
{bodies}</main>
<footer>Made by keras_det {_text(__version__)}. Boxes are compared in pixels of the original images.</footer>
</body>
</html>
"""


def _text(value: str) -> str:
    """Text from anywhere, cut and escaped."""
    value = "".join(c if c.isprintable() else " " for c in str(value))
    return html.escape(value if len(value) <= _LONGEST_TEXT else value[: _LONGEST_TEXT - 1] + "…")


def _number(value: float) -> str:
    """Three decimals; a dash for what does not exist (NaN in VOC's metrics, -1 in COCO's)."""
    return f"{value:.3f}" if value >= 0 else "–"


def _words(text: str, style: str = "") -> str:
    """A paragraph of the page's own text."""
    return f'<p class="{style}">{html.escape(text)}</p>' if style else f"<p>{html.escape(text)}</p>"


def _head(text: str) -> str:
    return f'<th scope="row">{_text(text)}</th>'


def _cell(text: str, style: str = "") -> str:
    return f'<td class="{style}">{_text(text)}</td>' if style else f"<td>{_text(text)}</td>"


def _bar(value: float) -> str:
    """A cell with a fraction of 1, shown by its ground too."""
    fraction = 100 * min(max(value, 0), 1) if value >= 0 else 0
    return f'<td class="bar" style="--share: {fraction:.1f}%">{_number(value)}</td>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{_text(head)}</th>' if head else "<td></td>" for head in heads)
    body = "".join(f"<tr>{''.join(row)}</tr>\n" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _plot(figure: Any, words: str) -> str:
    """A plot that scrolls within its frame where the screen is narrow."""
    png = plots.to_png(figure)
    with Image.open(BytesIO(png)) as image:
        size = tuple(round(side / _PLOT_DENSITY) for side in image.size)
    wide = " wide" if size[0] > 640 else ""
    return f'<figure class="plot scroll{wide}">{_img(png, "png", size, words)}</figure>'


def _img(content: bytes, kind: str, size: tuple[int, int], words: str) -> str:
    data = base64.b64encode(content).decode("ascii")
    return f'<img src="data:image/{kind};base64,{data}" width="{size[0]}" height="{size[1]}" alt="{words}">'


def _jpeg(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format="jpeg", quality=82, optimize=True)
    return buffer.getvalue()
