import errno
import hashlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import published_files as pf
import pytest
from weights_server import serve

from keras_det.weights import download, registry
from keras_det.weights.convert import Converter, Rule, torch_kernel
from keras_det.weights.download import add, fetch, home
from keras_det.weights.registry import Integrity, Preprocessing, Reported, WeightsEntry
from keras_det.weights.torch_file import read_torch

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
INTEGRITY = Integrity("sha256", SHA256)


def make_entry(url, integrity=INTEGRITY, converter=None):
    return WeightsEntry(
        model="Small",
        name="small",
        source=url,
        integrity=integrity,
        converter=converter,
        classes=("a",),
        preprocessing=Preprocessing((0, 0, 0)),
        license="MIT",
        reported=Reported(0.5, "mAP@0.5", "nothing", "nowhere"),
        parameters=1,
        gflops=0.0,
        trained_on="nothing",
    )


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_DET_HOME", str(tmp_path / "home"))
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    return tmp_path / "home" / "downloads"


@pytest.fixture
def server():
    with serve(CONTENT) as running:
        yield running


def left(folder):
    """What lies there beside locks."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_home(monkeypatch):
    monkeypatch.delenv("KERAS_DET_HOME")
    assert home() == Path("~/.keras/keras_det").expanduser()
    monkeypatch.setenv("KERAS_DET_HOME", "~/elsewhere")
    assert home() == Path("~/elsewhere").expanduser()


def test_downloads_once_with_a_progress_bar(server, folder, capsys):
    entry = make_entry(server.url)
    path = fetch(entry)
    assert path == folder / "small.pth" and path.read_bytes() == CONTENT
    captured = capsys.readouterr()
    assert "small.pth" in captured.err and "3.0/3.0 MB" in captured.err
    assert captured.out == ""  # where --json writes
    assert fetch(entry) == path
    assert len(server.requests) == 1 and left(folder) == ["small.pth"]


@pytest.mark.parametrize("fault", ["truncate", "stall"])
def test_broken_connection_is_resumed(server, folder, fault):
    server.faults = [fault, fault]
    start = time.monotonic()
    assert fetch(make_entry(server.url)).read_bytes() == CONTENT
    assert time.monotonic() - start < 10  # the server would stall for 20 seconds
    assert [request.get("Range") for request in server.requests] == [None, "bytes=1500000-", "bytes=2250000-"]
    assert server.requests[1]["If-Range"] == '"1"'
    assert server.sent == len(CONTENT)
    assert left(folder) == ["small.pth"]


def test_without_length_a_short_file_is_found_by_its_hash(server, folder):
    server.length = False
    server.faults = ["truncate"]
    with pytest.raises(ValueError, match=f"expected SHA-256 {SHA256}"):
        fetch(make_entry(server.url))
    assert left(folder) == []
    assert fetch(make_entry(server.url)).read_bytes() == CONTENT


def test_later_call_resumes(server, folder):
    server.faults = ["truncate", 503, 503, 503]
    with pytest.raises(ConnectionError, match="503"):
        fetch(make_entry(server.url))
    assert left(folder) == ["small.pth.part", "small.pth.part.json"]
    assert fetch(make_entry(server.url)).read_bytes() == CONTENT
    assert server.requests[-1]["Range"] == "bytes=1500000-"
    assert left(folder) == ["small.pth"]


@pytest.mark.parametrize("validator", ['"2"', 'W/"2"', None])
def test_changed_file_starts_over(server, folder, validator):
    """A part of the old file must not be joined to the rest of the new one."""
    server.content = bytes(2_000_000)
    server.etag = validator if validator != '"2"' else '"1"'
    server.faults = ["truncate", 503, 503, 503]
    with pytest.raises(ConnectionError):
        fetch(make_entry(server.url))
    server.content, server.etag = CONTENT, validator
    assert fetch(make_entry(server.url)).read_bytes() == CONTENT


def test_server_without_ranges(server):
    server.ranges = False
    server.faults = ["truncate"]
    assert fetch(make_entry(server.url)).read_bytes() == CONTENT


def test_part_longer_than_the_file(server, folder):
    folder.mkdir(parents=True)
    (folder / "small.pth.part").write_bytes(bytes(4_000_000))
    (folder / "small.pth.part.json").write_text(f'{{"url": "{server.url}", "validator": "\\"1\\""}}')
    assert fetch(make_entry(server.url)).read_bytes() == CONTENT


def test_part_of_another_address(server, folder):
    folder.mkdir(parents=True)
    (folder / "small.pth.part").write_bytes(bytes(1_000_000))
    (folder / "small.pth.part.json").write_text('{"url": "http://127.0.0.1/other.pth", "validator": "\\"1\\""}')
    assert fetch(make_entry(server.url)).read_bytes() == CONTENT
    assert "Range" not in server.requests[0]


def test_damaged_note_of_a_part(server, folder):
    folder.mkdir(parents=True)
    (folder / "small.pth.part").write_bytes(b"x")
    (folder / "small.pth.part.json").write_text("{")
    assert fetch(make_entry(server.url)).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "integrity",
    [
        INTEGRITY,
        Integrity("sha256_prefix", SHA256[:8]),
        Integrity("git_blob", hashlib.sha1(b"blob 3000000\0" + CONTENT).hexdigest()),
    ],
)
def test_wrong_file_leaves_nothing(server, folder, integrity):
    server.faults = ["corrupt"]
    with pytest.raises(ValueError, match=f"small.pth: expected {integrity}; got "):
        fetch(make_entry(server.url, integrity))
    assert left(folder) == []
    assert fetch(make_entry(server.url, integrity)).read_bytes() == CONTENT


def test_git_blob_is_what_git_says(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    given = subprocess.run(["git", "hash-object", tmp_path / "file"], capture_output=True, text=True, check=True).stdout
    assert Integrity("git_blob", given.strip()).agrees(download._digests(tmp_path / "file"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_leaves_nothing(server, folder):
    folder.mkdir(parents=True)
    (folder / "small.pth.part").symlink_to("/dev/full")
    with pytest.raises(OSError) as error:
        fetch(make_entry(server.url))
    assert error.value.errno == errno.ENOSPC
    assert left(folder) == []


def test_damaged_file_is_fetched_again(server, folder):
    path = fetch(make_entry(server.url))
    path.write_bytes(CONTENT[:-1])
    assert fetch(make_entry(server.url)).read_bytes() == CONTENT


def test_too_large_is_refused(server, folder, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    for server.length in (True, False):
        with pytest.raises(ValueError, match="more than"):
            fetch(make_entry(server.url))
        assert left(folder) == []


@pytest.mark.parametrize("status", [404, 403, 500])
def test_offline_error_says_what_to_do(server, status):
    server.faults = [status] * 9
    with pytest.raises(ConnectionError) as error:
        fetch(make_entry(server.url))
    assert f"HTTP Error {status}" in str(error.value)
    assert f"Get the file small.pth from {server.url}" in str(error.value)
    assert "keras-det weights add small.pth" in str(error.value)
    assert len(server.requests) == (4 if status == 500 else 1)


def test_nobody_listens():
    with pytest.raises(ConnectionError, match="keras-det weights add small.pth"):
        fetch(make_entry("http://127.0.0.1:9/small.pth"))


def test_proxy_of_the_environment(server, monkeypatch):
    """The server plays the proxy: it gets the request for a host that does not exist."""
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/files/small.pth"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert fetch(make_entry("http://weights.invalid/small.pth")).read_bytes() == CONTENT
    assert server.requests[0]["Host"] == "weights.invalid"


def test_no_redirect_to_plain_http():
    import urllib.request
    from urllib.error import URLError

    request = urllib.request.Request("https://example.org/a")
    with pytest.raises(URLError, match="redirected from https"):
        download.SameSecurity().redirect_request(request, None, 302, "", {}, "http://example.org/a")
    followed = download.SameSecurity().redirect_request(request, None, 302, "", {}, "https://example.org/b")
    assert followed.full_url == "https://example.org/b"


def test_concurrent_processes_download_once(server, folder):
    server.faults = ["truncate"]
    script = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_download import make_entry, CONTENT
        from keras_det.weights import download
        download.RETRY_SECONDS = 0.2
        assert download.fetch(make_entry({server.url!r})).read_bytes() == CONTENT
        """
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [subprocess.Popen([sys.executable, "-c", script], env=environment) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(server.requests) == 2 and server.sent == len(CONTENT)
    assert left(folder) == ["small.pth"]


# Files added by hand


KERNEL = np.arange(24, dtype="f4").reshape(2, 3, 2, 2)
CONVERTER = Converter("a test", read_torch, (Rule("conv.weight", "conv/kernel", torch_kernel),))


@pytest.fixture
def registered(monkeypatch):
    """Two entries: one known by its hash, the other by its names."""
    hashed = make_entry("https://example.org/hashed.bin")
    named = make_entry("manual:named.pth", None, CONVERTER)
    monkeypatch.setattr(registry, "ENTRIES", (named, hashed))
    return hashed, named


def test_add_knows_a_file_by_its_hash(registered, tmp_path, folder):
    (tmp_path / "any name").write_bytes(CONTENT)
    entry, path = add(tmp_path / "any name")
    assert entry is registered[0] and path == folder / "hashed.bin"
    assert fetch(entry).read_bytes() == CONTENT
    assert (tmp_path / "any name").exists()
    assert left(folder) == ["hashed.bin"]


def test_add_knows_a_file_by_its_names(registered, tmp_path):
    entry = registered[1]
    with pytest.raises(FileNotFoundError, match="no fixed address.*keras-det weights add named.pth"):
        fetch(entry)
    pf.write_torch_zip(tmp_path / "x.pth", {"conv.weight": KERNEL})
    assert add(tmp_path / "x.pth")[0] is entry
    np.testing.assert_array_equal(read_torch(fetch(entry))["conv.weight"], KERNEL)


def test_add_refuses_other_files(registered, tmp_path, folder):
    (tmp_path / "x.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=f"none of the registered files.*hashed.bin .SHA-256 {SHA256}"):
        add(tmp_path / "x.pth")
    pf.write_torch_zip(tmp_path / "x.pth", {"conv.weight": KERNEL, "more": KERNEL})
    with pytest.raises(ValueError, match="none of the registered files"):
        add(tmp_path / "x.pth")
    with pytest.raises(FileNotFoundError, match="no file"):
        add(tmp_path / "absent")
    assert not folder.exists()
