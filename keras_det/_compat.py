"""What the package uses of Keras and TensorFlow beside their public interfaces, and why.

No other file names any of it; `tests/test_compat.py` says which release lacks a part.
"""

import contextlib
from collections.abc import Iterator
from typing import Any


class OptimizerBuild:
    """Goes before `keras.Model` among the bases of a model that is built when it is constructed."""

    def build_optimizer(self) -> None:
        """Make the optimizer's variables."""
        raise NotImplementedError(f"{type(self).__name__} does not define build_optimizer.")

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Build the optimizer alone.

        Under a strategy Keras takes a batch out of the data and averages it over the replicas before `fit`, `bool`s and
        class numbers too; it offers no other way to do without.
        """
        self.build_optimizer()


def set_loss_metric(model: Any, metric: Any) -> None:
    """Have a compiled model report `metric` as its loss.

    `compile` makes a `Mean` that adds up the replicas' states. The public way, to override `metrics`, would leave that
    one to Keras's own step on other backends, and the new one among the variables that a saved model holds.
    """
    vars(model)["_loss_tracker"] = metric


def leave_gradients(optimizer: Any) -> None:
    """Have an optimizer take gradients as those of the global batch.

    It would sum the replicas' gradients after it has clipped them. Keras 2 had an argument for this, Keras 3 has none.
    """
    optimizer._all_reduce_sum_gradients = list


def layers_within(model: Any) -> list[Any]:
    """The model and every layer within it, at any depth; `Model.layers` ends at layers that are no models."""
    return list(model._flatten_layers())


def tflite_schema() -> Any:
    """The classes of a TFLite file's parts, to join models and add metadata; no core requirement has them publicly."""
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated


def saved_model_message() -> Any:
    """The message that `saved_model.pb` holds, read without loading the model, which would run its initializers."""
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel


@contextlib.contextmanager
def preprocessing(layer: Any, seeds: Any, box_format: str) -> Iterator[None]:
    """Have a Keras preprocessing layer, and those within it, draw from a generator, in float32, with boxes in a format.

    It is as before after the block. A copy of the layer would not do: some cannot be made of their own configuration.
    Keras's tracking is passed by, since it would keep the generator.
    """
    import keras

    ours = {"generator": seeds, "_backend_generators": {"tensorflow": seeds}, "bounding_box_format": box_format}
    ours["_dtype_policy"] = keras.DTypePolicy("float32")
    parts = layers_within(layer)
    before = [dict(vars(part)) for part in parts]
    try:
        for part in parts:
            vars(part).update(ours)
        yield
    finally:
        for part, values in zip(parts, before):
            for name in ours:
                vars(part).pop(name)
            vars(part).update({name: values[name] for name in ours if name in values})
