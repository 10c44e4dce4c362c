"""Cluster centers of training boxes, by k-means."""

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist

_ITERATIONS = 50
_LARGEST = 50_000  # points that take part; more would not move the centers


def kmeans(points: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Centers of k-means, started by k-means++; empty clusters are filled again.

    Args:
        points: `[N, D]` finite numbers, such as boxes in the coordinates in which distance is measured. Of more than
            50,000 a random part is used.
        count: How many centers, K.
        seed: Of the start, the part and the filling.

    Returns:
        `[K, D]` float64, sorted by their first, then second, ... coordinate. A cluster that loses all its points starts
        anew at the point that is farthest from its center. Where there are fewer distinct points than K, the centers
        are the distinct points and copies of them shaken by 2 % of the points' spread.

    Raises:
        ValueError: `count` is below 1, or there are no points, or one is not finite.

    >>> kmeans(np.array([[0.0], [0.2], [5.0]]), 2).round(2).tolist()
    [[0.1], [5.0]]
    """
    points = np.asarray(points, np.float64)
    if count < 1:
        raise ValueError(f"`count` must be at least 1; got {count}.")
    if points.ndim != 2 or not len(points) or not np.isfinite(points).all():
        raise ValueError(f"`points` must be finite numbers, [N, D] with N of at least 1; got shape {points.shape}.")
    rng = np.random.default_rng(seed)
    if len(points) > _LARGEST:
        points = points[rng.choice(len(points), _LARGEST, replace=False)]
    distinct = np.unique(points, axis=0)
    centers = _lloyd(points, distinct, count, rng) if len(distinct) > count else _shaken(distinct, count, rng)
    return centers[np.lexsort(centers.T[::-1])]


def _lloyd(points, distinct, count, rng):
    """Lloyd's iterations, again until no cluster is empty."""
    centers = _start(points, count, rng)
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of empty clusters, which are seen to here
            centers, owner = kmeans2(points, centers, _ITERATIONS, minit="matrix")
        empty = np.flatnonzero(np.bincount(owner, minlength=count) == 0)
        if not empty.size:
            return centers
        centers[empty] = distinct[np.argsort(-_nearest(distinct, np.delete(centers, empty, 0)))[: len(empty)]]


def _start(points, count, rng):
    """k-means++: each next center is a point drawn by its squared distance to the centers so far."""
    centers = np.empty((count, points.shape[1]))
    distance = np.ones(len(points))
    for i in range(count):
        centers[i] = points[rng.choice(len(points), p=distance / distance.sum())]
        distance = np.minimum(_nearest(points, centers[i : i + 1]), distance if i else np.inf)
    return centers


def _nearest(points, centers):
    """Squared distance of each point to the nearest center."""
    return cdist(points, centers, "sqeuclidean").min(axis=1)


def _shaken(distinct, count, rng):
    """All distinct points, and enough shaken copies of them."""
    copies = distinct[rng.integers(0, len(distinct), count - len(distinct))]
    spread = np.maximum(distinct.std(axis=0), 1e-3)
    return np.concatenate([distinct, copies + rng.normal(0, 0.02, copies.shape) * spread])
