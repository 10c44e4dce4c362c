"""What is seen of a run while it trains: lines, event files, and how long steps wait for input."""

import re
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from small_network import RECIPE, Small

from keras_det.data import load
from keras_det.training import run, train
from keras_det.training.checkpoint import Progress
from keras_det.training.progress import ProgressLine, TensorBoardLog, rates
from keras_det.training.steps import Steps


@pytest.fixture(scope="module")
def scenes():
    return load("shapes", images=8, seed=3, size=32)


def events(folder):
    """`(tag, plugin, step, tensor)` of all that TensorBoard would read in a folder."""
    for path in sorted(folder.glob("events.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                tensor = tf.make_ndarray(value.tensor)
                yield value.tag, value.metadata.plugin_data.plugin_name, event.step, tensor


def test_scalars_for_tensorboard_are_the_rows(scenes, tmp_path):
    rows = train(Small(scenes.classes), RECIPE, scenes, tmp_path, verbose=0)
    found = [event for event in events(tmp_path / "tensorboard") if event[0] == "loss"]
    assert [event[1:3] for event in found] == [("scalars", 4), ("scalars", 8)]
    np.testing.assert_allclose([event[3] for event in found], [row["loss"] for row in rows], rtol=1e-6)


def test_images_for_tensorboard(tmp_path):
    image = Image.fromarray(np.full((5, 7, 3), 200, "uint8"))
    TensorBoardLog(tmp_path).images("detections", [image, image], 3)
    ((tag, plugin, step, tensor),) = events(tmp_path)
    assert (tag, plugin, step, tensor[:2].tolist(), len(tensor)) == ("detections", "images", 3, [b"7", b"5"], 4)
    decoded = tf.io.decode_png(tensor[2]).numpy()
    assert decoded.shape == (5, 7, 3) and (decoded == 200).all()


def test_plain_lines(capsys):
    metrics = {"matched": 3.0, "loss": 1.25, "images_per_second": 31.0, "input_wait": 0.04}
    with ProgressLine(steps=8, epochs=2) as line:  # no terminal here
        line.doing("compiling")
        line.doing("compiling")
        line.step(1, lambda: pytest.fail("read before it is shown"))
        line.shown -= 61
        line.step(3, lambda: metrics)
        line.epoch({"epoch": 1, "seconds": 2.0} | metrics | {"val_map50": 0.5}, step=4)
    assert capsys.readouterr().out.splitlines() == [
        "compiling",
        "step 3/8  loss 1.25  31 images/s  matched 3  input wait 4%",
        "epoch 1/2  step 4/8  2 s  loss 1.25  val_map50 0.5  31 images/s  matched 3  input wait 4%",
    ]


def test_at_80_columns_the_bar_the_step_the_time_left_and_what_is_watched_are_seen(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    metrics = {"matched": 3.0, "localization": 0.5, "confidence": 0.25, "skipped_steps": 0.0, "loss": 1.25}
    metrics |= {"images_per_second": 31.0, "input_wait": 0.04, "val_map50": 0.5}
    with ProgressLine(steps=1000, epochs=2, verbose=1) as line:
        line.shown -= 1
        line.step(300, lambda: metrics)
        line.line.refresh()
    shown = [re.sub(r"\x1b\[[\d;?]*\w", "", part).rstrip() for part in re.split(r"[\r\n]+", capsys.readouterr().out)]
    (last,) = {part for part in shown if "300/1000" in part}
    assert len(last) <= 80 and "━" in last and "--:--" in last
    assert "loss 1.25  val_map50 0.5  31 images/s" in last and last.endswith("…")


def test_the_line_of_a_terminal_shows_figures_and_time_left(capsys):
    with ProgressLine(steps=8, epochs=2, verbose=1) as line:
        line.shown -= 1
        line.step(3, lambda: {"loss": 1.25, "images_per_second": 31.0, "input_wait": 0.04})
        line.line.refresh()
        (task,) = line.line.tasks
        assert task.completed == 3 and task.total == 8
        assert task.fields["metrics"] == "loss 1.25  31 images/s  input wait 4%"


def test_steps_that_were_done_before_are_passed_over():
    class Model:
        stop_training, taken = False, []

        def make_train_function(self):
            self.train_function = lambda batches: self.taken.append(next(batches)) or {"loss": 1.0}

    model, progress, seen = Model(), Progress(step=5), []
    steps = Steps(progress, per_epoch=4, total=7, after=lambda: seen.append(progress.step))
    batches = iter("abc")
    with steps.inside(model):
        logs = [model.train_function(batches) for _ in range(3)]
    assert logs == [{}, {"loss": 1.0}, {"loss": 1.0}]
    assert model.taken == ["a", "b"] and seen == [6, 7] and model.stop_training


def test_waiting_for_input_is_a_part_of_the_steps_time():
    class Model:
        def make_train_function(self):
            self.train_function = lambda batches: next(batches) or time.sleep(0.03)

    def late():
        while True:
            time.sleep(0.05)
            yield {}

    model, progress = Model(), Progress()
    with Steps(progress, per_epoch=4, total=9, after=lambda: None).inside(model):
        batches = late()
        for _ in range(4):
            model.train_function(batches)
    assert progress.waiting >= 0.2 and progress.stepping >= progress.waiting + 0.12
    metrics = rates(progress, batch_size=2, steps=4)
    assert metrics["images_per_second"] == pytest.approx(8 / progress.stepping)
    assert metrics["input_wait"] == pytest.approx(progress.waiting / progress.stepping)


def test_averaged_weights_are_evaluated_and_kept_as_the_best(scenes, tmp_path):
    recipe = RECIPE.replace(ema=0.5, steps=4, optimizer={"class_name": "SGD"}, learning_rate=0.5)
    model = Small(scenes.classes)
    train(model, recipe, scenes, tmp_path, verbose=0)
    last, best = Small(scenes.classes), Small(scenes.classes)
    last.load_weights(tmp_path / run.LAST)
    best.load_weights(tmp_path / "best.weights.h5")
    mine, theirs, raw = (np.array(each.dense.kernel) for each in (model, best, last))
    np.testing.assert_array_equal(mine, theirs)  # `fit` ends with the averages, too
    assert np.abs(theirs - raw).max() > 1e-4
