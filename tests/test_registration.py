"""`import keras_det` alone lets Keras load our models, in whatever order the two are imported."""

import pathlib
import re
import subprocess
import sys

import pytest

import keras_det
from keras_det import models
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
    recipe = Recipe("ssd300", "shapes", "test", optimizer=optimizer, schedule="step", drops=(5,), warmup=2)
    model.compile(optimizer=recipe.build_optimizer())
    model.save(path)
    return path


@pytest.mark.parametrize("imports", ["import keras_det", "import keras, keras_det", "import keras_det.cli"])
def test_the_package_alone_is_enough(saved, imports):
    code = LOAD.format(imports=imports)
    done = subprocess.run([sys.executable, "-c", code, saved], capture_output=True, text=True)
    assert done.stdout.split() == ["keras_det.models.ssd", "CaffeSGD", "('a',", "'b')"], done.stderr[-2000:]


def test_everything_that_is_registered_is_imported_then():
    root = pathlib.Path(keras_det.__file__).parent
    modules = [
        "keras_det." + ".".join(path.relative_to(root).with_suffix("").parts)
        for path in root.rglob("*.py")
        if re.search(r"register_keras_serializable\(", path.read_text(encoding="utf-8"))
    ]
    assert len(modules) > 8
    code = f"import keras_det, keras, sys; print([m for m in {modules} if m not in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr[-2000:]
