"""The graph's reader of EXIF beside Pillow's: orientations, byte orders, fill bytes, damaged blocks."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_det.data.image_files import read_image, stored_size
from keras_det.export.upright import decode_upright, exif_orientation

decode = tf.function(decode_upright, input_signature=[tf.TensorSpec([], tf.string)])
orientation_of = tf.function(exif_orientation, input_signature=[tf.TensorSpec([], tf.string)])
PIXELS = np.random.default_rng(0).integers(0, 256, (11, 17, 3), dtype="uint8")


def encoded(kind, exif=b"", pixels=PIXELS):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"exif": exif} if exif else {}))
    return file.getvalue()


def block(orientation, order="<", kind=3, before=0, tag=274):
    """An EXIF block with further tags before that of the orientation."""
    others = [struct.pack(order + "HHI", 256 + n, 3, 1) + struct.pack(order + "HH", 9, 0) for n in range(before)]
    value = struct.pack(order + {1: "BBBB", 3: "HH", 4: "I"}[kind], *[orientation, 0, 0, 0][: {1: 4, 3: 2, 4: 1}[kind]])
    entries = [*others, struct.pack(order + "HHI", tag, kind, 1) + value]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return b"Exif\0\0" + head + struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_those_of_read_image(kind, orientation):
    content = encoded(kind, block(orientation))
    np.testing.assert_array_equal(decode(content), read_image(content))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [1, 3, 4])
@pytest.mark.parametrize("before", [0, 3, 12])
def test_every_form_of_the_number(order, kind, before):
    for file in ("JPEG", "PNG"):
        content = encoded(file, block(7, order, kind, before))
        assert int(orientation_of(content)) == stored_size(content)[1] == (1 if kind == 1 else 7)


ODD = {
    "none": b"",
    "another tag": block(6, tag=275),
    "none known": block(9),
    "zero": block(0),
    "cut": block(6)[:-10],
    "an offset beyond the end": b"Exif\0\0II*\0" + struct.pack("<I", 2**31) + bytes(20),
    "a directory that claims more": block(6)[:14] + struct.pack("<H", 60000) + block(6)[16:],
    "no TIFF": b"Exif\0\0" + b"nothing" * 4,
    "empty": b"Exif\0\0",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("exif", ODD.values(), ids=ODD)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_odd_blocks_leave_the_image_as_pillow_does(kind, exif):
    content = encoded(kind, exif)
    assert int(orientation_of(content)) == stored_size(content)[1]
    assert decode(content).shape == read_image(content).shape


def test_fill_bytes_and_other_segments_are_passed_over():
    content = encoded("JPEG", block(6))
    place = content.index(b"\xff\xe1")
    comment = b"\xff\xfe" + struct.pack(">H", 30) + b"\xff\xe1\0\x10Exif\0\0 not a segment".ljust(28, b"x")
    for more in (b"\xff" * 5, comment, comment + b"\xff\xff"):
        changed = content[:place] + more + content[place:]
        assert int(orientation_of(changed)) == stored_size(changed)[1] == 6


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 220), st.integers(0, 60), st.sampled_from(["JPEG", "PNG"]))
def test_any_bytes_have_an_orientation(noise, start, length, kind):
    content = encoded(kind, block(6, before=2))
    content = content[:start] + noise + content[start + length :]
    assert 1 <= int(orientation_of(content)) <= 8
    assert 1 <= int(orientation_of(noise)) <= 8
