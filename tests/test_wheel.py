"""What is shipped is whole, and works where the checkout is not; `make wheel-test` installs the dependencies too."""

import pathlib
import sysconfig
import zipfile

import numpy as np
import pytest
import wheel_elsewhere

from keras_det.data import load

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return wheel_elsewhere.build_wheel(tmp_path_factory.mktemp("wheel").resolve())


def test_it_holds_the_package_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    own = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    sources = (path for path in (ROOT / "keras_det").rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert own == {path.relative_to(ROOT).as_posix() for path in sources}
    assert "keras_det/py.typed" in own
    assert len([name for name in own if name.endswith(".weights.h5")]) >= 4


def test_it_works_outside_the_checkout(wheel, tmp_path):
    tmp_path = tmp_path.resolve()
    commands = wheel_elsewhere.install(wheel, tmp_path, "--no-deps")
    packages = next((tmp_path / "venv").glob("lib/*/site-packages"))
    (packages / "dependencies.pth").write_text(
        "\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    )
    entries, result = wheel_elsewhere.use(commands, tmp_path)
    assert "shapes" in {entry["name"] for entry in entries}
    scenes = load("shapes", seed=1)
    truth = sorted(scenes.classes[label] for label in scenes.annotation(0).labels)
    assert sorted(thing["name"] for thing in result["objects"]) == truth
    assert np.shape([thing["box"] for thing in result["objects"]]) == (len(truth), 4)
