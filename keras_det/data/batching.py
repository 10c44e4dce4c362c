"""Batches for training and evaluation: tf.data over a source, labels padded to one length."""

import collections
import concurrent.futures
import dataclasses
import itertools
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_det.data.augment import pad_rows
from keras_det.data.image_files import open_file, stored_size
from keras_det.data.resize import fitted
from keras_det.data.resize import resize as resized
from keras_det.data.source import AnnotationIssue, Source, unreadable
from keras_det.data.transforms import as_augmentation
from keras_det.types import Tensor

FIELDS = ("boxes", "labels", "difficult", "is_crowd")
TOGETHER = 16  # images that one call reads
_BATCH_PIXELS = 2**24  # of the images of a batch together, unless one alone has more
_WAITING_BYTES = 2**28  # of images that wait for others of their size
_DCT = "INTEGER_ACCURATE"  # Pillow's, so that its pixels and TensorFlow's are the same


@dataclasses.dataclass(frozen=True)
class OriginalImage:
    """An image that is decoded only where it is needed.

    Attributes:
        encoded: scalar string, a JPEG that `plain_jpeg_size` knows, or empty.
        pixels: `[H, W, 3]` uint8 where `encoded` is empty.
        shape: `[2]` int32 height and width.
    """

    encoded: tf.Tensor
    pixels: tf.Tensor
    shape: tf.Tensor

    @property
    def scale(self) -> Tensor:
        """`[4]` float32: a rel_yxyx box times this is in pixels."""
        return tf.cast(tf.tile(self.shape, [2]), tf.float32)

    def crop(self, top: int | Tensor, left: int | Tensor, height: int | Tensor, width: int | Tensor) -> Tensor:
        """The pixels of a window inside the image, uint8, as if cut from the whole."""

        def decode():
            # Colors are stored at half the resolution: at the window's sides their interpolation needs a neighbor.
            first, last = tf.maximum(left - 1, 0), tf.minimum(left + width + 1, self.shape[1])
            window = tf.stack([top, first, height, last - first])
            pixels = tf.image.decode_and_crop_jpeg(self.encoded, window, channels=3, dct_method=_DCT)
            return pixels[:, left - first : left - first + width]

        return tf.cond(
            tf.strings.length(self.encoded) > 0,
            decode,
            lambda: self.pixels[top : top + height, left : left + width],
        )

    def whole(self) -> Tensor:
        """All pixels, uint8."""
        return self.crop(0, 0, self.shape[0], self.shape[1])

    def paste(self, source: Tensor, target: Tensor, size: tuple[int, int]) -> Tensor:
        """The pixels of `source` at `target`, as `place` gives them; what surrounds them has no meaning.

        Returns:
            `[H, W, 3]` float32 of `size`.
        """
        image = resized(self.crop(*tf.unstack(source)), tf.maximum(target[2:], 1))

        def padded():
            before = tf.minimum(target[:2], tf.constant(size) - 1)
            widths = tf.stack([before, size - before - tf.shape(image)[:2]], 1)
            rows = tf.reshape(image, [tf.shape(image)[0], -1])  # two axes are padded twice as fast as three
            return tf.reshape(tf.pad(rows, widths * [[1], [3]]), (*size, 3))

        return tf.ensure_shape(tf.cond(tf.reduce_all(target[2:] == size), lambda: image, padded), (*size, 3))

    def sample(self, window: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The window resized to `size`.

        Args:
            window: `[4]` rel_yxyx of the image, which it may leave.
            size: `(height, width)` of the sample.

        Returns:
            `(image [H, W, 3] float32, inside [H, W, 1] bool)`; pixels that are not inside have no meaning.
        """
        window = window * self.scale
        size_here = self.scale[:2]
        low = tf.clip_by_value(tf.floor(window[:2]), 0.0, size_here - 1)  # one pixel at least, wherever the window lies
        high = tf.clip_by_value(tf.math.ceil(window[2:]), low + 1, size_here)
        top, left = tf.unstack(tf.cast(low, tf.int32))
        height, width = tf.unstack(tf.cast(high - low, tf.int32))
        pixels = tf.cast(self.crop(top, left, height, width), tf.float32)
        scale = tf.constant(size, tf.float32) / (window[2:] - window[:2])
        image = tf.raw_ops.ScaleAndTranslate(
            images=pixels[None],
            size=list(size),
            scale=scale,
            translation=(low - window[:2]) * scale,
            kernel_type="triangle",
            antialias=False,
        )[0]
        edges = [(e - window[:2]) * scale for e in (tf.zeros(2), size_here)]
        centers = [tf.range(n, dtype=tf.float32) + 0.5 for n in size]
        rows, columns = ((c > edges[0][k]) & (c < edges[1][k]) for k, c in enumerate(centers))
        return tf.ensure_shape(image, (*size, 3)), (rows[:, None] & columns[None, :])[..., None]


def batches(
    source: Source,
    batch_size: int,
    image_size: tuple[int, int],
    training: bool,
    augment: Any = None,
    seed: int = 0,
    max_objects: int | None = None,
    repeat: bool = False,
    first_step: int = 0,
    skipped: list[AnnotationIssue] | None = None,
    class_agnostic: bool = False,
    cache_bytes: int = 0,
    shard: tuple[int, int] = (0, 1),
    resize: str = "stretch",
) -> tf.data.Dataset:
    """Batches of a source.

    In training, order and samples are a pure function of `seed` and of how often the data has been gone through, so
    that a resumed run (`repeat=True, first_step=...`) sees what an uninterrupted one would have seen.

    Args:
        source: a `Source`.
        batch_size: images in a batch, at least 1. In training a last batch that is not full is left out, unless it is
            the only one; else it is partial.
        image_size: `(height, width)` of the batch in pixels.
        training: sample and shuffle; else every image once, in order, only resized.
        augment: a function such as `SSDAugmentation(image_size)`; Keras's preprocessing layers, one or a sequence; an
            `albumentations.Compose`; or `None` to resize only. See `keras_det.data.transforms`.
        seed: of order and augmentation.
        max_objects: M, to which labels are padded; by default the most that any image has.
        repeat: go through the data without end; else each iteration is once through it, in a new order.
        first_step: with `repeat`, the batch to begin with.
        skipped: list that gets an `AnnotationIssue` for each unreadable image; more than the source's `max_unreadable`
            of them end the run.
        class_agnostic: give all objects label 0, for models that do not tell classes apart.
        cache_bytes: keep decoded images in up to this much memory. The first ones that fit stay: with a new order in
            each epoch that serves as many as any other rule. Samples are the same with and without.
        shard: `(index, count)` of a machine among those that train together: only its part of each batch is read, and
            `count` such parts are a batch here. `batch_size` is to be a multiple of `count`.
        resize: how an image gets the size of the batch where `augment` is `None`: `"stretch"` or `"letterbox"`, see
            `keras_det.data.resize.fitted`; boxes are relative to the batch's images.

    Returns:
        `tf.data.Dataset` of `(images [B, H, W, 3] float32 in 0 .. 255, labels)`. Labels are the dict of `boxes`
        `[B, M, 4]`, `labels` `[B, M]`, `difficult` and `is_crowd`, and without `training` also `index` `[B]` int64 and
        `image_shape` `[B, 2]` int32, the image's own height and width.

    Raises:
        ValueError: an empty source, numbers out of range, too many faulty objects (`Source.check`), or an `augment`
            that does not move boxes.
    """
    if len(source) == 0:
        raise ValueError(f"{source.name} has no images.")
    source.check()
    if batch_size < 1 or first_step < 0:
        raise ValueError(f"`batch_size` must be at least 1 and `first_step` 0; got {batch_size} and {first_step}.")
    if cache_bytes < 0:
        raise ValueError(f"`cache_bytes` must be at least 0; got {cache_bytes}.")
    augment = as_augmentation(augment, image_size)
    reader = _Reader(source, [] if skipped is None else skipped, cache_bytes)
    most = max_objects or most_objects(source)
    full = training and len(source) >= batch_size
    if shard[1] > 1 and not full:
        raise ValueError(f"{source.name} has {len(source)} images, too few for batches of {batch_size} in parts.")
    if training:
        dataset = _order(source, batch_size if full else 1, seed, repeat, first_step, shard)
    else:
        dataset = _in_turn(source)
    dataset = dataset.batch(TOGETHER).map(reader.files, num_parallel_calls=tf.data.AUTOTUNE).unbatch()

    def sample(index, key, encoded, shape, count, *rows):
        readable, original = reader.original(index, encoded, shape)
        objects = {name: value[:count] for name, value in zip(FIELDS, rows)}
        if class_agnostic:
            objects["labels"] = tf.zeros_like(objects["labels"])
        if augment is None:
            image, boxes = fitted(original.whole(), objects["boxes"], image_size, resize)
            objects["boxes"] = boxes
        else:
            image, objects = augment(original, objects, key)
        shapes = {name: (most, *value.shape[1:]) for name, value in objects.items()}
        padded = {k: tf.ensure_shape(v[:most], shapes[k]) for k, v in pad_rows(objects, most).items()}
        if not training:
            padded |= {"index": index, "image_shape": original.shape}
        return readable, tf.ensure_shape(image, (*image_size, 3)), padded

    dataset = dataset.map(sample, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.filter(lambda readable, *_: readable)
    alone = shard[1] == 1
    dataset = dataset.batch(batch_size, drop_remainder=full and alone)
    dataset = dataset.map(lambda _, images, labels: (images, labels))
    options = tf.data.Options()
    options.deterministic = True
    policy = tf.data.experimental.AutoShardPolicy
    options.experimental_distribute.auto_shard_policy = policy.DATA if alone else policy.OFF
    return dataset.prefetch(2).with_options(options)


def whole_images(
    source: Source, batch_size: int, skipped: list[AnnotationIssue] | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every image of a source once with its own pixels, in batches of one size: what a whole inference procedure sees.

    Images of one size are batched even where others lie between them, so the order is not the source's. A batch has
    fewer images than `batch_size` where they are large, and where no others of a size are left.

    Args:
        source: a `Source`.
        batch_size: images in a batch at most, at least 1.
        skipped: as of `batches`.

    Yields:
        `(images [B, h, w, 3] uint8 RGB, indexes [B] int64)`, the images' numbers in the source.

    Raises:
        ValueError: an empty source, a `batch_size` below 1, or too many unreadable images.

    >>> from keras_det.data import Shapes
    >>> [(images.shape, indexes.tolist()) for images, indexes in whole_images(Shapes(3, size=48), 2)]
    [((2, 48, 48, 3), [0, 1]), ((1, 48, 48, 3), [2])]
    """
    if len(source) == 0:
        raise ValueError(f"{source.name} has no images.")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1; got {batch_size}.")
    reader = _Reader(source, [] if skipped is None else skipped, 0)
    waiting = collections.defaultdict(list)
    waiting_bytes = 0
    for i, (readable, pixels) in enumerate(_ahead(reader.pixels, range(len(source)))):
        if not readable:
            continue
        shape = pixels.shape
        waiting[shape].append((pixels, i))
        waiting_bytes += pixels.nbytes
        count = len(waiting[shape])
        if count == batch_size or (count + 1) * shape[0] * shape[1] > _BATCH_PIXELS:
            full = shape
        elif waiting_bytes > _WAITING_BYTES:
            full = max(waiting, key=lambda other: len(waiting[other]) * np.prod(other))
        else:
            continue
        group = waiting.pop(full)
        waiting_bytes -= sum(image.nbytes for image, _ in group)
        yield _stacked(group)
    yield from map(_stacked, waiting.values())


def _stacked(group):
    images, indexes = zip(*group)
    return np.stack(images), np.array(indexes, "int64")


def _ahead(function, values):
    """The function's results in order, a few computed ahead in threads; Pillow decodes without the interpreter."""
    workers = min(os.cpu_count() or 1, 8)
    values = iter(values)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        pending = collections.deque(pool.submit(function, v) for v in itertools.islice(values, 2 * workers))
        try:
            while pending:
                yield pending.popleft().result()
                pending.extend(pool.submit(function, v) for v in itertools.islice(values, 1))
        finally:  # whoever stops early waits for none that has not begun
            for future in pending:
                future.cancel()


def most_objects(source: Source) -> int:
    """The largest number of objects in an image of the source, at least 1."""
    known = getattr(source, "max_objects", None)  # rendered sources know without looking
    return known or max(max(len(source.annotation(i)) for i in range(len(source))), 1)


def _in_turn(source):
    """Every image once; the second value stands where training has its seed."""
    return tf.data.Dataset.range(len(source)).map(lambda i: (i, tf.stack([i, i])))


def _order(source, batch_size, seed, repeat, first_step, shard):
    """Numbers of images in a random order, new in each epoch, each with the seed of its sample.

    Of each batch only the part of one machine; see `batches`.
    """
    steps = len(source) // batch_size
    index, count = shard
    each = batch_size // count

    def mine(values):
        shape = [steps, batch_size, *values.shape[1:]]
        part = tf.reshape(values, shape)[:, index * each : (index + 1) * each]
        return tf.reshape(part, [steps * each, *values.shape[1:]])

    def epoch(number):
        key = tf.stack([tf.constant(seed, tf.int64), number])
        order = tf.random.experimental.stateless_shuffle(tf.range(len(source), dtype=tf.int64), key)
        taken = order[: steps * batch_size]
        keys = tf.random.stateless_uniform(
            [steps * batch_size, 2], key + [1, 0], minval=None, maxval=None, dtype=tf.int64
        )
        return tf.data.Dataset.from_tensor_slices((mine(taken), mine(keys)))

    if repeat:
        epochs = tf.data.Dataset.range(first_step // steps, np.iinfo(np.int64).max)
        return epochs.flat_map(epoch).skip(first_step % steps * each)
    return tf.data.Dataset.random(seed, rerandomize_each_iteration=True).take(1).flat_map(epoch)


class _Reader:
    """Reads images and their objects for tf.data: JPEG stays encoded, everything else is decoded or rendered."""

    def __init__(self, source, skipped, cache_bytes):
        self.source = source
        self.skipped = skipped
        self.bad = {}
        self.sizes = {}  # of files seen before: their bytes' number, and what `plain_jpeg_size` found
        self.kept = {}
        self.room = cache_bytes
        self.lock = threading.Lock()

    def files(self, indexes, keys):
        """Some images at once, since a call of Python costs the same for one: `[k]` encoded, shapes, objects."""
        types = (tf.string, tf.int32, tf.int32, tf.float32, tf.int32, tf.bool, tf.bool)
        shapes = ([None], [None, 2], [None], [None, None, 4], *[[None, None]] * 3)
        values = tf.numpy_function(self._files, [indexes], types)
        return indexes, keys, *(tf.ensure_shape(value, shape) for value, shape in zip(values, shapes))

    def _files(self, indexes):
        objects = [self.source.annotation(int(i)) for i in indexes]
        counts = np.array([len(one) for one in objects], "int32")
        # One row at least: tf.data's unbatch crashes the process on an axis of 0.
        present = np.arange(max(counts.max(), 1)) < counts[:, None]
        rows = []
        for name in FIELDS:
            values = np.concatenate([getattr(one, name) for one in objects])
            rows.append(np.zeros((*present.shape, *values.shape[1:]), values.dtype))
            rows[-1][present] = values
        encoded, shapes = zip(*(self._file(int(i)) for i in indexes))
        return np.array(encoded, object), np.array(shapes, "int32"), counts, *rows

    def _file(self, i):
        """Bytes and size of a JPEG that is decoded where it is needed; empty bytes where `pixels` is to be asked."""
        path = None if i in self.kept else self.source.path(i)
        try:
            encoded = b"" if path is None else _jpeg(path)
        except (OSError, ValueError):  # is met again, and reported, by who reads the pixels
            encoded = b""
        if encoded and self.sizes.get(i, (0,))[0] != len(encoded):
            self.sizes[i] = len(encoded), plain_jpeg_size(encoded)
        size = self.sizes[i][1] if encoded else None
        if size is None or self._keep(i, encoded, 3 * size[0] * size[1]):
            encoded = b""
        return encoded, size or (0, 0)

    def original(self, index, encoded, shape):
        """Whether the image can be read, and the `OriginalImage`."""
        is_jpeg = tf.strings.length(encoded) > 0
        readable, pixels = tf.cond(
            is_jpeg,
            lambda: [tf.constant(True), tf.zeros([0, 0, 3], tf.uint8)],
            lambda: tf.numpy_function(self.pixels, [index], (tf.bool, tf.uint8)),
        )
        pixels = tf.ensure_shape(pixels, (None, None, 3))
        shape = tf.where(is_jpeg, shape, tf.shape(pixels)[:2])
        return tf.ensure_shape(readable, ()), OriginalImage(encoded, pixels, shape)

    def pixels(self, i):
        """Whether image `i` can be read, and all its pixels, one if not."""
        i = int(i)
        pixels = self.kept.get(i)
        try:
            if pixels is None:
                pixels = self.source.image(i)
                self._keep(i, pixels, pixels.nbytes)
            elif isinstance(pixels, bytes):  # decoded as it would be in part
                pixels = tf.io.decode_jpeg(pixels, channels=3, dct_method=_DCT).numpy()
                self.kept[i] = pixels
            return np.True_, pixels
        except (ValueError, OSError) as error:
            self._report(i, error)
            return np.False_, np.zeros((1, 1, 3), "uint8")

    def _keep(self, i, original, size):
        """Keep pixels, or the JPEG that they are yet to be decoded from, where they fit."""
        with self.lock:
            fits = i not in self.kept and size <= self.room
            if fits:
                self.kept[i] = original
                self.room -= size
            return fits

    def _report(self, i, error):
        """Remember an unreadable image; too many end the run."""
        with self.lock:
            if i not in self.bad:
                self.bad[i] = unreadable(self.source.file_of(i), error)
                self.skipped.append(self.bad[i])
            self.source.check_unreadable(list(self.bad.values()))


def _jpeg(path):
    """The bytes of a JPEG, or none for any other file."""
    with open_file(path) as file:
        return file.read() if file.peek(2)[:2] == b"\xff\xd8" else b""


def plain_jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG that TensorFlow decodes to the very pixels that Pillow does; None for any other.

    It is gray or RGB, stored upright, of one size by both decoders, and whole to its last byte. What is decoded later
    is a window of it, where a damaged sector might be passed over that the whole image is refused for.
    """
    try:
        size, orientation = stored_size(encoded)
        *same, channels = tf.io.extract_jpeg_shape(encoded).numpy().tolist()
        tf.io.decode_jpeg(encoded, channels=3, ratio=8)  # at an eighth of the size, half of the time
    except (ValueError, tf.errors.InvalidArgumentError):
        return None
    return size if orientation == 1 and channels in (1, 3) and tuple(same) == size else None
