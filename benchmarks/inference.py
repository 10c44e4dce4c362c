"""Time of inference: `python benchmarks/inference.py [--pairs N] [--seed S]`.

Prints tables and writes benchmarks/results/inference.json. SSD300 on VGG16 with random weights, whose class biases are
set so that some 2500 of an image's 174,640 scores pass the threshold of 0.01, as in a crowded image. Shows

- the exported model's whole path (resizing, network, decoding, suppression) beside the bare network, batches of 1, 8;
- decoding and suppression alone, at 8732 boxes x 21 classes;
- the same network in ONNX Runtime and, where it is installed, in PyTorch.

What is compared runs in turn within one process, so that the machine's other work meets all alike; ratios are medians
of the pairs.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from crowded import crowded
from results import write_result
from timing import in_turn

from keras_det import export, models
from keras_det.weights.registry import CAFFE_MEAN

SIZE = (375, 500)


def network(seed):
    """SSD300 whose scores pass the threshold as often as a trained one's."""
    import keras

    keras.utils.set_random_seed(seed)
    return crowded(models.SSD300(), seed)


def metrics_of(seconds, names):
    """Medians in milliseconds, and ratios to the first."""
    ratios = np.median(seconds / seconds[:, :1], axis=0)
    return {
        name: {"ms": round(float(np.median(seconds[:, i]) * 1e3), 2), "ratio": round(float(ratios[i]), 3)}
        for i, name in enumerate(names)
    }


def torch_network(model):
    """The same network in PyTorch: a function from `[B, 300, 300, 3]` to the outputs, channels last in memory."""
    import torch
    from torch.nn import functional

    def tensors(layer):
        kernel, bias = (torch.from_numpy(np.array(v)) for v in layer.get_weights())
        return kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last), bias

    weights = {layer.name: tensors(layer) for layer in model.features.layers if type(layer).__name__ == "Conv2D"}
    heads = [[tensors(layer) for layer in part] for part in (model.head.localization, model.head.confidence)]
    length = torch.from_numpy(np.array(model.features.get_layer("conv4_3_norm").get_weights()[0])).view(1, -1, 1, 1)
    mean = torch.tensor(CAFFE_MEAN).view(1, 3, 1, 1)

    def apply(layer, x):
        kind = type(layer).__name__
        if kind == "Conv2D":
            kernel, bias = weights[layer.name]
            dilation = layer.dilation_rate[0]
            padding = dilation * (layer.kernel_size[0] // 2) if layer.padding == "same" else 0
            return torch.relu_(functional.conv2d(x, kernel, bias, layer.strides, padding, dilation))
        if kind == "ZeroPadding2D":
            return functional.pad(x, (1, 1, 1, 1))
        if layer.name == "pool5":
            return functional.max_pool2d(x, 3, 1, 1)
        return functional.max_pool2d(x, 2, 2, ceil_mode=True)

    @torch.inference_mode()
    def run(images):
        x = torch.from_numpy(images).permute(0, 3, 1, 2) - mean
        maps = {}
        for layer in model.features.layers[1:]:
            if layer.name == "conv4_3_norm":
                continue
            x = maps[layer.name] = apply(layer, x)
        maps["conv4_3"] = functional.normalize(maps["conv4_3"]) * length
        found = []
        for part, values in zip(heads, (4, 21)):
            rows = [functional.conv2d(maps[name], *w, padding=1) for name, w in zip(model.sources, part)]
            found.append(torch.cat([r.permute(0, 2, 3, 1).reshape(len(images), -1, values) for r in rows], 1))
        return found

    return run


def onnx_network(model, folder):
    """The bare network in ONNX Runtime."""
    import onnxruntime
    import tf2onnx

    spec = [tf.TensorSpec([None, 300, 300, 3], tf.float32, "images")]
    function = tf.function(lambda images: dict(model(images, training=False)), input_signature=spec)
    path = str(Path(folder, "network.onnx"))
    tf2onnx.convert.from_function(function, input_signature=spec, opset=17, output_path=path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["offsets", "logits"], {"images": images})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    config = parser.parse_args()
    model = network(config.seed)
    result = {}
    g = np.random.default_rng(config.seed)
    with tempfile.TemporaryDirectory() as folder:
        loaded = tf.saved_model.load(str(export.saved_model(model, Path(folder, "saved"))))
        whole, bare = loaded.signatures["serving_default"], loaded.signatures["raw"]
        session_path = str(export.onnx(model, Path(folder, "model.onnx")))
        import onnxruntime

        session = onnxruntime.InferenceSession(session_path, providers=["CPUExecutionProvider"])
        others = {"ONNX Runtime": onnx_network(model, folder)}
        try:
            others["PyTorch"] = torch_network(model)
        except ModuleNotFoundError:
            print("PyTorch is not installed: left out")
        for batch in (1, 8):
            originals = g.integers(0, 256, (batch, *SIZE, 3)).astype("uint8")
            images = g.integers(0, 256, (batch, 300, 300, 3)).astype("float32")
            given, raw = tf.constant(originals), tf.constant(images)
            functions = {
                "bare network": lambda raw=raw: bare(images=raw)["logits"].numpy(),
                "whole path": lambda given=given: whole(images=given)["num_detections"].numpy(),
                "ONNX Runtime, whole path": lambda p=originals: session.run(None, {"images": p}),
            }
            functions |= {f"{name}, bare network": lambda f=f, x=images: f(x) for name, f in others.items()}
            expected = bare(images=raw)
            for name, f in others.items():
                for value, key in zip(f(images), ("offsets", "logits")):
                    far = np.abs(np.asarray(value) - expected[key].numpy()).max() / np.abs(expected[key].numpy()).max()
                    assert far < 1e-3, f"{name} computes other {key}: {far}"
            rounds = config.pairs if batch == 1 else max(config.pairs // 3, 3)
            result[f"batch {batch}"] = metrics_of(in_turn(list(functions.values()), rounds), functions)
        raw = bare(images=tf.constant(g.integers(0, 256, (1, 300, 300, 3)).astype("float32")))
        passing = int((tf.nn.softmax(raw["logits"])[..., 1:] > 0.01).numpy().sum())
        decode = tf.function(model.decode)
        seconds = in_turn([lambda: decode(dict(raw))["scores"].numpy()], 60)
        result["decode and suppression"] = {
            "boxes x classes": list(raw["logits"].shape[1:]),
            "scores over the threshold": passing,
            "ms": round(float(np.median(seconds) * 1e3), 2),
        }
    for title, rows in result.items():
        print(title)
        for name, row in rows.items():
            print(f"  {name:28s} {row}")
    write_result("inference", result, config.seed)


if __name__ == "__main__":
    main()
