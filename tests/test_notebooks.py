"""The notebooks run from top to bottom, shortened, each in a process of its own, for which no kernel is needed."""

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
import json, os, sys, traceback
import keras, matplotlib.pyplot, tensorflow  # once; TensorFlow starts in the children, when it is first used

for line in sys.stdin:
    name, log = line.split()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            out = os.open(log, os.O_WRONLY | os.O_CREAT)
            os.dup2(out, 1), os.dup2(out, 2)
            scope = {"__name__": "__main__"}
            for number, cell in enumerate(json.load(open(name))["cells"]):
                if cell["cell_type"] == "code":
                    exec(compile("".join(cell["source"]), f"{name}, cell {number}", "exec"), scope)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def runner():
    """A process that has imported TensorFlow, and runs each notebook in a copy of itself."""
    environment = os.environ | {"KERAS_DET_SHORT": "1", "MPLBACKEND": "agg", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-W", "ignore", "-c", RUN]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=FOLDER, env=environment, text=True, **pipes) as process:
        yield process
        process.stdin.close()


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def test_there_are_six():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06"]


SLOW = [pytest.param(path, marks=() if path.stem[:2] in ("01", "04") else pytest.mark.slow) for path in NOTEBOOKS]


@pytest.mark.parametrize("path", SLOW, ids=lambda path: path.stem)
def test_it_runs(path, runner, tmp_path):
    log = tmp_path / "log"
    runner.stdin.write(f"{path.name} {log}\n")
    runner.stdin.flush()
    assert runner.stdout.readline().strip() == "0", log.read_text()[-3000:]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_with_what_it_gave(path):
    assert path.stat().st_size < 1.5e6
    code = cells(path, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "run `make notebooks`"
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    said = [line for output in outputs if output.get("name") == "stderr" for line in output["text"]]
    assert not [line for line in said if not line.startswith("Weights ")]  # logs, and paths of the machine that ran it
    images = [data for output in outputs for kind, data in output.get("data", {}).items() if "image/" in kind]
    assert images or path.stem == "04_from_paper_to_code"
    assert max(map(len, images), default=0) < 200_000  # base64 of 150 kB


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_links_lead_somewhere(path):
    text = "\n".join("".join(cell["source"]) for cell in cells(path, "markdown"))
    assert broken_links(text, path) == []
