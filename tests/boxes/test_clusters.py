"""k-means of boxes: known clusters, empty clusters, few points."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from keras_det.boxes import kmeans


def test_known_clusters_are_found_and_sorted():
    rng = np.random.default_rng(0)
    true = np.array([[0.1, 0.2, 0.3, 0.5], [0.2, 0.6, 0.4, 0.9], [0.5, 0.1, 0.9, 0.4]])
    points = np.concatenate([center + rng.normal(0, 0.005, (200, 4)) for center in true[[2, 0, 1]]])
    np.testing.assert_allclose(kmeans(points, 3, seed=1), true, atol=2e-3)


def test_each_center_is_the_mean_of_its_points():
    points = np.random.default_rng(1).random((500, 4))
    centers = kmeans(points, 20, seed=3)
    owner = cdist(points, centers).argmin(axis=1)
    means = np.stack([points[owner == k].mean(axis=0) for k in range(20)])
    assert np.abs(means - centers).max() < 0.02  # Lloyd stops after fifty rounds
    np.testing.assert_array_equal(centers, kmeans(points, 20, seed=3))
    assert not np.array_equal(centers, kmeans(points, 20, seed=4))


@pytest.mark.parametrize("seed", range(8))
def test_no_cluster_is_empty_where_points_repeat(seed):
    points = np.repeat(np.random.default_rng(seed).random((12, 2)), [1000, *[1] * 11], axis=0)
    centers = kmeans(points, 11, seed=seed)
    assert len(np.unique(cdist(points, centers).argmin(axis=1))) == 11


def test_fewer_points_than_clusters_are_all_centers():
    points = np.array([[0.2, 0.2], [0.8, 0.6], [0.2, 0.2]])
    centers = kmeans(points, 9)
    assert centers.shape == (9, 2) and len(np.unique(centers, axis=0)) == 9
    assert cdist(np.unique(points, axis=0), centers).min(axis=1).max() == 0
    assert cdist(centers, points).min(axis=1).max() < 0.05


@pytest.mark.parametrize(
    ("points", "count", "named"),
    [([[1.0]], 0, "`count`"), (np.zeros((0, 4)), 2, "`points`"), ([[np.nan]], 1, "`points`"), ([1.0], 1, "`points`")],
)
def test_wrong_arguments_are_named(points, count, named):
    with pytest.raises(ValueError, match=named):
        kmeans(points, count)
