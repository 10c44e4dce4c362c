"""The design's floors, by reading imports: a file imports only from its own floor or from below."""

import ast
import pathlib

import pytest

import keras_det

ROOT = pathlib.Path(keras_det.__file__).parent
FLOORS = {
    "version": 0,
    "files": 0,
    "registration": 0,
    "optimizers": 2,
    "fonts": 0,
    "boxes": 1,
    "weights": 1,
    "layers": 2,
    "losses": 2,
    "data": 2,
    "metrics": 2,
    "visualize": 2,
    "backbones": 3,
    "models": 4,
    "training": 5,
    "export": 5,
    "cli": 6,
    "__main__": 7,
}
WITHOUT_TENSORFLOW = ("boxes", "layers", "losses", "backbones", "models", "weights")
FILES = sorted(
    path.relative_to(ROOT) for path in ROOT.rglob("*.py") if path.name != "__init__.py" or path.parent != ROOT
)


def part(file):
    """The part of the package that a file belongs to."""
    return file.parts[0].removesuffix(".py")


def imported(tree):
    """`(module, node)` of every import, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module, node
            yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_come_from_the_same_floor_or_below(file):
    for module, node in imported(ast.parse((ROOT / file).read_text())):
        pieces = module.split(".")
        if pieces[0] == "keras_det" and len(pieces) > 1 and pieces[1] in FLOORS:
            assert FLOORS[pieces[1]] <= FLOORS[part(file)], f"line {node.lineno} imports {module}"


@pytest.mark.parametrize("file", [f for f in FILES if part(f) in WITHOUT_TENSORFLOW], ids=str)
def test_tensorflow_is_imported_only_where_it_is_used(file):
    tree = ast.parse((ROOT / file).read_text())
    top = {id(node) for node in tree.body}
    for module, node in imported(tree):
        if module.split(".")[0] == "tensorflow":
            assert id(node) not in top, f"line {node.lineno}"
            assert file.as_posix() in ("models/detector.py", "models/network.py", "weights/tf_graph.py"), (
                f"line {node.lineno}"
            )
