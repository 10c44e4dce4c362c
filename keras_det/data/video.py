"""Videos, cameras and streams: their frames, and a file of frames. Needs PyAV, the extra `video`."""

from __future__ import annotations

import contextlib
import fractions
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_det.files import whole

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".ts",
    ".mts",
    ".flv",
    ".wmv",
    ".3gp",
    ".ogv",
)
"""The endings, in lower case, of the files that `keras-det detect` takes for videos."""

STREAMS = re.compile(r"(rtsp|rtmp|rtsps|srt|udp|tcp)://")
CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}
WRITTEN = (".mp4", ".mkv", ".mov", ".avi")  # forms that take the codecs
CODECS = ("libx264", "libopenh264", "mpeg4")  # the first that PyAV was built with
FRAMES_PER_SECOND = fractions.Fraction(25)  # where a source does not say


def is_video(source: str) -> bool:
    """Whether a text names a video: a file by its ending, a stream by its address, a camera by its number, or `-`."""
    if source == "-" or STREAMS.match(source):
        return True
    if source.isdecimal():
        return not os.path.exists(source)
    return source.lower().partition("?")[0].endswith(SUFFIXES)


def is_live(source: str) -> bool:
    """Whether frames come as they are taken, so that none should wait for others."""
    return source == "-" or source.isdecimal() or bool(STREAMS.match(source))


class Reader:
    """The frames of a video.

    Args:
        source: a file, an address, the number of a camera, or `-` for standard input.

    Attributes:
        rate: frames per second.
        frames: how many there are, or `None` where that is not known beforehand.

    Raises:
        ImportError: PyAV is missing.
        FileNotFoundError: there is no such file.
        ValueError: it cannot be opened as a video.
    """

    def __init__(self, source: str | os.PathLike):
        self.source = os.fspath(source)
        self._container = _opened(self.source)
        streams = self._container.streams.video
        if not streams:
            raise ValueError(f"{self.source} has no video stream.")
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        self.rate = self._stream.average_rate or FRAMES_PER_SECOND
        self.frames = self._stream.frames or None

    def __iter__(self) -> Iterator[tuple[int, float, np.ndarray]]:
        """`(number, seconds, frame)`: uint8 RGB `[H, W, 3]`, upright; a damaged frame is left out."""
        import av.error

        number = 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                decoded = next(packets).decode()
            except StopIteration:
                return
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                continue
            for frame in decoded:
                seconds = float(frame.time) if frame.time is not None else float(number / self.rate)
                yield number, seconds, _upright(frame)
                number += 1

    def close(self) -> None:
        """Close the file."""
        self._container.close()


class Writer:
    """A video of frames, which appears at its path when the block ends, also by Ctrl-C or an error.

    Args:
        path: file to write, such as `found.mp4`; its ending names the form.
        rate: frames per second.

    Raises:
        ValueError: an ending of a form that is not written.
    """

    def __init__(self, path: str | os.PathLike, rate: fractions.Fraction):
        self.path, self.rate = Path(path), fractions.Fraction(rate).limit_denominator(65_535)
        if not self.path.name.lower().endswith(WRITTEN):
            raise ValueError(f"a video must end in {', '.join(WRITTEN)}; got {self.path.name!r}.")
        self._stream: Any = None

    def __enter__(self):
        import av

        self._files = contextlib.ExitStack()
        temporary = self._files.enter_context(whole(self.path))
        self._container = self._files.enter_context(av.open(os.fspath(temporary), "w"))
        return self

    def add(self, image: Image.Image) -> None:
        """Add a frame; all have the first one's size."""
        import av

        if self._stream is None:
            self._stream = self._container.add_stream(_codec(), rate=self.rate)
            self._stream.width, self._stream.height = (side - side % 2 for side in image.size)  # codecs halve colors
            self._stream.pix_fmt = "yuv420p"
        size = self._stream.width, self._stream.height
        near = all(0 <= have - want < 2 for have, want in zip(image.size, size))
        image = image.crop((0, 0, *size)) if near else image.resize(size)
        self._encode(av.VideoFrame.from_image(image.convert("RGB")))

    def _encode(self, frame=None):
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def __exit__(self, kind, error, trace):
        """What was written so far is a video, whatever ended the block; without frames nothing is."""
        if self._stream is not None:
            self._encode()
            self._files.close()
        else:
            self._files.__exit__(kind or ValueError, error or ValueError("no frames"), trace)


def _opened(source):
    """PyAV's container of the source."""
    if importlib.util.find_spec("av") is None:
        raise ImportError("videos need PyAV: pip install 'keras_det[video]'")
    import av.error

    options: dict[str, Any] = {}
    place: Any = source
    if source == "-":
        place = sys.stdin.buffer
    elif source.isdecimal() and not os.path.exists(source):
        form, address = CAMERAS.get(sys.platform, CAMERAS["linux"])
        place, options = address.format(source), {"format": form}
    elif "://" not in source and not os.path.isfile(source):
        raise FileNotFoundError(f"there is no video {source}.")
    try:
        return av.open(place, **options)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise ValueError(f"{source} cannot be opened as a video: {error}") from error


def _upright(frame):
    """The frame's pixels, turned as its metadata says."""
    pixels = frame.to_ndarray(format="rgb24")
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _codec():
    """The first codec that PyAV was built with."""
    import av

    return next(name for name in CODECS if name in av.codecs_available)
