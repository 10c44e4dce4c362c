"""What setup.cfg says of the package is true of it."""

import ast
import configparser
import pathlib
import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = pathlib.Path(__file__).parents[1]
DISTRIBUTIONS = {
    "PIL": "pillow",
    "google": "protobuf",
    "ai_edge_litert": "ai-edge-litert",
    "yaml": "pyyaml",
}  # named unlike the module
HEAVY = ("export/beam.py",)  # whose whole file is for an extra
setup = configparser.ConfigParser()
setup.read(ROOT / "setup.cfg")


def names(text):
    """The distributions that lines of requirements name."""
    lines = [line for line in text.splitlines() if line and not line.startswith("%")]
    return {Requirement(line).name.replace("_", "-") for line in lines}


CORE = names(setup["options"]["install_requires"])
EXTRAS = set().union(*(names(text) for text in dict(setup.items("options.extras_require")).values()))


def imports(file):
    """`(distribution, whether on import of the file)` of the third-party modules that a file imports."""
    tree = ast.parse(file.read_text())
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module]
        else:
            continue
        for module in {name.split(".")[0] for name in modules} - sys.stdlib_module_names - {"keras_det"}:
            yield DISTRIBUTIONS.get(module, module.replace("_", "-")), id(node) not in inside


@pytest.mark.parametrize("file", sorted((ROOT / "keras_det").rglob("*.py")), ids=lambda path: path.name)
def test_what_is_imported_is_declared(file):
    for distribution, at_once in imports(file):
        whole = at_once and file.relative_to(ROOT / "keras_det").as_posix() not in HEAVY
        declared = CORE if whole else CORE | EXTRAS
        assert distribution in declared, f"{file} imports {distribution}; setup.cfg declares {sorted(declared)}"


def test_every_core_requirement_is_used():
    used = {name for file in (ROOT / "keras_det").rglob("*.py") for name, _ in imports(file)}
    assert CORE <= used, f"nothing imports {sorted(CORE - used)}"


def test_classifiers_are_the_versions_that_it_runs_on():
    versions = re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])
    admitted = SpecifierSet(setup["options"]["python_requires"])
    assert versions == [f"3.{minor}" for minor in range(30) if f"3.{minor}" in admitted]


def test_the_description_needs_no_file_beside_it(tmp_path, monkeypatch):
    text = (ROOT / setup["metadata"]["long_description"].removeprefix("file: ")).read_text()
    assert all(link.startswith("https://") for link in re.findall(r"\]\(([^)]+)\)", text))
    assert {
        name for line in re.findall(r"^\| (`[a-z].*?) \|", text, flags=re.M) for name in re.findall(r"`(\w+)`", line)
    } == set(setup["options.extras_require"])
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.S):
        exec(compile(block, "DESCRIPTION.md", "exec"), {})
    assert (tmp_path / "found.png").is_file()


def test_the_source_distribution_holds_what_its_tests_read(tmp_path):
    """setuptools's own list of files, which it would pack."""
    command = [sys.executable, "-c", "import setuptools; setuptools.setup()", "egg_info", "--egg-base", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    packed = set(next(tmp_path.glob("*.egg-info/SOURCES.txt")).read_text().splitlines())
    for folder in ("benchmarks", "docs", "export", "keras_det", "notebooks", "tests"):
        files = {p.relative_to(ROOT).as_posix() for p in (ROOT / folder).rglob("*") if p.is_file()}
        missing = {name for name in files - packed if "__pycache__" not in name}
        assert not missing, sorted(missing)[:5]
    tops = {p.name for p in ROOT.iterdir() if p.suffix in (".md", ".cfg", ".toml", ".yml", ".cff")} | {
        "LICENSE",
        "Makefile",
    }
    assert tops <= packed, tops - packed
    assert not any(name.endswith((".pyc", ".ipynb_checkpoints")) for name in packed)


def test_workflows_run_what_the_makefile_has():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    texts = [path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    if not texts:
        pytest.skip("not a checkout")
    run = set(re.findall(r"\bmake ([a-z][\w-]*)|target: ([\w-]+)", "\n".join(texts)))
    run = {name for names in run for name in names if name}
    assert run <= targets, run - targets
    assert {
        "lint",
        "test",
        "test-oldest",
        "test-extras",
        "test-nightly",
        "test-slow",
        "test-long",
        "docs",
        "wheel-test",
    } <= run
    phony = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), flags=re.M)[1].split()
    assert targets <= {*phony}, targets - {*phony}
