"""The README says what is."""

import json
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_files_that_it_links_are_there():
    for name in re.findall(r"\]\(([^):#]+)\)", TEXT):
        assert (ROOT / name).exists(), name


def test_it_is_a_first_screen():
    assert len(TEXT) < 5000


def test_its_figures_are_those_measured():
    def measured(name):
        return json.loads((ROOT / f"benchmarks/results/{name}_shapes.json").read_text())["metrics"]

    refined, first = (measured("detectornet")[stage]["map50"] for stage in ("refined", "first_stage"))
    merged, errors = (measured("overfeat")["held_out"][name] for name in ("map50_merge", "localization_error"))
    for value in (
        f"mAP@0.5 {measured('ssd')['held_out']['map50']:.3f}",
        f"mAP@0.5 {refined:.3f}; {first:.3f} before refinement",
        f"mAP@0.5 {merged:.3f}; localization error {100 * errors:.1f} % at five",
        f"{100 * measured('multibox')['held_out']['detection_rate@10']:.1f} % of the objects in ten boxes",
    ):
        assert value in TEXT, value


def test_python_examples_are_python():
    for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.S):
        compile(block, "README.md", "exec")
