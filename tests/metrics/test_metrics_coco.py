import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from metrics_samples import as_coco_files, pycocotools_run, random_set

from keras_det.metrics import Results, Truth, coco, coco_metrics

ENGINES = coco.ENGINES


def same_as_pycocotools(truth, results, engine):
    run = pycocotools_run(*as_coco_files(truth, results))
    figures = coco_metrics(truth, results, engine)
    np.testing.assert_allclose([figures[name] for name in coco.SUMMARY], run.stats, rtol=0, atol=1e-9)
    precision = run.eval["precision"][..., 0, -1]
    for label, name in enumerate(truth.classes):
        for key, part in (("AP", precision[:, :, label]), ("AP50", precision[0, :, label])):
            expected = part[part > -1].mean() if (part > -1).any() else -1
            assert figures[f"{key}/{name}"] == pytest.approx(expected, abs=1e-9)
    return figures


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("grid", [None, 8, 0.01])
def test_equals_pycocotools_on_random_sets(engine, grid):
    for seed in range(4):
        same_as_pycocotools(*random_set(seed, grid=grid), engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_equals_pycocotools_beyond_a_hundred_detections(engine):
    truth, results = random_set(3, images=2, classes=2, objects=8, detections=500, grid=4)
    assert np.bincount(results.image * 2 + results.labels).max() > 200
    same_as_pycocotools(truth, results, engine)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(ENGINES))
def test_equals_pycocotools_on_adversarial_sets(data, engine):
    """Few places, few scores: duplicates, exact thresholds, ties, crowds over objects, empty images, absent classes."""
    side = st.sampled_from([1, 2, 31, 32, 33, 64, 96])
    box = st.tuples(st.sampled_from([0, 1, 16]), st.sampled_from([0, 1, 16]), side, side)
    row = st.tuples(st.integers(0, 2), box.map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])), st.integers(0, 2))
    objects = data.draw(st.lists(st.tuples(row, st.booleans()), max_size=8))
    found = data.draw(st.lists(st.tuples(row, st.sampled_from([0.0, 0.5, 1.0])), max_size=12))
    truth = Truth(
        ("a", "b", "c"), ("7", "3", "11"), np.full((3, 2), 120), [o[0][0] for o in objects],
        [o[0][1] for o in objects], [o[0][2] for o in objects], is_crowd=[o[1] for o in objects],
    )  # fmt: skip
    results = Results(
        [f[0][0] for f in found], [f[0][1] for f in found], [f[1] for f in found], [f[0][2] for f in found]
    )
    same_as_pycocotools(truth, results, engine)


def perfect(truth):
    keep = ~truth.is_crowd
    scores = np.linspace(1, 0.5, keep.sum())
    return Results(truth.image[keep], truth.boxes[keep], scores, truth.labels[keep])


@pytest.mark.parametrize("engine", ENGINES)
def test_perfect_results_are_perfect(engine):
    truth, _ = random_set(5, objects=12, crowds=False)
    assert coco_metrics(truth, perfect(truth), engine)["AP"] == pytest.approx(1)


@pytest.mark.parametrize("engine", ENGINES)
def test_class_zero_counts(engine):
    truth, _ = random_set(5, objects=12, crowds=False)
    results = perfect(truth)
    assert (truth.labels == 0).any()
    figures = same_as_pycocotools(truth, results.take(results.labels != 0), engine)
    assert figures["AP/class0"] == 0 and figures["AP/class1"] == pytest.approx(1) and figures["AP"] < 0.9


@pytest.mark.parametrize("engine", ENGINES)
def test_false_detections_in_empty_images_count(engine):
    truth, _ = random_set(5, objects=12, crowds=False)
    empty = np.setdiff1d(np.arange(len(truth.image_ids)), truth.image)[0]
    results = perfect(truth)
    wrong = Results(np.full(40, empty), np.tile([1, 1, 30, 30], (40, 1)), np.full(40, 2), np.zeros(40))
    both = Results(*(np.concatenate([getattr(wrong, n), getattr(results, n)]) for n in vars(results)))
    assert same_as_pycocotools(truth, both, engine)["AP/class0"] < 0.2


@pytest.mark.parametrize("engine", ENGINES)
def test_images_missing_from_the_results_count(engine):
    truth, _ = random_set(5, objects=12, crowds=False)
    results = perfect(truth)
    half = same_as_pycocotools(truth, results.take(results.image >= np.median(truth.image)), engine)
    assert half["AR100"] < 0.8
    assert same_as_pycocotools(truth, results.take(np.zeros(0, int)), engine)["AP"] == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_sizes_are_of_original_pixels(engine):
    """One shape on pictures of two sizes is a small object on one and a large one on the other."""
    boxes = np.array([[0, 0, 0.25, 0.25]] * 2) * np.array([[80], [800]])
    truth = Truth(("a",), ("1", "2"), [[80, 80], [800, 800]], [0, 1], boxes, [0, 0])
    figures = same_as_pycocotools(truth, perfect(truth).take([1]), engine)
    assert (figures["ARs"], figures["ARm"], figures["ARl"]) == (0, -1, 1)


def test_the_recorded_area_decides_the_size_not_the_box():
    truth = Truth(("a",), ("1",), [[300, 300]], [0], [[0, 0, 200, 200]], [0], area=[900])
    figures = same_as_pycocotools(truth, perfect(truth), "pycocotools")
    assert figures["ARs"] == 1 and figures["ARl"] == -1


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_to_find_is_minus_one(engine):
    truth = Truth(("a",), ("1",), [[300, 300]], [], [], [])
    figures = coco_metrics(truth, Results([0], [[0, 0, 9, 9]], [0.5], [0]), engine)
    assert set(figures.values()) == {-1.0}


def test_ids_that_are_no_numbers_are_counted_by_place():
    truth, results = random_set(2)
    named = Truth(**{**vars(truth), "image_ids": [f"im{i:03}" for i in range(12)], "category_ids": (9, 4, 7, 1)})
    numbered = Truth(**{**vars(truth), "image_ids": [str(i) for i in range(12)]})
    assert coco_metrics(named, results) == pytest.approx(coco_metrics(numbered, results), abs=1e-12)


def test_fast_engine_is_the_default_where_installed(monkeypatch):
    assert coco._choose(None) == "faster-coco-eval"
    monkeypatch.setattr(coco.importlib.util, "find_spec", lambda name: None)
    assert coco._choose(None) == "pycocotools"


def test_nothing_is_printed(capfd):
    truth, results = random_set(0)
    for engine in ENGINES:
        coco_metrics(truth, results, engine)
    assert capfd.readouterr() == ("", "")


def test_unknown_engine_and_empty_truth_are_refused():
    truth, results = random_set(0)
    with pytest.raises(ValueError, match="engine must be one of faster-coco-eval, pycocotools, got 'fast'"):
        coco_metrics(truth, results, "fast")
    with pytest.raises(ValueError, match="at least one image"):
        coco_metrics(Truth(("a",), (), [], [], [], []), Results([], [], [], []))
