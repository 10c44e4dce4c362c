"""Windows of images resized to a network's input, many at once."""

from keras import ops

from keras_det.types import Tensor


def crop_and_resize(images: Tensor, windows: Tensor, size: tuple[int, int]) -> Tensor:
    """Sample windows of each image bilinearly, with half-pixel centers and without antialiasing.

    The project's one resize, from a window: the window of the whole image gives what `keras_det.data.resize` gives.
    Where a window leaves the image, the image's edge is repeated.

    Args:
        images: `[B, h, w, 3]` images of one size, any numeric type.
        windows: `[B, N, 4]` rel_yxyx, of positive size.
        size: `(height, width)` of the crops.

    Returns:
        `[B, N, height, width, 3]` float32 in the range of the images.

    >>> import numpy as np
    >>> image = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    >>> np.asarray(crop_and_resize(image, [[[0.0, 0.0, 0.5, 0.5]]], (2, 2)))[0, 0, :, :, 0].tolist()
    [[0.0, 1.0], [4.0, 5.0]]
    """
    images, windows = ops.cast(images, "float32"), ops.cast(windows, "float32")
    batch, height, width = ops.shape(images)[0], ops.shape(images)[1], ops.shape(images)[2]
    ymin, xmin, ymax, xmax = ops.unstack(windows, axis=-1)
    y0, y1, fy = _places(ymin, ymax, height, size[0])
    x0, x1, fx = _places(xmin, xmax, width, size[1])
    pixels = ops.reshape(images, (-1, images.shape[-1]))
    first = ops.reshape(ops.arange(batch, dtype="int32") * height * width, (-1, 1, 1, 1))

    def at(y, x):
        index = first + ops.expand_dims(y * width, 3) + ops.expand_dims(x, 2)
        return ops.take(pixels, index, axis=0)

    fy, fx = ops.expand_dims(fy, (3, 4)), ops.expand_dims(fx, (2, 4))
    top = at(y0, x0) * (1 - fx) + at(y0, x1) * fx
    bottom = at(y1, x0) * (1 - fx) + at(y1, x1) * fx
    return top * (1 - fy) + bottom * fy


def _places(low, high, length, samples):
    """Of each sample the two pixels it lies between and the fraction of the second, `[B, N, samples]` each."""
    centers = (ops.arange(samples, dtype="float32") + 0.5) / samples
    extent = ops.cast(length, "float32")
    place = (ops.expand_dims(low, 2) + ops.expand_dims(high - low, 2) * centers) * extent - 0.5
    place = ops.clip(place, 0.0, extent - 1.0)
    first = ops.floor(place)
    second = ops.minimum(first + 1.0, extent - 1.0)
    return ops.cast(first, "int32"), ops.cast(second, "int32"), place - first
