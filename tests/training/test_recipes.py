"""Recipes: schedules as the papers state them."""

import keras
import numpy as np
import pytest

from keras_det import models
from keras_det.backbones.overfeat import architecture, multiply_adds
from keras_det.boxes import iou
from keras_det.training import RECIPES, Recipe
from keras_det.training.planning import learning_rates


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_names_a_model_and_builds_its_optimizer(name):
    recipe = RECIPES[name]
    assert models.get(recipe.model)
    assert isinstance(recipe.build_optimizer(), keras.optimizers.Optimizer)
    assert recipe.description
    if recipe.data.startswith(("voc:", "coco:", "ilsvrc:ILSVRC")):  # a paper's
        assert recipe.expected and recipe.gpu_hours > 0
    # The one-box-per-class network takes a classifier's layers.
    assert recipe.init_from is None or RECIPES[recipe.init_from].model in (recipe.model, "classifier")
    assert recipe.command(name).startswith(f"keras-det train --recipe {name}")


def test_overfeats_tables_and_figures_are_there():
    seven = [
        f"{name}{k}" for name in ("overfeat-classification", "overfeat-fast-classification") for k in range(-7, -1)
    ]
    assert set(seven) <= set(RECIPES) and {RECIPES[name].seed for name in seven} == set(range(1, 7))
    small = {"width": 1 / 96, "classes": ["cat", "dog"]}
    found = {}
    for name, recipe in RECIPES.items():
        if name.startswith("overfeat-") and recipe.data.startswith("ilsvrc:") and name not in seven:
            found[name] = models.get(recipe.model)(**recipe.config | small)
    assert found["overfeat-localization-per-class"].config.per_class
    assert found["overfeat-localization-single-scale"].config.training_scales
    assert found["overfeat-detection-context"].config.context
    assert RECIPES["overfeat-detection"].split == RECIPES["overfeat-detection-context"].split == "DET/train"
    for name, model in found.items():
        if model.task != "classification":
            assert model.image_size == (293, 293)
            # Four windows' area in the convolutions, 49 windows in the dense layers.
            assert RECIPES[name].gflops > 2 * RECIPES["overfeat-classification"].gflops


def sample_gflops(variant, outputs, regressed=0, backbone=False, context=False):
    """A third of the multiply-adds in 10^9 of a training step's passes over one sample.

    Args:
        variant: of the network.
        outputs: of the classifier.
        regressed: boxes of the regressor's last layer; 0 is none, and samples are one window.
        backbone: whether the convolutions and the classifier are trained beside the regressor.
        context: whether the lower scale goes through the convolutions, too.
    """
    spec = architecture(variant)
    size = spec.field + (6 * spec.stride if regressed else 0)
    cost = multiply_adds(variant, size, outputs, 4 * regressed, context)
    forward = sum(cost.values())
    # A layer that is trained goes backward twice; one that is not, and has none below it that is, not at all.
    backward = 2 * (forward if backbone or not regressed else cost["regressor"])
    return (forward + backward) / 3 / 1e9


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("fast-classification", ("fast", 1000)),
        ("localization", ("accurate", 1000, 1)),
        ("localization-per-class", ("accurate", 1000, 1000)),
        ("detection", ("accurate", 201, 1, True)),
        ("detection-context", ("accurate", 201, 1, True, True)),
    ],
)
def test_overfeats_operations_are_those_of_its_layers(name, sample):
    assert RECIPES[f"overfeat-{name}"].gflops == pytest.approx(sample_gflops(*sample), rel=1e-4)


def test_ssds_tables_are_there():
    data = ("voc07", "voc0712", "voc0712-coco", "voc07plus12", "voc07plus12-coco", "coco")
    for size in ("ssd300", "ssd512"):
        assert {f"{size}-{name}-no-expansion" for name in data} <= set(RECIPES)
        assert {f"{size}-{name}" for name in data[1:]} <= set(RECIPES)
    assert RECIPES["ssd512-voc07plus12"].expected.startswith("78.5 mAP")
    assert RECIPES["ssd300-voc0712-no-expansion"].lr_milestones == (40_000, 50_000)
    assert RECIPES["ssd300-voc07plus12-no-expansion"].lr_milestones == (60_000,)
    assert RECIPES["ssd300-coco"].lr_milestones == (280_000, 360_000)
    command = RECIPES["ssd512-voc0712-coco"].command("ssd512-voc0712-coco")
    assert "--weights runs/ssd512-coco/best.weights.h5" in command


def table_3_boxes(name):
    recipe = RECIPES[name]
    options = {k: v for k, v in recipe.config.items() if k != "backbone_weights"}
    return models.SSD300(classes=["a"], **options | {"backbone": "vgg16"}).default_boxes


@pytest.mark.parametrize(
    ("name", "boxes"),
    [("5-sources", 8764), ("4-sources", 8942), ("3-sources", 9864), ("2-sources", 8664), ("fc7", 8664)],
)
def test_table_3_stacks_the_scales_of_the_sources_left_out(name, boxes):
    """The paper's numbers of boxes, but for two sources (9025), and a default box for centered objects of any size."""
    found = table_3_boxes(f"ssd300-table3-{name}")
    assert len(found) == boxes
    for size in np.arange(0.1, 0.99, 0.02):
        centered = np.array([[0.5 - size / 2] * 2 + [0.5 + size / 2] * 2], "float32")
        assert np.max(iou(centered, found)) > 0.5, size
    assert RECIPES[f"ssd300-table3-{name}-inside"].config["boundary_boxes"] is False


def test_no_recipe_chooses_weights_on_the_split_that_it_reports_on():
    for name, recipe in RECIPES.items():
        reported = recipe.val_split == "2007_test" or recipe.val_split == "CLS-LOC/val"
        assert not reported or (recipe.keep == "last" and recipe.evaluate_every is None), name
    assert RECIPES["ssd300-voc0712"].metrics[0] == "voc2007_11point"
    assert RECIPES["ssd512-coco"].metrics == ("coco",) and RECIPES["ssd512-coco"].keep == "best"


def test_caffes_biases_have_twice_the_rate_and_no_decay():
    """Against Caffe's update written out: v = m v + rate (g + decay w), w = w - v."""
    recipe = RECIPES["ssd300-voc0712"].replace(learning_rate=0.1, schedule="constant")
    optimizer = recipe.build_optimizer()
    kernel, bias = (keras.Variable(np.float32([1.0, -2.0]), name=name) for name in ("kernel", "bias"))
    optimizer.build([kernel, bias])
    expected = {"kernel": [np.float64([1.0, -2.0]), 0.0, 0.1, 5e-4], "bias": [np.float64([1.0, -2.0]), 0.0, 0.2, 0.0]}
    for step in range(3):
        gradient = np.float64([0.5, 1.0 + step])
        optimizer.apply([keras.ops.cast(gradient, "float32")] * 2, [kernel, bias])
        for state in expected.values():
            weight, velocity, rate, decay = state
            velocity = 0.9 * velocity + rate * (gradient + decay * weight)
            state[:2] = weight - velocity, velocity
    np.testing.assert_allclose(kernel, expected["kernel"][0], rtol=1e-6)
    np.testing.assert_allclose(bias, expected["bias"][0], rtol=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert again.get_config() == optimizer.get_config() and again.decay == 5e-4


def test_gpu_hours_are_those_of_three_forward_passes():
    recipe = Recipe("ssd300", "shapes", "test", batch_size=32, steps=120_000, gflops=31.374)
    assert recipe.gpu_hours == pytest.approx(3 * 2 * 31.374e9 * 32 * 120_000 / 40e12 / 3600)
    assert Recipe("ssd300", "shapes", "test").gpu_hours is None


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
    with pytest.raises(ValueError, match="'cosine', 'step' or 'constant'; got 'linear'"):
        Recipe("ssd300", "shapes", "test", schedule="linear").build_optimizer()


def test_a_shorter_recipe_keeps_its_shape():
    recipe = RECIPES["ssd300-voc0712"]
    assert recipe.with_steps(1200).lr_milestones == (800, 1000)
    assert recipe.with_steps(None) is recipe


def test_step_warms_up_and_drops_where_ssd_does_unless_told():
    recipe = Recipe("ssd300", "shapes", "test", schedule="step", warmup=10, steps=120, learning_rate=0.4)
    schedule = recipe.build_schedule(0.4)
    rates = [float(schedule(step)) for step in (0, 5, 10, 80, 81, 101)]
    np.testing.assert_allclose(rates, [0, 0.2, 0.4, 0.4, 0.04, 0.004], rtol=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert [float(again(step)) for step in (5, 81)] == [float(schedule(step)) for step in (5, 81)]


def test_options_of_the_optimizer():
    recipe = Recipe("ssd300", "shapes", "test", steps=120, warmup=0, learning_rate=0.4)
    recipe = recipe.replace(optimizer={"class_name": "Adam", "clipnorm": 10.0}, accumulate=4, clip_norm=2.0, ema=0.9)
    optimizer = recipe.replace(scale_learning_rate=True).build_optimizer(replicas=2)
    assert (optimizer.global_clipnorm, optimizer.clipnorm) == (2.0, None)
    assert optimizer.gradient_accumulation_steps == 4
    assert optimizer.use_ema and optimizer.ema_momentum == 0.9
    assert float(optimizer._learning_rate(0)) == pytest.approx(0.8)
    assert float(optimizer._learning_rate(30)) == pytest.approx(0.008)  # 120 steps are 30 updates


def test_precision_is_the_models_while_it_is_built():
    recipe = Recipe("ssd300", "shapes", "test", precision="mixed_bfloat16")
    with recipe.policy():
        assert keras.layers.Dense(1).dtype_policy.name == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == "float32"
    with (
        pytest.raises(ValueError, match="mixed_bfloat16, mixed_float16; got 'half'"),
        recipe.replace(precision="half").policy(),
    ):
        pass


def test_adagrad_alone_lets_the_rate_decay_where_the_paper_names_no_schedule():
    names = [name for name, recipe in RECIPES.items() if recipe.optimizer["class_name"] == "Adagrad"]
    assert {"multibox-voc12", "multibox-classifier-voc12", "detectornet-voc12"} <= set(names)
    for name in names:
        recipe = RECIPES[name]
        assert recipe.build_schedule(recipe.learning_rate) == recipe.learning_rate
        assert [rate for _, rate in learning_rates(recipe)] == [recipe.learning_rate] * 5


def test_a_constant_rate_warms_up_and_is_saved():
    recipe = Recipe("ssd300", "shapes", "test", schedule="constant", warmup=10, steps=100, learning_rate=0.4)
    schedule = recipe.build_schedule(0.4)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    for rates in ([float(form(step)) for step in (0, 5, 10, 99)] for form in (schedule, again)):
        np.testing.assert_allclose(rates, [0, 0.2, 0.4, 0.4], rtol=1e-6)
