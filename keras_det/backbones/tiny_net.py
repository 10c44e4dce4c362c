"""A backbone of half a million parameters for CPUs, demos and tests."""

import keras
from keras import layers

from keras_det.backbones.common import conv_bn

# Filters and convolutions of the stages of stride 2, 4, 8, 16 and 32.
STAGES = ((16, 1), (24, 1), (48, 3), (96, 3), (128, 2))


def tiny(image_size: tuple[int, int], name: str = "tiny") -> keras.Model:
    """Plain 3x3 convolutions with batch normalization, which CPUs run at full speed, residual within a stage.

    Coarse maps are added to the next finer one (as feature pyramids do): with so few layers the fine cells would
    see too little around a small object to name it.

    Args:
        image_size: `(height, width)` in pixels.
        name: name of the Keras model.

    Returns:
        A Keras model from images in -1 .. 1, `[B, H, W, 3]`, to a dict of `stage3`, `stage4` and `stage5`, of stride 8,
        16 and 32, sizes rounded up.
    """
    x = inputs = keras.Input((*image_size, 3))
    features = {}
    for stage, (filters, convolutions) in enumerate(STAGES, start=1):
        x = conv_bn(x, filters, 3, f"stage{stage}_conv1", stride=2)
        for i in range(2, convolutions + 1):
            x = layers.Add(name=f"stage{stage}_add{i}")([x, conv_bn(x, filters, 3, f"stage{stage}_conv{i}")])
        features[stage] = x
    for stage in (4, 3):
        features[stage] = _add_coarser(features[stage], features[stage + 1], f"stage{stage}")
    return keras.Model(inputs, {f"stage{stage}": features[stage] for stage in (3, 4, 5)}, name=name)


def _add_coarser(fine, coarse, name):
    """A map plus the next coarser one, brought to its channels and size."""
    coarse = layers.UpSampling2D(2, name=f"{name}_up")(conv_bn(coarse, fine.shape[-1], 1, f"{name}_lateral"))
    rows, columns = (coarse.shape[k] - fine.shape[k] for k in (1, 2))  # 1 where the finer map's size is odd
    coarse = layers.Cropping2D(((0, rows), (0, columns)), name=f"{name}_crop")(coarse)
    return layers.Add(name=f"{name}_merge")([fine, coarse])
