"""BoxGrid: the closed form against loops over cells, exclusion, and the softmax over the cells in use."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_det.layers.box_grid import BoxGrid

GRID = BoxGrid((5, 4, 3, 2), scales=(0.1, 0.9), aspect_ratios=(0.5, 2.0))


def direct_boxes(shape, scales, ratios):
    """The docstring's formulas, cell by cell."""
    rows = []
    for i, j, k, m in itertools.product(*map(range, shape)):
        s = scales[0] * (scales[1] / scales[0]) ** (k / (shape[2] - 1))
        r = ratios[0] * (ratios[1] / ratios[0]) ** (m / (shape[3] - 1))
        y, x, h, w = (i + 0.5) / shape[0], (j + 0.5) / shape[1], s / r**0.5, s * r**0.5
        rows.append((y - h / 2, x - w / 2, y + h / 2, x + w / 2))
    return np.array(rows)


def fraction_inside(box):
    clipped = np.clip(box, 0, 1)
    area = lambda b: max(b[2] - b[0], 0) * max(b[3] - b[1], 0)  # noqa: E731
    return area(clipped) / area(box)


def test_cells_in_use_are_those_mostly_inside():
    every = direct_boxes(GRID.shape, GRID.scales, GRID.aspect_ratios)
    expected = [n for n, box in enumerate(every) if fraction_inside(box) >= 0.5]
    assert GRID.total == len(every) == 120 and 0 < GRID.size < GRID.total
    np.testing.assert_array_equal(GRID.cells, expected)
    np.testing.assert_allclose(GRID.boxes, every[expected], rtol=1e-6, atol=1e-6)


def test_the_share_inside_is_an_argument():
    sizes = [BoxGrid((6, 6, 4, 3), min_inside=fraction).size for fraction in (0, 0.5, 0.9, 1)]
    assert sizes[0] == 6 * 6 * 4 * 3 and sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[1]
    inside = BoxGrid((6, 6, 4, 3), min_inside=1).boxes
    assert inside.min() >= 0 and inside.max() <= 1


def test_index_of_each_cells_box_is_the_cell():
    np.testing.assert_array_equal(GRID.index(GRID.boxes), GRID.cells)


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.integers(1, 9)] * 4),
    st.floats(0.05, 0.3),
    st.lists(st.floats(-0.4, 0.4), min_size=4, max_size=4),
    st.integers(0, 10**6),
)
def test_index_is_the_inverse_within_half_a_cell(shape, smallest, shift, number):
    grid = BoxGrid(shape, scales=(smallest, 0.8), aspect_ratios=(0.4, 2.2), min_inside=0)
    number %= grid.total
    cell = np.array(np.unravel_index(number, shape))
    box = np.asarray(grid.boxes_at(cell + np.array(shift)))
    np.testing.assert_allclose(grid.coordinates(box), cell + shift, atol=2e-4 * max(shape))
    assert int(grid.index(box)) == number


def test_boxes_beyond_the_grid_go_to_its_edge_and_degenerate_ones_stay_finite():
    tiny, flat, huge = [0.5, 0.5, 0.501, 0.501], [0.2, 0.3, 0.2, 0.9], [-3, -3, 4, 4]
    places = np.asarray(GRID.coordinates(np.array([tiny, flat, huge], "float32")))
    assert np.isfinite(places).all() and places[0, 2] < 0 and places[2, 2] > 2
    nearest = np.asarray(GRID.nearest(places))
    assert (nearest >= 0).all() and (nearest <= np.array(GRID.shape) - 1).all()


def test_an_axis_of_one_cell_stands_at_the_geometric_mean():
    box = BoxGrid((1, 1, 1, 1), scales=(0.2, 0.8), aspect_ratios=(0.25, 4.0)).boxes
    np.testing.assert_allclose(box, [[0.3, 0.3, 0.7, 0.7]], atol=1e-6)


def test_the_softmax_is_over_the_cells_in_use_alone():
    logits = np.random.default_rng(0).normal(size=(2, GRID.size)).astype("float32") * 3
    found = np.asarray(GRID(logits))
    assert found.shape == (2, *GRID.shape)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found.reshape(2, -1)[:, GRID.cells], expected, rtol=1e-5)
    np.testing.assert_allclose(found.sum((1, 2, 3, 4)), 1, rtol=1e-5)
    np.testing.assert_allclose(GRID.gather(found), expected, rtol=1e-5)
    assert np.count_nonzero(found) == 2 * GRID.size


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"shape": (4, 4, 3)}, "`shape`"),
        ({"shape": (4, 0, 3, 3)}, "`shape`"),
        ({"scales": (0.5, 0.1)}, "`scales`"),
        ({"aspect_ratios": (0, 1)}, "`aspect_ratios`"),
        ({"min_inside": 2}, "`min_inside`"),
        ({"shape": (1, 1, 1, 1), "scales": (5, 5)}, "no box"),
    ],
)
def test_wrong_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        BoxGrid(**arguments)


def test_config_round_trip():
    again = BoxGrid.from_config(GRID.get_config())
    np.testing.assert_array_equal(again.boxes, GRID.boxes)
    assert again.get_config() == GRID.get_config()


def neighbors(cell, shape, radius):
    """The cells of a window within the grid, one by one."""
    ranges = [range(max(0, c - r), min(n, c + r + 1)) for c, n, r in zip(cell, shape, radius)]
    return itertools.product(*ranges)


def distribution(seed=0):
    return np.asarray(GRID(np.random.default_rng(seed).normal(size=(2, GRID.size)).astype("float32") * 2))


def test_local_maxima_are_those_that_no_neighbor_exceeds():
    p = distribution()
    found = np.asarray(GRID.local_maxima(p))
    for b in range(2):
        for cell in np.ndindex(*GRID.shape):
            highest = max(p[b][n] for n in neighbors(cell, GRID.shape, (1, 1, 1, 1)))
            assert found[b][cell] == (p[b][cell] if p[b][cell] >= highest else 0)


def test_local_means_are_the_direct_form():
    p, radius = distribution(), (1, 2, 1, 1)
    index = np.random.default_rng(1).integers(0, GRID.size, (2, 9)).astype("int32")
    found = np.asarray(GRID.local_means(p, index, radius))
    for b, row in enumerate(index):
        for k, n in enumerate(row):
            cells = list(neighbors(np.unravel_index(GRID.cells[n], GRID.shape), GRID.shape, radius))
            mass = np.array([p[b][cell] for cell in cells])
            np.testing.assert_allclose(found[b, k], mass @ np.array(cells) / mass.sum(), rtol=1e-4, atol=1e-4)


def test_the_mean_of_no_mass_is_the_cell():
    found = GRID.local_means(np.zeros((1, *GRID.shape), "float32"), np.array([[3]], "int32"), (1, 1, 1, 1))
    np.testing.assert_array_equal(found[0, 0], np.unravel_index(GRID.cells[3], GRID.shape))
