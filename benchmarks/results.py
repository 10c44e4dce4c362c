"""How every script here leaves its figures: `results/NAME.json` with command, seed, versions and machine."""

import os
import platform
import sys
from pathlib import Path

from keras_det.training.run import versions, write_json

FOLDER = Path(__file__).resolve().parent / "results"


def write_result(name, figures, seed=None):
    """Write the figures of one script, and print where."""
    path = FOLDER / f"{name}.json"
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
    command = " ".join(["python", *(os.path.relpath(sys.argv[0], FOLDER.parents[1]), *sys.argv[1:])])
    write_json(path, {"command": command, "seed": seed, "versions": versions(), "machine": machine, "figures": figures})
    print(f"written: {path}")
