"""`--dry-run`: the plan, and the memory of a step."""

import numpy as np
import pytest
from small_network import RECIPE, SIZE, Small

from keras_det.data import load
from keras_det.training import plan
from keras_det.training.planning import learning_rates


@pytest.fixture(scope="module")
def scenes():
    return load("shapes", images=8, seed=3, size=32)


def test_the_plan_counts_what_it_found(scenes):
    model = Small(scenes.classes)
    before = [np.array(weight) for weight in model.weights]
    found = plan(model, RECIPE, scenes, scenes.take(3))
    assert found["images"] == 8 and found["val_images"] == 3
    assert found["objects"] == sum(len(scenes.annotation(i)) for i in range(8))
    assert found["batch"]["images"] == [2, SIZE, SIZE, 3] and found["batch"]["boxes"][0] == 2
    assert (found["steps"], found["steps_per_epoch"], found["epochs"], found["passes"]) == (8, 4, 2, 2.0)
    assert found["parameters"] == 3 * 2 + SIZE * SIZE * 3 * 4 + 4
    for weight, value in zip(model.weights, before):
        np.testing.assert_array_equal(weight, value)


def test_steps_are_timed_where_that_is_asked_for(scenes):
    found = plan(Small(scenes.classes), RECIPE, scenes, measure=True)
    assert 0 < found["seconds_per_step"] < 10 and found["process_memory"] > 100  # TensorFlow alone
    assert found["hours_without_evaluation"] == pytest.approx(8 * found["seconds_per_step"] / 3600, abs=1e-3)


def test_memory_grows_with_the_batch_by_what_the_backward_pass_reads(scenes):
    needed = [plan(Small(scenes.classes), RECIPE.replace(batch_size=n), scenes)["memory"] for n in (2, 8)]
    floats = SIZE * SIZE * 3 * 4 / 1e6  # of one image, in MB
    for batch, memory in zip((2, 8), needed):
        assert memory["total"] == pytest.approx(sum(v for k, v in memory.items() if k != "total"), abs=0.4)
        # What is normalized, and what dropout keeps and multiplies; not the copies between.
        assert 2 * batch * floats - 0.1 <= memory["activations"] <= 6 * batch * floats + 0.1
    assert needed[0]["optimizer"] == needed[1]["optimizer"]


def test_learning_rates_show_where_the_schedule_changes():
    recipe = RECIPE.replace(schedule="step", steps=100, lr_milestones=(60, 80), warmup=10, learning_rate=1.0)
    rates = dict(learning_rates(recipe))
    assert rates[0] == 0.0 and rates[10] == 1.0
    assert rates[61] == pytest.approx(0.1) and rates[81] == pytest.approx(0.01)
    assert dict(learning_rates(recipe.replace(scale_learning_rate=True), replicas=4))[10] == 4.0
