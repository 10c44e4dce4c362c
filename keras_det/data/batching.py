"""Batches for training and evaluation: tf.data over a source, labels padded to one length.

Pictures in files are read and decoded by TensorFlow, on its threads. One that TensorFlow cannot decode ends its sample
with an error, which `ignore_errors` takes out of the stream; the gap shows in the stream's consecutive numbers and is
filled with what `Source.image` reads. So Python is called for rare formats and corrupt files only.
"""

import itertools
import logging
import threading

import numpy as np
import tensorflow as tf

from keras_det.data.augment import Picture
from keras_det.data.pictures import MAX_PIXELS
from keras_det.data.resize import resize
from keras_det.data.source import Problem

MIN_SEEN = 1000
"""Fewest pictures by which the share of corrupt ones is judged; a smaller source is judged by all of its pictures."""

_LOG = logging.getLogger(__name__)
_NAMED = 5  # corrupt pictures named in an error

# Of objects: what they have, its type, the shape of one, and what stands where there is none.
_OBJECTS = {
    "boxes": (tf.float32, (4,), 0.0),
    "labels": (tf.int32, (), -1),
    "difficult": (tf.bool, (), False),
    "is_crowd": (tf.bool, (), False),
}


def batches(
    source,
    batch_size,
    image_size,
    training,
    augment=None,
    seed=0,
    max_objects=None,
    repeat=False,
    first_step=0,
    drop_remainder=None,
    bad_image_fraction=0.01,
    skipped=None,
):
    """Batches of a source.

    In training every epoch has an order of its own, and which picture stands at a place, and how it is sampled, is a
    pure function of `seed`, epoch and place. With `repeat` the epochs follow each other without end, every batch is
    full, and a stream that begins at `first_step` goes on as the stream from the beginning does: a resumed run sees the
    data that an uninterrupted one would have seen. Without, the first iteration is epoch 0, the next epoch 1.

    A corrupt picture is left out, logged and, with `skipped`, reported; in training the one after it in the source
    takes its place, so that all others keep theirs. When more than `bad_image_fraction` of the pictures seen are
    corrupt, the run stops: iteration raises a `tf.errors.OpError` that holds a ValueError with their names. Seen counts
    as at least `MIN_SEEN`, or all pictures of a smaller source.

    Args:
        source: a `Source`. The annotations of pictures in files are read at once and kept.
        batch_size: pictures in a batch, at least 1.
        image_size: `(height, width)` of the batch in pixels.
        training: sample and shuffle; else every picture once, in order, only resized.
        augment: a function such as `SSDAugmentation(image_size)`, or None to resize only. It takes a `Picture`, a dict
            of objects and a seed `[2]` int64, and gives an image `[H, W, 3]` float32 and the objects that are left.
        seed: of order and samples.
        max_objects: M, to which labels are padded; by default the most that any picture has, and at least 1.
        repeat: go through the data without end; else each iteration is one epoch.
        first_step: with `repeat`, the number of the batch to begin with.
        drop_remainder: leave out a last batch that is not full; by default in training, where there is a full one.
        bad_image_fraction: share of corrupt pictures above which the run stops, 0 .. 1.
        skipped: list that gets a `Problem` for each corrupt picture.

    Returns:
        `tf.data.Dataset` of `(images [B, H, W, 3] float32 in 0 .. 255, labels)`. Labels are a dict of `boxes`
        `[B, M, 4]` float32 rel_yxyx, `labels` `[B, M]` int32, `difficult` and `is_crowd` `[B, M]` bool, padded with 0,
        -1 and False; without `training` also `index` `[B]` int64, the picture's number in the source, and
        `image_shape` `[B, 2]` int32, its own height and width.

    Raises:
        ValueError: an empty source, a number out of range, an option that needs `training` or `repeat` without it, or
            a picture with more than `max_objects` objects.

    >>> from keras_det.data import load
    >>> images, labels = next(iter(batches(load("shapes", images=3, size=64), 2, (32, 48), training=False)))
    >>> images.shape, labels["index"].numpy().tolist()
    (TensorShape([2, 32, 48, 3]), [0, 1])
    """
    image_size = tuple(image_size)
    _check(source, batch_size, image_size, training, augment, repeat, first_step, max_objects, bad_image_fraction)
    count = len(source)
    if repeat or drop_remainder is None:
        drop_remainder = training and (repeat or count >= batch_size)
    used = count // batch_size * batch_size if drop_remainder and not repeat else count
    if used == 0:
        raise ValueError(f"`drop_remainder` leaves no batch of {batch_size} pictures: {source.name} has {count}.")
    first = first_step * batch_size
    with tf.device("cpu"):
        reader = _Reader(source, training, max_objects, bad_image_fraction, first, skipped)
        stream = _Stream(source, reader, image_size, training, augment, seed)
        samples = stream.endless(first) if repeat else stream.iteration(used)
    dataset = samples.batch(batch_size, drop_remainder=drop_remainder)
    if training:
        steps = tf.data.INFINITE_CARDINALITY if repeat else -(-used // batch_size)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.prefetch(2).with_options(options)


def _check(source, batch_size, image_size, training, augment, repeat, first_step, max_objects, bad_image_fraction):
    """Raise ValueError for arguments that make no batches."""
    if len(source) == 0:
        raise ValueError(f"{source.name} has no pictures.")
    if batch_size < 1 or first_step < 0 or (max_objects is not None and max_objects < 1):
        raise ValueError(
            "`batch_size` and `max_objects` must be at least 1, `first_step` at least 0; "
            f"got {batch_size}, {max_objects} and {first_step}."
        )
    if len(image_size) != 2 or min(image_size) < 1:
        raise ValueError(f"`image_size` must be (height, width) of at least 1 pixel; got {image_size!r}.")
    if not 0 <= bad_image_fraction <= 1:
        raise ValueError(f"`bad_image_fraction` must be in 0 .. 1; got {bad_image_fraction!r}.")
    if not training and (augment is not None or repeat):
        raise ValueError("`augment` and `repeat` need `training`: an evaluation sees every picture once as it is.")
    if first_step and not repeat:
        raise ValueError(f"`first_step` needs `repeat`; got {first_step}.")


class _Stream:
    """Datasets of single samples, `(image, labels)`.

    Places in a stream, slots, are numbered through all epochs: slot `s` is place `s % count` of epoch `s // count`.
    """

    def __init__(self, source, reader, image_size, training, augment, seed):
        self.count = len(source)
        self.reader = reader
        self.image_size = image_size
        self.training = training
        self.augment = augment
        self.seed = tf.constant(seed, tf.int64)
        self.epochs = itertools.count()
        paths = [source.path(i) for i in range(self.count)]
        self.blank = tf.io.encode_jpeg(np.zeros((1, 1, 3), np.uint8))
        self.paths = None if None in paths else tf.constant(paths)
        if self.paths is not None:
            rows = [source.annotation(i) for i in range(self.count)]
            self.splits = tf.constant(np.cumsum([0, *map(len, rows)]))
            self.objects = {
                name: tf.constant(np.concatenate([getattr(row, name) for row in rows])) for name in _OBJECTS
            }

    def endless(self, first):
        """All slots from `first` on."""
        epochs = tf.data.Dataset.range(first // self.count, np.iinfo(np.int64).max // self.count)
        return self._samples(epochs.flat_map(_graph(self._epoch)).skip(first % self.count))

    def iteration(self, used):
        """The first `used` slots of an epoch; in training of the next one for each iteration."""
        number = tf.data.Dataset.from_tensors(tf.constant(0, tf.int64))
        if self.training:
            number = number.map(_graph(lambda _: _call(lambda: np.int64(next(self.epochs)), [], [(tf.int64, ())])[0]))
        return self._samples(number.flat_map(_graph(lambda number: self._epoch(number, used))))

    def _epoch(self, number, used=None):
        """`(slot, index)` of an epoch; of a part of one, then a mark where it ends, of index -1."""
        slots, order = (number * self.count + tf.range(self.count, dtype=tf.int64))[:used], self._order(number)[:used]
        if used is not None and self.paths is not None:
            slots, order = tf.concat([slots, [number * self.count + used]], 0), tf.concat([order, [-1]], 0)
        return tf.data.Dataset.from_tensor_slices((slots, order))

    def _order(self, number):
        """The pictures of an epoch, `[count]` int64."""
        pictures = tf.range(self.count, dtype=tf.int64)
        if not self.training:
            return pictures
        # The seeds of samples count from 0 up, those of orders from -1 down.
        return tf.random.experimental.stateless_shuffle(pictures, tf.stack([self.seed, -1 - number]))

    def _samples(self, slots):
        """Slots to samples; pictures that cannot be read are left out."""
        if self.paths is None:
            samples = slots.map(_graph(self._read), num_parallel_calls=tf.data.AUTOTUNE)
        else:
            samples = slots.enumerate().map(_graph(self._decode), num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
            samples = samples.scan(tf.constant(-1, tf.int64), _graph(_count_missing)).flat_map(_graph(self._fill))
        return samples.filter(_graph(lambda index, *_: index >= 0)).map(_graph(lambda _, *sample: sample))

    def _decode(self, position, slot_and_index):
        """`(position, slot, sample)`, by TensorFlow alone; ends with an error where it cannot decode the picture."""
        slot, index = slot_and_index
        row = tf.maximum(index, 0)
        contents = tf.cond(index < 0, lambda: self.blank, lambda: tf.io.read_file(self.paths[row]))
        picture = Picture.of_file(contents)
        # A JPEG that is cut short might still have the pixels that are wanted, and the next time not.
        whole = (picture.jpeg == "") | (tf.strings.substr(contents, -2, 2) == b"\xff\xd9")
        fits = tf.reduce_prod(tf.cast(picture.shape, tf.int64)) <= MAX_PIXELS
        with tf.control_dependencies([tf.Assert(whole & fits, [index])]):
            rows = slice(self.splits[row], self.splits[row + 1])
            objects = {name: value[rows] for name, value in self.objects.items()}
        return position, slot, self._finish(slot, index, picture, objects)

    def _fill(self, missing, slot, sample):
        """A sample, and before it those of the slots that TensorFlow could not decode."""
        gap = tf.data.Dataset.range(slot - missing, slot)
        gap = gap.map(_graph(lambda s: self._read(s, self._order(s // self.count)[s % self.count])))
        return gap.concatenate(tf.data.Dataset.from_tensors(sample))

    def _read(self, slot, index):
        """The sample of a picture as the source gives it; its index is -1 where the picture is left out."""
        found = [(tf.int64, ()), (tf.uint8, (None, None, 3))]
        found += [(dtype, (None, *shape)) for dtype, shape, _ in _OBJECTS.values()]
        index, pixels, *objects = _call(self.reader.read, [slot, index], found)
        return self._finish(slot, index, Picture.of_pixels(pixels), dict(zip(_OBJECTS, objects)))

    def _finish(self, slot, index, picture, objects):
        """`(index, image, labels)` of a sample."""
        if self.augment is None:
            image = resize(picture.whole(), self.image_size)
        else:
            image, objects = self.augment(picture, objects, tf.stack([self.seed, slot]))
        return index, tf.ensure_shape(image, (*self.image_size, 3)), self._labels(index, picture.shape, objects)

    def _labels(self, index, shape, objects):
        """Objects padded to one length; of an evaluation also which picture it is."""
        labels, most = {}, self.reader.max_objects
        for name, (_, one, filler) in _OBJECTS.items():
            padding = [[0, most - tf.shape(objects[name])[0]], *([0, 0] for _ in one)]
            labels[name] = tf.ensure_shape(tf.pad(objects[name], padding, constant_values=filler), (most, *one))
        return labels if self.training else labels | {"index": index, "image_shape": shape}


def _count_missing(before, sample):
    """The number of this sample, and how many are missing before it."""
    position, *rest = sample
    return position, (position - before - 1, *rest)


def _graph(function):
    """The function as it is: nothing in it needs AutoGraph, which would read its source again each time."""
    return tf.autograph.experimental.do_not_convert(function)


def _call(function, arguments, results):
    """Python within a graph; `results` are types and shapes."""
    values = tf.numpy_function(function, arguments, [dtype for dtype, _ in results])
    return [tf.ensure_shape(value, shape) for value, (_, shape) in zip(values, results)]


class _Reader:
    """Reads what the source itself must read, and keeps count of corrupt pictures."""

    def __init__(self, source, training, max_objects, bad_image_fraction, first, skipped):
        self.source = source
        self.training = training
        self.max_objects = _max_objects(source, max_objects)
        self.bad_image_fraction = bad_image_fraction
        self.first = first
        self.skipped = [] if skipped is None else skipped
        self.corrupt = {}
        self.lock = threading.Lock()

    def read(self, slot, index):
        """Number, pixels and objects of a picture; where it is corrupt, in training those of the next that is not."""
        count = len(self.source)
        for i in range(int(index), int(index) + (count if self.training else 1)):
            try:
                pixels = self.source.image(i % count)
            except (ValueError, OSError) as error:
                self._report(i % count, int(slot), error)
                continue
            objects = self.source.annotation(i % count)
            if len(objects) > self.max_objects:
                raise ValueError(f"{_name(self.source, i % count)} has {len(objects)} objects, over `max_objects`.")
            return np.int64(i % count), pixels, *(np.array(getattr(objects, name)) for name in _OBJECTS)
        nothing = (np.zeros((0, *shape), dtype.as_numpy_dtype) for dtype, shape, _ in _OBJECTS.values())
        return np.int64(-1), np.zeros((1, 1, 3), np.uint8), *nothing

    def _report(self, i, slot, error):
        """Remember a corrupt picture; too many end the run."""
        count = len(self.source)
        with self.lock:
            if i not in self.corrupt:
                name = _name(self.source, i)
                self.corrupt[i] = Problem(name, None, str(error).removeprefix(f"{name}: "), "skipped")
                self.skipped.append(self.corrupt[i])
                _LOG.warning("%s", self.corrupt[i])
            corrupt = list(self.corrupt.values())
        seen = min(count, slot + 1 - self.first)
        if len(corrupt) > self.bad_image_fraction * min(count, max(seen, MIN_SEEN)) or len(corrupt) == count:
            raise ValueError(
                f"{len(corrupt)} of the first {seen} pictures of {self.source.name} cannot be read, more than "
                f"{self.bad_image_fraction:.1%}: {', '.join(problem.file for problem in corrupt[:_NAMED])}"
            )


def _name(source, i):
    """What a picture is called in reports."""
    return source.path(i) or f"{source.name}, picture {i}"


def _max_objects(source, wanted):
    """The length of labels: as wanted if no picture has more, else the most that any has."""
    most = getattr(source, "max_objects", None)  # rendered sources know it without looking
    if most is None:
        counts = [len(source.annotation(i)) for i in range(len(source))]
        fullest = int(np.argmax(counts))
        most, name = counts[fullest], _name(source, fullest)
    else:
        name = f"a picture of {source.name}"
    if wanted is not None and wanted < most:
        raise ValueError(f"`max_objects` must be at least {most}, as many as {name} has; got {wanted}.")
    return max(wanted or most, 1)
