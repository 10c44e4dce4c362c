"""A network's configuration: given, else of the weights, else the defaults of the signature."""

import dataclasses
import inspect
import json

import numpy as np
import pytest
from small_models import SMALL, build

from keras_det import models

SMALL_SSD = {"backbone": "tiny", "classes": ["a", "b"]}


def test_signatures_show_the_defaults():
    ssd, lite = (inspect.signature(model).parameters for model in (models.SSD300, models.SSDLite320))
    assert (ssd["iou_threshold"].default, ssd["backbone"].default) == (0.45, "vgg16")
    assert (lite["iou_threshold"].default, lite["clip"].default) == (0.55, "sides")
    assert models.SSDLite320.Config().matching_iou == 0.5  # of the class that it inherits from
    assert models.MultiBox.Config().alpha == 0.3 and models.OverFeat.Config().variant == "accurate"


@pytest.mark.parametrize("case", SMALL)
def test_a_configuration_rebuilds_the_network(case):
    model = build(case)
    config = model.config.to_dict()
    assert json.loads(json.dumps(config)) == config
    again = build(case, **config)
    assert again.config == model.config and [v.shape for v in again.weights] == [v.shape for v in model.weights]
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.config.classes = ("other",)


def test_none_is_a_value():
    assert models.SSDLite320(clip=None, **SMALL_SSD).config.clip is None
    assert models.SSDLite320(**SMALL_SSD).config.clip == "sides"


def test_weights_are_for_one_backbone():
    with pytest.raises(ValueError, match="`backbone` must be tiny, which weights shapes are for; got 'vgg16'"):
        models.SSD300(weights="shapes", backbone="vgg16")
    with pytest.raises(ValueError, match="does not fit this SSD300 with these arguments: ") as error:
        models.SSD300(weights="shapes", sources=("stage5",))
    assert "damaged" not in str(error.value)  # a file of the package


def test_what_is_given_goes_before_what_the_weights_say(tmp_path):
    path = tmp_path / "a.weights.h5"
    models.SSD300(freeze="stage2_conv1_bn", max_detections=7, iou_threshold=0.6, **SMALL_SSD).save_weights(path)
    stored = models.SSD300(weights=path)
    assert (stored.config.freeze, stored.config.max_detections, stored.classes) == ("stage2_conv1_bn", 7, ("a", "b"))
    assert len(stored.trainable_weights) < len(models.SSD300(**SMALL_SSD).trainable_weights)
    given = models.SSD300(path, freeze=None, iou_threshold=0.45)  # a default that is given counts, too
    assert (given.config.freeze, given.config.iou_threshold, given.config.max_detections) == (None, 0.45, 7)
    assert len(given.trainable_weights) == len(models.SSD300(**SMALL_SSD).trainable_weights)


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"max_detections": "many"}, "`max_detections` must be an integer; got 'many'"),
        ({"max_detections": True}, "`max_detections` must be an integer; got True"),
        ({"max_detections": 0}, "`max_detections` must be an integer of at least 1; got 0"),
        ({"expand": 1}, "`expand` must be true or false; got 1"),
        ({"freeze": 3}, "`freeze` must be a text or None; got 3"),
        ({"classes": 3}, "`classes` must be a list; got 3"),
        ({"mining": "all"}, "`mining` must be one of image, batch; got 'all'"),
        ({"iou_threshold": 2}, "`iou_threshold` must be in 0 .. 1; got 2"),
        ({"negative_ratio": float("inf")}, "`negative_ratio` must be a number of at least 0; got inf"),
    ],
)
def test_other_values_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        models.SSD300(**SMALL_SSD | wrong)


def test_numpys_numbers_are_pythons():
    given = {"iou_threshold": np.float32(0.5), "max_detections": np.int64(3), "aspect_ratios": np.array([2])}
    model = models.SSD300(**SMALL_SSD | given)
    assert model.config.iou_threshold == 0.5 and type(model.config.max_detections) is int
    assert model.config.aspect_ratios == (2,)


def test_a_subclass_needs_no_docstring():
    class Mine(models.SSD300):
        pass

    assert "negative_iou:" in (Mine.__doc__ or "") and Mine.Config() == Mine.Config(**models.SSD300.Config().to_dict())
