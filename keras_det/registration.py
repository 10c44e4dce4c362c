"""Makes `import keras_det` enough for Keras to load a model of ours, without importing Keras where nobody needs it."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys


def register_with_keras() -> None:
    """Register our classes with Keras: now where Keras is imported already, else as soon as it is.

    Keras finds the classes of a saved model among those that are registered, which importing their modules does.
    """
    if "keras" in sys.modules:
        _register()
    elif not any(isinstance(finder, _AfterKeras) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterKeras())


def _register() -> None:
    importlib.import_module("keras_det.models")
    importlib.import_module("keras_det.optimizers")


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Waits for the import of Keras."""

    def find_spec(self, name, path, target=None):
        """Keras's own spec, but for the loader; None for all else."""
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenRegister(spec.loader)
        return spec


class _ThenRegister(importlib.abc.Loader):
    """Keras's own loader, and our registration after it."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _register()
