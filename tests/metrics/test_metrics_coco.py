import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from metrics_samples import as_coco_files, pycocotools_run, random_set

from keras_det.metrics import GroundTruth, Predictions, coco, coco_metrics

ENGINES = coco.ENGINES


def same_as_pycocotools(truth, results, engine):
    run = pycocotools_run(*as_coco_files(truth, results))
    metrics = coco_metrics(truth, results, engine)
    np.testing.assert_allclose([metrics[name] for name in coco.SUMMARY], run.stats, rtol=0, atol=1e-9)
    precision = run.eval["precision"][..., 0, -1]
    for label, name in enumerate(truth.classes):
        for key, part in (("AP", precision[:, :, label]), ("AP50", precision[0, :, label])):
            expected = part[part > -1].mean() if (part > -1).any() else -1
            assert metrics[f"{key}/{name}"] == pytest.approx(expected, abs=1e-9)
    return metrics


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
    truth = GroundTruth(
        ("a", "b", "c"), ("7", "3", "11"), np.full((3, 2), 120), [o[0][0] for o in objects],
        [o[0][1] for o in objects], [o[0][2] for o in objects], is_crowd=[o[1] for o in objects],
    )  # fmt: skip
    results = Predictions(
        [f[0][0] for f in found], [f[0][1] for f in found], [f[1] for f in found], [f[0][2] for f in found]
    )
    same_as_pycocotools(truth, results, engine)


def perfect(truth):
    keep = ~truth.is_crowd
    scores = np.linspace(1, 0.5, keep.sum())
    return Predictions(truth.image[keep], truth.boxes[keep], scores, truth.labels[keep])


@pytest.mark.parametrize("engine", ENGINES)
def test_perfect_results_are_perfect(engine):
    truth, _ = random_set(5, objects=12, crowds=False)
    assert coco_metrics(truth, perfect(truth), engine)["AP"] == pytest.approx(1)


@pytest.mark.parametrize("engine", ENGINES)
def test_class_zero_counts(engine):
    truth, _ = random_set(5, objects=12, crowds=False)
    results = perfect(truth)
    assert (truth.labels == 0).any()
    metrics = same_as_pycocotools(truth, results.take(results.labels != 0), engine)
    assert metrics["AP/class0"] == 0 and metrics["AP/class1"] == pytest.approx(1) and metrics["AP"] < 0.9


@pytest.mark.parametrize("engine", ENGINES)
def test_false_detections_in_empty_images_count(engine):
    truth, _ = random_set(5, objects=12, crowds=False)
    empty = np.setdiff1d(np.arange(len(truth.image_ids)), truth.image)[0]
    results = perfect(truth)
    wrong = Predictions(np.full(40, empty), np.tile([1, 1, 30, 30], (40, 1)), np.full(40, 2), np.zeros(40))
    both = Predictions(*(np.concatenate([getattr(wrong, n), getattr(results, n)]) for n in vars(results)))
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
    """One shape on images of two sizes is a small object on one and a large one on the other."""
    boxes = np.array([[0, 0, 0.25, 0.25]] * 2) * np.array([[80], [800]])
    truth = GroundTruth(("a",), ("1", "2"), [[80, 80], [800, 800]], [0, 1], boxes, [0, 0])
    metrics = same_as_pycocotools(truth, perfect(truth).take([1]), engine)
    assert (metrics["ARs"], metrics["ARm"], metrics["ARl"]) == (0, -1, 1)


def test_the_recorded_area_decides_the_size_not_the_box():
    truth = GroundTruth(("a",), ("1",), [[300, 300]], [0], [[0, 0, 200, 200]], [0], area=[900])
    metrics = same_as_pycocotools(truth, perfect(truth), "pycocotools")
    assert metrics["ARs"] == 1 and metrics["ARl"] == -1


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_to_find_is_minus_one(engine):
    truth = GroundTruth(("a",), ("1",), [[300, 300]], [], [], [])
    metrics = coco_metrics(truth, Predictions([0], [[0, 0, 9, 9]], [0.5], [0]), engine)
    assert set(metrics.values()) == {-1.0}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("first", [2**53 - 1, 2**54, 10**18, 10**19])
def test_ids_beyond_doubles_are_told_apart(engine, first, tmp_path):
    """Names of images that are long numbers, in files and in the engines."""
    truth, results = random_set(2, images=6, grid=0.01)
    plain = GroundTruth(**{**vars(truth), "image_ids": [str(i) for i in range(6)]})
    long = GroundTruth(**{**vars(truth), "image_ids": [str(first + i) for i in range(6)]})
    assert coco_metrics(long, results, engine) == coco_metrics(plain, results, engine)
    coco.write_results(tmp_path / "r.json", long, results)
    assert f'"image_id": {first + 3},' in (tmp_path / "r.json").read_text()
    np.testing.assert_array_equal(coco.read_results(tmp_path / "r.json", long).image, results.image)
    categories = GroundTruth(**{**vars(truth), "category_ids": [first + i for i in (3, 1, 0, 2)]})
    expected = coco_metrics(truth, results, engine)
    assert coco_metrics(categories, results, engine) == pytest.approx(expected, abs=1e-12)  # another order of sums


def test_numbers_in_other_forms_are_read(tmp_path):
    truth = GroundTruth(("a",), ("7",), [[30, 30]], [], [], [])
    for k, entry in enumerate(({"image_id": "7"}, {"image_id": 7.0, "category_id": "1"}, {"score": "0.5"})):
        (tmp_path / f"{k}.json").write_text(json.dumps([GOOD | entry]))
        assert coco.read_results(tmp_path / f"{k}.json", truth).boxes.tolist() == [[1, 2, 4, 6]]


def test_ids_that_are_no_numbers_are_counted_by_place():
    truth, results = random_set(2)
    named = GroundTruth(**{**vars(truth), "image_ids": [f"im{i:03}" for i in range(12)], "category_ids": (9, 4, 7, 1)})
    numbered = GroundTruth(**{**vars(truth), "image_ids": [str(i) for i in range(12)]})
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
        coco_metrics(GroundTruth(("a",), (), [], [], [], []), Predictions([], [], [], []))


@pytest.mark.parametrize("engine", ENGINES)
def test_decimals_of_a_file_survive(tmp_path, engine):
    """Two decimals, as COCO records: 10.07 + 32 - 10.07 is not 32, and 32 squared divides small from medium."""
    truth, _ = random_set(6, images=3, classes=1, objects=4, crowds=False, grid=0.01)
    dataset, _ = as_coco_files(truth, Predictions([], [], [], []))
    starts = [10.07, 0.1, 33.33, 7.7, 19.93, 58.21]
    found = [
        {"image_id": int(truth.image_ids[0]), "category_id": 0, "bbox": [x, x, 32, 32], "score": 0.5} for x in starts
    ]
    assert any(x + 32 - x != 32 for x in starts)
    (tmp_path / "r.json").write_text(json.dumps(found))
    truth = GroundTruth(**{**vars(truth), "category_ids": (0,)})
    results = coco.read_results(tmp_path / "r.json", truth)
    np.testing.assert_array_equal(coco.to_xywh(results.boxes), [f["bbox"] for f in found])
    metrics = coco_metrics(truth, results, engine)
    np.testing.assert_allclose([metrics[n] for n in coco.SUMMARY], pycocotools_run(dataset, found).stats, atol=1e-9)


def test_results_file_round_trips_and_pycocotools_reads_it(tmp_path):
    truth, results = random_set(2, grid=0.01)
    truth = GroundTruth(**{**vars(truth), "category_ids": (0, 1, 2, 3)})
    path = tmp_path / "results.json"
    coco.write_results(path, truth, results)
    back = coco.read_results(path, truth)
    for name in ("image", "scores", "labels"):
        np.testing.assert_array_equal(getattr(back, name), getattr(results, name))
    np.testing.assert_allclose(back.boxes, results.boxes, rtol=0, atol=1e-9)
    run = pycocotools_run(as_coco_files(truth, results)[0], json.loads(path.read_text()))
    metrics = coco_metrics(truth, back)
    np.testing.assert_allclose([metrics[n] for n in coco.SUMMARY], run.stats, rtol=0, atol=1e-9)
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


GOOD = {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.mark.parametrize(
    "entry, says",
    [
        ({**GOOD, "image_id": 8}, "has image_id 8, which the truth lacks"),
        ({**GOOD, "image_id": "8"}, "has image_id '8', which the truth lacks"),
        ({**GOOD, "image_id": 7.5}, "has image_id 7.5, which the truth lacks"),
        ({**GOOD, "image_id": [7]}, r"has image_id \[7\], which the truth lacks"),
        ({**GOOD, "image_id": 10**400}, "has image_id 1000.*, which the truth lacks"),
        ({**GOOD, "category_id": 2}, "has category_id 2, which the truth lacks"),
        ({**GOOD, "category_id": True}, "has category_id True, which the truth lacks"),
        ({**GOOD, "score": float("nan")}, "needs a finite number"),
        ({**GOOD, "bbox": [1, 2, float("inf"), 4]}, "needs a finite number"),
        ({**GOOD, "bbox": [1, 2, -3, 4]}, "negative width or height"),
        ({**GOOD, "bbox": [1, 2, 3]}, "needs a finite number as score and four as bbox"),
        ({**GOOD, "bbox": "1234"}, "needs a finite number as score and four as bbox"),
        ({**GOOD, "bbox": [1, 2, 10**400, 4]}, "needs a finite number as score and four as bbox"),
        ({**GOOD, "score": -(10**400)}, "needs a finite number as score and four as bbox"),
        ({**GOOD, "score": "high"}, "needs a finite number as score and four as bbox"),
        ({**GOOD, "score": True}, "needs a finite number as score and four as bbox"),
        ({"image_id": 7}, "has no 'category_id'"),
        ([7, 1], "is no JSON object"),
    ],
)
def test_bad_entries_are_named(tmp_path, entry, says):
    truth = GroundTruth(("a",), ("7",), [[30, 30]], [], [], [])
    path = tmp_path / "r.json"
    path.write_text(json.dumps([GOOD, GOOD, entry, GOOD]))
    with pytest.raises(ValueError, match=f"r.json, entry 2 .*{says}"):
        coco.read_results(path, truth)


@pytest.mark.parametrize(
    "text, says",
    [
        (json.dumps([GOOD] * 3, indent=1)[:-20], "line .*, column .*: not whole JSON .* truncated"),
        ("", "line 1, column 1: not whole JSON"),
        (json.dumps({"annotations": []}), "expected a JSON list of detections, got dict"),
        ('[{"image_id": ' + "9" * 5000 + "}]", "digits"),
        ("[" * 100000, "nested too deeply|not whole JSON"),
    ],
)
def test_bad_files_are_named(tmp_path, text, says):
    truth = GroundTruth(("a",), ("7",), [[30, 30]], [], [], [])
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"r.json.*({says})"):
        coco.read_results(path, truth)
    with pytest.raises(FileNotFoundError, match="other.json"):
        coco.read_results(tmp_path / "other.json", truth)


def test_empty_results_file(tmp_path):
    (tmp_path / "r.json").write_text("[]")
    assert len(coco.read_results(tmp_path / "r.json", GroundTruth(("a",), ("7",), [[30, 30]], [], [], []))) == 0


def test_files_too_large_or_not_text_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    path.write_bytes(b'["\xff"]')
    truth = GroundTruth(("a",), ("7",), [[30, 30]], [], [], [])
    with pytest.raises(ValueError, match="not UTF-8"):
        coco.read_results(path, truth)
    monkeypatch.setattr("keras_det.metrics.files.MAX_BYTES", 3)
    with pytest.raises(ValueError, match="5 bytes, at most 3 are read"):
        coco.read_results(path, truth)
