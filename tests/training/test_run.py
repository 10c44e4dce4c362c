"""A run's folder, and resuming after a kill."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from PIL import Image

from keras_det import models
from keras_det.data import load
from keras_det.models import pretrained
from keras_det.models.registry import MODELS
from keras_det.training import EvaluateDetections, evaluate, train
from keras_det.training.recipes import Recipe
from keras_det.training.run import best_row, read_csv, write_csv

RECIPE = Recipe("ssd300", "shapes", "test", batch_size=4, steps=4, steps_per_epoch=2, warmup=0, augment=False)


def new_model(classes):
    """A whole detector of the fewest operations."""
    keras.utils.set_random_seed(1)
    return models.get(RECIPE.model)(classes=classes, **MODELS[RECIPE.model].small)


@pytest.fixture(scope="module")
def scenes():
    return load("shapes", images=12, seed=3)


@pytest.fixture(scope="module")
def whole_run(scenes, tmp_path_factory):
    """A run that was never interrupted."""
    folder = tmp_path_factory.mktemp("run")
    model = new_model(scenes.classes)
    rows = train(model, RECIPE, scenes, folder, val_source=scenes.take(4), verbose=0)
    return folder, model, rows


def test_the_folder_holds_everything(whole_run, scenes):
    folder, model, rows = whole_run
    config = json.loads((folder / "args.json").read_text())
    assert config["config"]["classes"] == list(scenes.classes)
    assert config["recipe"]["steps"] == 4
    assert read_csv(folder / "results.csv") == rows
    assert [row["epoch"] for row in rows] == [1, 2]
    assert {"loss", "localization", "confidence", "matched", "skipped_steps", "val_map50", "seconds"} <= set(rows[0])
    assert rows[1]["images_per_second"] > 0 and 0 <= rows[1]["input_wait"] < 1
    for name in ("curves.png", "samples.png", "detections.png"):
        with Image.open(folder / name) as image:
            assert min(image.size) > 100, name
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_the_best_weights_are_a_third_of_the_last(whole_run):
    folder, _, _ = whole_run
    best, last = ((folder / f"{name}.weights.h5").stat().st_size for name in ("best", "last"))
    assert best < 0.4 * last


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_weights(whole_run, scenes, tmp_path):
    _, whole, rows = whole_run
    half = RECIPE.replace(steps=2)
    # The schedule is part of the recipe, so the first half is made by stopping the whole recipe after one epoch.
    model = new_model(scenes.classes)
    stop = StopAfter(1)
    with pytest.raises(Killed):
        train_with(model, RECIPE, scenes, tmp_path, stop)
    assert half.steps == 2
    again = new_model(scenes.classes)
    resumed = train(again, RECIPE, scenes, tmp_path, val_source=scenes.take(4), resume=True, verbose=0)
    assert [row["epoch"] for row in resumed] == [1, 2]
    assert resumed[1]["loss"] == pytest.approx(rows[1]["loss"], rel=1e-5)
    for mine, theirs in zip(again.weights, whole.weights):
        np.testing.assert_allclose(mine, theirs, atol=1e-5, err_msg=mine.path)


@pytest.mark.slow
def test_a_split_that_is_reported_on_is_looked_at_once_and_chooses_nothing(scenes, tmp_path):
    recipe = dataclasses.replace(RECIPE, metrics=("voc2007_11point", "area"), evaluate_every=None, keep="last")
    model = new_model(scenes.classes)
    rows = train(model, recipe, scenes, tmp_path, val_source=scenes.take(2), verbose=0)
    assert not [name for name in rows[0] if name.startswith("val_")]
    assert {"val_map50_voc07", "val_map50"} <= set(rows[1])
    kept = models.SSD300(weights=tmp_path / "best.weights.h5")
    for mine, last in zip(kept.weights, model.weights):
        np.testing.assert_array_equal(mine, last)


@pytest.mark.parametrize(
    ("metrics", "keep", "expected"),
    [
        (("area",), "best", False),
        (("voc2007_11point", "area"), "best", True),
        (("coco",), "best", False),
        (("area",), "last", True),
    ],
)
def test_the_first_metric_of_the_recipe_is_watched(metrics, keep, expected):
    before = {"val_map50": 0.5, "val_map50_voc07": 0.4, "val_AP": 0.3, "loss": 1.0}
    row = {"val_map50": 0.4, "val_map50_voc07": 0.5, "val_AP": 0.2, "loss": 0.5}
    found = best_row([before, row], RECIPE.replace(metrics=metrics, keep=keep))[1]
    assert (found is row) is expected and (found is before) is not expected


def test_where_nothing_can_be_found_the_loss_is_watched():
    rows = [{"epoch": 1, "loss": 2.0, "val_map50": np.nan}, {"epoch": 2, "loss": 3.0, "val_map50": np.nan}]
    assert best_row(rows, RECIPE) == ("loss", rows[0])


class Killed(Exception):
    """Stands for a kill."""


class StopAfter(keras.callbacks.Callback):
    """Dies in the middle of the epoch after `epochs` whole ones."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs
        self.seen = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.seen = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.seen >= self.epochs:
            raise Killed


def train_with(model, recipe, source, folder, callback):
    """`train` with one more callback."""
    fit = model.fit
    model.fit = lambda *args, callbacks, **kwargs: fit(*args, callbacks=[*callbacks, callback], **kwargs)
    return train(model, recipe, source, folder, val_source=source.take(4), verbose=0)


def test_images_of_the_recipes_held_out_classes_are_not_trained_on(scenes, tmp_path, monkeypatch):
    class Seen(Exception):
        pass

    def stop(source):
        raise Seen(*{label for i in range(len(source)) for label in source.annotation(i).labels.tolist()})

    monkeypatch.setattr("keras_det.training.run.fingerprint", stop)
    recipe = dataclasses.replace(RECIPE, without_classes=(scenes.classes[0],))
    with pytest.raises(Seen) as seen:
        train(new_model(scenes.classes), recipe, scenes, tmp_path)
    assert seen.value.args and 0 not in seen.value.args


def test_a_folder_with_a_run_is_not_overwritten(whole_run, scenes):
    folder, model, _ = whole_run
    with pytest.raises(FileExistsError, match="--resume"):
        train(model, RECIPE, scenes, folder)


def test_nothing_to_resume_is_said(scenes, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"last\.weights\.h5 is missing"):
        train(new_model(scenes.classes), RECIPE, scenes, tmp_path, resume=True)


def test_a_checkpoint_of_another_network_is_refused(whole_run, scenes):
    folder, _, _ = whole_run
    other = new_model(["one", "two"])
    with pytest.raises(ValueError, match=r"last\.weights\.h5 does not hold the weights"):
        train(other, RECIPE, load_as(scenes, ("one", "two")), folder, resume=True, verbose=0)


def load_as(source, classes):
    """A source with other class names."""
    from keras_det.data.relabeling import relabel

    return relabel(source, dict(zip(source.classes, classes)))


def test_a_failed_write_leaves_the_file_before_it(whole_run, monkeypatch):
    folder, model, _ = whole_run
    path = folder / "last.weights.h5"
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(keras.saving, "save_weights", full)
    with pytest.raises(OSError, match="No space"):
        pretrained.save_weights(model, path)
    assert path.read_bytes() == before
    assert not [other for other in folder.iterdir() if other.name.startswith(".")]


def test_evaluation_sees_every_image_once(whole_run, scenes):
    _, model, _ = whole_run
    metrics, evaluator = evaluate(model, scenes, batch_size=5)
    assert len(evaluator.missing) == 0
    assert {"map50", "map50_voc07", "AP", "AP50", "AR100"} <= set(metrics)


def test_the_callback_repeats_its_figures_between_evaluations(whole_run, scenes):
    _, model, _ = whole_run
    callback = EvaluateDetections(scenes.take(2), every=2)
    callback.set_model(model)
    logs = [{}, {}, {}]
    for epoch, log in enumerate(logs):
        callback.on_epoch_end(epoch, log)
    assert logs[0] == {}
    assert logs[1] == logs[2] and set(logs[1]) == {"val_map50"}


def test_too_many_unreadable_images_end_the_run_by_name(tmp_path):
    for i in range(6):
        folder_image(tmp_path / "data", i)
    for name in ("3.png", "4.png"):  # one alone is skipped
        (tmp_path / "data" / name).write_bytes(b"no image")
    source = load(f"folder:{tmp_path / 'data'}")
    model = new_model(source.classes)
    recipe = RECIPE.replace(batch_size=2, steps=50, steps_per_epoch=50)
    with pytest.raises(ValueError, match=r"cannot be read.*[34]\.png"):
        train(model, recipe, source, tmp_path / "run", verbose=0)


def folder_image(folder, i):
    """An image with its VOC XML."""
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.full((40, 60, 3), 40 * i, "uint8")).save(folder / f"{i}.png")
    box = "<xmin>5</xmin><ymin>5</ymin><xmax>30</xmax><ymax>30</ymax>"
    size = "<size><width>60</width><height>40</height><depth>3</depth></size>"
    entry = f"<object><name>thing</name><bndbox>{box}</bndbox></object>"
    text = f"<annotation><filename>{i}.png</filename>{size}{entry}</annotation>"
    (folder / f"{i}.xml").write_text(text)


def test_csv_round_trip_with_missing_figures(tmp_path):
    rows = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "val_map50": 0.125}]
    write_csv(tmp_path / "r.csv", rows)
    assert read_csv(tmp_path / "r.csv") == rows


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("class_generic", {"image_size": 64, "grid_shape": (6, 6, 3, 3)}),
        ("classifier", {"image_size": 64, "background": True}),
    ],
)
def test_every_kind_of_model_makes_a_run(name, config, scenes, tmp_path):
    model = models.get(name)(backbone="tiny", classes=scenes.classes, **config)
    plan = RECIPE.replace(model=name, steps=1, steps_per_epoch=1, augment=True)
    rows = train(model, plan, scenes, tmp_path, verbose=0)
    assert np.isfinite(rows[0]["loss"])
    assert {"samples.png", "curves.png", "best.weights.h5"} <= {path.name for path in tmp_path.iterdir()}
