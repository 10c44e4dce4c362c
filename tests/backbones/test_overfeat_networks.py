"""OverFeat's networks: the paper's tables, and the proof that dense inference is the network on each window."""

import functools

import numpy as np
import pytest
from keras import ops

from keras_det.backbones import overfeat as networks

WIDTH = 1 / 24
TABLE_5 = {  # input: layer 5 before pooling, after pooling, classifier's map of one offset, of all; the paper's own
    (245, 245): ((17, 17), (5, 5), (1, 1), (3, 3)),
    (281, 317): ((20, 23), (6, 7), (2, 3), (6, 9)),
    (317, 389): ((23, 29), (7, 9), (3, 5), (9, 15)),
    (389, 461): ((29, 35), (9, 11), (5, 7), (15, 21)),
    (425, 497): ((32, 38), (10, 12), (6, 8), (18, 24)),  # printed as 32x35 and 10x11, which 18x24 contradicts
    (461, 569): ((35, 44), (11, 14), (7, 10), (21, 30)),
}


@functools.cache
def network(variant):
    return networks.overfeat(variant, WIDTH), networks.classifier(variant, 5, WIDTH)


def dense(variant, images, fine=True):
    """`[B, h, w, 5]` of images `[B, H, W, 3]`."""
    backbone, head = network(variant)
    return np.asarray(networks.run_dense(head, backbone(images), variant, fine)["output"])


def random_image(height, width):
    return np.random.default_rng(height).normal(size=(1, height, width, 3)).astype("float32")


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("variant", "parameters", "connections"), [("fast", 145, 2810), ("accurate", 144, 5369)])
def test_table_4(variant, parameters, connections):
    found = networks.count(variant)
    assert found["parameters"] // 10**6 == parameters
    assert found["connections"] == pytest.approx(connections * 1e6, rel=3e-3)


@pytest.mark.parametrize("variant", ["fast", "accurate"])
def test_what_is_counted_is_what_is_built(variant):
    backbone, head = network(variant)
    built = [v for v in backbone.weights + head.weights if "kernel" in v.name]
    biases = [v for v in backbone.weights + head.weights if "bias" in v.name]
    sizes = [int(np.prod(k.shape)) + b.shape[0] for k, b in zip(built, biases)]
    assert sizes == networks.layer_weights(variant, 5, WIDTH)
    spec = networks.ARCHITECTURES[variant]
    sides = [layer.compute_output_shape((1, n, n, c))[1] for layer, n, c in _inputs(backbone, spec.field)]
    assert networks._positions(spec, spec.field) == [*sides, 1, 1, 1]


def _inputs(backbone, side):
    """Each convolution with the side and channels of its input."""
    shape = (1, side, side, 3)
    for layer in backbone.layers[1:]:
        if layer.name.startswith("conv"):
            yield layer, shape[1], shape[3]
        shape = layer.compute_output_shape(shape)


@pytest.mark.parametrize(
    ("variant", "sides"), [("fast", [56, 28, 24, 12, 12, 12, 12]), ("accurate", [108, 36, 30, 15, 15, 15, 15, 15])]
)
def test_sizes_of_tables_1_and_3(variant, sides):
    backbone, head = network(variant)
    shape, found = (1, *[networks.ARCHITECTURES[variant].field] * 2, 3), []
    for layer in backbone.layers[1:]:
        shape = layer.compute_output_shape(shape)
        found.append(shape[1])
    assert found == sides
    pool = networks.ARCHITECTURES[variant].pool
    assert sides[-1] // pool == networks.ARCHITECTURES[variant].head_kernel == (6 if variant == "fast" else 5)


@pytest.mark.parametrize("size", TABLE_5)
def test_table_5(size):
    spec = networks.ARCHITECTURES["accurate"]
    unpooled, pooled, one, every = TABLE_5[size]
    assert size in spec.scales
    assert tuple(map(spec.unpooled, size)) == unpooled
    assert tuple(n // 3 for n in unpooled) == pooled
    assert tuple(spec.cells(n, fine=False) for n in size) == one
    assert tuple(map(spec.cells, size)) == every
    backbone, head = network("accurate")
    features = backbone.compute_output_shape((1, *size, 3))
    assert features[1:3] == unpooled
    assert head.compute_output_shape((1, *pooled, features[-1]))["output"][1:3] == one


@pytest.mark.parametrize("size", [(461, 569), (281, 317)])
def test_the_maps_of_table_5_are_those_that_come_out(size):
    assert dense("accurate", random_image(*size)).shape[1:3] == TABLE_5[size][3]
    assert dense("accurate", random_image(*size), fine=False).shape[1:3] == TABLE_5[size][2]


@pytest.mark.parametrize("variant", ["fast", "accurate"])
def test_fast_scales_fit_whole_maps(variant):
    spec = networks.ARCHITECTURES[variant]
    for side in {side for scale in spec.scales for side in scale}:
        assert (side - spec.field) % spec.stride == 0 and spec.cells(side) % spec.pool == 0


SIZES = [("accurate", (245, 257)), ("accurate", (389, 461)), ("fast", (247, 263)), ("fast", (375, 471))]


@pytest.mark.parametrize(("variant", "size"), SIZES)
def test_every_cell_is_the_network_on_what_the_cell_sees(variant, size):
    """The crop of a cell is its window and, as far as the image goes, the pixels around it that layers with zero
    padding see: 48 on each side. Every cell at the rim, and every third or so within, over all offsets.
    """
    spec = networks.ARCHITECTURES[variant]
    image = random_image(*size)
    maps = dense(variant, image)
    rows, columns = maps.shape[1:3]
    margin = spec.context // spec.stride
    places = [(y, x) for y in range(rows) for x in range(columns)]
    near_rim = [p for p in places if p[0] in (0, rows - 1) and p[1] in (0, columns - 1)]
    assert {(y % spec.pool, x % spec.pool) for y, x in places} == set(np.ndindex(spec.pool, spec.pool)) or rows < 3
    for y, x in near_rim + places[:: max(len(places) // 12, 1)]:
        top, left = max(y - margin, 0), max(x - margin, 0)
        window = [(n * spec.stride, (m + margin) * spec.stride + spec.field) for n, m in ((top, y), (left, x))]
        crop = image[:, slice(*window[0]), slice(*window[1])]
        close(dense(variant, crop)[0, y - top, x - left], maps[0, y, x])


@pytest.mark.parametrize(("variant", "size"), [("accurate", (281, 317)), ("fast", (279, 311))])
def test_without_padding_every_cell_is_the_network_on_its_window_alone(variant, size):
    """Padded layers reduced to their kernel's center see nothing of the padding: the window is all that a cell sees."""
    backbone, head = networks.overfeat(variant, WIDTH), network(variant)[1]
    spec = networks.ARCHITECTURES[variant]
    for i, c in enumerate(spec.convolutions, start=1):
        if c.padding:
            kernel, bias = backbone.get_layer(f"conv{i}").get_weights()
            center = np.zeros_like(kernel)
            center[1, 1] = 3 * kernel[1, 1]
            backbone.get_layer(f"conv{i}").set_weights([center, bias])
    image = random_image(*size)
    maps = np.asarray(networks.run_dense(head, backbone(image), variant)["output"])[0]
    places = list(np.ndindex(*maps.shape[:2]))
    crops = np.stack(
        [image[0, y * s : y * s + spec.field, x * s : x * s + spec.field] for y, x in places for s in [spec.stride]]
    )
    alone = np.asarray(head(ops.max_pool(backbone(crops), spec.pool))["output"])
    assert alone.shape[1:3] == (1, 1)
    close(maps.reshape(len(places), -1), alone[:, 0, 0])


@pytest.mark.parametrize("variant", ["fast", "accurate"])
def test_fine_and_coarse_agree_where_both_look(variant):
    spec = networks.ARCHITECTURES[variant]
    image = random_image(spec.field + 2 * spec.pool * spec.stride + 5, spec.field + spec.pool * spec.stride)
    fine, coarse = dense(variant, image), dense(variant, image, fine=False)
    assert coarse.shape[1:3] == (3, 2)
    close(fine[:, :: spec.pool, :: spec.pool], coarse)


@pytest.mark.parametrize("variant", ["fast", "accurate"])
def test_one_pixel_short_of_the_next_cell_there_is_one_cell_less(variant):
    spec = networks.ARCHITECTURES[variant]
    side = spec.field + spec.stride
    assert spec.cells(side) == 2 and spec.cells(side - 1) == 1
    image = random_image(side, side)
    assert dense(variant, image).shape[1:3] == (2, 2)
    short = dense(variant, image[:, :-1, :-1])
    assert short.shape[1:3] == (1, 1)
    close(short, dense(variant, image[:, : spec.field, : spec.field]))  # what fills no cell is not looked at


@pytest.mark.parametrize(("variant", "width"), [("slow", 1.0), ("fast", 0.0), ("fast", 1.5)])
def test_wrong_arguments_are_named(variant, width):
    with pytest.raises(ValueError, match="`variant`" if variant == "slow" else "`width`"):
        networks.overfeat(variant, width)


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("variant", ["fast", "accurate"])
def test_multiply_adds_are_those_of_the_layers_that_run(variant, context):
    spec = networks.ARCHITECTURES[variant]
    one = networks.multiply_adds(variant, spec.field, 1000)
    assert sum(one.values()) == networks.count(variant)["connections"]
    size = spec.field + 6 * spec.stride
    found = networks.multiply_adds(variant, size, 1000, 4, context)
    backbone = networks.overfeat(variant, 1 / 96)
    sides = [size, round(size / 1.4) + 3 * spec.stride] if context else [size]
    positions = [
        layer.compute_output_shape((1, n, n, c))[1] ** 2 for side in sides for layer, n, c in _inputs(backbone, side)
    ]
    weights = networks.layer_weights(variant)[: len(spec.convolutions)] * len(sides)
    assert found["features"] == sum(np.multiply(positions, weights))
    channels = spec.convolutions[-1].filters * (1 + context)
    first = (spec.head_kernel**2 * channels + 1) * 4096
    assert found["regressor"] == 49 * (first + 4097 * 1024 + 1025 * 4)
