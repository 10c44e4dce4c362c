"""What can be said of a command's arguments before TensorFlow is imported, which takes seconds."""

import os
from collections.abc import Iterable
from pathlib import Path

from keras_det.cli import zoo
from keras_det.suggestions import did_you_mean

DEFAULT_MODEL = "ssd300"


def model_of(name: str | None, weights: str | None, default: str = DEFAULT_MODEL) -> str:
    """The model that a command means.

    Args:
        name: as the user gave it, or `None`.
        weights: a registered name, a file, or `None`.
        default: where nothing else decides.

    Returns:
        `name`; or the model that the weights' file names; or the only one that has weights of this name.
    """
    if name is not None or weights is None:
        return name or default
    from keras_det import weights as registry

    names = {model.class_name: known for known, model in zoo.models().items()}
    found = {names[entry.model] for entry in registry.entries() if entry.name == weights}
    if not found and Path(weights).is_file() and weights.endswith((*registry.FILE_ENDINGS, ".keras")):
        said = (registry.read_metadata(weights) or {}).get("model")
        found = {names[said]} if said in names else set()
    return found.pop() if len(found) == 1 and default not in found else default


def check_network(
    name: str, weights: str | None, option: str = "--weights", boxes: bool = False, named: str = "--model"
) -> None:
    """Refuse a model that there is not, or weights that are neither registered for it nor a file.

    Args:
        name: of the model, as the user gave it.
        weights: a registered name, a file, or `None`.
        option: that names the weights.
        boxes: whether it must be a detector.
        named: the option that names the model.
    """
    model = zoo.get(name, named)
    if boxes and not model.is_detector:
        raise ValueError(f"{named} {name} gives no boxes: it can be trained, and used by other detectors.")
    if weights is not None:
        _check_weights(model.name, weights, option)


def _check_weights(model, weights, option):
    from keras_det import weights as registry

    entries = {entry.name: entry for entry in registry.entries(model)}
    if weights in entries:
        registry.check_available(entries[weights])
        return
    if not Path(weights).is_file():
        names = ", ".join(entries) or "none"
        raise FileNotFoundError(
            f"{option} must be a file or a registered name of {model} ({names}); "
            f"got {weights!r}{did_you_mean(weights, entries)}"
        )
    if not str(weights).endswith(registry.READ_ENDINGS):
        raise ValueError(f"{option} must end in {', '.join(registry.READ_ENDINGS)}; got {weights!r}.")


def check_images(paths: Iterable[str]) -> None:
    """Refuse paths, folders and patterns without images."""
    from keras_det.data.image_files import image_paths

    for path in paths:
        image_paths(path)


def check_folder(path: Path, option: str = "--out") -> None:
    """Refuse a folder that cannot be made or written to; a file may have its name, or that of one above it."""
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{option} must be a folder; {there} is a file.")
    if not os.access(there, os.W_OK):
        raise PermissionError(f"{option} must be a folder that can be written to; {there} cannot.")


def check_file(path: Path, endings: str | tuple[str, ...] | None = None, option: str = "--out") -> None:
    """Refuse a file that cannot be written, or that ends otherwise."""
    if endings and not path.name.lower().endswith(endings):
        raise ValueError(f"{option} must end in {' or '.join(endings)}; got {path.name!r}.")
    if path.is_dir():
        raise IsADirectoryError(f"{option} must be a file; {path} is a folder.")
    check_folder(path.parent, option)


def check_exists(path: Path, option: str) -> None:
    """Refuse a file or folder that there is not."""
    if not path.exists():
        raise FileNotFoundError(f"{option}: there is no file or folder {path}.")
