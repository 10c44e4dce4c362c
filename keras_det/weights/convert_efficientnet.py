"""Converter of EfficientNet-Lite0's ImageNet parameters as `efficientnet_lite_pytorch` names them."""

from keras_det.weights.convert import Converter, Rule, torch_depthwise_kernel, torch_kernel
from keras_det.weights.torch_file import read_torch

BLOCKS = 16
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def _normalized(convolution, norm, ours, kernel=torch_kernel):
    """A convolution without bias and the batch normalization behind it."""
    rules = [Rule(f"{convolution}.weight", f"{ours}/kernel", kernel)]
    rules += [Rule(f"{norm}.{theirs}", f"{ours}_bn/{mine}") for theirs, mine in _NORM.items()]
    return [*rules, Rule(f"{norm}.num_batches_tracked", None)]


def efficientnet_lite0() -> Converter:
    """Converter to `Classifier(backbone="efficientnet_lite0")`."""
    rules = _normalized("_conv_stem", "_bn0", "stem")
    for i in range(BLOCKS):
        theirs, ours = f"_blocks.{i}.", f"block{i}"
        if i:  # the first block does not expand
            rules += _normalized(f"{theirs}_expand_conv", f"{theirs}_bn0", f"{ours}_expand")
        rules += _normalized(f"{theirs}_depthwise_conv", f"{theirs}_bn1", f"{ours}_depthwise", torch_depthwise_kernel)
        rules += _normalized(f"{theirs}_project_conv", f"{theirs}_bn2", f"{ours}_project")
    rules += _normalized("_conv_head", "_bn1", "head")
    rules += [Rule("_fc.weight", "logits/kernel", lambda array: array.T), Rule("_fc.bias", "logits/bias")]
    return Converter("efficientnet_lite_pytorch", read_torch, tuple(rules))
