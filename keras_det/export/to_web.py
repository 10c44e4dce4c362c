"""A folder for any static host: a page that detects in dropped images and the camera, in the browser alone."""

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from keras_det.export.to_onnx import onnx
from keras_det.files import whole
from keras_det.models.detector import Detector
from keras_det.weights import home

PAGE = Path(__file__).parent / "web"
RUNTIME = "onnxruntime-web@1.30.0"
# As the npm registry publishes it for this version, in Subresource Integrity's form.
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
MEMBERS = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
MAX_BYTES = 2**26  # of a member
LICENSE = f"{RUNTIME}, from the npm package of that name, under the MIT license, (c) Microsoft Corporation.\n"


def web(model: Detector, path: str | Path) -> Path:
    """Write a page with the network, which runs in the browser by ONNX Runtime's WebAssembly.

    The runtime comes out of the npm package `onnxruntime-web`, which npm fetches once, as the user has configured it;
    it is verified and kept in `KERAS_DET_HOME`. The folder works offline; it is to be served by HTTP, since browsers
    do not load modules from files.

    Args:
        model: the detector, one whose graph serves images of all sizes.
        path: the folder, which must not be there.

    Returns:
        `path`.

    Raises:
        ValueError: the detector fits into no file, or the runtime's package is not the registered one.
        FileExistsError: the folder is there.
        ConnectionError: the runtime is not there yet, and npm is missing or cannot fetch it.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists; name another folder.")
    package = runtime_package()
    with whole(path) as temporary:
        shutil.copytree(PAGE, temporary)
        onnx(model, temporary / "model.onnx")
        about = {
            "model": type(model).__name__,
            "classes": list(model.classes),
            "score_threshold": min(max(float(model.detect_threshold), 0.0), 1.0),
        }
        (temporary / "model.json").write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")
        (temporary / "runtime").mkdir()
        _extract(package, temporary / "runtime")
    return path


def runtime_package() -> Path:
    """The runtime's package, verified; fetched where it is not there yet.

    Raises:
        ConnectionError: npm is missing or cannot fetch it; the message says where to put the file by hand.
        ValueError: the file is not the registered one.
    """
    path = home() / "downloads" / (RUNTIME.replace("@", "-") + ".tgz")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch(path)
    with open(path, "rb") as file:
        digest = hashlib.sha512(file.read()).digest()
    if base64.b64encode(digest).decode() != INTEGRITY:
        raise ValueError(f"{path} is not the package {RUNTIME}; delete it.")
    return path


def _fetch(path):
    """The package, by npm's own command, so that mirrors, proxies and credentials are the user's; nothing is run."""
    advice = f"get {path.name} in another way and put it there: {path}"
    npm = shutil.which("npm")
    if npm is None:
        raise ConnectionError(f"the page needs {RUNTIME}, which npm fetches, and there is no npm: {advice}")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".npm-") as folder:
        command = [npm, "pack", RUNTIME, "--silent", "--ignore-scripts", "--pack-destination", folder]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
        found = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(found) != 1:
            said = [line for line in done.stderr.splitlines() if line.strip()] or ["no package"]
            raise ConnectionError(f"npm cannot fetch {RUNTIME}: {said[-1].strip()}; {advice}")
        found[0].replace(path)


def _extract(package, folder):
    """The runtime's files out of the archive, each within its bound."""
    with tarfile.open(package) as archive:
        for name in MEMBERS:
            member = archive.extractfile(f"package/dist/{name}")
            content = member.read(MAX_BYTES + 1) if member else b""
            if not 0 < len(content) <= MAX_BYTES:
                raise ValueError(f"{package} has no file {name} of at most {MAX_BYTES} bytes.")
            (folder / name).write_bytes(content)
    (folder / "LICENSE.txt").write_text(LICENSE, encoding="utf-8")
