import doctest
import io
import os
import struct
import urllib.error
import urllib.request
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_det.data import image_files
from keras_det.data.image_files import read_image, read_image_size, stored_size, turn_boxes

HEIGHT, WIDTH = 16, 24


@pytest.fixture
def pixels():
    """A smooth image whose corners differ, so that every rotation shows."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([y * 15, x * 10, (x + y) * 6], -1).astype(np.uint8)


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_doctests():
    assert doctest.testmod(image_files).failed == 0


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_rgb_is_exact(pixels, kind, tmp_path):
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(encode(Image.fromarray(pixels), kind))
    for file in (path, str(path), path.read_bytes(), Image.open(path)):
        got = read_image(file)
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, pixels)
    assert read_image_size(path) == read_image_size(path.read_bytes()) == (HEIGHT, WIDTH)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_gray_is_repeated(pixels, mode):
    image = Image.fromarray(pixels).convert(mode)
    got = read_image(encode(image, "PNG"))
    np.testing.assert_array_equal(got, np.repeat(np.asarray(image.convert("L"))[..., None], 3, -1))


def test_alpha_is_left_out(pixels):
    alpha = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH, 1)
    np.testing.assert_array_equal(
        read_image(encode(Image.fromarray(np.concatenate([pixels, alpha], -1)), "PNG")), pixels
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("transparency", [None, 3, bytes(range(256))])
def test_palette(pixels, transparency):
    image = Image.fromarray(pixels).quantize(32)
    options = {} if transparency is None else {"transparency": transparency}
    got = read_image(encode(image, "PNG", **options))
    np.testing.assert_array_equal(got, np.asarray(image.convert("RGB")))


def test_cmyk_jpeg(pixels):
    got = read_image(encode(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=100, subsampling=0))
    assert np.abs(got.astype(int) - pixels).mean() < 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PGM"])
def test_sixteen_bits_keep_the_upper_eight(kind):
    deep = (np.arange(HEIGHT * WIDTH) * 170).astype(np.uint16).reshape(HEIGHT, WIDTH)
    by_hand = b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + deep.astype(">u2").tobytes()
    got = read_image(by_hand if kind == "PGM" else encode(Image.fromarray(deep), kind))
    np.testing.assert_array_equal(got, np.repeat((deep >> 8)[..., None], 3, -1))


def test_sixteen_bits_color():
    deep = (np.arange(HEIGHT * WIDTH * 3) * 56).astype(np.uint16).reshape(HEIGHT, WIDTH, 3)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    chunks = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts]
    got = read_image(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    np.testing.assert_array_equal(got, deep >> 8)


def test_certain_ranges_are_scaled():
    ramp = np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    for pixels in (ramp, ramp * 255):
        got = read_image(encode(Image.fromarray(pixels), "TIFF"))
        np.testing.assert_array_equal(got[..., 0], np.rint(ramp * 255))
    small = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) % 256
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(read_image(encode(Image.fromarray(small), kind))[..., 0], small)  # 8 bits in 16
    whole = Image.fromarray(small.astype(np.int32) * 257)
    assert whole.mode == "I"
    np.testing.assert_array_equal(read_image(encode(whole, "TIFF"))[..., 0], small)


@pytest.mark.parametrize("value", [-1.0, 256.0, np.nan, np.inf])
def test_floating_point_of_no_known_range_is_refused(value):
    with pytest.raises(ValueError, match="numbers in 0 .. 1 or 0 .. 255"):
        read_image(encode(Image.fromarray(np.full((4, 4), value, np.float32)), "TIFF"))


@pytest.mark.parametrize("value", [-1, 65536])
def test_whole_numbers_of_no_known_range_are_refused(value):
    with pytest.raises(ValueError, match="numbers in 0 .. 65535"):
        read_image(encode(Image.fromarray(np.full((4, 4), value, np.int32)), "TIFF"))


def test_twelve_bits_in_sixteen_are_nearly_black_and_said_to_be(tmp_path):
    Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(tmp_path / "xray.png")
    with pytest.warns(UserWarning, match="xray.png has 16 bits but no value over 3000"):
        assert read_image(tmp_path / "xray.png").max() == 11


def test_suffixes_are_those_that_pillow_knows():
    Image.init()
    ours = {s: kind for kind, suffixes in image_files.SUFFIXES_OF.items() for s in suffixes}
    theirs = {s: kind for s, kind in Image.registered_extensions().items() if kind in image_files.SUFFIXES_OF}
    assert {k: ours.get(k) for k in theirs} == theirs


def test_a_multi_image_file_gives_its_first_image(pixels, tmp_path):
    Image.fromarray(pixels).save(
        tmp_path / "a.mpo", save_all=True, append_images=[Image.fromarray(255 - pixels)], quality=100, subsampling=0
    )
    assert Image.open(tmp_path / "a.mpo").format == "MPO"
    assert np.abs(read_image(tmp_path / "a.mpo").astype(int) - pixels).mean() < 4


def test_an_animation_gives_its_first_frame(pixels, tmp_path):
    frames = [Image.fromarray(np.full_like(pixels, v)) for v in (10, 200, 100)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=10)
    got = read_image(path)
    assert got.shape == pixels.shape
    assert np.abs(got.astype(int) - 10).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_turns_upright(pixels, orientation, kind):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"quality": 100, **({"subsampling": 0} if kind == "JPEG" else {})} if kind in ("JPEG", "WEBP") else {}
    content = encode(Image.fromarray(pixels), kind, exif=exif, **options)
    upright = {  # what the standard says the stored rows and columns are
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1],
        5: pixels.swapaxes(0, 1), 6: pixels[::-1].swapaxes(0, 1),
        7: pixels[::-1, ::-1].swapaxes(0, 1), 8: pixels[:, ::-1].swapaxes(0, 1),
    }[orientation]  # fmt: skip
    assert stored_size(content) == ((HEIGHT, WIDTH), orientation)
    assert read_image_size(content) == read_image(content).shape[:2] == upright.shape[:2]
    assert np.abs(read_image(content).astype(int) - upright).mean() < 4
    corner = np.array([[0, 0, 0.5, 0.25]])  # boxes turn as their pixels do
    mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    mask[: HEIGHT // 2, : WIDTH // 4] = 255
    turned = read_image(encode(Image.fromarray(mask), "PNG", exif=exif))[..., 0]
    ymin, xmin, ymax, xmax = np.rint(turn_boxes(corner, orientation)[0] * (turned.shape * 2)).astype(int)
    assert turned[ymin:ymax, xmin:xmax].all() and (turned > 0).sum() == (ymax - ymin) * (xmax - xmin)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("block", [b"MM\0*\0\0\0\x08\xff\xff\xff\xff", b"garbage that is no TIFF", b"MM\0*"])
def test_broken_exif_leaves_the_image_as_it_is(pixels, kind, block):
    content = encode(Image.fromarray(pixels), kind, exif=b"Exif\0\0" + block)
    assert read_image(content).shape == pixels.shape


def test_faults_name_the_file(pixels, tmp_path):
    jpeg = encode(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), "JPEG")
    cases = {
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "header.jpg": (jpeg[:20], "cannot be read|not an image"),
        "empty.jpg": (b"", "not an image"),
        "text.png": (b"not an image at all", "not an image"),
        "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not an image"),
        "corrupt.png": (encode(Image.fromarray(pixels), "PNG")[:60], "cannot be read"),
    }
    for name, (content, words) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words) as caught:
            read_image(path)
        assert name in str(caught.value)
    assert read_image_size(tmp_path / "truncated.jpg") == (64, 64)
    with pytest.raises(FileNotFoundError, match="nothing.jpg"):
        read_image(tmp_path / "nothing.jpg")
    with pytest.raises(ValueError, match="not a file"):
        read_image_size(tmp_path)
    with pytest.raises(TypeError, match="int"):
        read_image(3)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_bomb_is_not_decoded(side):
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\1\0IDAT"
    )
    for read in (read_image, read_image_size):
        with pytest.raises(ValueError, match="pixels"):
            read(bomb)


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with open(path, "wb") as file:
        file.truncate(image_files.MAX_BYTES + 1)
    assert os.path.getsize(path) > image_files.MAX_BYTES
    with pytest.raises(ValueError, match=r"huge.jpg.*at most"):
        read_image(path)


VALID = encode(Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)), "JPEG")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_give_pixels_or_a_value_error(data):
    content = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        got = read_image(content)
    except ValueError:
        return
    assert got.dtype == np.uint8 and got.ndim == 3 and got.shape[-1] == 3


def test_an_https_address_is_fetched_within_the_bound(monkeypatch):
    file = io.BytesIO()
    Image.new("RGB", (5, 4), (1, 2, 3)).save(file, "png")
    asked = []

    def answer(self, request, timeout):
        asked.append(request.full_url)
        return io.BytesIO(file.getvalue())

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", answer)
    (path,) = image_files.image_paths("https://example.org/a.png")
    np.testing.assert_array_equal(image_files.read_image(path), np.full((4, 5, 3), (1, 2, 3)))
    assert asked == ["https://example.org/a.png"]
    with pytest.raises(FileNotFoundError, match="there is no image http://"):
        image_files.image_paths("http://example.org/a.png")
    monkeypatch.setattr(image_files, "MAX_BYTES", 20)
    with pytest.raises(ValueError, match="a.png sends more than 20 bytes"):
        image_files.read_image(path)

    def refuse(self, request, timeout):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", refuse)
    with pytest.raises(OSError, match="a.png cannot be fetched: no route to host"):
        image_files.read_image(path)
