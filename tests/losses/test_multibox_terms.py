"""SSD's objective: each term's gradient, and hard negative mining against numpy."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_det.losses import (
    confidence_losses,
    hard_negatives,
    multibox_loss,
    sigmoid_multibox_loss,
    smooth_l1,
)


def plain_negatives(losses, positive, ratio, valid):
    chosen = np.zeros_like(positive)
    for b in range(len(losses)):
        candidates = np.flatnonzero(~positive[b] & valid)
        candidates = candidates[np.argsort(-losses[b, candidates], kind="stable")]
        chosen[b, candidates[: ratio * positive[b].sum()]] = True
    return chosen


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 4), st.booleans())
def test_hard_negatives_are_the_highest_and_never_too_many(seed, boxes, ratio, ties):
    rng = np.random.default_rng(seed)
    losses = rng.random((3, boxes)).astype("float32")
    losses = np.round(losses * 3) / 3 if ties else losses
    positive = rng.random((3, boxes)) < 0.2
    valid = rng.random(boxes) < 0.8
    found = np.asarray(hard_negatives(losses, positive, ratio, valid))
    np.testing.assert_array_equal(found, plain_negatives(losses, positive, ratio, valid))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.booleans())
def test_mining_over_the_batch_takes_the_highest_of_all_images(seed, ratio, ties):
    """The third image has no object; its boxes take part all the same."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(3, 20, 4)).astype("float32")
    logits = np.round(logits) if ties else logits
    classes = (rng.integers(1, 4, (3, 20)) * (rng.random((3, 20)) < 0.2)).astype("int32")
    classes[2], valid = 0, rng.random(20) < 0.8
    targets = {"offsets": np.zeros((3, 20, 4), "float32"), "classes": classes}
    outputs = {"offsets": np.zeros((3, 20, 4), "float32"), "logits": logits}
    losses = np.asarray(confidence_losses(classes, logits))
    positive, all_valid = (classes > 0).reshape(1, -1), np.tile(valid, 3)
    chosen = plain_negatives(losses.reshape(1, -1), positive, ratio, all_valid).reshape(3, 20)
    expected = np.where(chosen | (classes > 0), losses, 0).sum(1)
    terms = multibox_loss(targets, outputs, ratio, valid, over_batch=True)
    np.testing.assert_allclose(terms["confidence"], expected, rtol=1e-5)
    np.testing.assert_array_equal(terms["matched"], (classes > 0).sum(1))
    assert float(multibox_loss(targets, outputs, ratio, valid)["confidence"][2]) == 0


def test_smooth_l1():
    x = np.array([-3, -1, -0.5, 0, 0.25, 1, 2], "float32")
    np.testing.assert_allclose(smooth_l1(x), np.where(abs(x) < 1, x**2 / 2, abs(x) - 0.5), atol=1e-7)


def test_confidence_loss_is_the_softmax_loss():
    logits = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    classes = np.array([[0, 1, 2, 3, 0], [3, 3, 0, 0, 1]], "int32")
    fraction = np.exp(logits.astype("f8")) / np.exp(logits.astype("f8")).sum(-1, keepdims=True)
    expected = -np.log(np.take_along_axis(fraction, classes[..., None], -1)[..., 0])
    np.testing.assert_allclose(confidence_losses(classes, logits), expected, rtol=1e-5)


@pytest.fixture
def batch():
    rng = np.random.default_rng(3)
    targets = {
        "offsets": rng.normal(size=(2, 30, 4)).astype("float32"),
        "classes": (rng.integers(1, 4, (2, 30)) * (rng.random((2, 30)) < 0.2)).astype("int32"),
    }
    outputs = {
        "offsets": rng.normal(size=(2, 30, 4)).astype("float32"),
        "logits": rng.normal(size=(2, 30, 4)).astype("float32"),
    }
    return targets, outputs


@pytest.mark.parametrize(("term", "output"), [("localization", "offsets"), ("confidence", "logits")])
def test_gradients_are_those_of_finite_differences(batch, term, output):
    targets, outputs = batch
    targets = targets | {"offsets": targets["offsets"].astype("float64")}
    outputs = {name: tf.constant(value, "float64") for name, value in outputs.items()}

    def loss(value):
        return tf.reduce_sum(multibox_loss(targets, outputs | {output: value})[term])

    with tf.GradientTape() as tape:
        tape.watch(outputs[output])
        total = loss(outputs[output])
    gradient = tape.gradient(total, outputs[output]).numpy()
    for index in np.random.default_rng(0).integers(0, [2, 30, 4], (25, 3)):
        step = np.zeros(outputs[output].shape)
        step[tuple(index)] = 1e-5
        difference = float(loss(outputs[output] + step) - loss(outputs[output] - step)) / 2e-5
        assert gradient[tuple(index)] == pytest.approx(difference, abs=1e-8)


def test_only_chosen_boxes_have_a_gradient(batch):
    targets, outputs = batch
    positive = targets["classes"] > 0
    losses = np.asarray(confidence_losses(targets["classes"], outputs["logits"]))
    chosen = positive | plain_negatives(losses, positive, 3, np.ones(30, bool))
    outputs = {name: tf.constant(value) for name, value in outputs.items()}
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        terms = multibox_loss(targets, outputs)
        total = tf.reduce_sum(terms["localization"] + terms["confidence"])
    gradients = tape.gradient(total, outputs)
    np.testing.assert_array_equal(np.any(gradients["offsets"], axis=-1), positive)
    np.testing.assert_array_equal(np.any(gradients["logits"], axis=-1), chosen)
    assert 0 < chosen.sum() < chosen.size


def test_certain_predictions_stay_finite(batch):
    targets, outputs = batch
    terms = multibox_loss(targets, {name: 1e5 * value for name, value in outputs.items()})
    assert all(np.isfinite(value).all() for value in terms.values())


def test_no_object_is_no_loss(batch):
    targets, outputs = batch
    terms = multibox_loss(targets | {"classes": np.zeros((2, 30), "int32")}, outputs)
    assert {name: np.asarray(value).tolist() for name, value in terms.items()} == {
        "localization": [0, 0],
        "confidence": [0, 0],
        "matched": [0, 0],
    }


def test_unusable_boxes_take_no_part(batch):
    targets, outputs = batch
    valid = np.arange(30) < 15
    targets = targets | {"classes": targets["classes"] * valid}
    changed = {name: np.where(valid[None, :, None], value, 50 * value) for name, value in outputs.items()}
    for one, other in zip(*(multibox_loss(targets, o, valid=valid).values() for o in (outputs, changed))):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_ignored_boxes_take_no_part(batch):
    targets, outputs = batch
    classes = np.array(targets["classes"])
    negative = np.argwhere(classes[0] == 0).ravel()[:3]
    ignored = classes.copy()
    ignored[0, negative] = -1
    loud = {name: np.array(value) for name, value in outputs.items()}
    loud["logits"][0, negative, 1] += 50  # the hardest negatives, were they any
    valid = np.ones(classes.shape[1], bool)
    for loss in (multibox_loss, sigmoid_multibox_loss):
        quiet = loss(targets | {"classes": ignored}, outputs, 3, valid)
        with_noise = loss(targets | {"classes": ignored}, loud, 3, valid)
        for name, value in quiet.items():
            np.testing.assert_allclose(with_noise[name], value, rtol=1e-6)
        assert (
            np.asarray(loss(targets, loud, 3, valid)["confidence"])[0] > np.asarray(quiet["confidence"])[0] + 9
        ).all()
