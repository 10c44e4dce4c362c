"""Weights by name or file: what they say about their network, and how they enter it."""

import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import keras

EMBEDDED = Path(__file__).resolve().parents[1] / "weights" / "embedded"
ATTRIBUTE = "keras_det"  # of a .weights.h5 file: the model's name and constructor arguments, as JSON


@dataclass(frozen=True)
class Checkpoint:
    """Weights that were asked for.

    Attributes:
        path: the file, or `None` where no weights were asked for.
        arguments: constructor arguments of the network that it was saved from.
    """

    path: Path | None = None
    arguments: dict = field(default_factory=dict)

    def load_into(self, model):
        """Copy the weights into a model; all of them, or all but the class predictors where the classes differ."""
        if self.path is None:
            return
        classes = self.arguments.get("classes")
        if classes is None or tuple(classes) == model.classes:
            load_weights(model, self.path)
            return
        donor = type(model)(**(model.arguments | {"classes": classes}))
        load_weights(donor, self.path)
        left_out = copy_weights(donor, model)
        print(
            f"{self.path.name}: the classes differ ({len(classes)} there, {len(model.classes)} here); "
            f"{', '.join(left_out)} start from random values, everything else is loaded."
        )


def registered(model_name):
    """Names of the weights that come with the package for a model."""
    prefix, suffix = f"{model_name.lower()}_", ".weights.h5"
    return sorted(path.name[len(prefix) : -len(suffix)] for path in EMBEDDED.glob(f"{prefix}*{suffix}"))


def find_checkpoint(model_name, weights):
    """The checkpoint for a model's `weights` argument.

    Raises:
        FileNotFoundError: no registered name and no file.
        ValueError: a file that holds no weights of this model.
    """
    if weights is None:
        return Checkpoint()
    embedded = EMBEDDED / f"{model_name.lower()}_{weights}.weights.h5"
    path = embedded if embedded.is_file() else Path(os.fspath(weights))
    if not path.is_file():
        raise FileNotFoundError(f"`weights` must be a registered name or a file; there is no {str(weights)!r}.")
    metadata = read_metadata(path)
    if metadata and metadata["model"] != model_name:
        raise ValueError(f"{path} holds weights of {metadata['model']}, not of {model_name}.")
    return Checkpoint(path, metadata["arguments"] if metadata else {})


def read_metadata(path):
    """What a weights file says of its network, `{"model", "arguments"}`, or `None` where it says nothing."""
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
            arguments = config["config"]
            return {"model": config["class_name"], "arguments": {k: v for k, v in arguments.items() if k != "name"}}
        with h5py.File(path) as file:
            text = file.attrs.get(ATTRIBUTE)
        return json.loads(text) if text else None
    except (OSError, zipfile.BadZipFile, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a readable weights file: {error}") from error


def save_weights(model, path, optimizer=True, training=None):
    """Write `.weights.h5` with the model's name and arguments inside, first to a temporary file.

    Args:
        model: the detector.
        path: where to.
        optimizer: whether the optimizer's state goes along, as a resumed training needs.
        training: JSON values to remember with it, such as the epoch.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    metadata = {"model": type(model).__name__, "arguments": model.arguments, "training": training}
    state = model.optimizer
    try:
        if not optimizer:
            model.optimizer = None
        keras.Model.save_weights(model, temporary)
        with h5py.File(temporary, "a") as file:
            file.attrs[ATTRIBUTE] = json.dumps(metadata)
        os.replace(temporary, path)
    finally:
        model.optimizer = state
        temporary.unlink(missing_ok=True)


def copy_weights(donor, model):
    """Copy every weight whose place and shape agree; the names of the layers left out."""
    values = {_place(variable): variable for variable in donor.weights}
    left_out = []
    for variable in model.weights:
        value = values.get(_place(variable))
        if value is not None and value.shape == variable.shape:
            variable.assign(value)
        else:
            left_out.append(variable.path.split("/")[-2])
    return list(dict.fromkeys(left_out))


def _place(variable):
    """Layer and name of a variable, the same in two models of one form."""
    return "/".join(variable.path.split("/")[-2:])


def load_weights(model, path):
    """Load every weight of a model from a file, or raise a ValueError that names the file."""
    try:
        if path.suffix == ".keras":
            values = keras.saving.load_model(path)
            left_out = copy_weights(values, model)
            if left_out:
                raise ValueError(f"{', '.join(left_out)} do not fit")
        else:
            model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} does not hold the weights of this {type(model).__name__}: {error}") from error
