"""Training on several replicas."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import types

import keras
import pytest
from small_models import TRAINED, build

from keras_det.training import strategies


def run(*arguments):
    """What `replicas.py` says."""
    command = [sys.executable, "-W", "ignore", pathlib.Path(__file__).with_name("replicas.py"), *arguments]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def two():
    """An objective, and a whole network with batch normalization, clipping and averages, on two replicas."""
    return run("2", "ssd300")


def check(found):
    """The same weights, and metrics that are sums over the replicas, not means of their parts."""
    assert found["moved"] > 1e-4 and found["far"] < 1e-5
    for ones, many in zip(found["alone"], found["together"], strict=True):
        assert set(ones) == set(many) and ones["loss"] > 0
        for name, value in ones.items():
            assert many[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_an_objective_is_the_same_on_two_replicas(two):
    check(two["ssd300"])


@pytest.mark.parametrize("replicas", [pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.long)])
def test_every_objective_is_the_same_on_several_replicas(replicas):
    found = run(str(replicas), *TRAINED)
    for case in TRAINED:
        check(found[case])


def test_two_replicas_train_as_one(two):
    check(two["whole"])


def test_a_step_that_is_not_finite_changes_nothing_on_replicas(two):
    skipped, moved = two["nan"]
    assert skipped == 1 and moved < 1e-7  # one step, however many replicas; running statistics are their mean


def test_a_gradient_that_overflows_on_one_replica_changes_nothing(two):
    assert two["overflow"] == [0, 0.5]


def test_accumulation_on_replicas_is_refused():
    model = build("classifier")
    model._distribute_strategy = types.SimpleNamespace(num_replicas_in_sync=2, scope=contextlib.nullcontext)
    with pytest.raises(ValueError, match="works on one replica"):
        model.compile(optimizer=keras.optimizers.SGD(1e-3, gradient_accumulation_steps=2))


def test_an_unknown_strategy_is_named():
    with pytest.raises(ValueError, match="none, mirrored, multiworker, tpu"):
        strategies.scope("pipeline")
