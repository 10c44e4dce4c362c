"""Table 7 of SSD's paper: images a second of SSD300 and SSD512 at batches of 1 and 8, and where the time goes.

Prints rows for whatever device the backend has and writes `results/speed_BACKEND_DEVICE.json`. "Whole" is the network,
decoding and suppression, of images of the network's size on the device; about 2500 of an image's scores pass the
threshold, as in a full image. The base network is VGG16 to fc7; the paper says that it takes 80 % of the forward time.

    python benchmarks/speed.py
    KERAS_BACKEND=jax python benchmarks/speed.py
"""

import argparse

import keras
from crowded import crowded
from programs import images_of, inference, seconds_each, wait
from results import write_result

from keras_det import models

# The paper's images a second on a Titan X, by model and batch.
PAPER = {("ssd300", 1): 46, ("ssd512", 1): 19, ("ssd300", 8): 59, ("ssd512", 8): 22}


def device_name():
    """The backend and its device, in a word each."""
    if keras.backend.backend() == "jax":
        import jax

        return "jax", jax.devices()[0].device_kind
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(found[0]) if found else {}
    return "tensorflow", details.get("device_name", "CPU")


def row(name, batch, backbone, seconds):
    """One row of the table, a dict."""
    keras.utils.set_random_seed(0)
    model = crowded(models.get(name)(backbone=backbone))
    last = "fc7" if backbone == "vgg16" else model.sources[-1]
    base = keras.Model(model.features.input, model.features.get_layer(last).output) if backbone == "vgg16" else None
    images = images_of(model, batch)
    parts = {"whole": model.serve, "network": lambda x: model(x, training=False)}
    parts |= {"base": lambda x: base(x, training=False)} if base else {}
    measured = {}
    for part, function in parts.items():
        program, first = inference(model, function)
        measured[part] = seconds_each(program, [*first, images], least=seconds)
    outputs = parts["network"](images)
    program, first = inference(model, model.decode)
    measured["suppression"] = seconds_each(program, [*first, outputs], least=seconds)
    wait(outputs)
    found = {"model": name, "batch": batch, "boxes": len(model.default_boxes), "resolution": model.size}
    found |= {"images_per_second": round(batch / measured["whole"], 2), "paper_titan_x": PAPER[name, batch]}
    found |= {f"{part}_ms": round(value * 1e3, 2) for part, value in measured.items()}
    if base:
        found["new_layers_ms"] = round((measured["network"] - measured["base"]) * 1e3, 2)
        found["base_fraction_of_network"] = round(measured["base"] / measured["network"], 3)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="that each part runs at least")
    parser.add_argument("--backbone", default="vgg16", help="vgg16 is the table's")
    parser.add_argument("--models", nargs="+", default=["ssd300", "ssd512"], choices=["ssd300", "ssd512"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8], choices=[1, 8])
    arguments = parser.parse_args()
    rows = []
    for batch in arguments.batches:
        for name in arguments.models:
            rows.append(row(name, batch, arguments.backbone, arguments.seconds))
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    backend, device = device_name()
    whole = (arguments.backbone, arguments.models, arguments.batches) == ("vgg16", ["ssd300", "ssd512"], [1, 8])
    if whole:
        name = f"speed_{backend}_{device}".lower().replace(" ", "_")
        write_result(name, {"device": device, "backend": backend, "rows": rows}, 0)


if __name__ == "__main__":
    main()
