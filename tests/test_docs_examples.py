"""The examples in the docstrings give what they say."""

import doctest
import importlib
import pathlib

import pytest

import keras_det

ROOT = pathlib.Path(keras_det.__file__).parent
MODULES = sorted(
    ".".join([ROOT.name, *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if ">>>" in path.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testmod(module, optionflags=flags)
    assert result.attempted and not result.failed
