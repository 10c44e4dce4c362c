"""TensorFlow and the networks, by their names and weights."""

import contextlib
import os
import sys


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


def load_network(name, weights, **arguments):
    """The model by name with its weights."""
    from keras_det import models as zoo

    return zoo.get(name)(weights=weights, **arguments)


def load_detector(name, weights):
    """The detector by name with its weights; not a network that gives no boxes."""
    from keras_det import models as zoo

    if not issubclass(zoo.get(name), zoo.Detector):
        raise ValueError(f"--model {name} gives no boxes: it can be trained, and used by other detectors.")
    return load_network(name, weights)
