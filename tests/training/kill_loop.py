"""Trains, is killed with SIGKILL at random points, resumes, and so on; the script of `test_restart.py`.

TensorFlow is imported once, here, but nothing runs in this process, so it has none of its threads; each training
is a child forked from it that starts TensorFlow for itself. Arguments: a folder, and the number of kills. Prints JSON.
"""

import json
import os
import pathlib
import random
import signal
import sys
import time

import keras
import matplotlib.figure  # noqa: F401  imported once, for all children
import small_network

from keras_det.data import load
from keras_det.training import run, train

RECIPE = small_network.RECIPE.replace(steps=140, steps_per_epoch=30, save_every=3, ema=0.9, accumulate=2)


def fork_training(folder, die_in_write=None):
    """Start a training in a child: its process id, and the end of a pipe that gets an `s` for each step."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    try:
        tell_of_steps(writer)
        if die_in_write is not None:
            stand_still_in_write(writer, die_in_write)
        keras.utils.set_random_seed(1)
        scenes = load("shapes", images=8, seed=3, size=32)
        model = small_network.Small(scenes.classes)
        resume = (folder / run.LAST).exists()
        train(model, RECIPE, scenes, folder, resume=resume, verbose=0)
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def tell_of_steps(writer):
    after_step = run.RunFolder.after_step

    def tell(self):
        os.write(writer, b"s")
        after_step(self)

    run.RunFolder.after_step = tell


def stand_still_in_write(writer, fraction):
    """Let the first checkpoint stop with a fraction of its bytes on the disk, say `w`, and wait to be killed."""
    save_weights = keras.saving.save_weights

    def half(model, path, **kwargs):
        save_weights(model, path, **kwargs)
        if run.LAST in str(path):
            os.truncate(path, int(os.path.getsize(path) * fraction))
            os.write(writer, b"w")
            time.sleep(600)

    keras.saving.save_weights = half


def kill_somewhere(folder, chance, in_write):
    """One training that is killed; whether it was killed, and not done before."""
    child, reader = fork_training(folder, chance.random() if in_write else None)
    steps = chance.randint(1, 6)
    while said := os.read(reader, 1):
        steps -= said == b"s"
        if said == b"w" or not in_write and steps == 0:
            break
    time.sleep(chance.uniform(0, 0.02))  # anywhere in the next steps, their checkpoint, or the epoch's end
    os.kill(child, signal.SIGKILL)
    os.close(reader)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def finish(folder):
    """A training to its end: its exit code."""
    child, reader = fork_training(folder)
    while os.read(reader, 4096):
        pass
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main():
    folder, kills = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else None
    chance = random.Random(0)
    killed = [kill_somewhere(folder / "killed", chance, in_write=i % 4 == 3) for i in range(kills)]
    left = [path.name for path in (folder / "killed").glob(".*")]
    codes = finish(folder / "killed"), finish(folder / "whole")
    print(json.dumps({"killed": sum(killed), "left": left, "codes": codes, "threads": threads}))


if __name__ == "__main__":
    main()
