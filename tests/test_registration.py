"""`import keras_det` alone lets Keras load our models, in whatever order the two are imported."""

import importlib
import subprocess
import sys

import keras
import pytest

from keras_det import models, registration
from keras_det.models.registry import MODELS
from keras_det.training import Recipe

LOAD = """
import sys
{imports}
import keras
model = keras.models.load_model(sys.argv[1])
print(type(model).__module__, type(model.optimizer).__name__, model.classes)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model = models.SSD300(backbone="tiny", classes=["a", "b"], sources=("stage5",))
    optimizer = {"class_name": "CaffeSGD", "decay": 1e-4}
    recipe = Recipe("ssd300", "shapes", "test", optimizer=optimizer, schedule="step", lr_milestones=(5,), warmup=2)
    model.compile(optimizer=recipe.build_optimizer())
    model.save(path)
    return path


OTHERS = ("keras_det.cli", "keras_det.backbones", "keras_det.layers", "keras_det.losses")
FIRST = ["keras_det", "keras, keras_det", *(pytest.param(name, marks=pytest.mark.long) for name in OTHERS)]


@pytest.mark.parametrize("first", FIRST)
def test_the_package_alone_is_enough(saved, first):
    code = LOAD.format(imports=f"import {first}")
    done = subprocess.run([sys.executable, "-c", code, saved], capture_output=True, text=True)
    assert done.stdout.split() == ["keras_det.models.ssd", "CaffeSGD", "('a',", "'b')"], done.stderr[-2000:]


def test_every_class_that_a_saved_model_names_has_its_stand_in():
    classes = registration.model_classes()
    assert {entry.model.__name__ for entry in MODELS.values()} == {*classes}
    for name, module in (classes | registration.OTHERS).items():
        real = getattr(importlib.import_module(module), name)
        assert real.__module__ == module
        assert keras.saving.get_registered_name(real) == f"keras_det>{name}"
        assert keras.saving.get_registered_object(f"keras_det>{name}") is real


def test_no_module_of_ours_is_imported_before_it_is_asked_for():
    code = "import keras_det, keras, sys; print([m for m in sys.modules if m.startswith('keras_det.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert set(eval(done.stdout)) == {"keras_det.registration", "keras_det.version"}, done.stderr[-2000:]
