"""Boxes by hand, one pair at a time: what tests hold the vectorized code against."""


def plain_iou(a, b):
    """Jaccard overlap of two boxes that have an area."""
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(height, 0) * max(width, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
