"""Windows of images against plain bilinear sampling, and against the project's resize."""

import numpy as np
import pytest

from keras_det.boxes import crop_and_resize
from keras_det.data.resize import resize


def plain(image, window, size):
    """Bilinear sampling, pixel by pixel."""
    h, w = image.shape[:2]
    out = np.zeros((*size, image.shape[2]))
    for i in range(size[0]):
        for j in range(size[1]):
            y = np.clip((window[0] + (window[2] - window[0]) * (i + 0.5) / size[0]) * h - 0.5, 0, h - 1)
            x = np.clip((window[1] + (window[3] - window[1]) * (j + 0.5) / size[1]) * w - 0.5, 0, w - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            rows = [image[a, x0] * (1 - x + x0) + image[a, x1] * (x - x0) for a in (y0, y1)]
            out[i, j] = rows[0] * (1 - y + y0) + rows[1] * (y - y0)
    return out


def test_equals_plain_sampling_inside_and_outside():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 9, 13, 3)).astype("uint8")
    windows = np.array([[[0.1, 0.2, 0.7, 0.9], [-0.3, -0.1, 0.5, 1.4]], [[0, 0, 0.01, 0.01], [0.9, 0.5, 1.5, 0.8]]])
    found = np.asarray(crop_and_resize(images, windows, (5, 4)))
    for b in range(2):
        for n in range(2):
            np.testing.assert_allclose(found[b, n], plain(images[b], windows[b, n], (5, 4)), atol=1e-3)


@pytest.mark.parametrize("size", [(7, 7), (40, 21), (20, 30)])
def test_the_whole_image_is_resized_as_everywhere(size):
    images = np.random.default_rng(1).integers(0, 256, (2, 20, 30, 3)).astype("uint8")
    whole = np.tile(np.array([[[0.0, 0.0, 1.0, 1.0]]]), (2, 1, 1))
    np.testing.assert_allclose(crop_and_resize(images, whole, size)[:, 0], resize(images, size), atol=1e-3)
