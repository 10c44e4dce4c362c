"""Error analysis, proposals and ILSVRC's measures on hand-made cases with known answers, and against plain loops."""

import numpy as np
import pytest
from metrics_samples import random_set
from plain_boxes import plain_iou

from keras_det.metrics import GroundTruth, Predictions, diagnosis, ilsvrc, proposals, voc
from keras_det.metrics.tide_errors import ERRORS, tide

CLASSES = ("cat", "dog", "car")
OBJECT = [0, 0, 20, 20]


def one_object(**columns):
    """One image with one cat."""
    return GroundTruth(CLASSES, ("a",), [[100, 100]], [0], [OBJECT], [0], **columns)


def found(*rows):
    """Detections in image 0: `(box, score, label)` each."""
    boxes, scores, labels = zip(*rows) if rows else ((), (), ())
    return Predictions([0] * len(rows), list(boxes), list(scores), list(labels))


RIGHT, LOOSE, FAR = [0, 0, 20, 18], [0, 0, 20, 8], [60, 60, 80, 80]


@pytest.mark.parametrize(
    ("box", "label", "kind"),
    [(LOOSE, 0, "Loc"), (RIGHT, 1, "Cls"), (LOOSE, 1, "Both"), (FAR, 0, "Bkg"), (FAR, 1, "Bkg")],
)
def test_each_tide_error_alone(box, label, kind):
    report = tide(one_object(), found((box, 0.9, label)))
    claims = kind in ("Loc", "Cls")  # such an error claims its object, so that it is not missed too
    expected = dict.fromkeys(ERRORS, 0) | {kind: 1, "Miss": 0 if claims else 1}
    assert report.counts == expected and report.ap == 0
    assert report.cost[kind] == (1 if claims else 0)  # put right, it is the object's detection
    assert report.special["FN"] == 0 or not claims


def test_a_second_detection_is_a_duplicate_and_costs_nothing_below_the_first():
    report = tide(one_object(), found((RIGHT, 0.9, 0), (RIGHT, 0.8, 0)))
    assert report.counts["Dupe"] == 1 and report.ap == 1 and report.cost["Dupe"] == 0


def test_a_false_detection_above_the_true_one_costs_half():
    report = tide(one_object(), found((FAR, 0.95, 0), (RIGHT, 0.9, 0)))
    assert report.counts["Bkg"] == 1 and report.ap == pytest.approx(0.5)
    assert report.cost["Bkg"] == pytest.approx(0.5) and report.special["FP"] == pytest.approx(0.5)


def test_missed_objects_are_what_removing_them_gains():
    truth = GroundTruth(CLASSES, ("a",), [[100, 100]], [0, 0], [OBJECT, FAR], [0, 0])
    report = tide(truth, found((RIGHT, 0.9, 0)))
    assert report.counts["Miss"] == 1
    assert report.ap == pytest.approx(51 / 101)  # of 101 recalls, those up to one half
    assert report.cost["Miss"] == pytest.approx(50 / 101)


def test_tide_leaves_out_what_lies_on_difficult_objects():
    assert sum(tide(one_object(difficult=[True]), found((RIGHT, 0.9, 0))).counts.values()) == 1  # on no object: Bkg
    truth = GroundTruth(CLASSES, ("a",), [[100, 100]], [0, 0], [OBJECT, FAR], [0, 0], difficult=[False, True])
    assert tide(truth, found((RIGHT, 0.9, 0), (FAR, 0.95, 0))).ap == 1


@pytest.mark.parametrize("seed", range(4))
def test_tide_of_random_sets_keeps_its_bounds(seed):
    truth, results = random_set(seed, crowds=False)
    report = tide(truth, results)
    assert all(cost >= 0 for cost in report.cost.values())
    assert 0 < sum(report.counts[name] for name in ERRORS[:-1]) <= len(results)
    assert 0 < report.ap < report.ap + report.special["FP"] <= 1 + 1e-9


def test_each_kind_of_false_positive():
    similar = diagnosis.similar_classes(CLASSES, {"animals": ("cat", "dog")})
    cases = [(RIGHT, 0, "correct"), (LOOSE, 0, "localization"), (RIGHT, 1, "similar"), (RIGHT, 2, "other")]
    cases += [(FAR, 0, "background"), (FAR, 2, "background")]
    for box, label, kind in cases:
        (code,) = diagnosis.kinds(one_object(), found((box, 0.9, label)), similar)
        assert diagnosis.KINDS[code] == kind
    codes = diagnosis.kinds(one_object(), found((RIGHT, 0.9, 0), (RIGHT, 0.8, 0)), similar)
    assert [diagnosis.KINDS[c] for c in codes] == ["correct", "localization"]  # a second one is badly suppressed
    (code,) = diagnosis.kinds(one_object(difficult=[True]), found((RIGHT, 0.9, 0)), similar)
    assert diagnosis.KINDS[code] == "ignored"


def test_vocs_similar_classes():
    names = ("aeroplane", "bird", "cat", "chair", "sofa", "bottle")
    similar = diagnosis.similar_classes(names)
    pairs = {tuple(sorted((names[a], names[b]))) for a, b in zip(*np.nonzero(similar))}
    assert pairs == {("aeroplane", "bird"), ("bird", "cat"), ("chair", "sofa")}


@pytest.mark.parametrize("seed", range(6))
def test_kinds_equal_a_plain_loop(seed):
    truth, results = random_set(seed, grid=4 if seed % 2 else None)
    similar = diagnosis.similar_classes(truth.classes, {"a": truth.classes[:2]})
    outcome = voc.match(truth, results).outcome
    for i, code in enumerate(diagnosis.kinds(truth, results, similar)):
        near = [
            truth.labels[t]
            for t in np.flatnonzero(truth.image == results.image[i])
            if plain_iou(results.boxes[i], truth.boxes[t]) >= 0.1
        ]
        label = results.labels[i]
        wanted = "background"
        if near:
            wanted = "localization" if label in near else "similar" if any(similar[label, n] for n in near) else "other"
        wanted = {voc.TRUE: "correct", voc.IGNORED: "ignored"}.get(outcome[i], wanted)
        assert diagnosis.KINDS[code] == wanted


def test_bins_hold_their_shares_of_a_class():
    side = np.arange(1, 101)
    boxes = np.column_stack([np.zeros((100, 2)), side, 2 * side[::-1]])
    truth = GroundTruth(("cat",), ("a",), [[999, 999]], [0] * 100, boxes, [0] * 100)
    assert np.bincount(diagnosis.bins(truth, "shape")).tolist() == [10, 20, 40, 20, 10]
    wide = boxes[:, 2] / boxes[:, 3]
    assert diagnosis.bins(truth, "shape")[np.argmax(wide)] == 4 and diagnosis.bins(truth, "shape")[np.argmin(wide)] == 0
    with pytest.raises(ValueError, match="size"):
        diagnosis.bins(truth, "color")


def test_normalized_precision_of_a_bin():
    boxes = [[30 * i, 0, 30 * i + 20, 20] for i in range(10)]
    truth = GroundTruth(("cat",), tuple("abcdefghij"), [[400, 400]] * 10, [0] * 10, boxes, [0] * 10)
    perfect = Predictions([0] * 10, boxes, np.linspace(0.9, 0.5, 10), [0] * 10)
    (result,) = diagnosis.sensitivity(truth, perfect, "size")
    assert result.overall == 1 and np.nanmin(result.ap) == 1 and result.objects.sum() == 10
    one_false = Predictions([0, 0], [[300, 300, 320, 320], boxes[0]], [0.9, 0.8], [0, 0])
    (result,) = diagnosis.sensitivity(truth, one_false, "size")
    normal = 0.15 * 10 * 0.1  # N times the recall of one object in ten
    assert result.overall == pytest.approx(0.1 * normal / (normal + 1))


def test_confusion_matrix():
    truth = GroundTruth(CLASSES, ("a",), [[200, 200]], [0, 0, 0], [OBJECT, FAR, [100, 100, 130, 130]], [0, 1, 2])
    results = found((RIGHT, 0.9, 0), (FAR, 0.8, 2), ([150, 150, 160, 160], 0.7, 1), (FAR, 0.2, 1))
    matrix = diagnosis.confusion_matrix(truth, results, score_threshold=0.5)
    expected = np.zeros((4, 4), int)
    expected[0, 0] = expected[1, 2] = expected[3, 1] = expected[2, 3] = 1
    np.testing.assert_array_equal(matrix, expected)


def test_best_threshold():
    truth = GroundTruth(CLASSES, ("a",), [[200, 200]], [0, 0], [OBJECT, FAR], [0, 0])
    results = found((RIGHT, 0.9, 0), (FAR, 0.6, 0), ([150, 150, 160, 160], 0.5, 0))
    assert diagnosis.best_threshold(truth, results) == pytest.approx(0.6)
    assert diagnosis.best_threshold(truth, found()) == float("inf")


@pytest.mark.parametrize("seed", range(4))
def test_best_overlaps_equal_a_plain_loop(seed):
    truth, results = random_set(seed)
    objects = np.flatnonzero(~truth.ignored)
    for budget, row in zip((1, 3, 50), proposals.best_ious(truth, results, (1, 3, 50))):
        for value, t in zip(row, objects):
            mine = np.flatnonzero(results.image == truth.image[t])
            mine = mine[np.argsort(-results.scores[mine], kind="stable")][:budget]
            ious = [plain_iou(results.boxes[d], truth.boxes[t]) for d in mine]
            assert value == pytest.approx(max(ious, default=0.0), abs=1e-12)


def test_detection_rate_and_average_recall():
    best = np.array([[0.4, 0.5, 0.75, 1.0], [1.0, 1.0, 1.0, 1.0]])
    np.testing.assert_allclose(proposals.detection_rate(best), [0.5, 1.0])  # an overlap of 0.5 itself finds nothing
    np.testing.assert_allclose(proposals.average_recall(best), [(0.5 + 1.0) / 4, 1.0])
    np.testing.assert_allclose(proposals.recall_curve(best, [0.3, 0.7])[0], [1.0, 0.5])
    assert np.isnan(proposals.detection_rate(np.zeros((1, 0)))).all()
    with pytest.raises(ValueError, match="at least 1"):
        proposals.best_ious(one_object(), found(), [0])


def test_class_agnostic_curves_look_at_no_label():
    truth = GroundTruth(CLASSES, ("a",), [[100, 100]], [0, 0], [OBJECT, FAR], [0, 1])
    curve = proposals.agnostic_curve(truth, found((RIGHT, 0.9, 2), (FAR, 0.8, 0)))
    assert proposals.pr_auc(curve) == 1 and curve.objects == 2
    held_out = proposals.only_classes(truth, ["dog"])
    assert held_out.ignored.tolist() == [True, False]
    assert proposals.agnostic_curve(held_out, found((RIGHT, 0.9, 2), (FAR, 0.8, 0))).objects == 1
    with pytest.raises(ValueError, match="fox"):
        proposals.only_classes(truth, ["fox"])


def test_classification_and_localization_errors():
    ranked = np.array([[0, 1], [1, 0], [2, -1]])
    labels = np.array([0, 0, 0])
    assert ilsvrc.top_k_error(ranked, labels, 1) == pytest.approx(2 / 3)
    assert ilsvrc.top_k_error(ranked, labels, 2) == pytest.approx(1 / 3)
    truth = GroundTruth(
        CLASSES, ("a", "b", "c"), [[100, 100]] * 3, [0, 1, 1, 2], [OBJECT, FAR, OBJECT, OBJECT], [0] * 4
    )
    boxes = np.array([[RIGHT, FAR], [RIGHT, [50, 50, 60, 60]], [RIGHT, RIGHT]], float)
    # a: right class and place; b: the class's box lies on neither object; c: never the class
    assert ilsvrc.localization_error(ranked, boxes, truth, k=2) == pytest.approx(2 / 3)
    boxes[1, 1] = OBJECT  # on one of the two
    assert ilsvrc.localization_error(ranked, boxes, truth, k=2) == pytest.approx(1 / 3)
    assert ilsvrc.detection_at_k(ranked, boxes, truth, k=2) == pytest.approx(2 / 3)
    assert ilsvrc.localization_error(ranked, boxes, truth, k=1) == pytest.approx(2 / 3)
    for bad in (0, 3):
        with pytest.raises(ValueError, match="k = "):
            ilsvrc.top_k_error(ranked, labels, bad)


def test_best_per_class_gives_each_class_once():
    results = found((RIGHT, 0.5, 0), (LOOSE, 0.9, 0), (FAR, 0.7, 2))
    ranked, boxes = ilsvrc.best_per_class(results, 2, k=3)
    assert ranked.tolist() == [[0, 2, -1], [-1, -1, -1]]
    assert boxes[0, 0].tolist() == LOOSE and boxes[0, 1].tolist() == FAR


def test_det_thresholds_are_looser_for_small_objects():
    truth = GroundTruth(("a",), ("i",), [[500, 500]], [0, 0], [[0, 0, 10, 10], [0, 0, 200, 200]], [0, 0])
    np.testing.assert_allclose(ilsvrc.det_thresholds(truth), [100 / 400, 0.5])
    small = GroundTruth(("a",), ("i",), [[500, 500]], [0], [[0, 0, 10, 10]], [0])
    assert ilsvrc.det_ap(small, Predictions([0], [[0, 0, 10, 3]], [0.9], [0])) == [1.0]
    assert ilsvrc.det_ap(small, Predictions([0], [[0, 0, 10, 2]], [0.9], [0])) == [0.0]


def test_synsets_and_image_lists(tmp_path):
    file = tmp_path / "synsets.txt"
    file.write_text("n02084071 dog, domestic dog\nn02121808 7 house_cat\n\n")
    assert ilsvrc.read_synsets(file) == {"n02084071": "dog", "n02121808": "house cat"}
    for text, words in (("dog\n", "line 1"), ("n1 a\nn1 b\n", "line 2")):
        file.write_text(text)
        with pytest.raises(ValueError, match=words):
            ilsvrc.read_synsets(file)
    file.write_text("train/a 1\nb\n")
    assert ilsvrc.read_image_list(file) == ["train/a", "b"]
    file.write_text("a 1\n../secret 2\n")
    with pytest.raises(ValueError, match="line 2"):
        ilsvrc.read_image_list(file)


XML = """<annotation><size><width>100</width><height>80</height><depth>3</depth></size><object><name>{name}</name>
<bndbox><xmin>{xmin}</xmin><ymin>11</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"""


def test_ilsvrc_annotations(tmp_path):
    synsets = {"n01": "cat", "n02": "dog"}
    (tmp_path / "a.xml").write_text(XML.format(name="n02", xmin=21))
    truth = ilsvrc.read_truth(tmp_path, ["a"], synsets)
    assert truth.classes == ("n01", "n02") and truth.labels.tolist() == [1]
    assert truth.boxes.tolist() == [[20, 10, 30, 40]] and truth.sizes.tolist() == [[80, 100]]
    for change, words in (({"name": "n09", "xmin": 21}, "object 0.*n09"), ({"name": "n01", "xmin": 50}, "inverted")):
        (tmp_path / "a.xml").write_text(XML.format(**change))
        with pytest.raises(ValueError, match=words):
            ilsvrc.read_truth(tmp_path, ["a"], synsets)
    with pytest.raises(FileNotFoundError):
        ilsvrc.read_truth(tmp_path, ["b"], synsets)
