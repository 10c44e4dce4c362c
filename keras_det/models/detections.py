"""What a detector found in one image."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from keras_det.files import write_image


@dataclass(frozen=True)
class Detections:
    """Detections of one image, by descending score.

    Attributes:
        boxes: `[n, 4]` float32 rel_yxyx, relative to `image`.
        scores: `[n]` float32 in 0 .. 1.
        labels: `[n]` int32, index into `classes`.
        classes: names of the detector's classes.
        image: the image, `[H, W, 3]` uint8 RGB.
        source: the file that it came from, if any.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    image: np.ndarray
    source: str | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        """Class name of each detection."""
        return [self.classes[label] for label in self.labels]

    @property
    def boxes_pixels(self) -> np.ndarray:
        """`[n, 4]` float32 boxes `(xmin, ymin, xmax, ymax)` in the image's pixels."""
        height, width = self.image.shape[:2]
        return self.boxes[:, [1, 0, 3, 2]] * np.array([width, height, width, height], "float32")

    def to_dict(self) -> dict:
        """A dict of plain lists: `image`, `height`, `width` and `objects` with name, label, score and `box`.

        `box` is `[xmin, ymin, xmax, ymax]` in pixels.
        """
        rows = zip(self.names, self.labels.tolist(), self.scores.tolist(), self.boxes_pixels.tolist())
        objects = [{"name": n, "label": i, "score": s, "box": b} for n, i, s, b in rows]
        height, width = self.image.shape[:2]
        return {"image": self.source, "height": height, "width": width, "objects": objects}

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict]:
        """Entries of a COCO results file: `bbox` is `[x, y, width, height]` in pixels.

        Args:
            image_id: the image's id in the data set.
            category_ids: id of each class; 1 .. C by default, as in COCO, whose ids start at 1.
        """
        ids = category_ids or range(1, len(self.classes) + 1)
        return [
            {"image_id": image_id, "category_id": int(ids[i]), "bbox": [x0, y0, x1 - x0, y1 - y0], "score": s}
            for i, s, (x0, y0, x1, y1) in zip(self.labels, self.scores.tolist(), self.boxes_pixels.tolist())
        ]

    def plot(self) -> Image.Image:
        """The image with boxes, names and scores drawn: a PIL image."""
        from keras_det.visualize import draw_boxes

        return draw_boxes(self.image, self.boxes, labels=self.labels, scores=self.scores, names=self.classes)

    def save(self, path: str | os.PathLike) -> None:
        """Write `plot()` to `path`, whose ending names the format, PNG where it has none; whole or not at all."""
        write_image(path, self.plot())
