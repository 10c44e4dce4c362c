"""Converters of the SSDs of TensorFlow's Object Detection API: their variables' names to ours."""

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_det.weights.convert import Converter, Rule
from keras_det.weights.tf_graph import read_graph

PUBLISHER = "TensorFlow's Object Detection API"
EXTRAS = ((256, 512), (128, 256), (128, 256), (64, 128))
MAPS = 6
V2_SOURCES = ("block_13_expand_relu", "out_relu")
V1_SOURCES = ("conv11_pointwise", "conv13_pointwise")
_NORM = {"gamma": "gamma", "beta": "beta", "moving_mean": "moving_mean", "moving_variance": "moving_variance"}
KNOWN = "ssdlite_mobilenet_v2, ssd_mobilenet_v2 and ssd_mobilenet_v1"


def _normalized(theirs, ours, norm, depthwise=False):
    """A convolution without bias and its batch normalization."""
    kernel = "depthwise_weights" if depthwise else "weights"
    rules = [Rule(f"{theirs}/{kernel}", f"{ours}/kernel")]
    return rules + [Rule(f"{theirs}/BatchNorm/{name}", f"{norm}/{mine}") for name, mine in _NORM.items()]


def _mobilenet_v2(scope):
    """Keras's names of MobileNetV2's layers."""
    rules = _normalized(f"{scope}/Conv", "Conv1", "bn_Conv1")
    for i in range(17):
        theirs, ours = (
            (f"{scope}/expanded_conv_{i}", f"block_{i}") if i else (f"{scope}/expanded_conv", "expanded_conv")
        )
        for part in ("expand", "depthwise", "project")[0 if i else 1 :]:
            layer = f"{ours}_{part}"
            rules += _normalized(f"{theirs}/{part}", layer, f"{layer}_BN", part == "depthwise")
    return rules + _normalized(f"{scope}/Conv_1", "Conv_1", "Conv_1_bn")


def _mobilenet_v1(scope):
    rules = _normalized(f"{scope}/Conv2d_0", "conv0", "conv0_bn")
    for i in range(1, 14):
        for part in ("depthwise", "pointwise"):
            layer = f"conv{i}_{part}"
            rules += _normalized(f"{scope}/Conv2d_{i}_{part}", layer, f"{layer}_bn", part == "depthwise")
    return rules


def converter(backbone: str = "mobilenet_v2", lite: bool = True) -> Converter:
    """Converter of a member of the family.

    Args:
        backbone: `"mobilenet_v2"` or `"mobilenet_v1"`.
        lite: whether extra layers and predictors are separable.
    """
    scope = {"mobilenet_v2": "FeatureExtractor/MobilenetV2", "mobilenet_v1": "FeatureExtractor/MobilenetV1"}[backbone]
    last = "layer_19" if backbone == "mobilenet_v2" else "Conv2d_13_pointwise"
    rules = _mobilenet_v2(scope) if backbone == "mobilenet_v2" else _mobilenet_v1(scope)
    for k, (squeeze, filters) in enumerate(EXTRAS, start=1):
        theirs, ours = f"{scope}/{last}_2_Conv2d_{k + 1}_3x3_s2_{filters}", f"extra{k}"
        squeezed = f"{ours}_squeeze"
        rules += _normalized(f"{scope}/{last}_1_Conv2d_{k + 1}_1x1_{squeeze}", squeezed, f"{squeezed}_bn")
        if lite:
            rules += _normalized(f"{theirs}_depthwise", f"{ours}_depthwise", f"{ours}_depthwise_bn", True)
        layer = f"{ours}_project" if lite else f"{ours}_shrink"
        rules += _normalized(theirs, layer, f"{layer}_bn")
    sources = (*(V2_SOURCES if backbone == "mobilenet_v2" else V1_SOURCES), *(f"extra{k}" for k in range(1, 5)))
    for i, source in enumerate(sources):
        for part, name in (("BoxEncodingPredictor", f"{source}_loc"), ("ClassPredictor", f"{source}_conf")):
            theirs = f"BoxPredictor_{i}/{part}"
            if lite:
                rules += _normalized(f"{theirs}_depthwise", f"{name}_dw", f"{name}_bn", True)
            rules += [Rule(f"{theirs}/weights", f"{name}/kernel"), Rule(f"{theirs}/biases", f"{name}/bias")]
    return Converter(PUBLISHER, read_parameters, tuple(rules))


def read_parameters(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """What `read_graph` gives, but for constants that are no parameters of this family."""
    return {name: value for name, value in read_graph(path).items() if parameter(name)}


def parameter(name: str) -> bool:
    """Whether a variable of a graph or checkpoint is one of a network's, and not of its training.

    >>> parameter("BoxPredictor_0/ClassPredictor/weights"), parameter("BoxPredictor_0/ClassPredictor/weights/Momentum")
    (True, False)
    """
    scopes = r"(FeatureExtractor|BoxPredictor_\d+)/.*"
    kinds = r"/(weights|depthwise_weights|biases|gamma|beta|moving_mean|moving_variance)"
    return re.fullmatch(scopes + kinds, name) is not None


def identify(parameters: Mapping[str, np.ndarray], path: str | os.PathLike) -> tuple[str, dict[str, Any], int]:
    """Which member of the family parameters are of.

    Args:
        parameters: dict from the API's names to arrays.
        path: their file, for errors.

    Returns:
        `(name of the class, constructor config, number of classes)`.

    Raises:
        ValueError: of another architecture; what was found and what is known is named.
    """
    if any("/MobilenetV2/" in name for name in parameters):
        backbone = "mobilenet_v2"
    elif any("/MobilenetV1/" in name for name in parameters):
        backbone = "mobilenet_v1"
    else:
        scopes = sorted({"/".join(name.split("/")[:2]) for name in parameters})[:4]
        raise ValueError(
            f"{path} holds {', '.join(scopes) or 'no FeatureExtractor'}, which is none of {KNOWN} of {PUBLISHER}."
        )
    lite = any(name.startswith("BoxPredictor_0/ClassPredictor_depthwise/") for name in parameters)
    predictor = parameters.get("BoxPredictor_1/ClassPredictor/biases")
    boxes = parameters.get("BoxPredictor_1/BoxEncodingPredictor/biases")
    odd = lite and backbone == "mobilenet_v1"
    if predictor is None or boxes is None or boxes.size != 24 or predictor.size % 6 or odd:
        raise ValueError(f"{path} is on {backbone}, but its predictors are not those of {KNOWN} of {PUBLISHER}.")
    name = "SSDLite300" if lite else "SSDMobileNet300"
    return name, {"backbone": backbone}, predictor.size // 6 - 1


def read_label_map(text: str, count: int) -> tuple[str, ...]:
    """Names of the classes of a `label_map.pbtxt`, in the order of their ids from 1; ids without one are `unused N`.

    Raises:
        ValueError: an item without id or name, an id twice, or beyond the number of classes.

    >>> read_label_map("item { id: 2 name: 'n02' display_name: 'dog' } item { id: 1 name: 'cat' }", 3)
    ('cat', 'dog', 'unused 3')
    """
    names = {}
    for item in re.findall(r"item\s*\{([^{}]*)\}", text):
        number = re.search(r"\bid\s*:\s*(\d+)", item)
        label = re.search(r"\bdisplay_name\s*:\s*(['\"])(.*?)\1", item) or re.search(
            r"\bname\s*:\s*(['\"])(.*?)\1", item
        )
        if not number or not label or int(number[1]) in names or not 1 <= int(number[1]) <= count:
            raise ValueError(
                f"an item of the label map needs an id in 1 .. {count}, each once, and a name: {item.strip()[:80]!r}."
            )
        names[int(number[1])] = label[2]
    if not names:
        raise ValueError("the label map has no items.")
    return tuple(names.get(number, f"unused {number}") for number in range(1, count + 1))
