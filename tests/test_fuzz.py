"""The fuzzers in short, and every file that they or a report ever found."""

import io
import pathlib
import subprocess
import sys

import fuzzers
import numpy as np
import pytest
from PIL import Image

QUICK = [name for name in fuzzers.FUZZERS if name != "Hdf5"]  # whose library may crash, so that it has its own process


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", QUICK)
def test_a_few_damaged_files(name):
    done, _, failures = fuzzers.fuzz(name, seed=1, iterations=40)
    assert done == 40 and not failures, failures


def test_damaged_hdf5(tmp_path):
    script = pathlib.Path(fuzzers.__file__)
    command = [sys.executable, script, "--only", "Hdf5", "--seed", "1", "--iterations", "25", "--keep", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "25 files" in done.stdout and not list(tmp_path.iterdir())


def jpeg(before=b"", claimed=None):
    """A JPEG with bytes before its frame header, and a second header, claimed but never decoded, in a comment."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype="uint8")).save(file, "JPEG")
    content = file.getvalue()
    place = content.index(b"\xff\xc0")
    comment = b""
    if claimed:
        header = content[place : place + 5] + b"".join(side.to_bytes(2, "big") for side in claimed)
        comment = b"\xff\xfe" + (2 + len(header)).to_bytes(2, "big") + header
    return content[:place] + before + comment + content[place:]


BIG = b"9" * 400
ENTRY = b'[{"image_id": 7, "category_id": 1, "bbox": [1, 2, %b, 4], "score": %b}]'
INSTANCES = (
    b'{"images": [{"id": %b, "file_name": "1.png"}], "categories": [{"id": 1, "name": "a"}], "annotations": [%b]}'
)
FOUND = {
    "fill bytes before a marker": ("Images", jpeg(b"\xff\xff")),
    "fill bytes hide another size": ("Images", jpeg(b"\xff", (11585, 11585))),
    "junk between segments": ("Images", jpeg(b"\x00\x01")),
    "a JPEG cut in its scan": ("Images", jpeg()[:-300]),
    "a JPEG whose sector was zeroed": ("Images", jpeg()[:900] + bytes(64) + jpeg()[964:]),
    "results beyond a double": ("Predictions", ENTRY % (BIG, b"0.5")),
    "a score beyond a double": ("Predictions", ENTRY % (b"3", b"-" + BIG)),
    "a number of too many digits": ("Predictions", b'[{"image_id": %b}]' % (b"9" * 5000)),
    "an id beyond a double": ("CocoJson", INSTANCES % (BIG, b"")),
    "a box beyond a double": (
        "CocoJson",
        INSTANCES % (b"1", b'{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, %b]}' % BIG),
    ),
    "an empty object": ("Xml", b"<annotation><object/></annotation>"),
    "an empty flag": ("Xml", b"<annotation><object><name>a</name><difficult/></object></annotation>"),
    "a number as a class": ("Xml", b"<annotation><object><name>1e400</name></object></annotation>"),
    "a byte order mark in a list": ("NameList", b"\xef\xbb\xbfa\n"),
    "an archive without end": ("Weights", b"PK\x03\x04" + bytes(40)),
    "a record longer than its file": ("TfRecords", b"\xff" * 8 + bytes(40)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name, content", FOUND.values(), ids=FOUND)
def test_what_was_found(tmp_path, name, content):
    fuzzer = fuzzers.FUZZERS[name]()
    fuzzer.seeds()
    getattr(fuzzer, "prepare", lambda folder: None)(tmp_path)
    try:
        fuzzer.check(content, tmp_path)
    except ValueError as error:
        assert str(error)
