"""The README says what is."""

import pathlib
import re

from keras_det.weights import zoo_table

TEXT = (pathlib.Path(__file__).parents[1] / "README.md").read_text()


def test_the_zoo_table_is_the_registrys():
    table = TEXT.split("zoo_table() -->\n")[1].split("<!-- end")[0]
    assert table == zoo_table()


def test_images_and_files_that_it_names_are_there():
    root = pathlib.Path(__file__).parents[1]
    for name in [*re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT), *re.findall(r"benchmarks/[\w./]+\.json", TEXT)]:
        assert (root / name).is_file(), name


def test_python_examples_are_python():
    for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.S):
        compile(block, "README.md", "exec")
