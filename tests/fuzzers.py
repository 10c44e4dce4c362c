"""Damaged files for every reader: each must be read within its promises or be a ValueError, whatever its bytes are.

`make fuzz` runs each fuzzer for a minute in a process of its own, on seeds that are new every time; `test_fuzz.py` runs
a few fixed ones. A file that a reader fails on is kept in `runs/fuzz`.

    python tests/fuzzers.py --seconds 60 [--only NAME] [--seed N] [--iterations N]
"""

import argparse
import contextlib
import faulthandler
import io
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = pathlib.Path(__file__).parent
sys.path += [str(HERE / "weights"), str(HERE / "training")]

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

CASE_SECONDS = 60  # for one file, on a loaded machine
TOKENS = [b"-1", b"0", b"1e400", b"-1e400", b"9" * 400, b"18446744073709551616", b"9007199254740993", b"NaN", b"null"]
TOKENS += [b"[]", b"{}", b'""', b"true", b"\xff\xff", b"\xff\xd8", b"\xff\xda", b"\x00" * 8, b"\xff" * 8]
TOKENS += [b"\x7f" + b"\xff" * 7, "\u732b".encode(), b"\xb9\xb7", b"\xef\xbb\xbf", b"../../etc/passwd", b"&x;"]


def mutate(content, rng):
    """The bytes with one to eight changes."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        if not content:
            content += rng.randbytes(8)
        place, length = rng.randrange(len(content)), rng.choice([1, 1, 2, 4, 16, 64])
        kind = rng.randrange(9)
        if kind == 0:
            content[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[place : place + length] = rng.randbytes(length)
        elif kind == 2:
            del content[place : place + length]
        elif kind == 3:
            content[place:place] = content[place : place + length] * rng.choice([1, 2, 50])
        elif kind == 4:
            other = rng.randrange(len(content))
            content[place : place + length] = content[other : other + length]
        elif kind == 5:
            content[place:place] = rng.choice(TOKENS)
        elif kind == 6:
            del content[place:]
        elif kind == 7:
            content[place : place + length] = bytes([rng.choice([0, 1, 0x7F, 0x80, 0xFF])]) * length
        else:  # a number in a text, or a word
            found = list(re.finditer(rb"-?[0-9.]+|\"[^\"]*\"|null|true", bytes(content[:100_000])))
            if found:
                match = rng.choice(found)
                content[match.start() : match.end()] = rng.choice(TOKENS)
    return bytes(content)


def valid_boxes(annotation):
    boxes = annotation.boxes
    assert boxes.shape == (len(annotation), 4) and np.isfinite(boxes).all()
    assert ((boxes >= 0) & (boxes <= 1)).all() and (boxes[:, 2:] > boxes[:, :2]).all()


class Xml:
    """VOC's annotations, in a folder with their image."""

    def seeds(self):
        box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>15</ymax></bndbox>"
        entry = f"<object><name>cat</name><difficult>0</difficult>{box}</object>"
        text = f"<annotation><size><width>30</width><height>20</height></size>{entry * 3}</annotation>"
        declared = '<?xml version="1.0" encoding="gbk"?>' + text.replace("cat", "\u732b")
        return [text.encode(), text.encode("utf-16"), declared.encode("gbk")]

    def prepare(self, folder):
        Image.new("RGB", (30, 20)).save(folder / "a.png")

    def check(self, content, folder):
        from keras_det.data import load

        (folder / "a.xml").write_bytes(content)
        source = load(f"folder:{folder}")
        valid_boxes(source.annotation(0))
        source.check()


class NameList:
    """Lists of images."""

    def seeds(self):
        return [b"a\nb c\r\n\n000012\n", "\u732b\n".encode("gbk"), "\ufeffa\nb\n".encode("utf-16-le")]

    def check(self, content, folder):
        from keras_det.data.voc import read_list

        (folder / "l.txt").write_bytes(content)
        for name in read_list(folder / "l.txt"):
            assert name.strip() == name and not set(name) & set("/\\\0") and name not in (".", "..")


class YoloLabels:
    """YOLO's text of an image's objects."""

    def seeds(self):
        return [b"0 0.5 0.5 0.25 0.5\n1 0.1 0.2 0.5 0.2 0.3 0.8\n", b"", "1 0.5 0.5 1 1\r\n".encode("utf-16")]

    def prepare(self, folder):
        Image.new("RGB", (30, 20)).save(folder / "a.png")
        (folder / "classes.txt").write_text("a\nb\n")

    def check(self, content, folder):
        from keras_det.data import load

        (folder / "a.txt").write_bytes(content)
        source = load(f"yolo:{folder}")
        valid_boxes(source.annotation(0))
        source.check()


class YoloYaml:
    """YOLO's file of folders and classes."""

    def seeds(self):
        lists = b"path: .\ntrain: images\nval: [images, l.txt]\nnames: [a, 'b c']\nnc: 2\n"
        return [lists, "train: images\nnames:\n  1: \u732b\n  0: a\nx: !!int '3'\ny: &k [1]\n".encode()]

    def prepare(self, folder):
        (folder / "images").mkdir()
        Image.new("RGB", (30, 20)).save(folder / "images" / "a.png")
        (folder / "l.txt").write_text("images/a.png\n")

    def check(self, content, folder):
        from keras_det.data import load

        (folder / "data.yaml").write_bytes(content)
        with contextlib.suppress(FileNotFoundError):
            source = load(f"yolo:{folder / 'data.yaml'}")
            assert all(isinstance(name, str) and name for name in source.classes)
            source.check()


class Table:
    """Tables of boxes."""

    def seeds(self):
        rows = b'a.png,2,3,20,15,cat\na.png,,,,,\na.png,1.5,2,9,9,"do,g"\n'
        header = b"path,xmin,ymin,xmax,ymax,label\n"
        more = b"ImageID,XMin,XMax,YMin,YMax,LabelName,IsGroupOf,width,height,split\n"
        return [
            rows,
            header + rows,
            more + b"a,0.1,0.9,0.2,0.8,/m/01,1,30,20,train\n",
            (header + rows).decode().encode("utf-16"),
        ]

    def prepare(self, folder):
        Image.new("RGB", (30, 20)).save(folder / "a.png")

    def check(self, content, folder):
        from keras_det.data.csv_file import Csv

        (folder / "t.csv").write_bytes(content)
        with contextlib.suppress(FileNotFoundError):
            source = Csv(folder / "t.csv", missing="skip", rescale_boxes=True)
            for i in range(len(source)):
                valid_boxes(source.annotation(i))
            source.check()


class CocoJson:
    """COCO's instances."""

    def seeds(self):
        content = {
            "images": [{"id": k, "file_name": f"{k}.png", "height": 20, "width": 30.0} for k in (1, 2**54)],
            "categories": [{"id": 1, "name": "a", "supercategory": "b"}, {"id": "7", "name": "b"}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 1.0, "bbox": [1, 2, "3", 4.5], "area": None, "iscrowd": 0},
                {"id": 2, "image_id": 2**54, "category_id": 7, "bbox": [0, 0, 30, 20], "segmentation": [[1, 2]]},
            ],
        }
        return [json.dumps(content).encode()]

    def prepare(self, folder):
        (folder / "annotations").mkdir()
        (folder / "val").mkdir()
        for k in (1, 2**54):
            Image.new("RGB", (30, 20)).save(folder / "val" / f"{k}.png")

    def check(self, content, folder):
        from keras_det.data import Coco

        (folder / "annotations" / "instances_val.json").write_bytes(content)
        try:
            source = Coco(folder, missing="skip")
        except FileNotFoundError:
            raise ValueError("an image is missing") from None
        for i in range(len(source)):
            assert source.path(i).startswith(str(folder))
            valid_boxes(source.annotation(i))
        source.check()


class Predictions:
    """COCO's and VOC's results files."""

    def seeds(self):
        entries = [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}] * 2
        return [json.dumps(entries).encode(), b"7 0.5 1 2 3 4\n7.png 1e-3 1 2 3 4\n"]

    def check(self, content, folder):
        from keras_det.metrics import GroundTruth, coco, voc

        truth = GroundTruth(("a",), ("7",), [[30, 30]], [0], [[0, 0, 9, 9]], [0], names=("7.png",))
        faults = 0
        for name, read in (("comp4_det_test_a.txt", lambda p: voc.read_results(folder, truth)), ("r.json", None)):
            (folder / name).write_bytes(content)
            try:
                found = read(folder) if read else coco.read_results(folder / name, truth)
                assert np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()
            except ValueError as error:
                assert name in str(error)
                faults += 1
        if faults == 2:
            raise ValueError("neither")


class Images:
    """Image files: by Pillow whole, by TensorFlow in part, in exports: the same pixels, or a refusal."""

    def seeds(self):
        rng = np.random.default_rng(0)
        image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype="uint8")).resize((40, 24), 3)
        exif = Image.Exif()
        exif[274] = 6
        kinds = [("JPEG", {}), ("JPEG", {"exif": exif}), ("JPEG", {"progressive": True}), ("PNG", {"exif": exif})]
        kinds += [("GIF", {}), ("BMP", {}), ("WEBP", {}), ("TIFF", {"exif": exif}), ("PPM", {})]
        kinds += [("JPEG", {"restart_marker_rows": 1})]
        files = []
        for kind, options in kinds:
            files.append(io.BytesIO())
            image.save(files[-1], kind, **options)
        files.append(io.BytesIO())
        Image.fromarray(np.arange(100, dtype=np.uint16).reshape(10, 10) * 600).save(files[-1], "PNG")
        return [file.getvalue() for file in files]

    def prepare(self, folder):
        import tensorflow as tf

        from keras_det.export.upright import decode_upright

        self.decode = tf.function(decode_upright, input_signature=[tf.TensorSpec([], tf.string)])

    def check(self, content, folder):
        import tensorflow as tf

        from keras_det.data.batching import OriginalImage, plain_jpeg_size
        from keras_det.data.image_files import read_image, read_image_size

        with contextlib.suppress(tf.errors.InvalidArgumentError):
            assert self.decode(content).shape[-1] == 3
        size = plain_jpeg_size(content)
        pixels = read_image(content)
        assert pixels.dtype == np.uint8 and pixels.shape == (*read_image_size(content), 3)
        if size is not None:
            height, width = size
            original = OriginalImage(tf.constant(content), tf.zeros((0, 0, 3), tf.uint8), tf.constant(size))
            window = height // 3, width // 4, max(height // 2, 1), max(width // 2, 1)
            top, left, rows, columns = window
            part = pixels[top : top + rows, left : left + columns]
            np.testing.assert_array_equal(original.crop(*map(tf.constant, window)), part)
            np.testing.assert_array_equal(self.decode(content), pixels)


class TfRecords:
    """Record files of TensorFlow Datasets."""

    def seeds(self):
        import struct

        record = b"x" * 20
        return [(struct.pack("<Q", len(record)) + b"abcd" + record + b"abcd") * 3]

    def check(self, content, folder):
        import types

        from keras_det.data.tfds import _TfRecords

        (folder / "r.tfrecord").write_bytes(content)
        part = types.SimpleNamespace(filename=folder / "r.tfrecord", take=-1, skip=0)
        records = _TfRecords([part], bytes)
        assert sum(len(records[i]) for i in range(len(records))) <= len(content)


class Weights:
    """Publishers' and our own weight files."""

    endings = (".pth", ".pth", ".zip", ".safetensors")

    def seeds(self):
        import published_files

        from keras_det.weights import write_safetensors

        arrays = {"a.weight": np.arange(12, dtype="f4").reshape(3, 4), "b": np.ones(5, "f8")}
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder, f"{k}{ending}") for k, ending in enumerate(self.endings)]
            published_files.write_torch_zip(paths[0], arrays)
            published_files.write_torch_legacy(paths[1], arrays)
            published_files.write_checkpoint(paths[2], arrays)
            write_safetensors(paths[3], arrays, {"classes": ["a"]})
            return [path.read_bytes() for path in paths]

    def check(self, content, folder):
        from keras_det.weights import read_checkpoint, read_safetensors, read_torch

        path, faults = folder / "w", 0
        path.write_bytes(content)
        for read in (read_torch, read_checkpoint, read_safetensors):
            try:
                found = read(path)
            except ValueError:
                faults += 1
            else:
                arrays = found[0] if isinstance(found, tuple) else found
                assert sum(array.nbytes for array in arrays.values()) < 2**28
        if faults == 3:
            raise ValueError("none of them")


class CheckpointIndex:
    """Indexes of TensorFlow's checkpoints in files; checksums are put right, which else would refuse all of them."""

    def seeds(self):
        import published_files as pf

        pairs = [(b"", pf.INDEX_HEADER), (b"a", pf.index_entry([3, 2], 24)), (b"b", pf.index_entry([], 8, 2, 24))]
        return [pf.block(pairs)]

    def prepare(self, folder):
        (folder / "m.data-00000-of-00001").write_bytes(bytes(32))

    def check(self, content, folder):
        import published_files as pf

        from keras_det.weights.tf_graph import read_variables

        (folder / "m.index").write_bytes(pf.checkpoint_index(content))
        try:
            found = read_variables(folder / "m")
        except FileNotFoundError:
            raise ValueError("a part is missing") from None
        assert sum(array.nbytes for array in found.values()) <= 32


class Hdf5:
    """Keras's weight files, into a small network, which stays as it was where they are refused."""

    def seeds(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("a.weights.h5", "b.keras"):
                (self.model().save_weights if name[0] == "a" else self.model().save)(pathlib.Path(folder, name))
            self.names = ("a.weights.h5", "b.keras")
            return [pathlib.Path(folder, name).read_bytes() for name in self.names]

    def model(self):
        from small_network import Small

        if not hasattr(self, "made"):
            self.made = Small(["a"])
        return self.made

    def check(self, content, folder):
        from keras_det.models import pretrained
        from keras_det.weights.metadata import read_metadata

        path = folder / ("b.keras" if content[:2] == b"PK" else "a.weights.h5")
        path.write_bytes(content)
        read_metadata(path)
        pretrained.load_weights(self.model(), path)


KINDS = (
    Xml,
    NameList,
    YoloLabels,
    YoloYaml,
    Table,
    CocoJson,
    Predictions,
    Images,
    TfRecords,
    Weights,
    CheckpointIndex,
    Hdf5,
)
FUZZERS = {kind.__name__: kind for kind in KINDS}


def fuzz(name, seed, iterations=None, seconds=None, keep=None):
    """Run one fuzzer; the number of files, of those that were read, and the failures as texts."""
    fuzzer, rng = FUZZERS[name](), random.Random(seed)
    seeds, failures, read, done = fuzzer.seeds(), [], 0, 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        getattr(fuzzer, "prepare", lambda folder: None)(folder)
        for content in seeds:
            fuzzer.check(content, folder)  # what is whole is read
        while (iterations is None or done < iterations) and (seconds is None or time.monotonic() < started + seconds):
            content = mutate(rng.choice(seeds), rng)
            done += 1
            if keep is not None:
                (keep / f"{name}-{seed}.bin").write_bytes(content)  # here already, should the process die of it
            began = time.monotonic()
            try:
                fuzzer.check(content, folder)
                read += 1
            except ValueError:
                pass
            except Exception:
                failures.append(traceback.format_exc())
            if time.monotonic() > began + CASE_SECONDS:
                failures.append(f"a file took {time.monotonic() - began:.0f} seconds")
            if failures and keep is not None:
                (keep / f"{name}-{seed}-{done}.bin").write_bytes(content)
            if failures:
                break
    if keep is not None:
        (keep / f"{name}-{seed}.bin").unlink(missing_ok=True)
    return done, read, failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="for each fuzzer")
    parser.add_argument("--iterations", type=int, help="files for each fuzzer, in place of the time")
    parser.add_argument("--only", choices=FUZZERS, help="one fuzzer, in this process")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32, help="default: a new one every time")
    parser.add_argument("--keep", type=pathlib.Path, default=pathlib.Path("runs/fuzz"))
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    if options.only:
        faulthandler.enable()
        seconds = None if options.iterations else options.seconds
        done, read, failures = fuzz(options.only, options.seed, options.iterations, seconds, options.keep)
        print(f"{options.only}: seed {options.seed}, {done} files, {read} of them read")
        print(*failures, sep="\n", file=sys.stderr)
        sys.exit(bool(failures))
    bad = []
    for name in FUZZERS:
        command = [sys.executable, "-W", "ignore", __file__, "--only", name, "--seed", str(options.seed)]
        command += ["--keep", str(options.keep), "--seconds", str(options.seconds)]
        command += ["--iterations", str(options.iterations)] if options.iterations else []
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace")
        if done.returncode:
            bad.append(name)
            print(f"{name} failed with exit code {done.returncode}: {done.stderr[-3000:]}", flush=True)
    sys.exit(f"failed: {', '.join(bad)}; the files are in {options.keep}" if bad else 0)


if __name__ == "__main__":
    main()
