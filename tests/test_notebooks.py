"""The notebooks run from top to bottom, shortened, each in a process of its own; a kernel is not needed for that."""

import json
import os
import pathlib
import runpy
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
broken_links = runpy.run_path(str(FOLDER.parent / "docs" / "generate.py"))["broken_links"]
RUN = """
import json, sys
scope = {"__name__": "__main__"}
for number, cell in enumerate(json.load(open(sys.argv[1]))["cells"]):
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), f"{sys.argv[1]}, cell {number}", "exec"), scope)
"""


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def test_there_are_six():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path):
    environment = os.environ | {"KERAS_DET_SHORT": "1", "MPLBACKEND": "agg", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN, path.name],
        cwd=FOLDER,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_with_what_it_gave(path):
    assert path.stat().st_size < 1.5e6
    code = cells(path, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "run `make notebooks`"
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    pictures = [data for output in outputs for kind, data in output.get("data", {}).items() if "image/" in kind]
    assert pictures or path.stem == "04_from_paper_to_code"
    assert max(map(len, pictures), default=0) < 200_000  # base64 of 150 kB


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_links_lead_somewhere(path):
    text = "\n".join("".join(cell["source"]) for cell in cells(path, "markdown"))
    assert broken_links(text, path) == []
