"""Makes `import keras_det` enough for Keras to load a model of ours, without importing Keras where nobody needs it."""

from __future__ import annotations

import importlib.abc
import importlib.util
import re
import sys
from pathlib import Path

OTHERS = {name: "keras_det.optimizers" for name in ("CaffeSGD", "WarmUp")}  # that a saved model may name
MODELS_FOLDER = Path(__file__).parent / "models"
_REGISTERED = re.compile(r'^@register\(\s*"\w+".*?^class (\w+)', re.MULTILINE | re.DOTALL)


def model_classes() -> dict[str, str]:
    """The classes of the zoo's models, and the modules where they are.

    The files of the models are read and not imported, which takes a hundredth of the time.
    """
    found = {}
    for file in sorted(MODELS_FOLDER.glob("*.py")):
        names = _REGISTERED.findall(file.read_text(encoding="utf-8"))
        found |= {name: f"keras_det.models.{file.stem}" for name in names}
    return found


def register_with_keras() -> None:
    """Give Keras stand-ins for our classes: now where Keras is imported already, else as soon as it is.

    A stand-in imports its class when a saved model asks for it; importing the class itself puts it in its place.
    """
    if "keras" in sys.modules:
        _register()
    elif not any(isinstance(finder, _AfterKeras) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterKeras())


def _register() -> None:
    import keras

    known = keras.saving.get_custom_objects()
    for name, module in (model_classes() | OTHERS).items():
        known.setdefault(f"keras_det>{name}", _stand_in(name, module))


def _stand_in(name: str, module: str) -> type:
    """A class that Keras can make an object of, as it does of the class itself."""

    def from_config(cls, config):
        return getattr(importlib.import_module(module), name).from_config(config)

    return type(name, (), {"from_config": classmethod(from_config)})


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
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        _register()
