"""Detection in a clip that is rendered here, and the video that comes of it."""

import fractions
import io
import json
import sys
import types

import numpy as np
import pytest
from PIL import Image
from small_models import STAGES, build
from typer.testing import CliRunner

from keras_det import cli
from keras_det.backbones import tiny_net
from keras_det.data import load, video
from keras_det.data.video import Reader, Writer

FRAMES = 7


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A scene that moves to the side, seven frames of 96 x 128 pixels, 10 a second."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    scene = Image.fromarray(load("shapes", images=1, seed=5, size=160).image(0))
    with Writer(path, fractions.Fraction(10)) as writer:
        for i in range(FRAMES):
            writer.add(scene.crop((4 * i, 0, 4 * i + 128, 96)))
    return path


@pytest.fixture(scope="module")
def model():
    return build("ssd300", score_threshold=0.0)


def frames(path):
    reader = Reader(path)
    found = list(reader)
    reader.close()
    return found


@pytest.mark.parametrize(
    ("source", "video_too", "live"),
    [
        ("a.MP4", True, False),
        ("https://x.org/a.mp4?b=c", True, False),
        ("rtsp://x/1", True, True),
        ("0", True, True),
        ("-", True, True),
        ("a.jpg", False, False),
        ("folder", False, False),
    ],
)
def test_what_is_a_video(source, video_too, live):
    assert (video.is_video(source), video.is_live(source)) == (video_too, live)


@pytest.mark.needs("av")
def test_frames_come_in_their_order_with_their_times(clip):
    reader = Reader(clip)
    assert (reader.frames, reader.rate) == (FRAMES, 10)
    found = list(reader)
    assert [number for number, _, _ in found] == list(range(FRAMES))
    np.testing.assert_allclose([seconds for _, seconds, _ in found], np.arange(FRAMES) / 10, atol=1e-6)
    assert found[0][2].shape == (96, 128, 3) and found[0][2].dtype == np.uint8


@pytest.mark.needs("av")
@pytest.mark.parametrize(("every", "batch_size"), [(1, 3), (3, 1), (2, 2)])
def test_detections_are_those_of_the_frames(clip, model, every, batch_size):
    images = [image for _, _, image in frames(clip)]
    expected = model.detect(images[::every], 0.0)
    found = list(model.detect_video(clip, 0.0, every=every, batch_size=batch_size))
    assert [frame.number for frame in found] == list(range(FRAMES))
    for frame, image in zip(found, images):
        wanted = expected[frame.number // every]
        np.testing.assert_array_equal(frame.detections.image, image)
        np.testing.assert_allclose(frame.detections.scores, wanted.scores, atol=1e-6)
        np.testing.assert_allclose(frame.detections.boxes, wanted.boxes, atol=1e-5)


@pytest.mark.needs("av")
def test_frames_are_taken_as_they_are_needed(clip, model, monkeypatch):
    read = []
    original = Reader.__iter__
    monkeypatch.setattr(Reader, "__iter__", lambda self: (read.append(one[0]) or one for one in original(self)))
    found = model.detect_video(clip, batch_size=2)
    next(found)
    assert read == [0, 1]
    found.close()


@pytest.mark.needs("av")
def test_the_command_writes_a_video_and_lines(clip, model, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_net, "STAGES", STAGES)
    model.save_weights(tmp_path / "m.weights.h5")
    call = ["detect", str(clip), "--weights", str(tmp_path / "m.weights.h5"), "--score-threshold", "0"]
    result = CliRunner().invoke(
        cli.app, [*call, "--json", "--out", str(tmp_path / "found.mp4")], catch_exceptions=False
    )
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["frame"] for row in rows] == list(range(FRAMES)) and rows[0]["objects"]
    assert f"{FRAMES} frames" in result.stderr and len(frames(tmp_path / "found.mp4")) == FRAMES
    result = CliRunner().invoke(cli.app, [*call, "--every", "3"], catch_exceptions=False)
    assert [line.split("  ")[0] for line in result.stdout.splitlines()] == [f"frame {i}" for i in range(FRAMES)]
    with Writer(tmp_path / "whole.mkv", fractions.Fraction(10)) as writer:
        writer.add(Image.new("RGB", (64, 64)))
    (tmp_path / "cut.mkv").write_bytes((tmp_path / "whole.mkv").read_bytes()[:700])
    for wrong, named in (
        ([*call, "--out", str(tmp_path / "a.png")], "--out must end in .mp4"),
        ([*call, "--out", str(tmp_path / "a.webm")], "--out must end in .mp4"),  # a form that lacks the codec
        ([*call, "--out", str(clip)], "--out must not be the video itself"),
        (
            ["detect", str(tmp_path / "cut.mkv"), *call[2:], "--out", str(tmp_path / "b.MP4")],
            "no frame of it can be read",
        ),
        (["detect", str(clip), str(clip)], "by itself"),
        (["detect", str(tmp_path / "absent.mp4")], "there is no video"),
        (["detect", str(tmp_path), "--every", "2"], "--every is for a video"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=named):
            CliRunner().invoke(cli.app, wrong, catch_exceptions=False)
    assert not (tmp_path / "b.MP4").exists()


@pytest.mark.needs("av")
def test_what_was_written_before_ctrl_c_can_be_played(tmp_path):
    with pytest.raises(KeyboardInterrupt), Writer(tmp_path / "a.mp4", fractions.Fraction(10)) as writer:
        for i in range(3):
            writer.add(Image.new("RGB", (65, 33), (80 * i, 0, 0)))
        raise KeyboardInterrupt
    assert [image.shape for _, _, image in frames(tmp_path / "a.mp4")] == [(32, 64, 3)] * 3
    with pytest.raises(KeyboardInterrupt), Writer(tmp_path / "b.mp4", fractions.Fraction(10)):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.needs("av")
def test_standard_input_is_a_video(clip, model, monkeypatch):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(clip.read_bytes())))
    assert len(list(model.detect_video("-"))) == FRAMES


@pytest.mark.needs("av")
def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="a.mp4 cannot be opened as a video"):
        Reader(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="a video must end in"):
        Writer(tmp_path / "a.txt", fractions.Fraction(10))
