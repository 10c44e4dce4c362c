import base64
import collections
import dataclasses
import html.parser
import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from metrics_samples import random_set
from PIL import Image
from typer.testing import CliRunner

from keras_det import cli
from keras_det.data import load
from keras_det.metrics import GroundTruth, Predictions, coco, coco_metrics, diagnosis, plots, voc, voc_ap, worst
from keras_det.metrics.report import MAX_CLASSES, write_report
from keras_det.metrics.tide_errors import ERRORS, tide

SECTIONS = ("metrics", "classes", "curves", "confusion", "false-positives", "size", "shape", "tide", "worst")
VOID = {"meta", "img", "br", "link", "input"}
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(2)'>",
    "$\\frac{1$ & $$",
    "nul\x00 line\nbreak \ud800 [/bold]",
    "</style></section><h1>big</h1>" + 3000 * "x",
)


class Page(html.parser.HTMLParser):
    """The page's elements; refuses tags that are not closed in order."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text()
        self.open, self.found, self.cells, self.words = [], collections.defaultdict(list), [], []
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found[tag].append(dict(attrs))
        self.found["attribute"] += [name for name, _ in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1][-1] += data

    @property
    def sections(self):
        return tuple(element["id"] for element in self.found["section"])

    @property
    def images(self):
        return [decoded(element["src"]) for element in self.found["img"]]

    def row(self, name):
        return next(row for row in self.cells if row and row[0] == name)


def decoded(source):
    """The image in a data URL."""
    assert re.match(r"data:image/(png|jpeg);base64,", source)
    shown_image = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1], validate=True)))
    shown_image.load()
    return shown_image


def written(truth, results, path, *args, **options):
    return Page(write_report(truth, results, path, *args, **options))


class Images:
    """A source of one-colored images for a truth, in another order, some of them broken or left out."""

    def __init__(self, truth, broken=(), absent=()):
        self.rows = [i for i in reversed(range(len(truth.image_ids))) if i not in absent]
        self.truth, self.broken, self.asked = truth, broken, []

    def __len__(self):
        return len(self.rows)

    def annotation(self, i):
        return collections.namedtuple("One", "image_id")(self.truth.image_ids[self.rows[i]])

    def image(self, i):
        self.asked.append(self.rows[i])
        if self.rows[i] in self.broken:
            raise ValueError("<b>not</b> an image")
        height, width = self.truth.sizes[self.rows[i]]
        return np.full((height, width, 3), [10 * self.rows[i], 255, 0], np.uint8)


@pytest.fixture(scope="module")
def sample():
    """Four classes of which one has no objects, two images without objects, difficult ones and crowds."""
    return random_set(3, detections=300)


@pytest.fixture(scope="module")
def page(sample, tmp_path_factory):
    return written(*sample, tmp_path_factory.mktemp("report"), title="A & B")


def test_the_page_is_whole_and_asks_for_nothing(page):
    assert page.sections == SECTIONS
    assert [link["href"] for link in page.found["a"]] == [f"#{name}" for name in SECTIONS]
    assert page.found["html"][0]["lang"] and {"A & B"} <= set(page.words)
    assert len(page.found["img"]) >= 6 and all(element["alt"] for element in page.found["img"])
    assert not re.search(r"https?:|url\(|@import|//\w", re.sub(r"base64,[\w+/=]+", "", page.source))
    assert not {"script", "link", "iframe", "object", "form"} & set(page.found)
    policy = next(meta["content"] for meta in page.found["meta"] if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_the_tables_hold_the_figures(sample, page):
    truth, results = sample
    area, points = voc_ap(truth, results), voc_ap(truth, results, "voc2007_11point")
    metrics = coco_metrics(truth, results)
    assert f"{np.nanmean(area):.3f}" in page.words and f"{np.nanmean(points):.3f}" in page.words
    for first, second in zip(coco.SUMMARY[:6], coco.SUMMARY[6:]):
        row = page.row(first)
        assert (row[2], row[3], row[5]) == (f"{metrics[first]:.3f}", second, f"{metrics[second]:.3f}")
    threshold = diagnosis.best_threshold(truth, results)
    best = results.take(results.scores >= threshold)
    outcome = voc.match(truth, best).outcome
    for label, name in enumerate(truth.classes[:3]):
        mine = (truth.labels == label) & ~truth.ignored
        right, wrong = (np.sum((best.labels == label) & (outcome == code)) for code in (voc.TRUE, voc.FALSE))
        found = np.sum((results.labels == label) & (voc.match(truth, results).outcome == voc.TRUE))
        assert page.row(name)[1:] == [
            str(mine.sum()),
            str(np.sum((truth.labels == label) & truth.ignored)),
            str(np.sum(results.labels == label)),
            f"{area[label]:.3f}",
            f"{points[label]:.3f}",
            f"{metrics[f'AP/{name}']:.3f}",
            f"{found / mine.sum():.3f}",
            f"{right / (right + wrong):.3f}",
            f"{right / mine.sum():.3f}",
        ]
    assert page.row("class3")[4:8] == ["–"] * 4  # no objects of it


def test_tides_table(sample, page):
    found = tide(*sample)
    for name in ERRORS:
        assert page.row(name)[2:] == [f"{found.counts[name]:,}", f"{100 * found.cost[name]:.2f}"]
    assert page.row("FN")[3] == f"{100 * found.special['FN']:.2f}"


def test_hostile_names_are_text(tmp_path, monkeypatch):
    truth, results = random_set(5, classes=5, images=5)
    truth = dataclasses.replace(truth, classes=HOSTILE, image_ids=HOSTILE)
    page = written(truth, results, tmp_path, title=HOSTILE[0])
    assert page.sections == SECTIONS and len(page.found["h1"]) == 1
    assert "script" not in page.found and not any(name.startswith("on") for name in page.found["attribute"])
    assert all(element["src"].startswith("data:") for element in page.found["img"])
    assert page.row(HOSTILE[0]) and page.row(HOSTILE[1]) and page.row(HOSTILE[2])
    assert max(len(word) for row in page.cells for word in row) <= 120
    assert "\x00" not in page.source


EMPTY = np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)


@pytest.mark.parametrize("objects, detections", [(True, False), (False, True), (False, False)])
def test_nothing_found_and_nothing_to_find(objects, detections, tmp_path):
    image, boxes, labels = ([0], [[1, 1, 20, 30]], [0]) if objects else ([], EMPTY[0], [])
    truth = GroundTruth(("cat", "dog"), ("a", "b"), [[40, 50], [1, 1]], image, boxes, labels)
    found = Predictions([0], [[2, 2, 9, 9]], [0.5], [1]) if detections else Predictions([], *EMPTY)
    page = written(truth, found, tmp_path)
    assert page.sections == SECTIONS
    assert page.row("cat")[1:5] == (["1", "0", "0", "0.000"] if objects else ["0", "0", "0", "–"])
    assert ("1 missed, cat × 1" in " ".join(page.words)) == objects
    assert ("1 false, dog × 1" in " ".join(page.words)) == detections


def test_without_images_or_classes_it_says_so(tmp_path):
    for truth in (
        GroundTruth(("cat",), (), np.zeros((0, 2)), [], EMPTY[0], []),
        GroundTruth((), ("a",), [[9, 9]], [], EMPTY[0], []),
    ):
        with pytest.raises(ValueError, match="at least one image and one class"):
            write_report(truth, Predictions([], *EMPTY), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_many_classes_are_all_in_the_table_and_the_commonest_drawn(tmp_path, monkeypatch):
    drawn = {}
    for name in ("plot_precision_recall", "plot_confusion", "plot_sensitivity"):
        plot = getattr(plots, name)

        def keep(truth, results, *args, plot=plot, name=name, **options):
            labels = next(value for value in args if isinstance(value, list))
            drawn[name] = labels
            return plot(truth, results, *[labels[:2] if value is labels else value for value in args], **options)

        monkeypatch.setattr(plots, name, keep)
    count = MAX_CLASSES + 3
    rare = {5, 40, 82}
    labels = np.array([label for label in range(count) if label not in rare])
    boxes = np.tile([[1, 1, 20, 30]], (len(labels), 1))
    truth = GroundTruth([f"c{i}" for i in range(count)], ("a",), [[40, 50]], 0 * labels, boxes, labels)
    page = written(truth, Predictions(0 * labels, boxes, labels / 100, labels), tmp_path)
    assert set(drawn) == {"plot_precision_recall", "plot_confusion", "plot_sensitivity"}
    assert all(set(chosen) == set(labels.tolist()) for chosen in drawn.values())
    assert all(page.row(f"c{i}") for i in range(count))
    assert "80 classes with the most objects" in " ".join(page.words)


def test_images_are_found_by_their_ids(sample, tmp_path):
    truth, results = sample
    plain = written(truth, results, tmp_path)
    images = [one.image for part in worst_of(*sample).values() for one in part]
    gone, bad = images[0], next(image for image in images if image != images[0])
    source = Images(truth, broken=(bad,), absent=(gone,))
    page = written(truth, results, tmp_path, source)
    assert set(source.asked) == set(images) - {gone}
    shown = page.images[-len(images) :]
    for image, shown_image in zip(images, shown):
        assert max(shown_image.size) <= 480
        color = np.median(np.asarray(shown_image).reshape(-1, 3), axis=0)
        expected = (112, 120, 134) if image in (gone, bad) else (10 * image, 255, 0)
        assert np.abs(color - expected).max() <= 6, image
    text = " ".join(page.words)
    assert "(no image)" in text and "(no image: <b>not</b> an image)" in text
    assert "no image" not in " ".join(plain.words)
    other = dataclasses.replace(truth, image_ids=[f"other {i}" for i in range(len(truth.image_ids))])
    with pytest.raises(ValueError, match="none of the truth's"):
        write_report(truth, results, tmp_path, Images(other))


def test_a_page_is_written_beside_and_moved(sample, tmp_path):
    old = tmp_path / "deep" / "page.html"
    assert write_report(*sample, old) == old
    before = old.read_text()
    with pytest.raises(ValueError, match="label"):
        write_report(sample[0], Predictions([0], [[0, 0, 1, 1]], [1], [99]), old)
    assert old.read_text() == before and [path.name for path in old.parent.iterdir()] == ["page.html"]
    assert write_report(*sample, tmp_path / "deep").name == "report.html"


# --- the worst images


def worst_of(truth, results, count=6):
    codes = diagnosis.kinds(truth, results, diagnosis.similar_classes(truth.classes))
    threshold = diagnosis.best_threshold(truth, results)
    return worst.worst_images(truth, results, codes, voc.match(truth, results), threshold, count)


@pytest.mark.parametrize("seed", range(6))
def test_worst_images_by_counting(seed):
    truth, results = random_set(seed, images=9, objects=60, detections=150)
    threshold = diagnosis.best_threshold(truth, results)
    best = results.take(results.scores >= threshold)
    matches = voc.match(truth, best)
    codes = diagnosis.kinds(truth, best, np.zeros((4, 4), bool))
    counts = {fault: collections.Counter() for fault in worst.ERRORS}
    for n in np.flatnonzero(~truth.ignored):
        if not np.any((matches.object == n) & (matches.outcome == voc.TRUE)):
            counts["missed"][int(truth.image[n])] += 1
    for d, code in enumerate(codes):
        name = diagnosis.KINDS[code]
        if name in ("similar", "other", "background"):
            counts["false"][int(best.image[d])] += 1
        elif name == "localization" and matches.paired_iou[d] <= 0.5:
            counts["misplaced"][int(best.image[d])] += 1
    found = worst_of(truth, results, 4)
    for fault, expected in counts.items():
        numbers = [len(one.labels) for one in found[fault]]
        assert numbers == sorted(expected.values(), reverse=True)[:4]
        assert all(expected[one.image] == len(one.labels) for one in found[fault])
        for one in found[fault]:
            assert (truth.image[one.objects] == one.image).all() and (results.image[one.detections] == one.image).all()
            assert (np.diff(results.scores[one.detections]) <= 0).all()
            assert (results.scores[one.detections] >= threshold).all()


def test_the_larger_misses_and_surer_errors_come_first():
    truth = GroundTruth(("cat",), "ab", [[100, 100]] * 2, [0, 1], [[0, 0, 9, 9], [0, 0, 99, 99]], [0, 0])
    assert [one.image for one in worst_of(truth, Predictions([], *EMPTY))["missed"]] == [1, 0]
    boxes = [[0, 0, 9, 9], [0, 0, 99, 99], [50, 50, 60, 60], [100, 100, 120, 120]]
    found = worst_of(truth, Predictions([0, 1, 0, 1], boxes, [0.3, 0.3, 0.5, 0.6], [0] * 4))
    assert [one.image for one in found["false"]] == [1, 0] and found["missed"] == []


@pytest.mark.parametrize("height, width", [(1, 4000), (4000, 1), (30, 20), (0, 0)])
def test_any_shape_of_image_is_drawn(height, width):
    truth = GroundTruth(("cat",), ("a",), [[height, width]], [], EMPTY[0], [])
    results = Predictions([0], [[-50, -50, 5000, 9000]], [0.9], [0])
    one = worst_of(truth, results)["false"] or [worst.WorstImage(0, np.zeros(0, int), np.array([0]), np.array([0]))]
    drawn = worst.draw_worst(truth, results, one[0])
    assert max(drawn.size) == 480 and len(set(drawn.getdata())) > 1
    if height:
        shown_image = worst.draw_worst(truth, results, one[0], np.zeros((height, width, 3), np.uint8))
        assert max(shown_image.size) == min(480, max(height, width))


# --- the plots show the numbers


def test_figure_3_shows_the_trend():
    truth, results = random_set(1, objects=60, detections=800)
    truth = dataclasses.replace(truth, classes=("cat", "dog", "car", "bus"))
    groups = {"animals": ("cat", "dog"), "alone": ("car",), "vehicles": ("car", "bus", "train")}
    figure = plots.plot_false_positives(truth, results, groups)
    codes = diagnosis.kinds(truth, results, diagnosis.similar_classes(truth.classes, groups))
    panels = {"all classes": range(4), "animals": (0, 1), "vehicles": (2, 3)}
    assert [axis.get_title() for axis in figure.axes[:3]] == list(panels)
    for axis, top, labels in zip(figure.axes[:3], figure.axes[3:], panels.values()):
        trend = diagnosis.trend(truth, results, codes, labels)
        strong, weak = axis.get_lines()
        np.testing.assert_allclose(strong.get_ydata(), 100 * trend.strong_recall)
        np.testing.assert_allclose(weak.get_ydata(), 100 * trend.weak_recall)
        assert (strong.get_linestyle(), weak.get_linestyle()) == ("-", "--")
        ends = [area.get_paths()[0].vertices[:, 1].max() for area in axis.collections]
        np.testing.assert_allclose(ends, 100 * np.cumsum(trend.fractions, axis=1).max(axis=0))
        counts, fractions = diagnosis.top_false_positives(results, codes, labels)
        assert [tick.get_text() for tick in top.get_xticklabels()] == [str(n) for n in counts]
        ends = [area.get_paths()[0].vertices[:, 1].max() for area in top.collections]
        np.testing.assert_allclose(ends, 100 * np.cumsum(fractions, axis=1).max(axis=0))


@pytest.mark.parametrize("by", ["size", "shape"])
def test_figures_4_and_6_show_the_sensitivity(by):
    truth, results = random_set(2, classes=10, objects=150, detections=800)
    figure = plots.plot_sensitivity(truth, results, by)
    found = diagnosis.sensitivity(truth, results, by)
    drawn = [bars for axis in figure.axes for bars in axis.containers]
    shown = [one for one in found if np.isfinite(one.ap).any()]
    assert len(figure.axes) == 2 and len(drawn) == len(shown) == 9
    for bars, one in zip(drawn, shown):
        kept = np.isfinite(one.ap)
        np.testing.assert_allclose(bars[0].get_ydata(), one.ap[kept])
        lengths = [np.ptp(segment[:, 1]) / 2 for segment in bars[2][0].get_segments()]
        np.testing.assert_allclose(lengths, np.nan_to_num(one.error[kept]), atol=1e-12)
    ticks = [tick.get_text() for tick in figure.axes[0].get_xticklabels()[:5]]
    assert ticks == list(diagnosis.SIZE_BINS if by == "size" else diagnosis.SHAPE_BINS)


def test_tides_bars_and_the_curves(sample):
    truth, results = sample
    found = tide(truth, results)
    errors, special = plots.plot_tide(truth, results).axes
    np.testing.assert_allclose([bar.get_height() for bar in errors.patches], [100 * found.cost[e] for e in ERRORS])
    np.testing.assert_allclose(
        [bar.get_height() for bar in special.patches], [100 * found.special[e] for e in ("FP", "FN")]
    )
    figure = plots.plot_precision_recall(truth, results, [2, 3])
    curve = voc.curves(truth, results)[2]
    (line,) = figure.axes[0].get_lines()
    np.testing.assert_array_equal(line.get_xydata(), np.column_stack([curve.recall, curve.precision]))
    assert figure.axes[0].get_title() == f"class2  {voc.ap_of_curve(curve):.3f}"
    assert [text.get_text() for text in figure.axes[1].texts] == ["no objects"]


def test_the_confusion_matrixs_cells(sample):
    truth, results = sample
    matrix = diagnosis.confusion_matrix(truth, results, 0.5)
    axis = plots.plot_confusion(truth, results, 0.5, [0, 2]).axes[0]
    part = matrix[np.ix_([0, 2, 4], [0, 2, 4])]
    cells = {tuple(reversed(text.get_position())): int(text.get_text()) for text in axis.texts}
    assert cells == {(row, column): part[row, column] for row, column in np.argwhere(part)}
    np.testing.assert_array_equal(axis.images[0].get_array(), part)
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["class0", "class2", "background"]


def test_known_groups():
    from keras_det.weights.registry import VOC_CLASSES

    assert plots.groups_of(VOC_CLASSES) is diagnosis.VOC_GROUPS
    names = [name for group in plots.COCO_GROUPS.values() for name in group]
    assert plots.groups_of(names) is plots.COCO_GROUPS
    assert len(names) == len(set(names)) == 79  # COCO's 80 but for person, whose supercategory has no other


# --- in a browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)


def chromium(*args, cwd):
    """What headless Chromium prints."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.needs
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium-headless-shell)")
def test_it_renders_in_a_browser_at_both_widths(tmp_path):
    truth, results = random_set(3, detections=300)
    truth = dataclasses.replace(truth, classes=(*HOSTILE[:3], "w" * 300))
    source = write_report(truth, results, tmp_path, Images(truth), title="Report").read_text()
    for width in (390, 1200):
        frame = (
            f'<iframe id="f{width}" style="border:0;width:{width}px;height:3000px" srcdoc="{escaped(source)}"></iframe>'
        )
        script = (
            "<script>onload = () => { const d = document.querySelector('iframe').contentDocument;"
            "const cut = [...d.images].filter(i => !i.complete || !i.naturalWidth).length;"
            "document.title = [d.documentElement.scrollWidth, d.documentElement.clientWidth, cut, d.images.length,"
            " d.querySelectorAll('section').length, d.title].join(' ') }</script>"
        )
        (tmp_path / "frame.html").write_text(f"<!DOCTYPE html><body style='margin:0'>{frame}{script}")
        dom = chromium("--dump-dom", "frame.html", cwd=tmp_path)
        scroll, client, cut, images, sections, title = re.search("<title>(.*?)</title>", dom)[1].split()
        assert int(scroll) <= int(client) <= width and int(client) > width - 20
        assert (int(cut), int(sections), title) == (0, len(SECTIONS), "Report") and int(images) >= 7
    chromium("--screenshot=page.png", "--window-size=1200,3000", "report.html", cwd=tmp_path)
    with Image.open(tmp_path / "page.png") as shown_image:
        bands = np.asarray(shown_image.convert("L")).reshape(10, 300, -1)
    assert (bands.std(axis=(1, 2)) > 5).all() and len(np.unique(bands)) > 100


def escaped(source):
    return source.replace("&", "&amp;").replace('"', "&quot;")


# --- the command


def call(*args):
    result = CliRunner().invoke(cli.app, [str(a) for a in ("evaluate", *args)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_model_and_its_results_files_give_the_same(tmp_path):
    data = ("--data", "shapes", "--seed", 5, "--images", 12)
    metrics = json.loads(call(*data, "--report", tmp_path / "out", "--json").stdout)
    assert metrics["report"] == str(tmp_path / "out" / "report.html")
    page = Page(tmp_path / "out" / "report.html")
    assert page.sections == SECTIONS and f"{metrics['map50']:.3f}" in page.words
    assert "ssd300 shapes on" in page.words[page.words.index("\n") + 1] or "ssd300" in page.source[:2000]

    from keras_det.models import SSD300
    from keras_det.training import evaluate

    source = load("shapes", seed=5, images=12)
    evaluator = evaluate(SSD300(weights="shapes"), source)[1]
    voc.write_results(tmp_path / "voc", evaluator.truth, evaluator.results())
    coco.write_results(tmp_path / "found.json", evaluator.truth, evaluator.results())
    for results in (tmp_path / "voc", tmp_path / "found.json"):
        again = json.loads(call(*data, "--results", results, "--json").stdout)
        assert again.pop("results") == str(results)
        common = {name: value for name, value in metrics.items() if name not in ("model", "weights", "report")}
        assert again == pytest.approx(common, abs=1e-6, nan_ok=True)


@pytest.fixture
def voc_results(shared, tmp_path):
    """Results of a real detector on the VOC2007 test images that are here, and these images' data source."""
    source = load(f"voc:{shared / 'data' / 'voc2007'}", "2007_present")
    folder = shared / "data" / "voc2007" / "results_tiny_yolo"
    ids = {source.annotation(i).image_id for i in range(len(source))}
    for path in folder.glob("comp4*.txt"):
        lines = [line for line in path.read_text().splitlines(True) if line.split()[0] in ids]
        (tmp_path / path.name).write_text("".join(lines))
    return source, tmp_path


@pytest.mark.slow
def test_results_of_another_detector_on_real_images(voc_results, shared, tmp_path):
    source, results = voc_results
    place = f"voc:{shared / 'data' / 'voc2007'}"
    result = call("--results", results, "--data", place, "--split", "2007_present", "--report", tmp_path / "out")
    assert "map50" in result.stdout and "aeroplane" in result.stdout
    page = Page(tmp_path / "out" / "report.html")
    truth = GroundTruth.from_source(source)
    area = voc_ap(truth, voc.read_results(results, truth))
    assert f"{np.nanmean(area):.3f}" in page.words
    assert len([p for p in page.images if p.format == "JPEG" and len(p.getcolors(2**20)) > 2000]) >= 6


def test_results_of_coco(shared, tmp_path):
    place = f"coco:{shared / 'data' / 'coco_tiny'}"
    source = load(place, "val2017")
    truth = GroundTruth.from_source(source)
    rows = np.flatnonzero(~truth.is_crowd)
    perfect = Predictions(truth.image[rows], truth.boxes[rows], np.linspace(1, 0.5, len(rows)), truth.labels[rows])
    coco.write_results(tmp_path / "found.json", truth, perfect)
    result = call("--results", tmp_path / "found.json", "--data", place, "--split", "val2017", "--json")
    metrics = json.loads(result.stdout)
    assert (metrics["AP"], metrics["map50"], metrics["images"]) == (pytest.approx(1), pytest.approx(1), len(source))


WRONG = {
    "model too": (["--results", "there", "--model", "ssd300", "--data", "shapes"], "--model ssd300"),
    "weights too": (["--results", "there", "--weights", "shapes", "--data", "shapes"], "--weights shapes"),
    "no data": (["--results", "there"], "--results needs --data"),
    "part of the images": (["--results", "there", "--data", "folder:x", "--images", "3"], "--images"),
    "no such results": (["--results", "absent[/b]", "--data", "shapes"], "absent[/b]"),
    "a class's file is missing": (["--results", "there", "--data", "shapes"], "comp4_det_test_ellipse.txt"),
    "truncated": (["--results", "cut.json", "--data", "shapes"], "truncated"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_options_are_one_line_and_exit_code_2(case, monkeypatch, tmp_path, capsys):
    arguments, named = WRONG[case]
    (tmp_path / "there").mkdir()
    (tmp_path / "cut.json").write_text('[{"image_id": 1, "categ')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["keras-det", "evaluate", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    error = capsys.readouterr().err.strip()
    assert end.value.code == 2 and error.startswith("keras-det: error:") and named in error and "\n" not in error
