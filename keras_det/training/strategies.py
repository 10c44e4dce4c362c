"""Where training runs: one device, or all GPUs of a machine."""

import contextlib

STRATEGIES = ("none", "mirrored")


def scope(name):
    """The context in which a model is built and trained.

    Args:
        name: `"none"`, or `"mirrored"`: `tf.distribute.MirroredStrategy` over all GPUs of the machine.

    Returns:
        A context manager.

    Raises:
        ValueError: another name.
    """
    if name not in STRATEGIES:
        raise ValueError(f"`strategy` must be one of {', '.join(STRATEGIES)}; got {name!r}.")
    if name == "none":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.distribute.MirroredStrategy().scope()
