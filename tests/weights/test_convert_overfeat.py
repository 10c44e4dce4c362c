"""The weights that OverFeat's authors released: a file of their form against a plain network in numpy."""

import numpy as np
import pytest
from typer.testing import CliRunner

from keras_det import cli
from keras_det.backbones import overfeat as networks
from keras_det.models import OverFeat
from keras_det.weights import read_released

WIDTH, CLASSES = 1 / 96, ["cat", "dog", "owl"]


def write(path, variant, seed=0):
    """A file of the authors' form: each layer's Torch kernel, then its bias. Their arrays are returned."""
    rng, arrays = np.random.default_rng(seed), []
    for height, width, channels, filters in networks.kernel_shapes(variant, len(CLASSES), WIDTH).values():
        scale = (2 / (height * width * channels)) ** 0.5
        arrays.append((rng.normal(0, scale, (filters, channels, height, width)), rng.normal(0, 0.1, filters)))
    with open(path, "wb") as file:
        for kernel, bias in arrays:
            file.write(kernel.astype("<f4").tobytes())
            file.write(bias.astype("<f4").tobytes())
    return arrays


def correlate(x, kernel, bias, stride=1):
    """Torch's convolution of `[C, H, W]`, no padding."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("chwij,ocij->ohw", windows, kernel) + bias[:, None, None]


def pool(x, k):
    height, width = x.shape[1] // k, x.shape[2] // k
    return x[:, : height * k, : width * k].reshape(-1, height, k, width, k).max((2, 4))


def plain(variant, arrays, image):
    """Tables 1 and 3, layer by layer, on one window."""
    x = (image.transpose(2, 0, 1) - 118.380948) / 61.896913
    form = networks.architecture(variant)
    for c, (kernel, bias) in zip(form.convolutions, arrays):
        x = np.pad(x, ((0, 0), (c.padding,) * 2, (c.padding,) * 2))
        x = np.maximum(correlate(x, kernel, bias, c.stride), 0)
        x = pool(x, c.pool)
    for kernel, bias in arrays[len(form.convolutions) : -1]:
        x = np.maximum(correlate(x, kernel, bias), 0)
    return correlate(x, *arrays[-1])[:, 0, 0]


@pytest.mark.parametrize("variant", ["fast", "accurate"])
def test_a_file_of_the_authors_form_gives_their_network(tmp_path, variant):
    path = tmp_path / "net_weight"
    arrays = write(path, variant)
    model = OverFeat.from_released(path, CLASSES, width=WIDTH)
    assert (model.config.variant, model.task, model.classes) == (variant, "classification", tuple(CLASSES))
    side = model.window
    image = np.random.default_rng(1).integers(0, 256, (side, side, 3)).astype("float32")
    found = np.asarray(model.features(image[None], "output"))[0, 0, 0]
    expected = plain(variant, arrays, image)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_the_order_of_the_classes_and_their_names_when_none_are_given(tmp_path):
    path, shapes = tmp_path / "net_weight_0", networks.kernel_shapes("fast", 1000, WIDTH)
    np.zeros(sum(int(np.prod(s)) + s[-1] for s in shapes.values()), "<f4").tofile(path)
    assert OverFeat.from_released(path, width=WIDTH).classes[::999] == ("class 0", "class 999")


@pytest.mark.parametrize("change", ["shorter", "longer", "not finite"])
def test_other_files_are_refused(tmp_path, change):
    path, shapes = tmp_path / "net_weight", networks.kernel_shapes("fast", len(CLASSES), WIDTH)
    write(path, "fast")
    numbers = np.fromfile(path, "<f4")
    numbers[len(numbers) // 2] = np.nan if change == "not finite" else 0
    numbers = numbers[:-1] if change == "shorter" else np.append(numbers, 0) if change == "longer" else numbers
    numbers.astype("<f4").tofile(path)
    with pytest.raises(ValueError, match="not finite, in the" if change == "not finite" else "bytes"):
        read_released(path, shapes)
    with pytest.raises(ValueError, match="net_weight"):
        OverFeat.from_released(path, CLASSES, width=WIDTH)
    with pytest.raises(FileNotFoundError, match="absent"):
        OverFeat.from_released(tmp_path / "absent", CLASSES)


def test_the_command_writes_a_classifier(tmp_path, monkeypatch):
    path, names, out = tmp_path / "net_weight_0", tmp_path / "names.txt", tmp_path / "new" / "fast.weights.h5"
    write(path, "fast")
    names.write_text("\n".join(CLASSES) + "\n", "utf-8")
    released = OverFeat.from_released  # of a narrow file, since the real ones have 580 MB
    monkeypatch.setattr(OverFeat, "from_released", lambda *rest: released(*rest, width=WIDTH))
    result = CliRunner().invoke(
        cli.app, ["overfeat", "convert", str(path), "--classes", str(names), "--out", str(out), "--json"]
    )
    assert '"variant": "fast"' in result.stdout, result.output
    image = np.full((1, 231, 231, 3), 90, "float32")
    again, model = OverFeat(weights=out), released(path, CLASSES, width=WIDTH)
    np.testing.assert_array_equal(again.features(image), model.features(image))
