"""The wheel in an environment of its own, outside the checkout.

    python tests/wheel_elsewhere.py

installs it with all its dependencies into an empty virtual environment and uses it there: `make wheel-test`.
`test_wheel.py` does the same without installing the dependencies anew.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCENE = "load('shapes', seed=1).image(0)"
DRAW = f"from keras_det.data import load; from PIL import Image; Image.fromarray({SCENE}).save('a.png')"


def build_wheel(folder):
    """Build the wheel from a copy of the sources, so that the checkout stays as it is; its path."""
    source = folder / "source"
    shutil.copytree(ROOT / "keras_det", source / "keras_det", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", source / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "DESCRIPTION.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    _run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source], folder
    )
    return next(folder.glob("keras_det-*.whl"))


def install(wheel, folder, *options):
    """Install the wheel into a new virtual environment; its folder of commands."""
    _run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], folder)
    commands = folder / "venv" / "bin"
    pip = [sys.executable, "-m", "pip", "--python", commands / "python", "install", "-q", *options, wheel]
    _run(pip, folder)
    return commands


def use(commands, folder):
    """What the installed command lists and what it finds in a scene, in a folder without the sources."""
    place = _run([commands / "python", "-c", "import keras_det; print(keras_det.__file__)"], folder)
    assert Path(place.strip()).is_relative_to(folder / "venv"), place
    entries = json.loads(_run([commands / "keras-det", "weights", "list", "--json"], folder))
    _run([commands / "python", "-c", DRAW], folder)
    return entries, json.loads(_run([commands / "keras-det", "detect", "a.png", "--json"], folder))


def _run(command, folder):
    """Standard output of a command that may not see the checkout."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done.stdout


def main():
    """All of it, dependencies included."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder).resolve()
        wheel = build_wheel(folder)
        print(f"built {wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB; installing its dependencies", flush=True)
        entries, result = use(install(wheel, folder), folder)
        found = ", ".join(f"{thing['name']} {thing['score']:.2f}" for thing in result["objects"])
        print(f"{len(entries)} registered weights; found in a scene: {found}")


if __name__ == "__main__":
    main()
