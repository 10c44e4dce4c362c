"""The report is one page that asks for nothing else, whatever the names and however little was found."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from metrics_samples import random_set
from PIL import Image

from keras_det.data import load
from keras_det.metrics import Results, Truth
from keras_det.metrics.report import write_report

SECTIONS = ("figures", "classes", "tide")
VOID = {
    "meta",
    "img",
    "br",
    "hr",
    "link",
    "input",
    "path",
    "use",
    "rect",
    "line",
    "circle",
    "polyline",
    "image",
    "stop",
}


class Page(HTMLParser):
    """Collects what the page is made of, and refuses tags that do not close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.addresses, self.tags = [], set(), [], set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        self.addresses += [attributes[k] for k in ("src", "href", "xlink:href") if attributes.get(k)]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def page(path):
    text = path.read_text()
    found = Page(text)
    assert all(re.match("#|data:image/", address) for address in found.addresses)  # nothing from elsewhere
    assert "script" not in found.tags and "@import" not in text
    assert set(SECTIONS) <= found.ids
    return text


@pytest.fixture(scope="module")
def shapes_report(tmp_path_factory):
    """A report with pictures: every object found, moved a little, some doubled and some given another class."""
    source = load("shapes", images=12, seed=3)
    truth = Truth.from_source(source)
    g = np.random.default_rng(0)
    boxes = truth.boxes + g.normal(0, 6, truth.boxes.shape)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 2)
    labels = np.where(g.random(len(boxes)) < 0.2, (truth.labels + 1) % 6, truth.labels)
    results = Results(truth.image, boxes, g.random(len(boxes)), labels)
    return write_report(truth, results, tmp_path_factory.mktemp("report"), source, title="shapes")


def test_a_whole_report(shapes_report):
    text = page(shapes_report)
    assert shapes_report.name == "report.html" and "shapes-3-" in text
    assert text.count("data:image/") >= 5 and len(text) < 4e6


def test_names_are_escaped(tmp_path):
    truth, results = random_set(0)
    evil = '<script>alert("x")</script>'
    object.__setattr__(truth, "classes", (evil, *truth.classes[1:]))
    text = page(write_report(truth, results, tmp_path / "r.html", title=evil))
    assert evil not in text and "&lt;script&gt;" in text


@pytest.mark.parametrize("objects", [True, False])
def test_nothing_found_and_nothing_to_find(objects, tmp_path):
    given = ([0], [[0, 0, 20, 20]], [0]) if objects else ([], [], [])
    truth = Truth(("cat", "dog"), ("a",), [[50, 50]], *given)
    page(write_report(truth, Results([], [], [], []), tmp_path))
    page(write_report(truth, Results([0], [[0, 0, 20, 20]], [0.5], [1]), tmp_path))


def test_a_failed_write_keeps_the_page_before(shapes_report, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="space"):
        write_report(*random_set(0), path)
    assert path.read_text() == "before"


@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_shows_it(shapes_report, tmp_path, width):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("there is no Chromium")
    shot = tmp_path / "shot.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    address = shapes_report.as_uri()
    subprocess.run(
        [browser, *options, f"--screenshot={shot}", f"--window-size={width},4000", address],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    assert pixels.shape[1] == width and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000
    drawn = (pixels != pixels[0, 0]).any(-1)
    assert drawn[:, : width // 2].any(1).mean() > 0.5  # the page fills the window, not only its head
