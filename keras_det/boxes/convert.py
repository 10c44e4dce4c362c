"""The one door through which boxes of other formats enter and leave."""

from keras.utils import bounding_boxes

FORMATS = (
    "xyxy",
    "yxyx",
    "xywh",
    "center_xywh",
    "center_yxhw",
    "rel_xyxy",
    "rel_yxyx",
    "rel_xywh",
    "rel_center_xywh",
)


def convert(boxes, source, target, image_shape=None):
    """Convert boxes between Keras's box formats.

    Args:
        boxes: `[..., 4]` array or tensor, float.
        source: format of `boxes`, one of `FORMATS`; `rel_` formats are divided by the image's width and height.
        target: format wanted.
        image_shape: `(height, width)` in pixels; needed when exactly one of the two formats is relative.

    Returns:
        `[..., 4]` float32 tensor in the format `target`.

    Raises:
        ValueError: an unknown format, or `image_shape` missing where it is needed.

    >>> import numpy as np
    >>> np.asarray(convert([[10.0, 20.0, 30.0, 60.0]], "xyxy", "rel_yxyx", image_shape=(100, 50))).round(2).tolist()
    [[0.20000000298023224, 0.20000000298023224, 0.6000000238418579, 0.6000000238418579]]
    """
    for argument, value in (("source", source), ("target", target)):
        if value not in FORMATS:
            raise ValueError(f"`{argument}` must be one of {', '.join(FORMATS)}; got {value!r}.")
    if image_shape is None and source.startswith("rel_") != target.startswith("rel_"):
        raise ValueError(f"converting boxes from {source!r} to {target!r} needs `image_shape=(height, width)`.")
    height, width = (1, 1) if image_shape is None else image_shape  # Keras asks for them between relative formats too
    return bounding_boxes.convert_format(boxes, source, target, height, width, dtype="float32")
