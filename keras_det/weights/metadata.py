"""What a weights file says of its network: the model's name and its constructor arguments."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

from keras_det.weights.damage import DAMAGED
from keras_det.weights.h5_file import open_h5
from keras_det.weights.safetensors_file import read_safetensors_metadata

ATTRIBUTE = "keras_det"  # of a .weights.h5 file: the model's name and constructor arguments, as JSON
MAX_CONFIG_BYTES = 2**24
MOST = 10**6  # the largest number among a network's arguments
MOST_OF = {"max_detections": 10**4, "max_per_class": 10**5}  # of some of them, which take memory for each image
LONGEST = 25_000  # the longest list among them: ImageNet has 21,843 classes


def read_metadata(path: str | os.PathLike) -> dict[str, Any] | None:
    """What a weights file says of its network, `{"model", "config", ...}`, or `None` where it says nothing.

    Raises:
        ValueError: the file is damaged, or is of another format.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return _believable(read_safetensors_metadata(path))
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                keras_config = json.loads(member(archive, "config.json", MAX_CONFIG_BYTES))
            config = {k: v for k, v in keras_config["config"].items() if k != "name"}
            return _believable({"model": keras_config["class_name"], "config": config})
        with open_h5(path) as file:
            text = file.attrs.get(ATTRIBUTE)
        return _believable(json.loads(text)) if text else None
    except (*DAMAGED, RecursionError, NotImplementedError) as error:
        raise ValueError(f"{path} is not a readable weights file: {error}") from error


def member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The content of a file in a zip archive, which may claim any size and hold another.

    Raises:
        ValueError: it has more than `most` bytes.
    """
    with archive.open(name) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"its {name} has over {most} bytes")
    return content


def _believable(metadata):
    """What a file says of its network, if it is of the form that we write and asks for no network beyond all bounds."""
    if not isinstance(metadata, dict) or not isinstance(metadata.get("model"), str):
        raise ValueError("what it says of its network is not a model's name and arguments")
    if not isinstance(metadata.get("config"), dict):
        raise ValueError("what it says of its network is not a model's name and arguments")
    values = [metadata["config"]]
    while values:
        value = values.pop()
        if isinstance(value, (dict, list)):
            if len(value) > LONGEST:
                raise ValueError(f"what it says of its network has a list of {len(value)}, over {LONGEST}")
            for name, most in MOST_OF.items():
                claimed = value.get(name) if isinstance(value, dict) else None
                if isinstance(claimed, (int, float)) and claimed > most:
                    raise ValueError(f"what it says of its network has {name} over {most}")
            values.extend(value.values() if isinstance(value, dict) else value)
        elif isinstance(value, (int, float)) and not abs(value) <= MOST:
            raise ValueError(f"what it says of its network has the number {value!r:.30}, over {MOST}")
    return metadata
