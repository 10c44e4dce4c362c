"""Deterministic stand-ins for published parameters: the same bytes from a name and a shape alone.

Each function gives one parameter, numpy float32, in the layout of its publisher. The .npz files beside this one hold
what the publisher's own network gave when every one of its parameters was made so.
"""

import zlib

import numpy as np


def _rng(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


def torchvision(name, shape, model):
    """model: 'ssd300_vgg16' or 'ssdlite320_mobilenet_v3_large'; convolutions are [out, in, h, w]."""
    rng = _rng(name)
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape).astype("f4")
    if name.endswith("running_mean"):
        return (0.1 * rng.standard_normal(shape)).astype("f4")
    if name.endswith("scale_weight"):
        return rng.uniform(15, 25, shape).astype("f4")
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, "i8")
    if len(shape) == 1:
        values = rng.uniform(0.5, 1.5, shape) if name.endswith("weight") else 0.1 * rng.standard_normal(shape)
        return values.astype("f4")
    gain = 0.02 if name.startswith("head.") and model == "ssd300_vgg16" else 1.0
    return (gain * rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))).astype("f4")


def amdegroot(name, shape):
    """ssd.pytorch, SSD300 for VOC; convolutions are [out, in, h, w]."""
    rng = _rng(name)
    if len(shape) == 1:
        values = rng.uniform(15, 25, shape) if name == "L2Norm.weight" else 0.1 * rng.standard_normal(shape)
        return values.astype("f4")
    gain = 0.02 if name.startswith(("loc.", "conf.")) else 1.0
    return (gain * rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))).astype("f4")


def balancap(name, shape):
    """SSD-Tensorflow, SSD300 and SSD512 for VOC; convolutions are [h, w, in, out]."""
    rng = _rng(name)
    if len(shape) == 1:
        values = rng.uniform(15, 25, shape) if name.endswith("gamma") else 0.1 * rng.standard_normal(shape)
        return values.astype("f4")
    gain = 0.02 if ("conv_loc" in name or "conv_cls" in name) else 1.0
    return (gain * rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[:-1]))).astype("f4")


def image(size):
    """The RGB uint8 image [size, size, 3] that every network was given."""
    return np.random.default_rng(7).integers(0, 256, (size, size, 3), dtype=np.uint8)
