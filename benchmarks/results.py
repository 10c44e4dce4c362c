"""How every script here leaves its metrics: `results/NAME.json` with command, seed, versions and machine."""

import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path

import h5py

from keras_det.files import whole, write_text
from keras_det.version import __version__
from keras_det.weights.registry import EMBEDDED_FOLDER

FOLDER = Path(__file__).resolve().parent / "results"


def versions():
    """Versions of the packages that decide the metrics, of those that are installed."""
    found = {"keras_det": __version__}
    for name in ("keras", "tensorflow", "jax", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write_result(name, metrics, seed=None, folder=FOLDER, quiet=False):
    """Write the metrics of one script, and print where unless `quiet`."""
    path = Path(folder, f"{name}.json")
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
    command = " ".join(["python", *(os.path.relpath(sys.argv[0], FOLDER.parents[1]), *sys.argv[1:])])
    result = {"command": command, "seed": seed, "versions": versions(), "machine": machine, "metrics": metrics}
    write_text(path, json.dumps(result, indent=2, default=str) + "\n")
    if not quiet:
        print(f"written: {path}")


def of_training(model, recipe, minutes, weights):
    """What the metrics of a network say of its training, of its size and of the file of its weights."""
    return {
        "training_minutes": round(minutes, 2),
        "steps": recipe.steps,
        "scenes_seen": recipe.steps * recipe.batch_size,
        "parameters": model.count_params(),
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }


def write_weights(model, name):
    """Write a model's weights in float16, compressed, to the package's embedded files; the path."""
    path = EMBEDDED_FOLDER / f"{name}.weights.h5"
    model.save_weights(path, optimizer=False, dtype="float16")
    with whole(path) as compact, h5py.File(path) as source, h5py.File(compact, "w") as target:

        def copy(place, item):
            if isinstance(item, h5py.Dataset):
                options = {"compression": "gzip", "compression_opts": 9, "shuffle": True} if item.ndim else {}
                copied = target.create_dataset(place, data=item[()], **options)
            else:
                copied = target.require_group(place)
            copied.attrs.update(item.attrs)

        target.attrs.update(source.attrs)
        source.visititems(copy)
    return path
