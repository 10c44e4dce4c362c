import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_samples import random_set, voc_eval

from keras_det.metrics import GroundTruth, Predictions, average_precision, voc, voc_ap

VARIANTS = ("voc2007_11point", "area")


@pytest.fixture(scope="module")
def tiny_yolo(shared):
    """The whole VOC2007 test truth and the recorded metrics of a real detector."""
    folder = shared / "data" / "voc2007"
    expected = json.loads((folder / "results_tiny_yolo" / "expected_ap.json").read_text())
    classes = [name for name in expected["area"] if name != "mean"]
    return voc_truth(json.loads((folder / "test_ground_truth.json").read_text()), classes), folder, expected


def voc_truth(images, classes):
    rows = [
        (i, *o["bbox"], classes.index(o["name"]), o["difficult"]) for i, x in enumerate(images) for o in x["objects"]
    ]
    table = np.array(rows, float)
    sizes = [(x["height"], x["width"]) for x in images]
    boxes = table[:, 1:5] - [1, 1, 0, 0]
    return GroundTruth(classes, [x["id"] for x in images], sizes, table[:, 0], boxes, table[:, 5], table[:, 6] > 0)


def test_equals_the_reference_array(references):
    arrays = np.load(references / "voc_ap.npz", allow_pickle=False)
    objects, found = arrays["ground_truth"].astype(float), arrays["detections"]
    images = int(max(objects[:, 0].max(), found[:, 0].max())) + 1
    ids = [str(i) for i in range(images)]
    boxes = objects[:, 2:6] - [1, 1, 0, 0]
    truth = GroundTruth("abcde", ids, np.full((images, 2), 600), objects[:, 0], boxes, objects[:, 1], objects[:, 6] > 0)
    results = Predictions(found[:, 0], found[:, 2:6] - [1, 1, 0, 0], found[:, 6], found[:, 1])
    np.testing.assert_allclose(voc_ap(truth, results, "voc2007_11point"), arrays["ap_11point"], atol=1e-6)
    np.testing.assert_allclose(voc_ap(truth, results, "area"), arrays["ap_area"], atol=1e-6)


def test_equals_the_recorded_figures_of_a_real_detector(tiny_yolo):
    truth, folder, expected = tiny_yolo
    start = time.perf_counter()
    results = voc.read_results(folder / "results_tiny_yolo", truth)
    metrics = {variant: voc_ap(truth, results, variant) for variant in VARIANTS}
    assert time.perf_counter() - start < 10
    assert len(results) == 254590
    # The recorded metrics ranked equal scores as numpy does with AVX-512; another processor's order moves them by 2e-6.
    tolerance = 1e-6 if sorts_as_recorded() else 3e-6
    for variant in VARIANTS:
        np.testing.assert_allclose(
            metrics[variant], [expected[variant][c] for c in truth.classes], rtol=0, atol=tolerance
        )
        assert metrics[variant].mean() == pytest.approx(expected[variant]["mean"], abs=1e-6)


def sorts_as_recorded():
    try:
        from numpy._core._multiarray_umath import __cpu_features__ as features
    except ImportError:
        from numpy.core._multiarray_umath import __cpu_features__ as features
    return any(features.get(name) for name in ("AVX512_SKX", "X86_V4"))


@pytest.mark.parametrize("grid", [None, 8])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_plain_loop(variant, grid):
    for seed in range(8):
        truth, results = random_set(seed, grid=grid)
        expected = [voc_eval(truth, results, label, variant) for label in range(len(truth.classes))]
        assert np.isnan(expected).any() and np.isfinite(expected).any()
        np.testing.assert_allclose(voc_ap(truth, results, variant), expected, rtol=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_equals_the_plain_loop_on_small_boxes(data):
    side = st.integers(0, 4)
    box = st.tuples(side, side, st.integers(1, 3), st.integers(1, 3)).map(
        lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
    )
    row = st.tuples(st.integers(0, 2), box, st.integers(0, 1))
    objects = data.draw(st.lists(st.tuples(row, st.booleans()), max_size=6))
    found = data.draw(st.lists(st.tuples(row, st.sampled_from([0.1, 0.5, 0.9])), max_size=10))
    truth = GroundTruth(
        "ab", "xyz", np.full((3, 2), 9), [o[0][0] for o in objects], [o[0][1] for o in objects],
        [o[0][2] for o in objects], [o[1] for o in objects],
    )  # fmt: skip
    results = Predictions(
        [f[0][0] for f in found], [f[0][1] for f in found], [f[1] for f in found], [f[0][2] for f in found]
    )
    for variant in VARIANTS:
        expected = [voc_eval(truth, results, label, variant) for label in range(2)]
        np.testing.assert_allclose(voc_ap(truth, results, variant), expected, rtol=1e-12)


def one_class(objects, difficult=None):
    count = len(objects)
    return GroundTruth(("cat",), ("a", "b"), np.full((2, 2), 100), np.zeros(count), objects, np.zeros(count), difficult)


def found(boxes, scores):
    return Predictions(np.zeros(len(boxes)), boxes, scores, np.zeros(len(boxes)))


def test_second_detection_of_an_object_is_false():
    truth = one_class([[0, 0, 20, 20]])
    outcome = voc.match(truth, found([[0, 0, 20, 19], [0, 0, 20, 20], [0, 0, 20, 18]], [0.7, 0.9, 0.8])).outcome
    assert outcome.tolist() == [voc.FALSE, voc.TRUE, voc.FALSE]


def test_taken_best_object_is_not_swapped_for_the_next_best():
    truth = one_class([[0, 0, 20, 20], [0, 0, 20, 24]])
    matches = voc.match(truth, found([[0, 0, 20, 20], [0, 0, 20, 21]], [0.9, 0.8]))
    assert matches.outcome.tolist() == [voc.TRUE, voc.FALSE] and matches.object.tolist() == [0, 0]


def test_overlap_equal_to_the_threshold_is_no_match():
    truth = one_class([[0, 0, 10, 10]])
    assert voc.match(truth, found([[0, 0, 10, 5], [0, 0, 10, 6]], [0.9, 0.8])).outcome.tolist() == [voc.FALSE, voc.TRUE]


def test_difficult_objects_count_neither_way():
    truth = one_class([[0, 0, 20, 20], [40, 40, 60, 60]], [True, False])
    results = found([[0, 0, 20, 20], [40, 40, 60, 60], [0, 0, 20, 20]], [0.9, 0.8, 0.7])
    assert voc.match(truth, results).outcome.tolist() == [voc.IGNORED, voc.TRUE, voc.IGNORED]
    assert [voc_ap(truth, results, variant).tolist() for variant in VARIANTS] == [[1.0], [1.0]]


def test_no_detection_of_a_class_is_zero_and_no_object_is_nan():
    truth = GroundTruth(("cat", "dog"), ("a",), [[50, 50]], [0], [[0, 0, 20, 20]], [0])
    np.testing.assert_array_equal(voc_ap(truth, Predictions([], [], [], [])), [0, np.nan])
    np.testing.assert_array_equal(voc_ap(truth, Predictions([0], [[0, 0, 9, 9]], [0.5], [1])), [0, np.nan])


def test_form_must_be_known():
    with pytest.raises(ValueError, match="'voc2007_11point' or 'area', got 'mean'"):
        average_precision(np.ones(1), np.ones(1), "mean")


def test_results_files_round_trip(tmp_path):
    truth, results = random_set(1)
    results = Predictions(results.image, np.float32(results.boxes), np.float32(results.scores), results.labels)
    paths = voc.write_results(tmp_path / "new", truth, results)
    assert [p.name for p in paths] == [f"comp4_det_test_{name}.txt" for name in truth.classes]
    back = voc.read_results(tmp_path / "new", truth)
    order = np.argsort(results.labels, kind="stable")
    np.testing.assert_array_equal(back.image, results.image[order])
    np.testing.assert_array_equal(back.labels, results.labels[order])
    np.testing.assert_array_equal(np.float32(back.scores), np.float32(results.scores[order]))
    np.testing.assert_allclose(back.boxes, results.boxes[order], rtol=1e-7, atol=1e-7)
    assert len(list((tmp_path / "new").iterdir())) == len(truth.classes)


def test_files_are_one_based_and_inclusive(tmp_path):
    truth = one_class([[0, 0, 20, 20]])
    (path,) = voc.write_results(tmp_path, truth, found([[4, 5, 10, 20]], [0.5]))
    assert path.read_text() == "a 0.5 5 6 10 20\n"


@pytest.mark.parametrize(
    "line, says",
    [
        ("a 0.5 1 1 9", "needs six fields"),
        ("c 0.5 1 1 9 9", "names image 'c', which the truth lacks"),
        ("a nan 1 1 9 9", "no finite number"),
        ("a 0.5 1 1 x 9", "no finite number"),
        ("a 0.5 1 1 9 inf", "no finite number"),
        ("a 0.5 9 1 1 9", "negative width or height"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, says):
    path = tmp_path / "comp4_det_test_cat.txt"
    path.write_text(f"a 0.5 1 1 9 9\n\n{line}\n{line}\n")
    with pytest.raises(ValueError, match=f"comp4_det_test_cat.txt, line 3 .*{says}.*2 such lines"):
        voc.read_results(tmp_path, one_class([[0, 0, 20, 20]]))


def test_missing_file_of_a_class_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="comp4_det_test_cat.txt"):
        voc.read_results(tmp_path, one_class([[0, 0, 20, 20]]))


def test_empty_file_is_no_detection(tmp_path):
    (tmp_path / "comp4_det_test_cat.txt").write_text("")
    assert len(voc.read_results(tmp_path, one_class([[0, 0, 20, 20]]))) == 0
