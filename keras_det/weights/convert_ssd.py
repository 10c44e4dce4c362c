"""Converters of the published SSD networks.

The three publishers tile a cell's boxes in our order (`PriorBox`): both squares, then a and 1/a for each ratio; and
class 0 is background everywhere. What differs is the order of the coordinates: theirs is (dcx, dcy, dw, dh), ours
(dcy, dcx, dh, dw). So the output channels of the localization predictors are permuted; the rest is names and layouts.
"""

from collections.abc import Sequence

from keras_det.weights.convert import Converter, Rule, same, torch_depthwise_kernel, torch_kernel
from keras_det.weights.tf_checkpoint import read_checkpoint
from keras_det.weights.torch_file import read_torch

VGG_CONVOLUTIONS = ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))  # block, convolutions in it
TORCH_VGG_INDEXES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # of the convolutions in torchvision's VGG16
V3_SQUEEZED = (4, 5, 6, 11, 12, 13, 14, 15)  # blocks of MobileNetV3-Large with squeeze-and-excitation
SOURCES_300 = ("conv4_3", "fc7", "conv8_2", "conv9_2", "conv10_2", "conv11_2")
SOURCES_512 = (*SOURCES_300, "conv12_2")
SOURCES_LITE = ("block13_expand", "last_conv", "extra1", "extra2", "extra3", "extra4")


def _yx(array):
    """Output channels `[k, (x, y, w, h)]` of a kernel or bias to `[k, (y, x, h, w)]`."""
    boxes = array.reshape(*array.shape[:-1], -1, 4)
    return boxes[..., [1, 0, 3, 2]].reshape(array.shape)


def _torch_yx(array):
    return _yx(torch_kernel(array))


def _vgg_names():
    """`conv1_1` .. `conv5_3`."""
    return [f"conv{block}_{i}" for block, n in VGG_CONVOLUTIONS for i in range(1, n + 1)]


def _tf_layer(theirs, ours, change=same):
    return [Rule(f"{theirs}/weights", f"{ours}/kernel", change), Rule(f"{theirs}/biases", f"{ours}/bias", change)]


def _torch_layer(theirs, ours, kernel=torch_kernel, bias=same):
    return [Rule(f"{theirs}.weight", f"{ours}/kernel", kernel), Rule(f"{theirs}.bias", f"{ours}/bias", bias)]


def ssd_tensorflow(scope: str, sources: Sequence[str]) -> Converter:
    """Converter of SSD-Tensorflow's checkpoints, which were converted from the authors' Caffe networks.

    Args:
        scope: `"ssd_300_vgg"` or `"ssd_512_vgg"`.
        sources: our names of the source layers.
    """
    rules = []
    for name in _vgg_names():
        rules += _tf_layer(f"{scope}/{name.split('_')[0]}/{name}", name)
    rules += _tf_layer(f"{scope}/conv6", "fc6") + _tf_layer(f"{scope}/conv7", "fc7")
    for number in range(8, 6 + len(sources)):
        kernel = "conv4x4" if number == 12 else "conv3x3"
        rules += _tf_layer(f"{scope}/block{number}/conv1x1", f"conv{number}_1")
        rules += _tf_layer(f"{scope}/block{number}/{kernel}", f"conv{number}_2")
    rules.append(Rule(f"{scope}/block4_box/L2Normalization/gamma", "conv4_3_norm/gamma"))
    for number, source in zip((4, *range(7, 6 + len(sources))), sources):
        rules += _tf_layer(f"{scope}/block{number}_box/conv_loc", f"{source}_loc", _yx)
        rules += _tf_layer(f"{scope}/block{number}_box/conv_cls", f"{source}_conf")
    return Converter("SSD-Tensorflow", read_checkpoint, tuple(rules))


def ssd_pytorch() -> Converter:
    """Converter of ssd.pytorch's SSD300."""
    layers = dict(zip([f"vgg.{i}" for i in (*TORCH_VGG_INDEXES, 31, 33)], [*_vgg_names(), "fc6", "fc7"]))
    layers |= {f"extras.{i}": f"conv{8 + i // 2}_{1 + i % 2}" for i in range(8)}
    rules = [Rule("L2Norm.weight", "conv4_3_norm/gamma")]
    for theirs, ours in layers.items():
        rules += _torch_layer(theirs, ours)
    for i, source in enumerate(SOURCES_300):
        rules += _torch_layer(f"loc.{i}", f"{source}_loc", _torch_yx, _yx)
        rules += _torch_layer(f"conf.{i}", f"{source}_conf")
    return Converter("ssd.pytorch", read_torch, tuple(rules))


def torchvision_ssd300() -> Converter:
    """Converter of torchvision's `ssd300_vgg16`."""
    layers = dict(zip([f"features.{i}" for i in TORCH_VGG_INDEXES[:10]], _vgg_names()))
    layers |= {"extra.0.1": "conv5_1", "extra.0.3": "conv5_2", "extra.0.5": "conv5_3"}
    layers |= {"extra.0.7.1": "fc6", "extra.0.7.3": "fc7"}
    layers |= {f"extra.{i}.{2 * j}": f"conv{7 + i}_{1 + j}" for i in range(1, 5) for j in range(2)}
    rules = [Rule("backbone.scale_weight", "conv4_3_norm/gamma")]
    for theirs, ours in layers.items():
        rules += _torch_layer(f"backbone.{theirs}", ours)
    for i, source in enumerate(SOURCES_300):
        rules += _torch_layer(f"head.regression_head.module_list.{i}", f"{source}_loc", _torch_yx, _yx)
        rules += _torch_layer(f"head.classification_head.module_list.{i}", f"{source}_conf")
    return Converter("torchvision's ssd300_vgg16", read_torch, tuple(rules))


def _norm(theirs, ours):
    """Batch normalization; PyTorch's counter of batches has no use."""
    names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    rules = [Rule(f"{theirs}.{t}", f"{ours}_bn/{o}") for t, o in names.items()]
    return [*rules, Rule(f"{theirs}.num_batches_tracked", None)]


def _conv_bn(theirs, ours, change=torch_kernel, suffix=""):
    return [Rule(f"{theirs}.0.weight", f"{ours}{suffix}/kernel", change), *_norm(f"{theirs}.1", ours)]


def _v3_parts(block):
    """Our names of what a MobileNetV3 block holds, in torchvision's order."""
    parts = ["expand"] if block > 1 else []
    return parts + ["depthwise"] + (["se"] if block in V3_SQUEEZED else []) + ["project"]


def _v3_part(theirs, part, ours):
    """Rules of one part of a MobileNetV3 block."""
    if part == "se":
        return _torch_layer(f"{theirs}.fc1", f"{ours}_reduce") + _torch_layer(f"{theirs}.fc2", f"{ours}_expand")
    return _conv_bn(theirs, ours, torch_depthwise_kernel if part == "depthwise" else torch_kernel)


def _mobilenet_v3():
    """torchvision cuts the backbone within block 13, after its expansion, which is the first source layer."""
    rules = _conv_bn("backbone.features.0.0", "conv") + _conv_bn("backbone.features.1.3", "last_conv")
    for block in range(1, 16):
        for i, part in enumerate(_v3_parts(block)):
            theirs = f"0.{block}.block.{i}" if block < 13 else f"1.{block - 13}.block.{i}"
            if block == 13:
                theirs = "0.13" if part == "expand" else f"1.0.{i}"
            rules += _v3_part(f"backbone.features.{theirs}", part, f"block{block}_{part}")
    return rules


def torchvision_ssdlite320() -> Converter:
    """Converter of torchvision's `ssdlite320_mobilenet_v3_large`."""
    rules = _mobilenet_v3()
    for i in range(4):
        extra = f"backbone.extra.{i}"
        rules += _conv_bn(f"{extra}.0", f"extra{i + 1}_squeeze")
        rules += _conv_bn(f"{extra}.1", f"extra{i + 1}_depthwise", torch_depthwise_kernel)
        rules += _conv_bn(f"{extra}.2", f"extra{i + 1}_project")
    heads = (("regression_head", "loc", _torch_yx, _yx), ("classification_head", "conf", torch_kernel, same))
    for i, source in enumerate(SOURCES_LITE):
        for head, kind, kernel, bias in heads:
            theirs, ours = f"head.{head}.module_list.{i}", f"{source}_{kind}"
            rules += _conv_bn(f"{theirs}.0", ours, torch_depthwise_kernel, suffix="_dw")
            rules += _torch_layer(f"{theirs}.1", ours, kernel, bias)
    return Converter("torchvision's ssdlite320_mobilenet_v3_large", read_torch, tuple(rules))


SSD_TENSORFLOW_300 = ssd_tensorflow("ssd_300_vgg", SOURCES_300)
SSD_TENSORFLOW_512 = ssd_tensorflow("ssd_512_vgg", SOURCES_512)
SSD_PYTORCH = ssd_pytorch()
TORCHVISION_SSD300 = torchvision_ssd300()
TORCHVISION_SSDLITE320 = torchvision_ssdlite320()
