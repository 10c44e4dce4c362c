"""A network that is built, traced and trained in a second, with all that has a state: dropout, batch normalization."""

import keras
from keras import ops

from keras_det.models.network import Network, objects_of
from keras_det.training import Recipe

SIZE = 16
RECIPE = Recipe(
    "small", "shapes", "test", batch_size=2, steps=8, steps_per_epoch=4, warmup=0, augment=False, save_every=3
)


class Small(Network):
    """Regresses the mean of the objects' boxes."""

    loss_terms = ("regression",)

    def __init__(self, classes, dropout=0.5):
        super().__init__()
        self.normalize = keras.layers.BatchNormalization()
        self.drop = keras.layers.Dropout(dropout)
        self.dense = keras.layers.Dense(4)
        self.build((None, SIZE, SIZE, 3))

    def input_size(self):
        return SIZE, SIZE

    def build(self, shape):
        self.normalize.build(shape)
        self.dense.build((None, SIZE * SIZE * 3))
        self.built = True

    def call(self, images, training=False):
        x = self.normalize(images / 255.0, training=training)
        return self.dense(self.drop(ops.reshape(x, (-1, SIZE * SIZE * 3)), training=training))

    def encode_targets(self, labels):
        boxes, _, valid = objects_of(labels)
        weights = ops.cast(valid, "float32")[..., None]
        return ops.sum(boxes * weights, 1) / ops.maximum(ops.sum(weights, 1), 1.0)

    def compute_losses(self, targets, outputs):
        return {"regression": ops.mean(ops.square(targets - ops.cast(outputs, "float32")))}
