"""Rendered scenes: frozen, the same in any order, with boxes that fit what is drawn."""

import zlib

import numpy as np
import pytest

from keras_det.data import Shapes

CHECKSUMS = {(0, 0, 300): 1337406437, (0, 12345, 300): 3639643053, (7, 3, 96): 196319449, (1, 999, 300): 2759979956}


@pytest.mark.parametrize("scene", CHECKSUMS, ids=str)
def test_scenes_are_frozen_since_weights_are_trained_on_them(scene):
    seed, i, size = scene
    image = Shapes(images=20_000, seed=seed, size=size).image(i)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    assert zlib.crc32(image.tobytes()) == CHECKSUMS[scene]


def test_a_scene_does_not_depend_on_the_others():
    scenes = Shapes(images=20, seed=5, size=64)
    backwards = [scenes.image(i) for i in reversed(range(20))][::-1]
    for i in range(20):
        np.testing.assert_array_equal(backwards[i], Shapes(images=i + 1, seed=5, size=64).image(i))
    assert (backwards[0] != backwards[1]).any()


def test_boxes_fit_the_drawn_shapes_within_a_pixel():
    scenes = Shapes(images=60, seed=2)
    for i in range(60):
        shapes, truth = scenes_shapes(scenes, i), scenes.annotation(i)
        assert len(shapes) == len(truth)
        for shape, box in zip(shapes, truth.boxes):
            rows, columns = shape.window(300)
            ys, xs = np.nonzero(shape.distance(300) <= 0)
            corners = [
                ys.min() + rows.start,
                xs.min() + columns.start,
                ys.max() + rows.start + 1,
                xs.max() + columns.start + 1,
            ]
            np.testing.assert_allclose(box * 300, corners, atol=2.1)  # the sharp tips of stars are thinner than a pixel


def scenes_shapes(scenes, i):
    """The shapes of a scene, in drawing order."""
    from keras_det.data.shapes import _layout

    return _layout(scenes._dice(i), scenes._objects)


def test_sizes_counts_and_classes_cover_what_is_promised():
    scenes = Shapes(images=400, seed=9)
    found = [scenes.annotation(i) for i in range(400)]
    counts = np.array([len(a) for a in found])
    assert counts.min() == 1 and counts.max() == scenes.max_objects == 6
    labels = np.concatenate([a.labels for a in found])
    assert (np.bincount(labels, minlength=6) > len(labels) / 9).all()
    boxes = np.concatenate([a.boxes for a in found])
    assert boxes.min() >= 0 and boxes.max() <= 1 and (boxes[:, 2:] > boxes[:, :2]).all()
    side = (boxes[:, 2:] - boxes[:, :2]).max(1)
    assert side.max() <= 0.6 + 1e-4 and 0.07 < side.min() < 0.12
    logs = np.log(side)
    assert (
        abs(np.median(logs) - np.log(0.245)) < 0.2
    )  # log-uniform from 0.1 to 0.6, but large ones find no place more often


def test_objects_stay_visible():
    scenes = Shapes(images=60, seed=3)
    for i in range(60):
        owner = np.full((300, 300), -1)
        shapes = scenes_shapes(scenes, i)
        areas = []
        for k, shape in enumerate(shapes):
            inside = shape.distance(300) <= 0
            areas.append(inside.sum())
            owner[shape.window(300)][inside] = k
        for k, area in enumerate(areas):
            assert (owner == k).sum() >= 0.55 * area  # 60 % on the coarser grid that places them


def test_one_object_a_scene():
    scenes = Shapes(images=30, objects=(1, 1))
    assert {len(scenes.annotation(i)) for i in range(30)} == {1}


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"images": 0}, ValueError, "images"),
        ({"seed": -1}, ValueError, "seed"),
        ({"size": 8}, ValueError, "size"),
        ({"images": 1.5}, TypeError, "images"),
        ({"objects": 3}, TypeError, "objects"),
        ({"objects": (3, 2)}, ValueError, "objects"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, named):
    with pytest.raises(error, match=named):
        Shapes(**arguments)


def test_no_such_scene():
    with pytest.raises(IndexError):
        Shapes(images=3).image(3)
