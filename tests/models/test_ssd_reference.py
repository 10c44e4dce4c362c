"""SSD against what other implementations gave: default boxes, matching, targets and loss."""

import keras
import numpy as np
import pytest

from keras_det import models


@pytest.fixture(scope="module")
def reference(references):
    return lambda name: np.load(references / f"{name}.npz")


def center_form(boxes):
    """`(cx, cy, w, h)` of rel_yxyx boxes."""
    ymin, xmin, ymax, xmax = boxes.T
    return np.stack([(xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin], axis=-1)


@pytest.mark.parametrize(
    ("name", "key", "config"),
    [
        ("amdegroot_ssd300_voc", "priors_cxcywh", {"clip": "all"}),
        ("balancap_ssd300_voc", "anchors_cxcywh", {"box_scales": "coco"}),
    ],
)
def test_default_boxes_of_ssd300(reference, name, key, config):
    boxes = models.SSD300(backbone="tiny", **config).default_boxes
    np.testing.assert_allclose(center_form(boxes), reference(name)[key], atol=2e-7)


@pytest.mark.parametrize(
    ("name", "model", "config"),
    [
        ("torchvision_ssd300_vgg16_coco", models.SSD300, {"box_scales": "coco", "clip": "sides"}),
        ("torchvision_ssdlite320_mobilenet_v3_large_coco", models.SSDLite320, {}),
    ],
)
def test_default_boxes_of_torchvision(reference, name, model, config):
    network = model(backbone="tiny", classes=["a"], **config)
    pixels = network.default_boxes[:, [1, 0, 3, 2]] * network.image_size[0]
    np.testing.assert_allclose(pixels, reference(name)["anchors_xyxy_pixels"], atol=1e-4)


@pytest.fixture(scope="module")
def loss_reference(reference):
    """Labels and predictions of the recorded loss, in our order of coordinates, and what was recorded."""
    recorded = reference("multibox_loss_ssd300_voc")
    truth = [recorded[f"gt_{i}"] for i in range(4)]
    most = max(map(len, truth))
    boxes, labels = np.zeros((4, most, 4), "float32"), np.full((4, most), -1, "int32")
    for i, rows in enumerate(truth):
        boxes[i, : len(rows)], labels[i, : len(rows)] = rows[:, [1, 0, 3, 2]], rows[:, 4]
    rng = np.random.default_rng(11)
    loc = (0.5 * rng.standard_normal((4, 8732, 4))).astype("f4")
    conf = rng.standard_normal((4, 8732, 21)).astype("f4")
    outputs = {"offsets": loc[..., [1, 0, 3, 2]], "logits": conf}
    return {"boxes": boxes, "labels": labels}, outputs, recorded


def test_matching_targets_and_loss(loss_reference):
    labels, outputs, recorded = loss_reference
    model = models.SSD300(backbone="tiny", clip="all")
    targets = model.encode_targets(labels)
    np.testing.assert_array_equal(targets["classes"], recorded["matched_class"])
    positive = recorded["matched_class"] > 0
    offsets = np.asarray(targets["offsets"])[positive][:, [1, 0, 3, 2]]
    np.testing.assert_allclose(offsets, recorded["matched_loc_pos"], atol=2e-5)
    losses = model.compute_losses(targets, outputs)
    np.testing.assert_allclose(losses["localization"], recorded["loss_loc"], rtol=1e-5)
    np.testing.assert_allclose(losses["confidence"], recorded["loss_conf"], rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "boxes", "maps"),
    [
        (models.SSD300, 8732, (38, 19, 10, 5, 3, 1)),
        (models.SSD512, 24564, (64, 32, 16, 8, 4, 2, 1)),
        (models.SSDLite320, 3234, (20, 10, 5, 3, 2, 1)),
    ],
)
def test_maps_and_number_of_default_boxes(model, boxes, maps):
    network = model(backbone="tiny", classes=["a"])
    assert len(network.default_boxes) == boxes
    assert tuple(network.features.output[name].shape[1] for name in network.sources) == maps


def test_published_parameter_counts():
    classes = [f"class {i}" for i in range(90)]
    assert models.SSD300(classes=classes).count_params() == 35_641_826
    lite = models.SSDLite320(classes=classes)
    assert sum(int(np.prod(w.shape)) for w in lite.trainable_weights) == 3_440_060
    keras.backend.clear_session()


def test_full_vgg16_adds_conv5_3():
    network = models.SSD300(classes=["a"], atrous=False)
    assert network.sources[:3] == ("conv4_3", "conv5_3", "fc7")
    assert len(network.default_boxes) == 8732
