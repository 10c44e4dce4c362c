"""The command itself: its commands, and how it ends."""

import contextlib
import importlib.metadata
import io
import logging
import os
import platform
import sys
from typing import Annotated, Any

import typer
from rich.markup import escape

from keras_det.cli import class_generic, detectornet, multibox, overfeat, weights
from keras_det.cli.data import data
from keras_det.cli.demo import demo
from keras_det.cli.detect import detect, features
from keras_det.cli.evaluate import evaluate
from keras_det.cli.export import benchmark, export
from keras_det.cli.printing import error_console
from keras_det.cli.train import train
from keras_det.cli.wording import BAD_INPUT, Commands
from keras_det.version import __version__

app = typer.Typer(
    help="Train, evaluate, run and export the convolutional detectors that founded the field.",
    no_args_is_help=True,
    cls=Commands,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (weights.models, data, detect, evaluate, train, export, benchmark, demo, features):
    app.command()(command)
for name, group in {
    "weights": weights,
    "multibox": multibox,
    "class-generic": class_generic,
    "detectornet": detectornet,
    "overfeat": overfeat,
}.items():
    app.add_typer(group.app, name=name)
_UsageError: Any = typer.BadParameter.__base__  # of the command line that Typer brings along or imports


def main() -> None:
    """Run the command; bad input ends it with exit code 2 and one line."""
    for stream in (sys.stdout, sys.stderr):  # names of classes and files, on a terminal that may lack their letters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.getLogger("keras_det").addHandler(_messages)
    try:  # with the name also for `python -m keras_det`, which shells cannot complete
        sys.exit(app(prog_name="keras-det", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        error_console.print("[bold]keras-det:[/bold] stopped.")
        sys.exit(130)
    except BAD_INPUT as error:
        if os.environ.get("KERAS_DET_DEBUG"):
            raise
        _end(str(error))
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help is all that there is to say
            error.show()
            sys.exit(2)
        command = error.ctx.command_path if error.ctx else "keras-det"
        _end(f"{error.format_message().replace('Value error, ', '').rstrip('.')}; see {command} --help.")


class _Messages(logging.Handler):
    """What the package logs, each a line on stderr, since stdout may be JSON."""

    def emit(self, record):
        """Print a message as it is."""
        error_console.out(record.getMessage(), highlight=False)


_messages = _Messages()


def _end(message):
    """End the command for bad input, with one line."""
    error_console.print("[bold red]keras-det: error:[/bold red]", escape(" ".join(message.split())), highlight=False)
    sys.exit(2)


def _print_version(wanted):
    """Print the versions that a report of a defect needs, without importing what has them, and end."""
    if not wanted:
        return
    found = {"Python": platform.python_version()}
    for name in ("tensorflow", "tensorflow-cpu", "tf-nightly", "keras", "keras-nightly", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    print(f"keras-det {__version__} ({', '.join(f'{name} {version}' for name, version in found.items())})")
    raise typer.Exit()


@app.callback()
def _command(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the versions and exit.")
    ] = False,
):
    """What stands before the name of a command."""
