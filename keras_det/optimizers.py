"""What recipes train with beside Keras's own optimizers and schedules; saved models name them."""

from __future__ import annotations

import re
from typing import Any

import keras

from keras_det.types import Tensor


@keras.saving.register_keras_serializable("keras_det")
class CaffeSGD(keras.optimizers.SGD):
    """Stochastic gradient descent as the authors of SSD configured Caffe's: biases have twice the rate and no decay.

    Weight decay is added to the gradient, so that momentum multiplies it; Keras's own subtracts it from the weight.

    Args:
        learning_rate: a rate or a `LearningRateSchedule`.
        momentum: in 0 .. 1.
        decay: factor of the weights that is added to their gradients, but to those of biases.
        **kwargs: further arguments of `keras.optimizers.SGD`.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        momentum: float = 0.9,
        decay: float = 5e-4,
        name: str = "CaffeSGD",
        **kwargs: Any,
    ):
        super().__init__(learning_rate, momentum, name=name, **kwargs)
        self.decay = decay

    def update_step(self, gradient: Tensor, variable: Tensor, learning_rate: Tensor) -> None:
        """Update one variable."""
        # Keras hands over TensorFlow's own variable: "bias:0", or "bias/replica_1:0" under a strategy.
        if "bias" in re.split("[/:]", variable.name):
            learning_rate = 2 * learning_rate
        else:
            gradient = gradient + keras.ops.cast(self.decay * variable, gradient.dtype)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return super().get_config() | {"decay": self.decay}


@keras.saving.register_keras_serializable("keras_det")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0 before another schedule, which runs from the start all the same.

    Args:
        schedule: the schedule, a `LearningRateSchedule`, or a constant rate.
        steps: updates until its rate is reached.
    """

    def __init__(self, schedule: float | keras.optimizers.schedules.LearningRateSchedule, steps: int):
        self.schedule = schedule
        self.steps = steps

    def __call__(self, step):
        """The rate at a step."""
        rate = self.schedule(step) if callable(self.schedule) else self.schedule
        return rate * keras.ops.minimum(keras.ops.cast(step, "float32") / self.steps, 1.0)

    def get_config(self) -> dict[str, Any]:
        """The arguments, for a saved model."""
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WarmUp:
        """The schedule of a saved model."""
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["steps"])
