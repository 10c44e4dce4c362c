"""The benchmarks of speed, in a small form."""

import importlib
import pathlib
import sys

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that runs a script with arguments and gives the rows that it prints, as dicts of texts."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        importlib.import_module(name).main()
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("model ")]
        return [dict(part.split(" ", 1) for part in line.split("  ")) for line in lines]

    return run


def test_rows_of_table_7(run):
    (row,) = run("speed", "--backbone", "tiny", "--models", "ssd300", "--batches", "1", "--seconds", "0.05")
    assert (row["boxes"], row["resolution"], row["paper_titan_x"]) == ("8732", "300", "46")
    assert float(row["whole_ms"]) > 0 and float(row["network_ms"]) > 0 and float(row["suppression_ms"]) > 0


@pytest.mark.slow
def test_inference_and_training_on_an_accelerator(run):
    rows = run("accelerator", "--small", "--precisions", "float32")
    assert [(row["mode"], row["batch"]) for row in rows] == [(m, b) for m in ("inference", "training") for b in "21"]
    assert all(float(row["images_per_second"]) > 0 for row in rows)


def test_what_there_is_no_time_for_is_said(run):
    rows = run("accelerator", "--small", "--precisions", "float32", "--budget", "0")
    assert {row["not_measured"] for row in rows} == {"no time left"}
