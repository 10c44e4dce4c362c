"""Default boxes ("prior boxes" in the authors' code) of one feature map."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_det.types import Tensor


@keras.saving.register_keras_serializable("keras_det")
class PriorBox(keras.layers.Layer):
    """The default boxes of one feature map (SSD section 2.2, "Choosing scales and aspect ratios").

    At the center of every cell stand, for each pair `(s_k, s_k+1)` of `scales`: a square of side `s_k`, a square of
    side `s'_k = sqrt(s_k s_k+1)`, and for each ratio a the boxes of width `s_k sqrt(a)`, height `s_k / sqrt(a)`, and
    the other way round. Boxes come row by row, cell by cell, in that order.

    Args:
        scales: pairs `(s_k, s_k+1)`, fractions of the image's side. More than one pair stacks several tilings on one
            map, as the paper does in its Table 3.
        aspect_ratios: ratios above 1; each also stands for its inverse.
        step: distance of two cells' centers as a fraction of the image's side; `None` is the paper's `1 / |f_k|`. The
            authors' code uses 8/300 on a map of 38, which is a little more than 1/38.
        clip: `None`; `"sides"` limits height and width to 1, as torchvision does; `"all"` limits the centers to 0 .. 1
            too, as ssd.pytorch does.

    Call with a feature map `[B, H, W, channels]` of known height and width: `[H * W * k, 4]` float32 rel_yxyx boxes,
    which may leave the image. k is `layer.boxes_per_cell`.

    Raises:
        ValueError: scales that are no pairs of positive numbers, ratios not above 1, a step not above 0, or a feature
            map of unknown size.

    >>> layer = PriorBox(scales=[(0.2, 0.37)], aspect_ratios=(2, 3))
    >>> layer.boxes_per_cell, tuple(layer(np.zeros((1, 2, 2, 8), "float32")).shape)
    (6, (24, 4))
    """

    def __init__(
        self,
        scales: Sequence[Sequence[float]],
        aspect_ratios: Sequence[float] = (),
        step: float | None = None,
        clip: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not len(scales) or np.ndim(scales) != 2 or np.shape(scales)[1] != 2 or np.min(scales) <= 0:
            raise ValueError(f"`scales` must be pairs of positive numbers (s_k, s_k+1); got {scales!r}.")
        self.scales = tuple((float(s), float(s_next)) for s, s_next in scales)
        self.aspect_ratios = tuple(float(a) for a in aspect_ratios)
        if any(a <= 1 for a in self.aspect_ratios):
            raise ValueError(f"`aspect_ratios` must be above 1 (inverses are implied); got {aspect_ratios!r}.")
        if clip not in (None, "sides", "all"):
            raise ValueError(f"`clip` must be None, 'sides' or 'all'; got {clip!r}.")
        if step is not None and step <= 0:
            raise ValueError(f"`step` must be None or above 0; got {step!r}.")
        self.step = step
        self.clip = clip

    @property
    def boxes_per_cell(self) -> int:
        """Default boxes at each location, k."""
        return len(self.scales) * (2 + 2 * len(self.aspect_ratios))

    def _sides(self):
        """`[k, 2]` heights and widths."""
        sides = []
        for s, s_next in self.scales:
            sides += [(s, s), (math.sqrt(s * s_next),) * 2]
            for a in self.aspect_ratios:
                w, h = s * math.sqrt(a), s / math.sqrt(a)
                sides += [(h, w), (w, h)]
        sides = np.array(sides)
        return np.minimum(sides, 1.0) if self.clip else sides

    def boxes(self, height: int, width: int) -> np.ndarray:
        """The default boxes as numpy `[height * width * k, 4]` float32, rel_yxyx."""
        steps = (self.step or 1 / height, self.step or 1 / width)
        cy, cx = ((np.arange(n) + 0.5) * step for n, step in zip((height, width), steps))
        if self.clip == "all":
            cy, cx = np.clip(cy, 0, 1), np.clip(cx, 0, 1)
        centers = np.stack(np.meshgrid(cy, cx, indexing="ij"), axis=-1)[:, :, None, :]
        half = self._sides() / 2
        return np.concatenate([centers - half, centers + half], axis=-1).reshape(-1, 4).astype("float32")

    def call(self, feature_map: Tensor) -> Tensor:
        """The default boxes of `feature_map` as a constant tensor."""
        shape = tuple(feature_map.shape[1:3])
        if None in shape:
            raise ValueError(f"PriorBox needs a feature map of known height and width; got {shape}.")
        return ops.convert_to_tensor(self.boxes(*shape))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"scales": self.scales, "aspect_ratios": self.aspect_ratios, "step": self.step, "clip": self.clip}
        return {**super().get_config(), **own}
