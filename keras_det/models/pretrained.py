"""Weights by name or file: what they say about their network, and how they enter it."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import math
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import keras
import numpy as np

from keras_det import weights as zoo
from keras_det.backbones import BACKBONES
from keras_det.files import whole
from keras_det.weights.metadata import ATTRIBUTE, member, read_metadata
from keras_det.weights.registry import same_class
from keras_det.weights.variables import place

if TYPE_CHECKING:
    from keras_det.models.network import Network

logger = logging.getLogger(__name__)

FORMATS = (*zoo.FILE_ENDINGS, ".keras")
DTYPES = ("float32", "float16")  # of the numbers in a file
_WEIGHTS = "model.weights.h5"  # in a .keras file


@dataclass(frozen=True)
class Checkpoint:
    """Weights that were asked for.

    Attributes:
        name: what was asked for; empty for random weights.
        config: constructor arguments of the network that the weights fit.
        found: a registered entry or a publisher's file.
        path: else the file.
        from_classifier: whether the file holds a `Classifier`, whose layers are taken as far as they fit.
    """

    name: str = ""
    config: dict = field(default_factory=dict)
    found: zoo.Found | None = None
    path: Path | None = None
    from_classifier: bool = False

    def load_into(self, model: Network) -> None:
        """Copy the weights into a model: all of them, and of the class predictors those of classes that both have."""
        if not self.name:
            return
        self._fill(model)
        if bad := sum(
            not np.isfinite(keras.ops.convert_to_numpy(v)).all() for v in model.weights if "float" in v.dtype
        ):
            logger.warning(
                f"Weights {self.name}: {bad} of {len(model.weights)} arrays hold numbers that are not finite."
            )

    def _fill(self, model):
        """Copy the weights."""
        if self.from_classifier:
            self._start_from_classifier(model)
            return
        classes = self.config.get("classes")
        if classes is None or tuple(classes) == model.classes:
            self._load(model)
            return
        donor = type(model)(**model.get_config() | {"classes": classes})
        self._load(donor)
        kept = carry_over(donor, model, classes, model.classes)
        self.report_classes(classes, model.classes, kept)

    def report_classes(self, donor_classes: Sequence[str], classes: Sequence[str], kept: Sequence[str]) -> None:
        """Say of which classes the predictors were carried over."""
        new = [name for name in classes if name not in kept]
        logger.warning(
            f"Weights {self.name}: the classes differ ({len(donor_classes)} there, {len(classes)} here). "
            f"Class predictors start from {f'those of {_some(kept)}' if kept else 'random values'}"
            f"{f' and from random values for {_some(new)}' if kept and new else ''}; everything else is loaded."
        )

    def _start_from_classifier(self, model):
        """Copy the layers of a classifier that the model has too; of its logits only those of the same classes."""
        from keras_det.models.classifier import Classifier

        donor = Classifier(weights=self.path)
        kept, all_of = carry_predictors(donor, model)
        missing = [name for name in copy_fitting(donor, model, model.class_predictors) if name not in all_of]
        logger.warning(
            f"Weights {self.name} of a classifier: {', '.join(missing)} start from random values{but_for(kept)}."
        )

    def _load(self, model):
        if self.found is not None:
            zoo.load(self.found, model)
        else:
            load_weights(model, self.path)


def find_checkpoint(model_name: str, weights: str | os.PathLike | None, from_classifier: bool = False) -> Checkpoint:
    """The checkpoint for a model's `weights` argument.

    Args:
        model_name: name of the class.
        weights: `None`, a registered name, or a file: one that this package saved, or a publisher's.
        from_classifier: whether a file of a `Classifier` will do, too, for the layers that the model has in common.

    Raises:
        FileNotFoundError: no registered name and no file.
        ValueError: a file that holds no weights of this model.
    """
    if weights is None:
        return Checkpoint()
    name = os.fspath(weights)
    found = zoo.find(model_name, name)
    if found is not None:
        own = read_metadata(found.entry.embedded) if found.entry.embedded else None  # a file of ours says what it needs
        return Checkpoint(name, own["config"] if own else found.config, found=found)
    path = Path(name)
    if not path.is_file():
        names = ", ".join(entry.name for entry in zoo.entries(model_name)) or "none"
        raise FileNotFoundError(f"`weights` must be a file or a registered name ({names}); there is no {name!r}.")
    if not name.endswith(FORMATS):
        raise ValueError(f"`weights` must end in {', '.join(FORMATS)}, .pth or .zip; got {name!r}.")
    metadata = read_metadata(path) or {"model": model_name, "config": {}}
    if metadata["model"] == "Classifier" and from_classifier:
        shared = {k: v for k, v in metadata["config"].items() if k in ("backbone", "image_size", "width")}
        return Checkpoint(name, shared, path=path, from_classifier=True)
    if metadata["model"] != model_name:
        raise ValueError(f"{path} holds weights of {metadata['model']}, not of {model_name}.")
    return Checkpoint(name, metadata["config"], path=path)


def holds_classifier(weights: str | os.PathLike) -> bool:
    """Whether a model's `weights` argument is a file of a `Classifier`."""
    path = Path(os.fspath(weights))
    return path.is_file() and path.name.endswith(FORMATS) and (read_metadata(path) or {}).get("model") == "Classifier"


def save_weights(
    model: Network, path: str | os.PathLike, optimizer: bool = True, training: Any = None, dtype: str = "float32"
) -> None:
    """Write weights with the model's name and arguments inside; the file appears whole or not at all.

    Args:
        model: the detector.
        path: where to; ends in `.weights.h5` or `.safetensors`.
        optimizer: whether the optimizer's state goes along, as a resumed training needs; not in `.safetensors`.
        training: JSON values to remember with it, such as the epoch.
        dtype: of the numbers in the file: `"float32"` or `"float16"`.

    Raises:
        ValueError: another ending; another `dtype`, or a weight that float16 cannot hold.
        OSError: the file cannot be written, for want of space or of permission; one of this name stays as it was.
    """
    path = Path(path)
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}; got {dtype!r}.")
    metadata = {"model": type(model).__name__, "config": model.config.to_dict(), "training": training}
    if path.suffix == ".safetensors":
        parameters = zoo.parameters(model)
        if dtype == "float16":
            parameters = {name: _halved(name, value) for name, value in parameters.items()}
        zoo.write_safetensors(path, parameters, metadata)
    elif path.name.endswith(".weights.h5"):
        _save_h5(model, path, optimizer, metadata, dtype == "float16")
    else:
        raise ValueError(f"weights are saved to .weights.h5 or .safetensors, not to {path.name!r}.")


def _halved(name, value):
    """A float32 array as float16; any other as it is."""
    if value.dtype != np.float32:
        return value
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    if not np.isfinite(half).all() and np.isfinite(value).all():
        raise ValueError(f"`dtype` must be float32: {name} has numbers that float16 cannot hold.")
    return half


def _halve_h5(path):
    """Write a file's float32 arrays as float16: into the file anew, since HDF5 gives no space back."""
    items = {}

    def keep(name, item):
        items[name] = _halved(name, item[()]) if isinstance(item, h5py.Dataset) else None, dict(item.attrs)

    with h5py.File(path) as file:
        file.visititems(keep)
    with h5py.File(path, "w") as file:
        for name, (value, attributes) in items.items():
            item = file.require_group(name) if value is None else file.create_dataset(name, data=value)
            item.attrs.update(attributes)


def _save_h5(model, path, optimizer, metadata, half):
    """Keras's format with the metadata as an attribute, first in a temporary file."""
    state = getattr(model, "optimizer", None)
    written = model.weights + (state.variables if optimizer and state is not None else [])
    needed = 4 * sum(math.prod(v.shape) for v in written)
    try:
        _check_space(path.parent, needed)
        with whole(path) as temporary:
            try:
                keras.saving.save_weights(model, temporary, objects_to_skip=() if optimizer else (state,))
                if half:
                    _halve_h5(temporary)
                with h5py.File(temporary, "a") as file:
                    file.attrs[ATTRIBUTE] = json.dumps(metadata)
            except RuntimeError:  # in closing a file HDF5 has no kinds of errors; the disk itself knows if it is full
                _check_space(path.parent, needed)
                raise
            _flush(temporary, os.O_RDWR)  # so that a crash of the machine, too, leaves the old file or the new one
        if os.name == "posix":  # elsewhere a folder cannot be opened
            _flush(path.parent, os.O_RDONLY)
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        raise OSError(f"{path} could not be written: {os.strerror(number) if number else error}.") from error


def _check_space(folder, needed):
    """Refuse a disk that is too full before HDF5 does, which fills stderr with its own words."""
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _flush(path, mode):
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, mode)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_fitting(donor: keras.Model, model: keras.Model, leave_out: Sequence[str] = ()) -> list[str]:
    """Copy the variables of another model that have the same layer, name and shape.

    Args:
        donor: the model with the weights.
        model: the model that gets them.
        leave_out: layers that keep their own.

    Returns:
        Sorted names of the layers that nothing was found for.
    """
    theirs, missing = {place(v): v for v in donor.weights}, set()
    for variable in model.weights:
        layer, source = place(variable).split("/")[0], theirs.get(place(variable))
        if source is not None and source.shape == variable.shape and layer not in leave_out:
            variable.assign(source)
        else:
            missing.add(layer)
    return sorted(missing)


def carry_over(donor: Network, model: Network, donor_classes: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Copy the weights of a model of the same form for other classes, the predictors of equal classes included.

    Classes are equal by name, VOC's and COCO's spellings of one being the same; background is carried over, too. In
    this way the authors fine-tune the network trained on COCO for VOC (SSD, section 3.3). Of two donors' classes of one
    name the first is taken.

    Args:
        donor: the model with the weights.
        model: the model that gets them.
        donor_classes: names of the donor's classes, in label order.
        classes: names of the model's.

    Returns:
        The names of `classes` whose predictors were carried over.
    """
    pairs = _equal_classes(donor_classes, classes)
    kept = [classes[here] for _, here in pairs]
    if model.class_networks():  # nothing is shared between the classes
        for there, here in pairs:
            for variable, value in zip(model.class_networks()[here], donor.class_networks()[there], strict=True):
                variable.assign(value)
        return kept
    for variable, value in zip(model.weights, donor.weights, strict=True):
        layer = variable.path.split("/")[-2]
        if layer in model.class_predictors:
            entries = model.class_entries(layer)
            value = _of_classes(variable, value, (len(classes), len(donor_classes)), (entries, entries), pairs)
        variable.assign(value)
    return kept


def carry_predictors(donor: Network, model: Network) -> tuple[list[str], set[str]]:
    """Copy from a model of another form what its class predictors know of the classes that both have.

    Layers are told by their names. Background is carried over, too, where both have it.

    Args:
        donor: the model with the weights.
        model: the model that gets them.

    Returns:
        The model's classes of which some layer was carried over in part, and the layers that were as a whole.
    """
    pairs, parts, all_of = _equal_classes(donor.classes, model.classes), set(), set()
    theirs = {place(v): v for v in donor.weights}
    for variable in model.weights:
        layer, value = place(variable).split("/")[0], theirs.get(place(variable))
        if value is None or not {layer} <= {*model.class_predictors} & {*donor.class_predictors}:
            continue
        entries = model.class_entries(layer), donor.class_entries(layer)
        shapes = [(*v.shape[:-1], of[1]) for v, of in zip((variable, value), entries)]
        if pairs and shapes[0] == shapes[1]:
            counts = len(model.classes), len(donor.classes)
            variable.assign(_of_classes(variable, value, counts, entries, pairs))
            known = len(pairs) == len(model.classes) and entries[0][0] <= entries[1][0]
            (all_of if known else parts).add(layer)
    return [model.classes[here] for _, here in pairs] if parts else [], all_of


def _equal_classes(donor_classes, classes):
    """Numbers of the classes that both have, there and here; of two of one name there the first."""
    index = {}
    for k, name in enumerate(donor_classes):
        index.setdefault(same_class(name), k)
    return [(index[same_class(name)], k) for k, name in enumerate(classes) if same_class(name) in index]


def _of_classes(variable, value, counts, entries, pairs):
    """A class predictor's values: those of another for the same classes and for background, else its own.

    Args:
        variable: its last axis counts groups, such as default boxes, then background and classes, then their values.
        value: the other's variable.
        counts: numbers of classes of both.
        entries: of both, entries of background before the classes, and values of an entry. Background comes along with
            any class.
        pairs: numbers of equal classes, there and here.
    """
    here, there = (
        np.array(keras.ops.convert_to_numpy(v)).reshape(*v.shape[:-1], -1, background + count, each)
        for v, count, (background, each) in zip((variable, value), counts, entries)
    )
    (background, _), (background_there, _) = entries
    both = min(background, background_there) if pairs else 0
    here[..., :both, :] = there[..., :both, :]
    for old, new in pairs:
        here[..., background + new, :] = there[..., background_there + old, :]
    return here.reshape(variable.shape)


def but_for(kept: Sequence[str]) -> str:
    """What of the class predictors does not start from random values, to end a sentence on what does."""
    return f", but for the class predictors of {_some(kept)}" if kept else ""


def _some(names, most=5):
    """The first few of the names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def load_trained_backbone(networks: Sequence[keras.Model], backbone: str, weights: str, **options: Any) -> None:
    """Start a detector's backbone from a network trained on ImageNet.

    Args:
        networks: Keras models that hold the backbone's layers, each its own.
        backbone: its name.
        weights: must be `"imagenet"`.
        **options: of the backbone's parameters, such as VGG16's `atrous`.

    Raises:
        ValueError: other weights, or a backbone that has none.
    """
    entry = BACKBONES.get(backbone)
    if weights != "imagenet" or entry is None or entry.imagenet is None:
        known = "None or 'imagenet'" if entry and entry.imagenet else f"None with `backbone` {backbone!r}"
        raise ValueError(f"`backbone_weights` must be {known}; got {weights!r}.")
    parameters = entry.imagenet(**options)
    for network in networks:
        load_backbone(network, parameters)


def load_backbone(features: keras.Model, parameters: Mapping[str, np.ndarray]) -> None:
    """Put a backbone's parameters into the layers of their names.

    Args:
        features: Keras model that holds the backbone's layers.
        parameters: dict from `"layer/variable"` to arrays.

    Raises:
        ValueError: none of them fits.
    """
    fitting = [v for v in features.weights if getattr(parameters.get(place(v)), "shape", None) == tuple(v.shape)]
    if not fitting:
        raise ValueError("none of the backbone's parameters fits the network.")
    for variable in fitting:
        variable.assign(parameters[place(variable)])
    left_out = sorted(name for name in parameters if name not in {place(v) for v in fitting})
    if left_out:
        logger.warning(f"of the backbone's parameters {len(left_out)} have no place: {', '.join(left_out[:4])}")


def check_weights(model: keras.Model, path: str | os.PathLike, fitting: bool = True) -> None:
    """Refuse a `.weights.h5` or `.keras` file that claims what the model has no use for, before it takes memory.

    Args:
        model: a built network.
        path: the file.
        fitting: whether every array must have the shape of one of the model's variables.

    Raises:
        ValueError: see `keras_det.weights.check_h5`; or the archive holds more than the model has.
    """
    variables = [*model.variables, *(model.optimizer.variables if getattr(model, "optimizer", None) else ())]
    shapes = {tuple(v.shape) for v in variables}
    most = max(math.prod(shape) for shape in shapes)
    room = 8 * sum(math.prod(v.shape) for v in variables) + 2**26
    with contextlib.ExitStack() as stack:
        source = path
        if Path(path).suffix == ".keras":
            archive = stack.enter_context(zipfile.ZipFile(path))
            if archive.getinfo(_WEIGHTS).file_size > room:
                raise ValueError(f"its {_WEIGHTS} has over {room} bytes")
            source = member(archive, _WEIGHTS, room)
        file = stack.enter_context(zoo.open_h5(source))
        # Of a file with an optimizer's state, which a model without one passes over.
        unused = () if getattr(model, "optimizer", None) else ("optimizer",)
        zoo.check_h5(file, shapes if fitting else None, most, unused)


def load_weights(model: keras.Model, path: str | os.PathLike, optimizer: bool = True) -> None:
    """Load every weight of a model from a file that this package or Keras saved.

    Args:
        model: the model.
        path: the file.
        optimizer: whether the optimizer's state is loaded, too, where the file holds it.

    Raises:
        ValueError: the file is damaged, or its weights do not fit; it is named.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            zoo.assign(model, zoo.read_safetensors(path)[0], str(path))
        else:  # of a .keras file the arrays alone: its config may name anything, and is never made an object here
            if optimizer:
                model.load_weights(path)
            else:
                keras.saving.load_weights(model, path, objects_to_skip=[model.optimizer])
    except zoo.DAMAGED as error:
        raise ValueError(f"{path} does not hold the weights of this {type(model).__name__}: {error}") from error
