"""The one door through which boxes of other formats enter and leave."""

from keras import ops

from keras_det.types import Tensor

# Keras's own names and meanings. Its `convert_format` is not used: in Keras 3.8 it mistakes `rel_center_xywh`.
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


def convert(boxes: Tensor, source: str, target: str, image_shape: tuple[int, int] | None = None) -> Tensor:
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
    from_relative, to_relative = source.startswith("rel_"), target.startswith("rel_")
    if image_shape is None and from_relative != to_relative:
        raise ValueError(f"converting boxes from {source!r} to {target!r} needs `image_shape=(height, width)`.")
    corners = _corners(ops.unstack(ops.cast(boxes, "float32"), axis=-1), source.removeprefix("rel_"))
    if image_shape is not None and from_relative != to_relative:
        height, width = (ops.cast(side, "float32") for side in image_shape)
        height, width = (height, width) if from_relative else (1 / height, 1 / width)
        corners = [side * corner for side, corner in zip((height, width) * 2, corners)]
    return ops.stack(_from_corners(corners, target.removeprefix("rel_")), axis=-1)


def _corners(values, box_format):
    """`ymin, xmin, ymax, xmax` of the four values of a form."""
    a, b, c, d = values
    if box_format in ("xyxy", "yxyx"):
        return [b, a, d, c] if box_format == "xyxy" else values
    y, x, h, w = (a, b, c, d) if box_format == "center_yxhw" else (b, a, d, c)
    if box_format.startswith("center_"):
        y, x = y - h / 2, x - w / 2
    return [y, x, y + h, x + w]


def _from_corners(corners, box_format):
    """The four values of a form."""
    ymin, xmin, ymax, xmax = corners
    if box_format in ("xyxy", "yxyx"):
        return [xmin, ymin, xmax, ymax] if box_format == "xyxy" else corners
    h, w = ymax - ymin, xmax - xmin
    y, x = (ymin + h / 2, xmin + w / 2) if box_format.startswith("center_") else (ymin, xmin)
    return [y, x, h, w] if box_format == "center_yxhw" else [x, y, w, h]
