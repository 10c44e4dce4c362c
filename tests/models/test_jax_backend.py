"""The models on Keras's JAX backend, where JAX is installed: a process of its own, since the backend is chosen once."""

import os
import pathlib
import subprocess
import sys

import pytest
from small_models import TRAINED

RUN = """
import sys
import keras, numpy as np, tensorflow as tf
from small_models import batch, build, values

assert keras.backend.backend() == "jax"
model = build(sys.argv[1])
images, labels = batch(model, 4)
data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)
before = values(model.trainable_variables)
model.compile(optimizer=keras.optimizers.SGD(1e-3))
history = model.fit(data, epochs=2, shuffle=False, verbose=0).history
assert set(history) == {"loss", "skipped_steps", *model.loss_terms, *model.counters}, history
assert np.isfinite(history["loss"]).all() and history["loss"][-1] > 0, history
assert sum(history[term][-1] for term in model.loss_terms) > 0
assert any((a != b).any() for a, b in zip(before, values(model.trainable_variables)))
assert np.isfinite(model.evaluate(data, return_dict=True, verbose=0)["loss"])
assert all(np.isfinite(value).all() for value in model.predict(images, verbose=0).values())
if hasattr(model, "detections"):
    found = model.detections(images.astype("uint8"))
    assert len(found["boxes"]) == 4 and np.isfinite(found["boxes"]).all()
    for variable in model.trainable_variables:  # what was compiled sees weights that change later
        variable.assign(variable + 0.05)
    again = model.detections(images.astype("uint8"))
    assert any((again[key] != found[key]).any() for key in ("boxes", "scores"))
"""


@pytest.mark.needs("jax")
@pytest.mark.parametrize("case", TRAINED)
def test_trains_and_predicts_on_jax(case):
    path = os.pathsep.join([str(pathlib.Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    result = subprocess.run(
        [sys.executable, "-c", RUN, case], capture_output=True, text=True, env=os.environ | environment
    )
    assert result.returncode == 0, result.stderr[-3000:]
