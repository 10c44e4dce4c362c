"""DeepMultiBox's objective: against plain loops, the paper's derivatives, and all assignments of small cases."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_det.losses import match_costs, match_objects, matching_losses

ALPHA = 0.3


def case(seed, batch=3, k=6, m=4):
    rng = np.random.default_rng(seed)
    boxes, priors = rng.random((batch, k, 4)), rng.random((k, 4))
    logits, objects = rng.normal(0, 2, (batch, k)), rng.random((batch, m, 4))
    valid = np.arange(m) < rng.integers(0, m + 1, (batch, 1))
    return *(x.astype("float32") for x in (boxes, logits, priors, objects)), valid


def plain_loss(boxes, c, g, x):
    """Equations 1 and 2 as they stand; x is a dict from prediction to object."""
    match = sum(np.sum((boxes[i] - g[j]) ** 2) for i, j in x.items()) / 2
    conf = -sum(np.log(c[i]) for i in x) - sum(np.log(1 - c[i]) for i in range(len(c)) if i not in x)
    return match, conf


def assignments(k, objects):
    """Every way to give each object a prediction of its own."""
    for chosen in itertools.permutations(range(k), len(objects)):
        yield dict(zip(chosen, objects))


@pytest.mark.parametrize("seed", range(4))
def test_matching_to_predictions_is_the_least_of_all_assignments(seed):
    boxes, logits, priors, objects, valid = case(seed)
    matched_prior = np.asarray(match_objects(boxes, logits, priors, objects, valid, "predictions", ALPHA))
    f_match, f_conf = matching_losses(boxes, logits, objects, matched_prior)
    for b in range(3):
        c = 1 / (1 + np.exp(-logits[b].astype("float64")))
        terms = [plain_loss(boxes[b], c, objects[b], x) for x in assignments(6, np.flatnonzero(valid[b]))]
        least = min(ALPHA * match + conf for match, conf in terms)
        assert ALPHA * float(f_match[b]) + float(f_conf[b]) == pytest.approx(least, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_prior_matching_looks_at_the_priors_alone(seed):
    boxes, logits, priors, objects, valid = case(seed)
    matched_prior = np.asarray(match_objects(boxes, logits, priors, objects, valid, "priors", ALPHA))
    f_match, f_conf = matching_losses(boxes, logits, objects, matched_prior)
    for b in range(3):
        found = list(assignments(6, np.flatnonzero(valid[b])))
        best = min(found, key=lambda x: sum(np.sum((priors[i] - objects[b, j]) ** 2) for i, j in x.items()))
        assert {int(i): j for j, i in enumerate(matched_prior[b]) if i >= 0} == best
        match, conf = plain_loss(boxes[b], 1 / (1 + np.exp(-logits[b].astype("float64"))), objects[b], best)
        assert (float(f_match[b]), float(f_conf[b])) == (pytest.approx(match, 1e-5), pytest.approx(conf, 1e-5))


def test_costs_are_what_an_assignment_adds_to_the_loss():
    boxes, logits, _, objects, _ = case(5)
    costs = np.asarray(match_costs(boxes, logits, objects, ALPHA))
    c = 1 / (1 + np.exp(-logits[0].astype("float64")))
    empty = plain_loss(boxes[0], c, objects[0], {})[1]
    for j, i in itertools.product(range(4), range(6)):
        match, conf = plain_loss(boxes[0], c, objects[0], {i: j})
        assert costs[0, j, i] == pytest.approx(ALPHA * match + conf - empty, rel=1e-4, abs=1e-5)


def test_derivatives_are_the_papers():
    """dF/dl_i = alpha sum_j (l_i - g_j) x_ij and dF/dc_i = (c_i - sum_j x_ij) / (c_i (1 - c_i)) ("Optimization")."""
    boxes, logits, priors, objects, valid = case(7)
    matched_prior = np.asarray(match_objects(boxes, logits, priors, objects, valid, "priors", ALPHA))
    c = tf.constant(1 / (1 + np.exp(-logits)))
    boxes = tf.constant(boxes)
    with tf.GradientTape() as tape:
        tape.watch([boxes, c])
        f_match, f_conf = matching_losses(boxes, tf.math.log(c / (1 - c)), objects, matched_prior)
        loss = tf.reduce_sum(ALPHA * f_match + f_conf)
    by_boxes, by_c = tape.gradient(loss, [boxes, c])
    x = np.zeros((3, 6, 4))
    for b, j in np.argwhere(matched_prior >= 0):
        x[b, matched_prior[b, j], j] = 1
    difference = boxes.numpy()[:, :, None] - objects[:, None]
    np.testing.assert_allclose(by_boxes, ALPHA * (difference * x[..., None]).sum(2), atol=1e-6)
    c = c.numpy()
    np.testing.assert_allclose(by_c, (c - x.sum(2)) / (c * (1 - c)), rtol=1e-4, atol=1e-4)


def test_more_objects_than_boxes_leaves_the_worst_fitting_out():
    objects = np.array([[[0, 0, 0.5, 0.5], [0.1, 0.1, 0.9, 0.9], [0.5, 0.5, 1, 1]]], "float32")
    priors = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], "float32")
    matched_prior = match_objects(None, None, priors, objects, np.ones((1, 3), bool), "priors", ALPHA)
    assert np.asarray(matched_prior).tolist() == [[0, -1, 1]]


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_extreme_confidences_stay_finite(logit):
    boxes, logits, _, objects, _ = case(8)
    logits = keras.ops.convert_to_tensor(np.full_like(logits, logit))
    f_match, f_conf = matching_losses(boxes, logits, objects, np.zeros((3, 4), "int32"))
    assert np.isfinite(np.asarray(f_match)).all() and np.isfinite(np.asarray(f_conf)).all()
