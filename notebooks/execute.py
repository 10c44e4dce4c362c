"""Execute the notebooks in full and keep what they give, images as JPEG.

    python notebooks/execute.py [NAME ...]

NAME is the beginning of a file's name, such as 03; all by default. `KERAS_DET_SHORT=1` gives the shortened form.
"""

import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
LOG = re.compile(r"^INFO:tensorflow.*\n?", flags=re.M)
OWN = re.compile(r"^Weights .*\n?", flags=re.M)  # what the package says on stderr; the rest there is logs and warnings
IMAGES = [
    "--InlineBackend.figure_formats=jpeg",
    "--InlineBackend.print_figure_kwargs={'pil_kwargs': {'quality': 82}}",
]


def main(names):
    """Execute the notebooks whose names begin so, or all."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.name.startswith(tuple(names)):
            execute(path)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def execute(path):
    """Execute one notebook and write it, whole or not at all."""
    notebook = nbformat.read(path, as_version=4)
    options = {"timeout": None, "record_timing": False, "coalesce_streams": True, "extra_arguments": IMAGES}
    client = NotebookClient(notebook, resources={"metadata": {"path": str(FOLDER)}}, **options)
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_quiet, cell.outputs) if output]
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        nbformat.write(notebook, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _quiet(output):
    """The output without the libraries' logs and warnings; `None` where nothing is left."""
    if output.output_type != "stream":
        return output
    output.text = LOG.sub("", output.text) if output.name == "stdout" else "".join(OWN.findall(output.text))
    return output if output.text else None


if __name__ == "__main__":
    main(sys.argv[1:])
