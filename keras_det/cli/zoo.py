"""The models, read from their files: importing them takes TensorFlow, and that takes seconds."""

import ast
import dataclasses
import functools
from pathlib import Path

import keras_det
from keras_det.suggestions import did_you_mean

FOLDER = Path(keras_det.__file__).parent / "models"
BACKBONES = (
    "alexnet",
    "efficientnet_lite0",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "tiny",
    "vgg16",
)


@dataclasses.dataclass(frozen=True)
class Model:
    """What can be said of a model without importing it.

    Attributes:
        name: in commands.
        class_name: in Python.
        description: one line.
        is_detector: whether it gives boxes.
        arguments: of its constructor, but for `weights` and `classes`.
    """

    name: str
    class_name: str
    description: str
    is_detector: bool
    arguments: tuple[str, ...]


@functools.cache
def models() -> dict[str, Model]:
    """Every model by its name in commands."""
    classes = {}
    for file in sorted(FOLDER.glob("*.py")):
        statements = ast.parse(file.read_text(encoding="utf-8")).body
        classes |= {node.name: node for node in statements if isinstance(node, ast.ClassDef)}
    return {name: _model(name, node, classes) for node in classes.values() if (name := _registered(node))}


def get(name: str, option: str = "--model") -> Model:
    """The model of a name, with or without underscores.

    Raises:
        ValueError: there is none.
    """
    for known, model in models().items():
        if known.replace("_", "") == name.replace("_", ""):
            return model
    raise ValueError(f"{option} must be one of {', '.join(models())}; got {name!r}{did_you_mean(name, models())}")


def _registered(node):
    """The name under which a class is registered, if it is."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "register":
            return ast.literal_eval(decorator.args[0])
    return None


def _model(name, node, classes):
    above = [*_with_bases(node, classes)]
    constructors = [part for one in above for part in one.body if getattr(part, "name", None) == "__init__"]
    arguments = {arg.arg: None for part in constructors for arg in (*part.args.args, *part.args.kwonlyargs)}
    return Model(
        name,
        node.name,
        (ast.get_docstring(node) or "").partition("\n")[0],
        any(one.name == "Detector" for one in above),
        tuple(argument for argument in arguments if argument not in ("self", "weights", "classes")),
    )


def _with_bases(node, classes):
    """The class and those that it inherits from."""
    yield node
    for base in node.bases:
        if ast.unparse(base) in classes:
            yield from _with_bases(classes[ast.unparse(base)], classes)
