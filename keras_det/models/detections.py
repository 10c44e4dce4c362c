"""What a detector found in one image."""

import dataclasses
import importlib
import io
import numbers
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from keras_det.files import write_image

SHOWN = 5  # detections that `repr` names
IN_NOTEBOOKS = 1024  # pixels of the longer side of the image that a notebook shows


class Detection(NamedTuple):
    """One object that a detector found.

    Attributes:
        name: of its class.
        score: in 0 .. 1.
        box: `(xmin, ymin, xmax, ymax)` in the image's pixels.
    """

    name: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, repr=False, eq=False)
class Detections:
    """Detections of one image, by descending score.

    `len(found)` is their number, `for one in found` goes through them as `Detection`s, `found[0]` is the best, and
    `found[:5]` or `found[found.scores > 0.8]` are `Detections` again. A notebook shows them as the image with boxes.

    Attributes:
        boxes: `[n, 4]` float32 rel_yxyx, relative to `image`.
        scores: `[n]` float32 in 0 .. 1.
        labels: `[n]` int32, index into `classes`.
        classes: names of the detector's classes.
        image: the image, `[H, W, 3]` uint8 RGB.
        source: the file that it came from, if any.

    >>> image = np.zeros((100, 200, 3), "uint8")
    >>> boxes = np.array([[0.1, 0.1, 0.5, 0.5], [0.2, 0.6, 0.9, 0.9]], "float32")
    >>> found = Detections(boxes, np.array([0.9, 0.6], "float32"), np.array([1, 0]), ("cat", "dog"), image)
    >>> found
    <2 detections: dog 0.90, cat 0.60>
    >>> [one.name for one in found], found.filter("cat")[0].box
    (['dog', 'cat'], (120.0, 20.0, 180.0, 90.0))
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    image: np.ndarray
    source: str | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, numbers.Integral):
            box = tuple(round(edge, 2) for edge in self.boxes_pixels[which].tolist())
            return Detection(self.classes[self.labels[which]], float(self.scores[which]), box)
        rows = {name: getattr(self, name)[which] for name in ("boxes", "scores", "labels")}
        return dataclasses.replace(self, **rows)

    def __iter__(self) -> Iterator[Detection]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        shown = ", ".join(f"{one.name} {one.score:.2f}" for one in self[:SHOWN])
        more = ", ..." if len(self) > SHOWN else ""
        of = f" in {self.source}" if self.source else ""
        return f"<{len(self)} detection{'' if len(self) == 1 else 's'}{of}{': ' if shown else ''}{shown}{more}>"

    def _repr_png_(self) -> bytes:
        drawn, file = self.plot(), io.BytesIO()
        drawn.thumbnail((IN_NOTEBOOKS, IN_NOTEBOOKS))
        drawn.save(file, "png")
        return file.getvalue()

    def filter(self, names: str | Sequence[str] | None = None, score_threshold: float = 0.0) -> "Detections":
        """The detections of some classes, and of a score.

        Args:
            names: a class, or several; `None` keeps all.
            score_threshold: the lowest score that is kept.

        Raises:
            ValueError: a name that is none of the classes.
        """
        wanted = self.classes if names is None else (names,) if isinstance(names, str) else tuple(names)
        if unknown := [name for name in wanted if name not in self.classes]:
            raise ValueError(f"`names` must be of {', '.join(self.classes)}; got {unknown[0]!r}.")
        labels = [self.classes.index(name) for name in wanted]
        return self[np.isin(self.labels, labels) & (self.scores >= score_threshold)]

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

    def to_yolo(self) -> str:
        """Lines as YOLO's tools read them: label, center x, center y, width, height relative to the image, score."""
        center, side = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2, self.boxes[:, 2:] - self.boxes[:, :2]
        rows = np.concatenate([center[:, ::-1], side[:, ::-1], self.scores[:, None]], axis=1)
        return "".join(f"{label} {' '.join(f'{v:.6f}' for v in row)}\n" for label, row in zip(self.labels, rows))

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with a row for each: `name`, `label`, `score`, `xmin`, `ymin`, `xmax`, `ymax` in pixels.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        pandas = _installed("pandas")
        edges = dict(zip(("xmin", "ymin", "xmax", "ymax"), self.boxes_pixels.T))
        return pandas.DataFrame({"name": self.names, "label": self.labels, "score": self.scores} | edges)

    def to_supervision(self) -> Any:
        """A `supervision.Detections`, with the names under `class_name`.

        Raises:
            ModuleNotFoundError: supervision is not installed.
        """
        supervision = _installed("supervision")
        data = {"class_name": np.array(self.names, dtype=str)}
        labels = self.labels.astype(int)
        return supervision.Detections(xyxy=self.boxes_pixels, confidence=self.scores, class_id=labels, data=data)

    def plot(self) -> Image.Image:
        """The image with boxes, names and scores drawn: a PIL image."""
        from keras_det.visualize import draw_boxes

        return draw_boxes(self.image, self.boxes, labels=self.labels, scores=self.scores, names=self.classes)

    def save(self, path: str | os.PathLike) -> None:
        """Write `plot()` to `path`, whose ending names the format, PNG where it has none; whole or not at all."""
        write_image(path, self.plot())


def _installed(module: str) -> Any:
    """A module that the package can do without."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{module} is not installed: pip install {module}") from error
