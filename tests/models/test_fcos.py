"""FCOS beside plain loops over places and objects, and back from perfect outputs to the objects."""

import keras
import numpy as np
import pytest
import small_models

from keras_det.models.fcos import STRIDES, _giou_losses

SIZE = 96


@pytest.fixture(scope="module")
def model():
    return small_models.build("fcos")


def labels(seed, count=6):
    """Objects of every size, the last row padding, one of them a crowd."""
    rng = np.random.default_rng(seed)
    side = rng.uniform(0.05, 0.9, (2, count, 2))
    low = rng.uniform(0, 1, (2, count, 2)) * (1 - side)
    boxes = np.concatenate([low, low + side], axis=-1).astype("float32")
    classes = rng.integers(0, 3, (2, count)).astype("int32")
    classes[:, -1] = -1
    crowd = np.zeros((2, count), bool)
    crowd[0, 0] = True
    return {"boxes": boxes, "labels": classes, "is_crowd": crowd}


def plain_target(y, x, stride, boxes, classes, crowd):
    """Class, distances and center-ness of one place, by section 3 in words."""
    best = (np.inf, -1, None)
    for box, name, is_crowd in zip(boxes.astype("f8") * SIZE, classes, crowd):
        edges = np.array([y - box[0], x - box[1], box[2] - y, box[3] - x])
        middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
        near = abs(y - middle[0]) < 1.5 * stride and abs(x - middle[1]) < 1.5 * stride and edges.min() > 0
        least = 0 if stride == STRIDES[0] else 4 * stride
        most = np.inf if stride == STRIDES[-1] else 8 * stride
        area = (box[2] - box[0]) * (box[3] - box[1])
        if name >= 0 and not is_crowd and near and least < edges.max() <= most and area < best[0]:
            best = area, name, edges
    return best[1:]


@pytest.mark.parametrize("seed", range(5))
def test_every_place_has_the_smallest_object_that_its_map_is_for(model, seed):
    given = labels(seed)
    found = {key: np.asarray(value) for key, value in model.encode_targets(given).items()}
    positive = 0
    for image in range(2):
        for place, ((y, x), stride) in enumerate(zip(model.places, model.strides)):
            rows = [given[key][image] for key in ("boxes", "labels", "is_crowd")]
            name, edges = plain_target(float(y), float(x), float(stride), *rows)
            assert found["classes"][image, place] == name
            if name >= 0:
                positive += 1
                np.testing.assert_allclose(found["distances"][image, place], edges, rtol=1e-4, atol=1e-4)
                ratios = [min(edges[k::2]) / max(edges[k::2]) for k in (0, 1)]
                expected = np.sqrt(ratios[0] * ratios[1])
                np.testing.assert_allclose(found["center_ness"][image, place], expected, rtol=1e-3)
    assert positive > 10


def test_places_are_the_centers_of_the_maps_cells(model):
    first = model.places[: (SIZE // 8) ** 2].reshape(SIZE // 8, SIZE // 8, 2)
    assert first[0, 0].tolist() == [4, 4] and first[1, 2].tolist() == [12, 20]
    assert (model.places[model.strides == 32][:2] == [[16, 16], [16, 48]]).all()


def test_giou_of_distances_is_that_of_boxes():
    rng = np.random.default_rng(0)
    one, other = rng.uniform(0.1, 5, (2, 1, 50, 4)).astype("float32")
    (a, b) = (np.concatenate([-d[0, :, :2], d[0, :, 2:]], axis=1).astype("f8") for d in (one, other))
    both = np.prod(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), axis=1)
    around = np.prod(np.maximum(a[:, 2:], b[:, 2:]) - np.minimum(a[:, :2], b[:, :2]), axis=1)
    either = sum(np.prod(c[:, 2:] - c[:, :2], axis=1) for c in (a, b)) - both
    expected = 1 - (both / either - (around - either) / around)
    losses = np.asarray(_giou_losses(one, other, np.ones((1, 50), "float32")))
    np.testing.assert_allclose(losses[0], expected, rtol=1e-5, atol=1e-6)
    assert not np.asarray(_giou_losses(one, other, np.zeros((1, 50), "float32"))).any()
    np.testing.assert_allclose(_giou_losses(one, one, np.ones((1, 50), "float32")), 0, atol=1e-6)


def test_perfect_outputs_are_the_objects_again(model):
    boxes = np.array([[[0.1, 0.2, 0.35, 0.4], [0.5, 0.3, 0.95, 0.9]]], "float32")
    given = {"boxes": boxes, "labels": np.array([[2, 0]], "int32")}
    targets = {key: np.asarray(value) for key, value in model.encode_targets(given).items()}
    certain = np.eye(3)[np.maximum(targets["classes"], 0)] * (targets["classes"] >= 0)[..., None]
    outputs = {
        "logits": (certain * 40 - 20).astype("float32"),
        "distances": targets["distances"],
        "center_ness": keras.ops.convert_to_numpy(np.log(targets["center_ness"] + 1e-6) * 4).astype("float32"),
    }
    found = {key: np.asarray(value)[0] for key, value in model.decode(outputs).items()}
    assert found["num_detections"] == 2
    order = np.argsort(found["labels"][:2])
    np.testing.assert_allclose(found["boxes"][:2][order], boxes[0][::-1], atol=1e-5)
    losses = model.compute_losses(targets, outputs)
    assert float(losses["classification"]) < 1e-6 and float(losses["localization"]) < 1e-5


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"image_size": 100}, "`image_size` must be a multiple of 32; got 100"),
        ({"channels": 12}, "`channels` must be a multiple of 8; got 12"),
        ({"backbone": "resnet"}, "`backbone`"),
    ],
)
def test_wrong_arguments_are_named(config, words):
    with pytest.raises(ValueError, match=words):
        small_models.build("fcos", **config)
