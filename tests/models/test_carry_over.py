"""Weights of other classes: predictors of equal classes are carried over."""

import numpy as np
import pytest
import small_models

from keras_det import models
from keras_det.models.pretrained import carry_over
from keras_det.weights.registry import COCO_CLASSES, VOC_CLASSES, same_class

THERE = ["dining table", "cat", "Airplane", "zebra"]
HERE = ["aeroplane", "dog", "cat"]
IMAGES = np.random.default_rng(0).uniform(0, 255, (1, 320, 320, 3)).astype("float32")


def test_voc_is_known_by_cocos_names():
    shared = {same_class(name) for name in COCO_CLASSES}
    assert all(same_class(name) in shared for name in VOC_CLASSES)


@pytest.mark.parametrize("lite", [False, True])
def test_ssd_scores_equal_classes_as_before(lite, tmp_path, caplog):
    model = models.SSDLite320 if lite else models.SSD300
    there = model(classes=THERE, backbone="tiny")
    there.save_weights(tmp_path / "there.weights.h5")
    here = model(weights=tmp_path / "there.weights.h5", classes=HERE)
    said = caplog.text
    assert "those of aeroplane, cat and from random values for dog" in said
    images = IMAGES[:, : model.size, : model.size]
    before, after = (np.asarray(m(images)["logits"]) for m in (there, here))
    np.testing.assert_allclose(after[..., [0, 1, 3]], before[..., [0, 3, 2]], atol=1e-5)  # background is 0
    assert np.abs(after[..., 2]).max() > 0 and not np.allclose(after[..., 2], before[..., 1])


def test_classifiers_and_one_box_per_class(tmp_path):
    for case, key in (("classifier", "logits"), ("one_box_per_class", "logits"), ("one_box_per_class", "boxes")):
        there = small_models.build(case, classes=THERE)
        here = small_models.build(case, classes=HERE)
        assert carry_over(there, here, THERE, HERE) == ["aeroplane", "cat"]
        first = case == "classifier"  # background
        before, after = (np.asarray(m(IMAGES[:, :64, :64])[key])[:, first:] for m in (there, here))
        np.testing.assert_allclose(after[:, [0, 2]], before[:, [2, 1]], atol=1e-5)
        if first:
            logits = [np.asarray(m(IMAGES[:, :64, :64])["logits"])[:, 0] for m in (there, here)]
            np.testing.assert_allclose(*logits, atol=1e-5)


@pytest.mark.parametrize("mode", ["all", "class", "mask"])
def test_detectornets_masks(mode):
    there, here = (small_models.build("detectornet", classes=c, mode=mode) for c in (THERE, HERE))
    assert carry_over(there, here, THERE, HERE) == ["aeroplane", "cat"]
    before, after = (np.asarray(m(IMAGES[:, :64, :64])["masks"]) for m in (there, here))
    np.testing.assert_allclose(after[:, [0, 2]], before[:, [2, 1]], atol=1e-5)


def test_overfeats_regressor_is_kept_where_it_knows_no_classes():
    for per_class in (False, True):
        there, here = (small_models.build("overfeat", classes=c, per_class=per_class) for c in (THERE, HERE))
        carry_over(there, here, THERE, HERE)
        before, after = (m(IMAGES[:, :247, :247]) for m in (there, here))
        boxes = [np.asarray(found["boxes"]) for found in (before, after)]
        if per_class:
            boxes = boxes[0][..., [2, 1], :], boxes[1][..., [0, 2], :]
        np.testing.assert_allclose(boxes[1], boxes[0], atol=1e-4)
        logits = [np.asarray(found["logits"]) for found in (before, after)]
        np.testing.assert_allclose(logits[1][..., [0, 1, 3]], logits[0][..., [0, 3, 2]], atol=1e-4)


def test_without_equal_classes_predictors_start_anew(tmp_path, caplog):
    models.SSD300(classes=["a"], backbone="tiny").save_weights(tmp_path / "a.weights.h5")
    models.SSD300(weights=tmp_path / "a.weights.h5", classes=["b"])
    assert "Class predictors start from random values; everything else is loaded" in caplog.text


@pytest.mark.parametrize("task", ["localization", "detection"])
@pytest.mark.parametrize("classes", [["dog", "cat"], ["cat", "owl"], ["owl"]])
def test_overfeat_of_another_task_keeps_what_it_knows_of_equal_classes(task, classes, tmp_path, caplog):
    """Classes in another order and new ones; detection has background besides, which classification never saw."""
    there = small_models.build("overfeat", task="classification", classes=["cat", "dog"])
    there.save_weights(tmp_path / "there.weights.h5", optimizer=False)
    options = {"scales": ((247, 247),), "image_size": (247, 247)}
    here = models.OverFeat(weights=tmp_path / "there.weights.h5", task=task, classes=classes, **options)
    first = int(task == "detection")
    mine, theirs = (m.classifier.get_layer("classifier_output").get_weights() for m in (here, there))
    for k, name in enumerate(classes):
        for own, other in zip(mine, theirs):
            same = [np.array_equal(own[..., first + k], other[..., j]) for j in range(2)]
            assert same == [name == known for known in there.classes] or own.ndim == 1 and not own.any()
    if first:
        assert not any(np.array_equal(mine[0][..., 0], theirs[0][..., j]) for j in range(2))
    in_part = classes == ["cat", "owl"] or task == "detection" and classes == ["dog", "cat"]
    assert ("class predictors of" in caplog.text) == in_part


def test_class_generic_says_what_it_keeps(tmp_path, caplog):
    small_models.build("class_generic", classes=THERE).save_weights(tmp_path / "there.weights.h5", optimizer=False)
    small_models.build("class_generic", weights=tmp_path / "there.weights.h5", classes=HERE)
    assert "those of aeroplane, cat and from random values for dog" in caplog.text


def test_a_detector_keeps_of_a_classifier_what_both_know(tmp_path, caplog):
    there = small_models.build("classifier", classes=THERE)  # with background, which the other lacks
    there.save_weights(tmp_path / "there.weights.h5", optimizer=False)
    here = small_models.build("one_box_per_class", weights=tmp_path / "there.weights.h5", classes=HERE)
    mine, theirs = here.head.get_weights()[0], there.head.get_weights()[0]
    np.testing.assert_array_equal(mine[:, [0, 2]], theirs[:, [3, 2]])
    assert not any(np.array_equal(mine[:, 1], column) for column in theirs.T)
    assert "but for the class predictors of aeroplane, cat" in caplog.text
