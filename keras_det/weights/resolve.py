"""From what a constructor's `weights` argument says to parameters in a network; the model classes call this."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_det.files import whole
from keras_det.version import __version__
from keras_det.weights.download import check_added, fetch, home, lock
from keras_det.weights.registry import EMBEDDED_FOLDER, WeightsEntry, entries
from keras_det.weights.tf_checkpoint import read_checkpoint
from keras_det.weights.torch_file import read_torch
from keras_det.weights.variables import assign, shapes

READERS = {".pth": read_torch, ".zip": read_checkpoint}


@dataclass(frozen=True)
class Found:
    """Registered weights, or a file of the same form as registered ones.

    Attributes:
        entry: the registered entry.
        config: constructor arguments of the network that they fit. Without `classes` when a file has another number
            of them than the registered one.
        parameters: the file's own, under its publisher's names; `None` for the registered file.
    """

    entry: WeightsEntry
    config: dict
    parameters: dict | None = field(default=None, repr=False)


def find(model: str, weights: str | os.PathLike) -> Found | None:
    """What a `weights` argument means, before anything is downloaded.

    Args:
        model: name of the class, in upper or lower case.
        weights: a registered name, or the path of a file in a publisher's format (`.pth`, `.zip`), for instance of a
            network that the user trained with the publisher's code.

    Returns:
        A `Found`, or `None` for anything else, which is the model's business.

    Raises:
        FileNotFoundError: no such `.pth` or `.zip`.
        ValueError: it cannot be read, or none of the publishers of this model's weights has such names.

    >>> find("SSD300", "voc").config["box_scales"]
    'coco'
    """
    for entry in entries(model):
        if entry.name == weights:
            return Found(entry, entry.constructor_arguments)
    path = Path(os.fspath(weights))
    return _find_published(model, path) if path.suffix in READERS else None


def _find_published(model, path):
    """A `Found` for a publisher's file, by the converter that knows most of its names."""
    reader = READERS[path.suffix]
    parameters = reader(path)
    candidates = [(entry, entry.converter) for entry in entries(model) if entry.converter]
    candidates = [(entry, converter) for entry, converter in candidates if converter.read is reader]
    entry, converter = max(candidates, key=lambda pair: pair[1].known(parameters), default=(None, None))
    if entry is None or converter is None or not converter.known(parameters):
        raise ValueError(f"{path} holds no weights in a form that is known for {model}.")
    config = entry.constructor_arguments
    if converter.num_classes(parameters) != len(entry.classes) + 1:
        del config["classes"]
    return Found(entry, config, parameters)


def load(found: Found, network: Any) -> None:
    """Put the weights into a network, all of them or none. A registered file is downloaded and converted only once.

    Args:
        found: what `find` gave.
        network: built with `found.config`; it has `weights`, `save_weights(path)` and `load_weights(path)`.

    Raises:
        ConnectionError: the file cannot be downloaded.
        FileNotFoundError: it must be added by hand and was not.
        ValueError: it does not fit the network, or is damaged.
        OSError: it cannot be written.
    """
    entry = found.entry
    if found.parameters is not None:
        _convert(entry, found.parameters, network)
    elif entry.embedded:
        _load_own(fetch(entry), network)
    else:
        path = _converted(entry)
        with lock(path):
            if path.exists():
                _load_own(path, network)
            else:
                assert entry.converter is not None  # a file of our own is embedded
                _convert(entry, entry.converter.read(fetch(entry)), network)
                _keep(network, path)


def check_available(entry: WeightsEntry) -> None:
    """Refuse registered weights that `load` cannot get, as far as it can be told without a download.

    Raises:
        FileNotFoundError: their file must be added by hand and was not.
    """
    if not _converted(entry).exists():
        check_added(entry)


def _converted(entry):
    """Where the converted weights of an entry are kept."""
    return home() / f"{entry.model.lower()}_{entry.name}-{__version__}.weights.h5"


def _convert(entry, parameters, network):
    assign(network, entry.converter.convert(parameters, shapes(network)))


def _keep(network, path):
    """Save the converted weights; not from a network of less precision, which others would then get."""
    if any(str(variable.dtype) != "float32" for variable in network.weights):
        return
    with whole(path) as temporary:
        network.save_weights(temporary)


def _load_own(path, network):
    try:
        network.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        damaged = "" if path.parent == EMBEDDED_FOLDER else " or is damaged; if damaged, delete it"
        name = type(network).__name__
        raise ValueError(f"{path} does not fit this {name} with these arguments{damaged}: {error}") from error
