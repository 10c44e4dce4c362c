"""Reads the parameters of TensorFlow's frozen graphs, SavedModels and checkpoints; nothing of a graph is run."""

import os
from pathlib import Path

import numpy as np

from keras_det import _compat
from keras_det.weights.tf_checkpoint import floating_dtypes, read_checkpoint

MAX_BYTES = 2**30
_DTYPES = (1, 2, 19)  # float, double, half: DataType in tensorflow/core/framework/types.proto


def read_graph(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The floating-point constants of a graph by name.

    Args:
        path: a frozen graph (`.pb`), a `saved_model.pb`, or the folder that holds one.

    Returns:
        Dict from names to numpy arrays.

    Raises:
        FileNotFoundError: there is no such file, or the folder holds no `saved_model.pb`.
        ValueError: it is over 1 GiB, no graph, or holds no constants: a SavedModel may keep its parameters in
            `variables/`, which is a checkpoint.
    """
    path = Path(path)
    path = path / "saved_model.pb" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, more than the {MAX_BYTES} that are read.")
    nodes = _nodes(path)
    found = {}
    for node in nodes:
        if node.op == "Const" and node.attr["value"].tensor.dtype in _DTYPES:
            found[node.name] = _array(path, node)
    if not found:
        raise ValueError(f"{path} holds no constants of floating-point numbers.")
    return found


def read_variables(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Parameters by name of a frozen graph, a SavedModel, or a TF1 checkpoint.

    Args:
        path: as of `read_graph`; or a checkpoint: its prefix such as `model.ckpt`, its `.index` file, a zip of both
            files, or a SavedModel's folder whose parameters lie in `variables/`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read.
    """
    path = Path(path)
    if path.suffix == ".zip":
        return read_checkpoint(path)
    prefix = path.with_suffix("") if path.suffix in (".index", ".meta") else path
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise FileNotFoundError(f"{path} holds no saved_model.pb.")
    inside = path / "variables" / "variables"
    for candidate in (prefix, inside):
        if Path(f"{candidate}.index").is_file():
            return _read_bundle(candidate)
    return read_graph(path)


def _read_bundle(prefix):
    """The floating-point variables of a checkpoint: TensorFlow reads what our reader found in the index."""
    from tensorflow import device, errors, raw_ops

    try:
        dtypes = floating_dtypes(prefix)
        if not dtypes:
            raise ValueError("it holds no variables of floating-point numbers")
        with device("CPU"):
            values = raw_ops.RestoreV2(
                prefix=str(prefix),
                tensor_names=list(dtypes),
                shape_and_slices=[""] * len(dtypes),
                dtypes=list(dtypes.values()),
            )
    except (ValueError, errors.OpError) as error:
        reason = str(error).splitlines()[0].split("}} ")[-1].removesuffix(" [Op:RestoreV2]")
        raise ValueError(f"{prefix} is no checkpoint that can be read: {reason}.") from error
    return {name: value.numpy() for name, value in zip(dtypes, values)}


def _nodes(path):
    """The nodes of the graph that the file is, or that it holds."""
    from google.protobuf.message import DecodeError
    from tensorflow.compat.v1 import GraphDef

    content = path.read_bytes()
    if path.name == "saved_model.pb":
        try:
            graphs = _compat.saved_model_message().FromString(content).meta_graphs
        except DecodeError as error:
            raise ValueError(f"{path} is no SavedModel: {error}.") from error
        return [node for graph in graphs[:1] for node in graph.graph_def.node]
    try:
        return list(GraphDef.FromString(content).node)
    except DecodeError as error:
        raise ValueError(f"{path} is no frozen graph: {error}.") from error


def _array(path, node):
    """A constant's values, whose size must be what it claims."""
    from tensorflow import make_ndarray

    tensor = node.attr["value"].tensor
    shape = [side.size for side in tensor.tensor_shape.dim]
    size = int(np.prod(shape, dtype=object)) if shape else 1
    if min(shape, default=1) < 0 or size * 8 > MAX_BYTES:
        raise ValueError(f"{path}: the constant {node.name} claims a shape of {shape}.")
    try:
        return make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: the constant {node.name} cannot be read: {error}.") from error
