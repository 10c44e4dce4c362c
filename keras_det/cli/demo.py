"""`keras-det demo`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_det.cli.checks import check_folder
from keras_det.cli.networks import load_tensorflow


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for images, curves and the report.")] = Path("runs/demo"),
) -> None:
    """Detect, evaluate, fine-tune and export with the embedded network; no network connection is needed."""
    check_folder(out)
    load_tensorflow()
    from keras_det.training.demo import run_demo

    run_demo(out)
