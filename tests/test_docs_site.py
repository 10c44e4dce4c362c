"""The documentation: its links lead somewhere, its code runs, its tables are the measurements, and it builds."""

import json
import pathlib
import re
import runpy
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OTHERS = [*ROOT.glob("*.md"), ROOT / "benchmarks/README.md", *(ROOT / "export").rglob("*.md")]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
generate = runpy.run_path(str(DOCS / "generate.py"))


def name_of(path):
    return path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT).as_posix()


def blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.S | re.M)


@pytest.mark.parametrize("path", PAGES + OTHERS, ids=name_of)
def test_links_lead_somewhere(path):
    assert generate["broken_links"](generate["expand"](path.read_text()), path) == []


def test_a_broken_link_is_found_and_code_is_no_link():
    page = DOCS / "index.md"
    text = "[a](data.md#splits) [b](absent.md) `[c](x)` ![d](images/no.png) [e](https://example.org/x.md)"
    assert generate["broken_links"](text, page) == ["absent.md", "images/no.png"]


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in PAGES if blocks(path)], ids=name_of)
def test_code_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": "__main__"}
    for number, block in enumerate(blocks(path)):
        code = compile(block, f"{name_of(path)}, block {number}", "exec")
        if "guides" not in path.parts:  # which may need several machines
            exec(code, scope)


def test_tables_are_made_from_the_files():
    page = generate["expand"]((DOCS / "benchmarks.md").read_text())
    for path in sorted((ROOT / "benchmarks/results").glob("*.json")):
        assert f"(../benchmarks/results/{path.name})" in page
    measured = json.loads((ROOT / "benchmarks/results/ssd_shapes.json").read_text())["metrics"]["held_out"]["map50"]
    assert f"| {measured:.3f} | [ssd_shapes.json]" in page
    assert "<!-- table" not in page and "| `SSD300` | `shapes` |" in generate["expand"]("<!-- table: zoo -->")


def test_links_out_of_docs_get_a_copy_in_the_site():
    source = DOCS / "detectors" / "ssd.md"
    text = (
        "[a](../../keras_det/models/ssd.py) [b](../zoo.md#x) [c](../../notebooks/01_detect.ipynb) `[d](e)` [f](g.png)"
    )
    written, needed = generate["rewrite_links"](text, source, "detectors/ssd.md")
    moved = (
        "[a](../files/keras_det/models/ssd.py.txt) [b](../zoo.md#x) [c](../notebooks/01_detect.md) `[d](e)` [f](g.png)"
    )
    assert written == moved
    assert needed == {"files/keras_det/models/ssd.py.txt": ROOT / "keras_det/models/ssd.py"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_pages(path):
    page, images = generate["notebook_page"](path)
    code = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert page.count("```python\n") >= len(code)
    assert page.count("![output](") == len(images)
    assert all(content[:3] in (b"\xff\xd8\xff", b"\x89PN") for content in images.values())


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text()))
    filled = re.findall(r"^  - (\w+): \[\]$", (ROOT / "mkdocs.yml").read_text(), flags=re.M)  # by hooks.py
    assert set(filled) == {"Detectors", "Guides", "Notebooks"}
    assert listed == {name_of(path) for path in PAGES if path.parent.name.title() not in filled}


def test_images_are_those_that_the_command_makes():
    made = {f"{name}.{ending}" for name, (ending, _) in runpy.run_path(str(DOCS / "figures.py"))["FIGURES"].items()}
    assert {path.name for path in (DOCS / "images").iterdir()} == made
    used = "\n".join(path.read_text() for path in [*PAGES, ROOT / "README.md"])
    assert set(re.findall(r"images/([\w.]+)\)", used)) == made


@pytest.mark.needs("mkdocs", "material", "mkdocstrings_handlers.python")
def test_the_site_builds(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "PriorBox" in (tmp_path / "site/reference/parts/index.html").read_text()
    assert (tmp_path / "site/notebooks/01_detect/index.html").is_file()
