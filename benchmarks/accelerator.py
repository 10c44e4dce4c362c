"""Images a second of the SSDs on an accelerator: inference whole, and training steps.

For SSD300, SSD512 and SSDLite320, batches of 1, 8, 32 and 128, float32 and bfloat16. Inference is the network, decoding
and suppression of images of the network's size on the device, about 2500 of an image's scores over the threshold. A
training step is the one that `fit` runs: forward, matching, hard negative mining, loss, backward, update. Programs are
compiled and measured one by one, the most telling first; those that the budget leaves no time for say so.

Prints a table and writes `results/accelerator_BACKEND_DEVICE.json`: images a second, the fraction of the chip's peak
that the network's multiply-adds are (three times as many in training), and the memory that the compiler plans. float32
is set beside the peak of TF32, in which such devices compute it by default. Runs in under 8 minutes on one GPU.

    KERAS_BACKEND=jax python benchmarks/accelerator.py
    KERAS_BACKEND=jax python benchmarks/accelerator.py --small      # on any CPU, in a minute
"""

import argparse
import itertools
import os
import time

os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.9")

import keras
from crowded import crowded
from programs import images_of, inference, labels_of, seconds_each, training
from results import FOLDER, write_result
from speed import device_name

from keras_det import models

# Dense operations a second by data sheet: bfloat16, and TF32 for float32.
PEAKS = {
    "H100": {"mixed_bfloat16": 989e12, "float32": 494e12},
    "H200": {"mixed_bfloat16": 989e12, "float32": 494e12},
    "A100": {"mixed_bfloat16": 312e12, "float32": 156e12},
}
# Multiply-adds of an image in 10^9, 20 classes: of the recipes and of the registry.
GFLOPS = {"ssd300": 31.374, "ssd512": 90.208, "ssdlite320": 0.443}
MODELS, BATCHES, PRECISIONS = ("ssd300", "ssdlite320", "ssd512"), (32, 128, 8, 1), ("mixed_bfloat16", "float32")
MODES = ("inference", "training")


class Case:
    """One program: a model, its precision, what it does, and a batch.

    Args:
        model: the network, built with the precision.
        key: `model`, `precision`, `mode` and `batch`.
    """

    def __init__(self, model, key):
        self.model, self.key = model, key
        self.program = None
        self.memory = None

    def compile(self):
        """Compile on JAX; TensorFlow compiles at the first call."""
        images = images_of(self.model, self.key["batch"])
        if self.key["mode"] == "training":
            program = training(self.model)
            data = (images, labels_of(self.model, self.key["batch"]))
            plan = program.compile(data) if hasattr(program, "compile") else None
            self.program, self.arguments = program, [data]
        else:
            program, first = inference(self.model, self.model.serve)
            self.arguments = [*first, images]
            plan = self.program = program.lower(*self.arguments).compile() if hasattr(program, "lower") else None
            self.program = self.program or program
        if plan is not None and plan.memory_analysis() is not None:
            found = plan.memory_analysis()
            needed = found.temp_size_in_bytes + found.argument_size_in_bytes + found.output_size_in_bytes
            self.memory = needed - getattr(found, "alias_size_in_bytes", 0)

    def measure(self, seconds):
        """The case's row."""
        each = seconds_each(self.program, self.arguments, least=seconds)
        rate = self.key["batch"] / each
        row = self.key | {"images_per_second": round(rate, 1), "ms": round(each * 1e3, 3)}
        if self.memory:
            row["memory_gb"] = round(self.memory / 1e9, 2)
        return row


def build(name, precision, backbone, trained):
    """A network with a full image's scores, or one compiled for training."""
    keras.utils.set_random_seed(0)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = models.get(name)(**({"backbone": backbone} if backbone else {}))
    finally:
        keras.config.set_dtype_policy(before)
    if not trained:
        return crowded(model)
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.9))  # scaling of the loss is float16's need, not bfloat16's
    model.optimizer.build(model.trainable_variables)
    return model


def peak_of(device, precision):
    """The chip's operations a second, or `None` for one that is not known."""
    return next((peaks[precision] for name, peaks in PEAKS.items() if name in device), None)


def measured(keys, backbone, budget, seconds):
    """A row for each key as it is measured; what does not fit into the budget or the memory says so."""
    start, models_of = time.perf_counter(), {}
    for key in keys:
        begin = time.perf_counter()
        if begin - start > budget:
            yield key | {"not_measured": "no time left"}
            continue
        network = key["model"], key["precision"], backbone, key["mode"] == "training"
        try:
            models_of[network] = models_of.get(network) or build(*network)
            case = Case(models_of[network], key)
            case.compile()
            compiled = time.perf_counter() - begin
            yield case.measure(seconds) | {"compile_seconds": round(compiled, 1)}
        except Exception as error:  # what does not fit into the device's memory is a result, too
            yield key | {"not_measured": str(error).splitlines()[0][:120]}


def order(key, arguments):
    """What is told first: inference, whose programs compile in seconds, then training; bfloat16; the larger batches."""
    precision = arguments.precisions.index(key["precision"])
    first = (precision,) if key["mode"] == "training" else ()
    return MODES.index(key["mode"]), *first, arguments.batches.index(key["batch"]), precision


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=float, default=420.0, help="seconds for all")
    parser.add_argument("--seconds", type=float, default=1.0, help="that each program runs at least")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument(
        "--workers", type=int, default=max((os.cpu_count() or 2) // 2, 1), help="compilations at a time"
    )
    parser.add_argument("--small", action="store_true", help="the backbone tiny, batches of 1 and 2; no result file")
    parser.add_argument("--out", default=FOLDER, help="folder of the JSON file")
    arguments = parser.parse_args()
    if arguments.small:
        arguments.models, arguments.batches, arguments.seconds = ["ssd300"], [2, 1], 0.05
    backend, device = device_name()
    print(f"{backend} on {device}", flush=True)
    keys = [
        {"model": name, "precision": precision, "mode": mode, "batch": batch}
        for name, precision, mode, batch in itertools.product(
            arguments.models, arguments.precisions, arguments.modes, arguments.batches
        )
    ]
    keys.sort(key=lambda key: order(key, arguments))
    rows, backbone = [], "tiny" if arguments.small else None
    for row in measured(keys, backbone, arguments.budget, arguments.seconds):
        peak = peak_of(device, row["precision"])
        if peak and "images_per_second" in row:
            operations = 2e9 * GFLOPS[row["model"]] * (3 if row["mode"] == "training" else 1)
            row["fraction_of_peak"] = round(row["images_per_second"] * operations / peak, 4)
        rows.append(row)
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        if not arguments.small:  # after each row, so that a run that is cut off keeps what it measured
            name = f"accelerator_{backend}_{device}".lower().replace(" ", "_")
            write_result(name, {"device": device, "backend": backend, "rows": rows}, 0, arguments.out, quiet=True)


if __name__ == "__main__":
    main()
