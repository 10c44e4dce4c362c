"""TensorFlow and the networks, by their names and weights."""

import contextlib
import os
import sys

from keras_det.cli.wording import naming


def load_tensorflow():
    """Import TensorFlow and find its devices."""
    with silent_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def silent_stderr():
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


def load_network(name, weights, option="--weights", **arguments):
    """The model by name with its weights, which an option named; `keras_det.cli.checks` looked at both before."""
    from keras_det import models as zoo

    with naming(weights=option):
        return zoo.get(name)(weights=weights, **arguments)
