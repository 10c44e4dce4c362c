"""The page in a browser: it finds what the model finds."""

import functools
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading

import numpy as np
import pytest
from PIL import Image

from keras_det import export, models
from keras_det.data import load
from keras_det.export import to_web

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
IMAGES = 3
# Runs the page's own modules on the images, and sends what they find to the server of this test.
SCRIPT = """
<script type="module">
import { detect, load } from "./detector.js";
const found = [];
try {
  const network = await load();
  for (let i = 0; i < COUNT; i++) {
    const image = await createImageBitmap(await (await fetch(`${i}.png`)).blob());
    const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
    context.drawImage(image, 0, 0);
    found.push((await detect(network, context.getImageData(0, 0, image.width, image.height))).objects);
  }
} catch (error) { found.push(String(error)); }
await fetch("found", { method: "POST", body: JSON.stringify(found) });
</script>
""".replace("COUNT", str(IMAGES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The exported page; skips where npm reaches no registry."""
    try:
        to_web.runtime_package()
    except ConnectionError as error:
        pytest.skip(str(error))
    pytest.importorskip("tf2onnx")
    return export.export(models.SSD300(weights="shapes"), "web", tmp_path_factory.mktemp("web") / "page")


@pytest.fixture
def server(folder):
    """An address, and a list that gets what is posted there."""
    posted, arrived = [], threading.Event()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            arrived.set()

        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", posted, arrived
        running.shutdown()


def browse(*arguments):
    """Headless Chromium, started."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([CHROMIUM, *options, *arguments], text=True, start_new_session=True, **streams)


def test_the_folder_holds_all_that_it_needs(folder):
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {f"runtime/{name}" for name in to_web.MEMBERS} <= names
    for name in ("index.html", "page.js", "detector.js", "style.css"):
        text = (folder / name).read_text()
        assert not re.findall(r"https?://", text)  # nothing is fetched from elsewhere
        wanted = re.findall(r'(?:src=|href=|from )"([^":,]+)"', text)
        assert all((folder / one).is_file() for one in wanted), wanted
    assert json.loads((folder / "model.json").read_text())["classes"][0] == "ellipse"
    with pytest.raises(FileExistsError, match="exists"):
        export.web(models.SSD300(weights="shapes"), folder)


@pytest.mark.needs
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium-headless-shell)")
def test_the_page_finds_what_the_model_finds(folder, server, tmp_path):
    address, posted, arrived = server
    scenes = load("shapes", images=IMAGES, seed=77)
    images = [scenes.image(0), scenes.image(1)[:180], scenes.image(2)[:, 40:]]
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.png")
    (folder / "test.html").write_text(SCRIPT)
    browser = browse(f"--user-data-dir={tmp_path}", f"{address}/test.html", "--remote-debugging-port=0")
    try:
        assert arrived.wait(120), "the page did not answer"
    finally:
        os.killpg(browser.pid, signal.SIGKILL)  # the command may be a script that starts the browser
        browser.wait()
    model = models.SSD300(weights="shapes")
    assert len(posted[0]) == IMAGES, posted
    for image, objects in zip(images, posted[0]):
        expected = model.detect(image, 0.1)[0]
        objects = [one for one in objects if one["score"] >= 0.1]
        assert [one["name"] for one in objects] == list(expected.names)
        np.testing.assert_allclose([one["score"] for one in objects], expected.scores, atol=1e-3)
        np.testing.assert_allclose([one["box"] for one in objects], expected.boxes_pixels, atol=0.5)


@pytest.mark.needs
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium-headless-shell)")
def test_the_page_is_ready_and_fits_a_phone(folder, server, tmp_path):
    address, *_ = server
    options = ("--virtual-time-budget=60000", "--window-size=390,800", f"--user-data-dir={tmp_path}")
    dom, _ = browse(*options, "--dump-dom", f"{address}/index.html").communicate(timeout=180)
    assert 'data-ready="true"' in dom and "SSD300, 6 classes" in dom and dom.count('type="checkbox"') == 6
    assert "disabled" not in re.search(r'<input id="threshold"[^>]*>', dom)[0]


def test_without_npm_the_way_by_hand_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_DET_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConnectionError, match=f"there is no npm: get onnxruntime-web-1.30.0.tgz .*{tmp_path}"):
        to_web.runtime_package()
    (tmp_path / "downloads" / "onnxruntime-web-1.30.0.tgz").write_bytes(b"another file")
    with pytest.raises(ValueError, match="is not the package onnxruntime-web@1.30.0; delete it"):
        to_web.runtime_package()
