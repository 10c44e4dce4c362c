"""Networks that others trained, from their own files: the architecture is known by the parameters' names."""

import os
from collections.abc import Sequence
from pathlib import Path

from keras_det import weights as zoo
from keras_det.models.ssd_tfod import SSDLite300, SSDMobileNet300
from keras_det.weights import convert_tfod
from keras_det.weights.tf_graph import read_variables
from keras_det.weights.variables import shapes

MAX_MAP_BYTES = 2**22


def import_tfod(
    file: str | os.PathLike, classes: str | os.PathLike | Sequence[str] | None = None
) -> SSDLite300 | SSDMobileNet300:
    """An SSD of TensorFlow's Object Detection API as a model of this package.

    Args:
        file: a frozen graph (`.pb`), the folder of a SavedModel, or a TF1 checkpoint (`model.ckpt`, its `.index`, or a
            zip of it). Graphs are read, never run.
        classes: names with commas, in the order of their ids, a sequence of names, or the path of a `label_map.pbtxt`;
            `None` names them `class 1` and so on.

    Returns:
        An `SSDLite300` or `SSDMobileNet300` with the file's parameters.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another architecture, names and classes that are not as many, or parameters that do not fit.
    """
    parameters = {name: value for name, value in read_variables(file).items() if convert_tfod.parameter(name)}
    name, config, count = convert_tfod.identify(parameters, file)
    model = {"SSDLite300": SSDLite300, "SSDMobileNet300": SSDMobileNet300}[name]
    network = model(classes=_names(classes, count, file), **config)
    converter = convert_tfod.converter(config["backbone"], name == "SSDLite300")
    zoo.assign(network, converter.convert(parameters, shapes(network)), str(file))
    return network


def _names(classes, count, file):
    """Names of the classes, as many as the network has."""
    if classes is None:
        return [f"class {number}" for number in range(1, count + 1)]
    if isinstance(classes, (str, Path)) and str(classes).endswith(".pbtxt"):
        path = Path(classes)
        if not path.is_file():
            raise FileNotFoundError(f"there is no label map {path}.")
        if path.stat().st_size > MAX_MAP_BYTES:
            raise ValueError(f"{path} has {path.stat().st_size} bytes, more than the {MAX_MAP_BYTES} that are read.")
        return convert_tfod.read_label_map(path.read_text(encoding="utf-8", errors="replace"), count)
    names = [name.strip() for name in classes.split(",")] if isinstance(classes, str) else list(classes)
    if len(names) != count:
        raise ValueError(f"{file} has {count} classes, but {len(names)} names were given.")
    return names
