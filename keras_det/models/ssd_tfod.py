"""The SSDs of TensorFlow's Object Detection API (Huang et al. 2017, arXiv:1611.10012), as its configuration files say.

`ssdlite_mobilenet_v2_coco`, `ssd_mobilenet_v2_coco` and `ssd_mobilenet_v1_coco`: 300 x 300 pixels, 1917 anchors on six
maps, a sigmoid for each class beside one for background.
"""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_det import boxes as box_ops
from keras_det.losses import sigmoid_multibox_loss
from keras_det.models.registry import register
from keras_det.models.ssd import SSD, Tiling
from keras_det.types import Tensor
from keras_det.weights.registry import VOC_CLASSES

SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)  # min_scale 0.2, max_scale 0.95, and 1 after the last
RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)  # width over height, in the files' digits
LOWEST = ((0.1, 1.0), (0.2, 2.0), (0.2, 0.5))  # reduce_boxes_in_lowest_layer: scale and ratio
LEAST_NEGATIVES = 3  # min_negatives_per_image


class Anchors:
    """The API's `multiple_grid_anchor_generator` on one map.

    Args:
        level: of the map, 0 for the finest.

    Attributes:
        boxes_per_cell: 3 on the finest map, else 6.
    """

    def __init__(self, level: int):
        own = [(SCALES[level], ratio) for ratio in RATIOS]
        between = math.sqrt(SCALES[level] * SCALES[level + 1])
        self.shapes = LOWEST if level == 0 else (*own, (between, 1.0))
        self.boxes_per_cell = len(self.shapes)

    def boxes(self, height: int, width: int) -> np.ndarray:
        """The anchors as numpy `[height * width * k, 4]` float32, rel_yxyx, cell by cell; they may leave the image."""
        half = np.array([(s / math.sqrt(a) / 2, s * math.sqrt(a) / 2) for s, a in self.shapes])
        cy, cx = ((np.arange(n) + 0.5) / n for n in (height, width))
        centers = np.stack(np.meshgrid(cy, cx, indexing="ij"), axis=-1)[:, :, None, :]
        return np.concatenate([centers - half, centers + half], axis=-1).reshape(-1, 4).astype("float32")


class TFODSSD(SSD):
    """What the family shares; use `SSDLite300` and `SSDMobileNet300`."""

    size = 300
    first_source = 1

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        classes: Sequence[str] = VOC_CLASSES,
        backbone: str = "mobilenet_v2",
        box_scales: str | tuple = "tfod",
        score_threshold: float = 1e-8,
        iou_threshold: float = 0.6,
        max_per_class: int = 1917,
        max_detections: int = 100,
        **kwargs: Any,
    ):
        super().__init__(weights, **kwargs)

    def _prior_boxes(self):
        """The API's anchors, or `PriorBox`es where `box_scales` says so."""
        if self.config.box_scales != "tfod":
            return super()._prior_boxes()
        return [Anchors(self.all_sources.index(name)) for name in self.sources]

    def compute_losses(self, targets: dict[str, Tensor], outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sigmoid losses and smooth L1, divided by the matched anchors of the global batch; hard negatives 3:1."""
        terms = sigmoid_multibox_loss(
            targets, outputs, self.config.negative_ratio, self._valid_boxes, least=LEAST_NEGATIVES
        )
        n = ops.maximum(self.sum_over_replicas(ops.sum(terms.pop("matched"))), 1.0)
        terms["localization"] = self.config.localization_weight * terms["localization"]
        return {name: ops.sum(term) / n for name, term in terms.items()}

    def scored_boxes(self, outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Boxes and class scores before suppression; the API limits boxes to the image after it alone.

        Args:
            outputs: what `call` gives.

        Returns:
            `[B, A, 4]` rel_yxyx boxes, which may leave the image, and `[B, A, C]` scores in 0 .. 1.
        """
        boxes = box_ops.decode_offsets(outputs["offsets"], self.default_boxes[None])
        return boxes, ops.sigmoid(outputs["logits"])[..., 1:]


def _tiling(shrink):
    """Extra layers after the backbone's last map, each shrinking it by `shrink`."""
    sides = ((256, 512), (128, 256), (128, 256), (64, 128))
    return Tiling(
        steps=None,
        extras=tuple((f"extra{k}", squeeze, filters, shrink) for k, (squeeze, filters) in enumerate(sides, start=1)),
        ratios=((2, 3),) * 6,
        scales={"tfod": SCALES, "coco": SCALES},
    )


@register("ssdlite300", small={"backbone": "tiny", "sources": ("stage5", "extra4")})
class SSDLite300(TFODSSD):
    """SSDLite on MobileNetV2 as TensorFlow's Object Detection API has it (`ssdlite_mobilenet_v2_coco`): 1917 anchors.

    Reference: Sandler et al., "MobileNetV2", CVPR 2018, section 6.2, and Huang et al., "Speed/accuracy trade-offs for
    modern convolutional object detectors", CVPR 2017. The API's graphs resize images without half-pixel centers; this
    package's one resize has them. Preprocessing, scaling to -1 .. 1, is part of the network.

    >>> model = SSDLite300(classes=["person"])
    >>> model.default_boxes.shape
    (1917, 4)
    """

    tiling = _tiling("separable same")
    lite = True


@register("ssd_mobilenet300", small={"backbone": "tiny", "sources": ("stage5", "extra4")})
class SSDMobileNet300(TFODSSD):
    """SSD on MobileNet as TensorFlow's Object Detection API has it (`ssd_mobilenet_v2_coco`): 1917 anchors.

    With `backbone="mobilenet_v1"` it is `ssd_mobilenet_v1_coco`. Reference and preprocessing as of `SSDLite300`.

    >>> model = SSDMobileNet300(classes=["person"], backbone="mobilenet_v1")
    >>> model.default_boxes.shape
    (1917, 4)
    """

    tiling = _tiling("same")
    predictor_kernel = 1
