"""Nothing is lost: kills at random points, full disks, read-only folders, checkpoints of others."""

import dataclasses
import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import types

import h5py
import keras
import numpy as np
import pytest
from small_network import RECIPE, Small

from keras_det.data import AnnotationIssue, Source, load
from keras_det.models import pretrained
from keras_det.training import run, train
from keras_det.training.run import LAST, read_csv
from keras_det.training.steps import Steps
from keras_det.weights.metadata import read_metadata

TIMES = ("seconds", "images_per_second", "input_wait")


def content(path):
    """All arrays of a checkpoint by name, and what it says of the run."""
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return arrays, read_metadata(path)["training"]


def without_times(rows):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def assert_same_runs(one, other):
    """Bit for bit the same weights, optimizer, averages, random states and means, and the same rows."""
    (arrays, state), (arrays2, state2) = content(one / LAST), content(other / LAST)
    assert arrays.keys() == arrays2.keys() and len(arrays) > 10
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, arrays2[name], err_msg=name)
    assert state["progress"]["step"] == state2["progress"]["step"]
    assert state["seeds"] == state2["seeds"] and state["means"] == state2["means"]
    assert without_times(read_csv(one / "results.csv")) == without_times(read_csv(other / "results.csv"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.long)])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_never_was(kills, tmp_path):
    script = pathlib.Path(__file__).with_name("kill_loop.py")
    done = subprocess.run([sys.executable, script, tmp_path, str(kills)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["killed"] == kills and found["codes"] == [0, 0], done.stderr[-3000:]
    assert_same_runs(tmp_path / "killed", tmp_path / "whole")
    assert [row["epoch"] for row in read_csv(tmp_path / "killed" / "results.csv")] == [1, 2, 3, 4, 5]
    assert not list((tmp_path / "killed").glob(".*"))  # what the kills left half written is gone


@pytest.fixture(scope="module")
def scenes():
    return load("shapes", images=8, seed=3, size=32)


@pytest.fixture(scope="module")
def whole_run(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    keras.utils.set_random_seed(1)
    train(Small(scenes.classes), RECIPE, scenes, folder, verbose=0)
    return folder


@pytest.fixture
def stopped(scenes, tmp_path, monkeypatch, caplog):
    """A folder with a run that Ctrl-C ended at step 7, in the middle of its second epoch."""
    keras.utils.set_random_seed(1)
    after_step = run.RunFolder.after_step

    def interrupted(self):
        after_step(self)
        if self.progress.step == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run.RunFolder, "after_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(Small(scenes.classes), RECIPE, scenes, tmp_path / "run", verbose=0)
    assert "stopped at step 7" in (said := caplog.text) and "holds step 6; continue with --resume" in said
    return tmp_path / "run"


def test_ctrl_c_says_what_is_saved_and_resuming_loses_nothing(stopped, whole_run, scenes):
    assert content(stopped / LAST)[1]["progress"]["step"] == 6
    rows = train(Small(scenes.classes), RECIPE, scenes, stopped, resume=True, verbose=0)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert_same_runs(stopped, whole_run)


def test_ctrl_c_before_the_first_checkpoint(scenes, tmp_path, monkeypatch, caplog):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(run.RunFolder, "after_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(Small(scenes.classes), RECIPE, scenes, tmp_path, verbose=0)
    assert "stopped at step 1. Nothing was saved yet." in caplog.text


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
@pytest.mark.parametrize("at", [7, 8])
def test_a_signal_ends_the_run_when_its_step_is_done_and_saved(
    at, number, ends, whole_run, scenes, tmp_path, monkeypatch
):
    keras.utils.set_random_seed(1)
    recipe = dataclasses.replace(RECIPE, save_every=None)
    batches, handlers = Steps._timed, [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]

    def signaled(self, iterator):
        for batch in batches(self, iterator):
            if self.progress.step == at - 1:
                os.kill(os.getpid(), number)
            yield batch

    with monkeypatch.context() as patch, pytest.raises(ends) as end:
        patch.setattr(Steps, "_timed", signaled)
        train(Small(scenes.classes), recipe, scenes, tmp_path, verbose=0)
    assert ends is KeyboardInterrupt or end.value.code == 143
    assert content(tmp_path / LAST)[1]["progress"]["step"] == at
    assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    train(Small(scenes.classes), recipe, scenes, tmp_path, resume=True, verbose=0)
    assert_same_runs(tmp_path, whole_run)


def test_a_signal_while_nothing_is_lost_ends_the_run_at_once(scenes, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(run.RunFolder, "_complete", lambda self, row: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        train(Small(scenes.classes), RECIPE, scenes, tmp_path, verbose=0)
    assert "stopped at step 4" in caplog.text and "holds step 4" in caplog.text


def test_patience_ends_a_run_that_gets_no_better(scenes, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(run, "best_row", lambda rows, recipe: ("loss", rows[0]))
    recipe = RECIPE.replace(steps=40, patience=2)
    rows = train(Small(scenes.classes), recipe, scenes, tmp_path, verbose=0)
    assert [row["epoch"] for row in rows] == [1, 2, 3] and "ended after epoch 3" in caplog.text
    assert run.finished(tmp_path, recipe) and not run.finished(tmp_path / "absent", recipe)


def test_a_run_of_a_number_of_steps_that_is_no_multiple_of_an_epoch_resumes_to_more(scenes, whole_run, tmp_path):
    keras.utils.set_random_seed(1)
    rows = train(
        Small(scenes.classes), RECIPE.replace(steps=6, schedule="step", lr_milestones=(100,)), scenes, tmp_path
    )
    assert [row["epoch"] for row in rows] == [1, 2]
    again = train(Small(scenes.classes), RECIPE, scenes, tmp_path, resume=True, verbose=0)
    assert [row["epoch"] for row in again] == [1, 2]
    assert content(tmp_path / LAST)[1]["progress"]["step"] == 8


def test_data_of_the_same_names_are_not_the_same_data(scenes, stopped):
    class Moved(type(scenes)):
        """The same scenes, one object elsewhere."""

        def annotation(self, i):
            one = super().annotation(i)
            return dataclasses.replace(one, boxes=one.boxes * np.float32(0.5)) if i == 3 else one

    other = Moved(images=8, seed=3, size=32)
    assert run.fingerprint(scenes) == run.fingerprint(load("shapes", images=8, seed=3, size=32))
    before = (stopped / "args.json").read_bytes()
    with pytest.raises(ValueError, match="data"):
        train(Small(scenes.classes), RECIPE.replace(steps=12), other, stopped, resume=True, verbose=0)
    assert (stopped / "args.json").read_bytes() == before


def test_a_run_that_cannot_resume_keeps_its_arguments(scenes, stopped, monkeypatch):
    def faulty(self):
        raise ValueError("20 of 25 objects are faulty")

    before = (stopped / "args.json").read_bytes()
    monkeypatch.setattr(Source, "check", faulty)
    with pytest.raises(ValueError, match="20 of 25"):
        train(Small(scenes.classes), RECIPE.replace(steps=12), scenes, stopped, resume=True, verbose=0)
    assert (stopped / "args.json").read_bytes() == before


class Evaluation(keras.callbacks.Callback):
    """Stands for the evaluation of the second epoch, which fails as often as it is told."""

    failures = 0
    done = []

    def __init__(self, source, every):
        super().__init__()
        self.values = {}

    def is_due(self, epoch):
        return True

    def on_epoch_end(self, epoch, logs):
        if Evaluation.failures:
            Evaluation.failures -= 1
            raise ValueError("2 of the 3 images cannot be read")
        Evaluation.done.append(epoch)
        self.values = {"val_top1": 0.25 * (epoch + 1)}
        logs.update(self.values)


@pytest.mark.parametrize("failures", [1, 2])
def test_a_failed_evaluation_costs_no_epoch(scenes, tmp_path, monkeypatch, failures):
    monkeypatch.setattr(run, "ClassifyObjects", Evaluation)
    Evaluation.done.clear()
    for folder, fails in (("whole", 0), ("failed", failures)):
        keras.utils.set_random_seed(1)
        Evaluation.failures, resume = fails, False
        for _ in range(fails):
            with pytest.raises(
                ValueError, match="stopped at step 4: 2 of the 3 .*holds step 4; continue with --resume"
            ):
                train(Small(scenes.classes), RECIPE, scenes, tmp_path / folder, scenes, resume=resume, verbose=0)
            assert content(tmp_path / folder / LAST)[1]["progress"]["step"] == 4
            resume = True
        rows = train(Small(scenes.classes), RECIPE, scenes, tmp_path / folder, scenes, resume=resume, verbose=0)
        assert [row["val_top1"] for row in rows] == [0.25, 0.5]
    assert_same_runs(tmp_path / "whole", tmp_path / "failed")
    best = [read_metadata(tmp_path / f / "best.weights.h5") for f in ("whole", "failed")]
    assert Evaluation.done == [0, 1, 0, 1] and best[0] == best[1]


def test_a_run_goes_on_with_its_own_data_only(whole_run, scenes, tmp_path):
    shutil.copytree(whole_run, tmp_path / "run")
    config = (tmp_path / "run" / "args.json").read_bytes()
    for other in (load("shapes", images=8, seed=4, size=32), scenes.take(7), scenes.subset(range(7, -1, -1))):
        recipe = RECIPE.replace(steps_per_epoch=4)
        with pytest.raises(
            ValueError, match=r"can only be resumed with its own data, shapes.* 8 images .*; got shapes"
        ):
            train(Small(scenes.classes), recipe, other, tmp_path / "run", resume=True, verbose=0)
    assert (tmp_path / "run" / "args.json").read_bytes() == config


@pytest.mark.parametrize("dry", [True, False])
def test_validation_data_are_checked_before_training(scenes, tmp_path, dry):
    from keras_det.data import relabel
    from keras_det.training import plan

    def start(source):
        if dry:
            plan(Small(scenes.classes), RECIPE, scenes, source)
        else:
            train(Small(scenes.classes), RECIPE, scenes, tmp_path / "run", source, verbose=0)

    with pytest.raises(ValueError, match="classes"):
        start(relabel(scenes, {scenes.classes[0]: "other"}))
    broken = Broken(scenes)
    with pytest.raises(ValueError, match="2 of the 8 images of broken cannot be read"):
        start(broken)
    assert not (tmp_path / "run").exists()


class Broken(Source):
    """Another source, two of whose images cannot be read."""

    def __init__(self, source):
        self.source, self.name, self.classes = source, "broken", source.classes
        self.annotation, self.image = source.annotation, source.image

    def __len__(self):
        return len(self.source)

    def _issues_of(self, i):
        return [AnnotationIssue(f"{i}.jpg", None, "not an image", "skipped")] if i in (3, 5) else []


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_ends_the_run_in_one_sentence_and_leaves_the_checkpoint(stopped, scenes, monkeypatch):
    before = (stopped / LAST).read_bytes()
    with monkeypatch.context() as patch:  # known beforehand
        patch.setattr(shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=1000))
        with pytest.raises(
            OSError, match=f"^{stopped / 'x.weights.h5'} could not be written: No space left on device.$"
        ):
            pretrained.save_weights(Small(scenes.classes), stopped / "x.weights.h5")
    monkeypatch.setattr(keras.saving, "save_weights", full)  # in the midst of it
    with pytest.raises(OSError, match=r"stopped at step 8.*No space left on device.*intact and holds step 6.*--resume"):
        train(Small(scenes.classes), RECIPE, scenes, stopped, resume=True, verbose=0)
    assert (stopped / LAST).read_bytes() == before
    assert not list(stopped.glob(".*"))


def test_what_hdf5_says_of_a_write_is_put_in_one_sentence(stopped, scenes, monkeypatch):
    """Its own words are places, addresses of bytes and the like; in closing a file it tells less."""
    network, free = Small(scenes.classes), iter([10**9, 0])
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=next(free, 10**9)))
    closing = RuntimeError("Can't decrement id ref count (file write failed: time = now, errno = 28, ...)")
    for error, words in (
        (closing, "No space left on device"),
        (OSError(errno.EFBIG, "Can't synchronously write data (file write failed: ...)"), "File too large"),
        (closing, "Can't decrement id .*"),
    ):
        monkeypatch.setattr(keras.saving, "save_weights", lambda *args, error=error, **kwargs: failing(error))
        with pytest.raises(OSError, match=f"x.weights.h5 could not be written: {words}.$"):
            pretrained.save_weights(network, stopped / "x.weights.h5")
    assert not list(stopped.glob("*x.weights.h5"))


def failing(error):
    raise error


def test_a_folder_that_cannot_be_written_is_named(scenes):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)  # root may write everywhere
            with pytest.raises(OSError, match=f"the run's folder {folder}/run cannot be written: Permission denied"):
                train(Small(scenes.classes), RECIPE, scenes, f"{folder}/run", verbose=0)
        finally:
            if user == 0:
                os.seteuid(0)


def test_checkpoints_that_do_not_fit_are_refused_in_one_sentence(whole_run, scenes, tmp_path):
    def resume(recipe=RECIPE, folder=whole_run, **config):
        train(Small(scenes.classes, **config), recipe, scenes, folder, resume=True, verbose=0)

    with pytest.raises(ValueError, match="does not hold the weights of this Small: its dropout is another"):
        resume(dropout=0.25)
    with pytest.raises(ValueError, match="can only be resumed with its own batch_size, 2; got 4"):
        resume(RECIPE.replace(batch_size=4))
    other = type("Other", (Small,), {})(scenes.classes)
    with pytest.raises(ValueError, match="does not hold the weights of this Other, but of a Small"):
        train(other, RECIPE, scenes, whole_run, resume=True, verbose=0)
    (tmp_path / LAST).write_bytes((whole_run / LAST).read_bytes()[:5000])
    with pytest.raises(ValueError, match="is not a readable weights file"):
        resume(folder=tmp_path)
    assert (tmp_path / LAST).stat().st_size == 5000
