"""Default boxes against plain loops and against the references' anchors."""

import math

import keras
import numpy as np
import pytest

from keras_det.layers import PriorBox


def plain_boxes(height, width, scales, ratios, step):
    """Section 2.2, box by box."""
    boxes = []
    for row in range(height):
        for column in range(width):
            cy, cx = (row + 0.5) * (step or 1 / height), (column + 0.5) * (step or 1 / width)
            for s, s_next in scales:
                shapes = [(1.0, s), (1.0, math.sqrt(s * s_next))]
                for a in ratios:
                    shapes += [(a, s), (1 / a, s)]
                for a, side in shapes:
                    w, h = side * math.sqrt(a), side / math.sqrt(a)
                    boxes.append((cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2))
    return np.array(boxes)


@pytest.mark.parametrize("step", [None, 0.21])
@pytest.mark.parametrize("ratios", [(), (2,), (2, 3)])
@pytest.mark.parametrize("scales", [[(0.2, 0.37)], [(0.1, 0.2), (0.3, 0.9)]])
def test_boxes_are_those_of_section_2_2(scales, ratios, step):
    layer = PriorBox(scales, ratios, step)
    expected = plain_boxes(4, 3, scales, ratios, step)
    assert layer.boxes_per_cell == len(expected) // 12
    found = layer.boxes(4, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_stacked_scales_are_the_single_ones_cell_by_cell():
    pairs = [(0.1, 0.2), (0.3, 0.5), (0.6, 0.7)]
    stacked = PriorBox(pairs, (2,)).boxes(5, 4).reshape(20, 3, 4, 4)
    for k, pair in enumerate(pairs):
        np.testing.assert_array_equal(stacked[:, k], PriorBox([pair], (2,)).boxes(5, 4).reshape(20, 4, 4))


def sides_and_centers(boxes):
    return boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2


def test_clip_limits_sides_or_centers_too():
    options = {"scales": [(0.9, 1.1)], "aspect_ratios": (3,), "step": 0.4}  # the third cell's center is at 1.0, 4th 1.4
    free, sides, both = (PriorBox(clip=clip, **options).boxes(4, 4) for clip in (None, "sides", "all"))
    free_sides, free_centers = sides_and_centers(free)
    assert free_sides.max() > 1 and free_centers.max() > 1
    for limited in (sides, both):
        np.testing.assert_allclose(sides_and_centers(limited)[0], np.minimum(free_sides, 1), atol=1e-6)
    np.testing.assert_allclose(sides_and_centers(sides)[1], free_centers, atol=1e-6)
    np.testing.assert_allclose(sides_and_centers(both)[1], np.clip(free_centers, 0, 1), atol=1e-6)


REFERENCES = [  # file, key, map, pixels of the pair, ratios, step in pixels, clip, offset of the map's first box
    ("amdegroot_ssd300_voc", "priors_cxcywh", 38, (30, 60), (2,), 8, "all", 0),
    ("amdegroot_ssd300_voc", "priors_cxcywh", 3, (213, 264), (2,), 100, "all", 8732 - 4 - 36),
    ("balancap_ssd300_voc", "anchors_cxcywh", 19, (45, 99), (2, 3), 16, None, 5776),
    ("torchvision_ssd300_vgg16_coco", "anchors_xyxy_pixels", 1, (261, 315), (2,), 300, "sides", 8732 - 4),
]


@pytest.mark.parametrize(("file", "key", "cells", "pair", "ratios", "step", "clip", "start"), REFERENCES)
def test_one_map_of_the_references(references, file, key, cells, pair, ratios, step, clip, start):
    layer = PriorBox([(pair[0] / 300, pair[1] / 300)], ratios, step / 300, clip)
    found = layer.boxes(cells, cells)
    if key == "anchors_xyxy_pixels":
        found = found[:, [1, 0, 3, 2]] * 300
    else:
        sides, centers = sides_and_centers(found)
        found = np.concatenate([centers[:, ::-1], sides[:, ::-1]], axis=-1)
    expected = np.load(references / f"{file}.npz")[key][start : start + len(found)]
    np.testing.assert_allclose(found, expected, atol=1e-4 if "pixels" in key else 2e-7)


def test_called_with_a_feature_map():
    layer = PriorBox([(0.2, 0.4)], (2,))
    expected = layer.boxes(3, 5)
    np.testing.assert_array_equal(layer(np.zeros((2, 3, 5, 7), "float32")), expected)
    inputs = keras.Input((3, 5, 7))
    model = keras.Model(inputs, layer(inputs))
    np.testing.assert_array_equal(model(np.zeros((2, 3, 5, 7), "float32")), expected)


def test_boxes_stay_float32_under_mixed_precision():
    layer = PriorBox([(0.2, 0.4)], (2,), dtype="mixed_float16")
    np.testing.assert_array_equal(layer(np.zeros((1, 38, 38, 4), "float16")), layer.boxes(38, 38))


def test_a_map_of_unknown_size_is_refused():
    with pytest.raises(ValueError, match="known height and width"):
        PriorBox([(0.2, 0.4)])(keras.Input((None, 5, 7)))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"scales": []}, "`scales`"),
        ({"scales": [(0.2,)]}, "`scales`"),
        ({"scales": [(0.0, 0.3)]}, "`scales`"),
        ({"scales": (0.2, 0.3)}, "`scales`"),
        ({"scales": [(0.2, 0.3)], "aspect_ratios": (0.5,)}, "`aspect_ratios`"),
        ({"scales": [(0.2, 0.3)], "aspect_ratios": (1,)}, "`aspect_ratios`"),
        ({"scales": [(0.2, 0.3)], "step": 0}, "`step`"),
        ({"scales": [(0.2, 0.3)], "clip": "centers"}, "`clip`"),
    ],
)
def test_wrong_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        PriorBox(**arguments)


def test_config_round_trip():
    layer = PriorBox([(0.2, 0.37), (0.5, 0.6)], (2, 3), step=0.25, clip="sides", name="p")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again.boxes(2, 3), layer.boxes(2, 3))
