"""A backbone of 0.57 M parameters for CPUs, demos and tests."""

import keras
from keras import layers

from keras_det.backbones.common import conv_bn

# Filters and convolutions of the stages of stride 2, 4, 8, 16 and 32. Most work is done at stride 8, where it widens
# the field of view of the cells that find small objects.
STAGES = ((16, 1), (24, 1), (48, 4), (96, 3), (128, 2))


def tiny(image_size, name="tiny"):
    """Plain 3x3 convolutions with batch normalisation, which CPUs run at full speed, residual within a stage.

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
        features[f"stage{stage}"] = x
    return keras.Model(inputs, {f"stage{k}": features[f"stage{k}"] for k in (3, 4, 5)}, name=name)
