"""The base class of all detectors: inference on images of any size."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_det import boxes as box_ops
from keras_det.models.detections import Detections
from keras_det.models.network import Network
from keras_det.models.registry import entry_of
from keras_det.types import Tensor
from keras_det.weights.registry import CAFFE_MEAN

if TYPE_CHECKING:
    from keras_det.data.source import Source
    from keras_det.models.video import VideoFrame

DETECT_BATCH = 8  # images of one size that `detect` sends through the network together
BATCH_PIXELS = 2**24  # of these together, unless one alone has more
NMS_OPTIONS = {"score_threshold", "iou_threshold", "max_per_class", "max_detections"}


class Detector(Network):
    """A detector: a network with its objective, its sampling and its inference.

    A subclass gives `call`, `encode_targets`, `compute_losses` and `scored_boxes`; `serve` too if it needs several
    passes, and `augmentation` if its paper samples images in a way of its own. See `Network` for its arguments.
    """

    detects = True
    detect_threshold = 0.5
    """Score from which `detect` shows a detection, unless it is told another."""

    single_pass = True
    """Whether `scored_boxes` of one pass over the whole image gives all detections, which TFLite's one graph needs."""

    any_size = True
    """Whether one graph serves images of all sizes, which exports need."""

    def __init__(self, weights: str | os.PathLike | None = None, **kwargs: Any):
        super().__init__(weights, **kwargs)
        self._compiled_serve = None

    def scored_boxes(self, outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Boxes and class scores before suppression.

        Args:
            outputs: what `call` gives.

        Returns:
            `[B, A, 4]` rel_yxyx boxes, and `[B, A, C]` scores in 0 .. 1, without background.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define scored_boxes.")

    @property
    def nms_options(self) -> dict[str, Any]:
        """The arguments of `keras_det.boxes.nms` that this model suppresses with: those that its configuration has."""
        names = {field.name for field in dataclasses.fields(self.config)} & NMS_OPTIONS
        return {name: getattr(self.config, name) for name in sorted(names)}

    def decode(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Detections from raw outputs: suppression per class, the best of the image, limited to it.

        Args:
            outputs: what `call` gives.

        Returns:
            Detections dict.
        """
        found = box_ops.nms(*self.scored_boxes(outputs), **self.nms_options)
        return found | {"boxes": ops.clip(found["boxes"], 0.0, 1.0)}

    def extra_metrics(self, source: Source, batch_size: int = 16) -> dict[str, float]:
        """What this model is judged by beside a detector's usual metrics.

        Args:
            source: a `keras_det.data.Source` with at least one of the model's classes.
            batch_size: images sent through the network together.

        Returns:
            A dict of floats, by the function that the model is registered with; empty where there is none.
        """
        entry = entry_of(type(self))
        if entry is None or entry.extra_metrics is None:
            return {}
        module, function = entry.extra_metrics.split(":")
        return getattr(importlib.import_module(module), function)(self, source, batch_size)

    def serve(self, images: Tensor) -> dict[str, Tensor]:
        """The whole inference procedure on images of one size.

        Args:
            images: `[B, h, w, 3]` RGB, uint8 or float in 0 .. 255, of any size.

        Returns:
            Detections dict with boxes relative to these images.
        """
        images, window = self.fitted(images)
        return self.decoded_in(window, self(images, training=False))

    def fitted(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images at the network's size.

        Args:
            images: `[B, h, w, 3]`, of one size.

        Returns:
            `[B, H, W, 3]` float32 in the range of the images, stretched or letterboxed as the model's `resize` says,
            and the window of the image that it shows, `[4]` rel_yxyx; `None` for the whole image.
        """
        images = ops.cast(images, "float32")
        if self.resize == "stretch":
            return ops.image.resize(images, self.image_size, interpolation="bilinear"), None
        count, height, width = (ops.shape(images)[axis] for axis in range(3))
        window = box_ops.canvas_window(height, width, self.image_size)
        each = ops.broadcast_to(window, (count, 1, 4))
        shown = box_ops.crop_and_resize(images, each, self.image_size)[:, 0]
        top, left, rows, columns = box_ops.letterbox(height, width, self.image_size)
        y, x = (ops.arange(side, dtype="int32") for side in self.image_size)
        inside = ops.expand_dims((y >= top) & (y < top + rows), 1) & ((x >= left) & (x < left + columns))
        return ops.where(ops.expand_dims(inside, -1), shown, ops.convert_to_tensor(CAFFE_MEAN, "float32")), window

    def decoded_in(self, window: Tensor | None, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Detections in the frame of the images from outputs of the windows that `fitted` gave.

        Args:
            window: as `fitted` gives it, or `[B, 4]`, one for each image.
            outputs: what `call` gives.

        Returns:
            Detections dict.
        """
        found = self.decode(outputs)
        return found if window is None else found | {"boxes": box_ops.from_window(found["boxes"], window)}

    def detections(self, images: Tensor) -> dict[str, np.ndarray]:
        """`serve`, compiled once for every size of image, as a dict of numpy arrays.

        Args:
            images: `[B, h, w, 3]` array, uint8 or float in 0 .. 255.
        """
        if self._compiled_serve is None:
            self._compiled_serve = self._compile()
        return {key: np.asarray(value) for key, value in self._compiled_serve(images).items()}

    def _compile(self):
        """`serve`, compiled: once, or for each size of image."""
        return compiled(self.serve, self, any_size=self.any_size)

    def detect(self, images: Any, score_threshold: float | None = None) -> list[Detections]:
        """Detect objects in images of any size and kind.

        Args:
            images: a path, a folder of images, a glob pattern, a PIL image, an array `[H, W]`, `[H, W, 1 | 3 | 4]` or
                `[B, H, W, 3]`, or a list of these. Arrays are RGB, in 0 .. 255, or floating point in 0 .. 1, or of 16
                bits.
            score_threshold: detections below it are left out; `None` is the model's `detect_threshold`, mostly 0.5.

        Returns:
            A list of `Detections`, one for each image, boxes relative to the image as a viewer shows it (rotated by
            its EXIF tag).

        Raises:
            FileNotFoundError: a path or a pattern that matches nothing.
            ValueError: something that is no image.
            TypeError: an object of another type.
        """
        return list(self.stream(images, score_threshold))

    def stream(
        self, images: Any, score_threshold: float | None = None, bad: Callable[[str, Exception], None] | None = None
    ) -> Iterator[Detections]:
        """As `detect`, one image's detections after the other as they come: of any number of images a few are held.

        Args:
            images: as `detect` takes them.
            score_threshold: as `detect` takes it.
            bad: called with the path and the error of each file that cannot be read, which is passed over; `None`
                raises the error.
        """
        from keras_det.models.inputs import read_images

        threshold = self.detect_threshold if score_threshold is None else score_threshold
        for batch, names in _same_size(read_images(images, with_errors=bad is not None)):
            if bad is not None and isinstance(batch, Exception):
                bad(names, batch)
                continue
            found = self.detections(np.stack(batch))
            for i, (image, name) in enumerate(zip(batch, names)):
                keep = (found["scores"][i] >= threshold) & (found["labels"][i] >= 0)
                boxes, scores, labels = (found[key][i][keep] for key in ("boxes", "scores", "labels"))
                yield Detections(boxes, scores, labels, self.classes, image, name)

    def detect_video(
        self, source: str | os.PathLike, score_threshold: float | None = None, every: int = 1, batch_size: int = 8
    ) -> Iterator[VideoFrame]:
        """What is in each frame of a video, as it comes; a few frames are held at a time. Needs the extra `video`.

        Args:
            source: a file, an address, the number of a camera, or `-` for standard input.
            score_threshold: as `detect` takes it.
            every: look at every so many frames; those between have the detections of the last one looked at.
            batch_size: frames sent through the network together; of cameras and streams one.

        Yields:
            A `keras_det.models.video.VideoFrame` for each frame: `number`, `seconds` and `detections`.

        Raises:
            ImportError: PyAV is missing.
            FileNotFoundError: there is no such file.
            ValueError: it cannot be opened as a video.
        """
        from keras_det.data.video import Reader
        from keras_det.models.video import detect_frames

        if every < 1:
            raise ValueError(f"`every` must be at least 1; got {every!r}.")
        reader = Reader(source)
        try:
            yield from detect_frames(self, reader, score_threshold, every, batch_size)
        finally:
            reader.close()


def compiled(function: Callable, model: keras.Model, xla: bool = False, any_size: bool = True) -> Callable:
    """The function compiled for the current backend.

    Args:
        function: of tensors; it uses the model's variables as they are at each call.
        model: a Keras model.
        xla: on TensorFlow too by XLA, which makes one program of many small operations; JAX always does.
        any_size: on TensorFlow, without `xla`, one graph serves all image sizes, which it then does not know.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True if xla else None, reduce_retracing=any_size and not xla)
    if keras.backend.backend() == "jax":
        import jax

        def run(values, *arguments):
            with keras.StatelessScope(state_mapping=list(zip(model.variables, values))):
                return function(*arguments)

        program = jax.jit(run)  # what it does not get as an argument would stay as it was when it was compiled
        return lambda *arguments: program([variable.value for variable in model.variables], *arguments)
    return function


def _same_size(images: Any) -> Iterator[tuple[Any, Any]]:
    """Group consecutive images of one size into batches: `(images, names)` pairs; errors stay in their places."""
    batch, names = [], []
    for image, name in images:
        if isinstance(image, Exception):
            if batch:
                yield batch, names
            yield image, name
            batch, names = [], []
            continue
        most = min(DETECT_BATCH, max(BATCH_PIXELS // (image.shape[0] * image.shape[1]), 1))
        if batch and (image.shape != batch[0].shape or len(batch) >= most):
            yield batch, names
            batch, names = [], []
        batch.append(image)
        names.append(name)
    if batch:
        yield batch, names
