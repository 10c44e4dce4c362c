"""Detection in videos: what is in each frame, in their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_det.data.video import Reader, is_live
from keras_det.models.detections import Detections

if TYPE_CHECKING:
    from keras_det.models.detector import Detector

MOST_HELD = 16  # frames, whose pixels are kept until they are shown
BATCH = 8  # frames sent through the network together; of cameras and streams one, since frames should not wait


@dataclass(frozen=True)
class VideoFrame:
    """What was found in a frame.

    Attributes:
        number: of the frame, from 0.
        seconds: since the beginning.
        detections: its `Detections`, whose `image` is the frame; those of the last frame that was looked at, where
            some are passed over.
    """

    number: int
    seconds: float
    detections: Detections

    def to_dict(self) -> dict:
        """A dict of plain values: `frame`, `seconds` and `objects` as of `Detections.to_dict`."""
        return {"frame": self.number, "seconds": self.seconds, "objects": self.detections.to_dict()["objects"]}


def detect_frames(
    model: Detector,
    reader: Reader,
    score_threshold: float | None = None,
    every: int = 1,
    batch_size: int = BATCH,
) -> Iterator[VideoFrame]:
    """What a detector finds in each frame, in their order, some frames at a time.

    Args:
        model: a `Detector`.
        reader: the video.
        score_threshold: as of `Detector.detect`.
        every: look at every so many frames; those between have the detections of the last one looked at.
        batch_size: frames sent through the network together; of cameras and streams one.
    """
    batch_size = 1 if is_live(reader.source) else batch_size
    waiting, last = [], None
    for number, seconds, image in reader:
        waiting.append((number, seconds, image))
        if len(waiting) == min(every * batch_size, MOST_HELD):
            for frame in _found(model, waiting, score_threshold, every, last):
                last = frame.detections
                yield frame
            waiting = []
    yield from _found(model, waiting, score_threshold, every, last)


def _found(model, frames, score_threshold, every, last):
    """The detections of some frames; `last` are those of the frame before them."""
    looked = iter(model.stream([image for number, _, image in frames if number % every == 0], score_threshold))
    for number, seconds, image in frames:
        if number % every == 0:
            last = next(looked)
        shown = Detections(last.boxes, last.scores, last.labels, last.classes, image, f"frame {number}")
        yield VideoFrame(number, seconds, shown)
