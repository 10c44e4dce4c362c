"""Recipes: schedules as the papers state them."""

import keras
import numpy as np
import pytest

from keras_det import models
from keras_det.training import RECIPES, Recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_names_a_model_and_builds_its_optimizer(name):
    recipe = RECIPES[name]
    assert models.get(recipe.model)
    assert isinstance(recipe.build_optimizer(), keras.optimizers.Optimizer)
    assert recipe.about


def test_the_papers_steps_drop_the_rate_to_a_tenth_twice():
    schedule = RECIPES["ssd300-voc0712"].build_optimizer()._learning_rate
    rates = [float(schedule(step)) for step in (0, 79_999, 80_001, 100_001)]
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 1e-4, 1e-5], rtol=1e-6)


def test_overfeat_halves_the_rate_after_epochs_30_50_60_70_and_80():
    recipe = RECIPES["overfeat-classification"]
    optimizer = recipe.build_optimizer()
    epoch = recipe.steps_per_epoch
    assert epoch == pytest.approx(1_281_167 / 128, rel=1e-3) and optimizer.momentum == 0.6
    rates = [float(optimizer._learning_rate(n * epoch + 1)) for n in (0, 29, 30, 50, 60, 70, 80)]
    np.testing.assert_allclose(rates, [0.05, 0.05, 0.025, 0.0125, 0.00625, 0.003125, 0.0015625], rtol=1e-6)


def test_cosine_warms_up_to_the_highest_rate_and_ends_at_a_hundredth():
    recipe = Recipe("ssd300", "shapes", "test", learning_rate=0.4, warmup=10, steps=110)
    schedule = recipe.build_optimizer()._learning_rate
    rates = [float(schedule(step)) for step in (0, 5, 10, 60, 110)]
    np.testing.assert_allclose(rates, [0, 0.2, 0.4, 0.4 * (0.99 * 0.5 + 0.01), 0.004], rtol=1e-5)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="'cosine' or 'step'"):
        Recipe("ssd300", "shapes", "test", schedule="linear").build_optimizer()
