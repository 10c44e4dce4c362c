"""Names for the types that Keras and TensorFlow leave open."""

from typing import Any, TypeAlias

Tensor: TypeAlias = Any
"""A tensor of any backend, also a symbolic one; where a function takes one, an array or nested lists too.

Neither Keras nor TensorFlow publishes types, so nothing more can be checked.
"""

Dataset: TypeAlias = Any
"""A `tf.data.Dataset`, where TensorFlow is not imported."""
