"""The design's floors, by reading imports: a file imports only from its own floor or from below; and its types."""

import ast
import importlib.util
import pathlib

import keras
import pytest

import keras_det

ROOT = pathlib.Path(keras_det.__file__).parent
FLOORS = {
    "_compat": 0,
    "version": 0,
    "files": 0,
    "registration": 0,
    "suggestions": 0,
    "optimizers": 2,
    "fonts": 0,
    "types": 0,
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


# Private parts of Keras and TensorFlow: in `_compat.py` alone, also by accident.


def private_names():
    """What Keras's own objects have under a leading underscore, as they are when a model trains."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10)), "mse")
    parts = [model, model.layers[0], model.optimizer, keras.metrics.Mean(), keras.losses.MeanSquaredError()]
    parts += [keras.callbacks.Callback(), keras.Variable(1.0), model.optimizer._learning_rate]
    return {name for part in parts for name in dir(part) if name.startswith("_") and not name.startswith("__")}


PRIVATE = private_names()
PRIVATE_MODULES = ("keras.src", "tensorflow.python", "tensorflow.lite.python", "tensorflow.core")


def names_used(tree):
    """`(name, node)` of attributes, of methods that may override one, and of texts; but not of a plain class's own."""
    plain = {c for c in ast.walk(tree) if isinstance(c, ast.ClassDef) and not c.bases}
    own = {n for c in plain for n in ast.walk(c) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "self"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node not in own:
            yield node.attr, node
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node
        elif isinstance(node, ast.ClassDef) and node not in plain:
            yield from ((part.name, part) for part in node.body if isinstance(part, ast.FunctionDef))


@pytest.mark.parametrize("file", [f for f in FILES if f.name != "_compat.py"], ids=str)
def test_private_parts_of_keras_and_tensorflow_are_in_one_file(file):
    tree = ast.parse((ROOT / file).read_text())
    for name, node in names_used(tree):
        assert name not in PRIVATE, f"line {node.lineno}: Keras has {name} of its own"
    for module, node in imported(tree):
        assert not module.startswith(PRIVATE_MODULES), f"line {node.lineno} imports {module}"


# Types: every public function and method, and every constructor, says what it takes and what it gives.


def public_functions(node, name=""):
    """`(name, function, whether it has a self or cls)` of all that can be called without a leading underscore."""
    for part in ast.iter_child_nodes(node):
        if isinstance(part, ast.ClassDef) and not part.name.startswith("_"):
            yield from public_functions(part, f"{name}{part.name}.")
        elif isinstance(part, (ast.If, ast.Try, ast.With)):
            yield from public_functions(part, name)
        elif isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if part.name == "__init__" or not part.name.startswith("_"):
                static = "staticmethod" in map(ast.unparse, part.decorator_list)
                yield f"{name}{part.name}", part, bool(name) and not static


def without_type(function, bound):
    """Names of the arguments that have no annotation, and `return`; a constructor gives nothing."""
    arguments = [*function.args.posonlyargs, *function.args.args][bound:] + function.args.kwonlyargs
    arguments += [part for part in (function.args.vararg, function.args.kwarg) if part]
    missing = [argument.arg for argument in arguments if argument.annotation is None]
    return missing + ["return"] * (function.returns is None and function.name != "__init__")


@pytest.mark.parametrize("file", FILES, ids=str)
def test_public_functions_are_annotated(file):
    for name, function, bound in public_functions(ast.parse((ROOT / file).read_text())):
        missing = without_type(function, bound)
        assert not missing, f"keras_det/{file}:{function.lineno}: {name} has no type for {', '.join(missing)}"


def test_what_has_no_type_is_seen():
    text = """
class Public:
    def __init__(self, one, two: int): ...
    @staticmethod
    def still(one) -> None: ...
    if True:
        def method(self, *args, **kwargs: int): ...
    def _private(self, one): ...
class _Private:
    def method(self, one): ...
def function(one: int, *, two) -> int: ...
"""
    found = {name: without_type(node, bound) for name, node, bound in public_functions(ast.parse(text))}
    expected = {"Public.__init__": ["one"], "Public.still": ["one"], "Public.method": ["args", "return"]}
    assert found == expected | {"function": ["two"]}


SCRIPTS = sorted(
    [*ROOT.parent.glob("benchmarks/*.py"), *ROOT.parent.glob("docs/*.py"), *ROOT.parent.glob("export/**/*.py")]
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_beside_the_package_import_what_it_has(script):
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "keras_det":
            module = importlib.import_module(node.module)
            for alias in node.names:
                found = hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}")
                assert found, f"line {node.lineno}: {node.module} has no {alias.name}"
