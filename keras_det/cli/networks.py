"""TensorFlow and the networks, by their names and weights."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from keras_det.cli.wording import naming

if TYPE_CHECKING:
    from keras_det.models.network import Network


def load_tensorflow() -> None:
    """Import TensorFlow and find its devices."""
    with silent_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Without what TensorFlow's C++ parts say on stderr, which is not for users."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def load_network(name: str, weights: str | None, option: str = "--weights", **arguments: Any) -> Network:
    """The model by name with its weights, which an option named; `keras_det.cli.checks` looked at both before."""
    from keras_det import models as zoo

    with naming(weights=option):
        return zoo.get(name)(weights=weights, **arguments)
