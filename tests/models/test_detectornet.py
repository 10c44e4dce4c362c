"""DetectorNet: its windows, its merged masks, its targets, and its whole inference on masks that are known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_det.boxes import iou
from keras_det.boxes.integral import MASKS
from keras_det.data import Shapes
from keras_det.losses.mask import mask_targets
from keras_det.models import Classifier, DetectorNet
from keras_det.models.detectornet import AT_ONCE, RASTER, SCALES, enlarged, merge_masks, window_grid, windows_of

CLASSES = ["cat", "dog"]


def build(**config):
    keras.utils.set_random_seed(0)
    return DetectorNet(**{"classes": CLASSES, "backbone": "tiny", "image_size": 64, "d": 8} | config)


@pytest.fixture(scope="module")
def model():
    return build()


def batch():
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32")
    boxes = np.tile(np.array([[0.1, 0.1, 0.5, 0.6], [0.4, 0.3, 0.9, 0.8], [0, 0, 0, 0]], "float32"), (2, 1, 1))
    return images, {"boxes": boxes, "labels": np.array([[0, 1, -1]] * 2, "int32")}


class Seeing(DetectorNet):
    """A network whose masks are right: of the objects `truth`, in whatever window it looks at."""

    truth: np.ndarray
    kinds: np.ndarray
    touched = None

    def call(self, images, training=False):
        """The windows are told from the image: its pixels hold their own places."""
        places = images / 255.0
        first, last = places[:, 0, 0, :2], places[:, -1, -1, :2]
        half = (last - first) / (self.image_size[0] - 1) / 2
        low, high = first - half, last + half
        size = tf.concat([high - low] * 2, 1)[:, None]
        boxes = (self.truth[None] - tf.concat([low] * 2, 1)[:, None]) / size
        each = [mask_targets(boxes, tf.broadcast_to(self.kinds == k, tf.shape(boxes)[:2]), self.d) for k in range(2)]
        return {"masks": tf.stack(each, 1)}


def seeing(boxes, kinds, **config):
    keras.utils.set_random_seed(0)
    network = Seeing(**{"classes": CLASSES, "backbone": "tiny", "image_size": 64, "d": 24} | config)
    network.truth, network.kinds = np.array(boxes, "float32"), np.array(kinds)
    return network


def served(network, images):
    """`serve` without a graph, whose making takes longer than one call."""
    return {name: np.asarray(value) for name, value in network.serve(images).items()}


def places(height, width):
    """An image whose red and green are each pixel's place, so that a window of it tells where it lies."""
    y, x = ((np.arange(n) + 0.5) / n * 255 for n in (height, width))
    grid = np.stack(np.broadcast_arrays(y[:, None], x[None], np.float32(0)), -1)
    return grid[None].astype("float32")


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("shape", [(300, 300), (200, 400)], ids=str)
def test_objects_of_known_masks_are_found(shape, refine):
    truth, kinds = [[0.1, 0.1, 0.45, 0.5], [0.55, 0.4, 0.95, 0.9], [0.2, 0.6, 0.4, 0.8]], [0, 1, 0]
    network = seeing(truth, kinds, refine=refine, aspect_ratios=[0.8, 1.0, 1.14, 1.25])
    found = served(network, places(*shape))
    kept = found["scores"][0] > 0.6
    paired_iou = np.asarray(iou(np.array(truth, "float32"), found["boxes"][0][kept]))
    paired_iou = np.where(np.array(kinds)[:, None] == found["labels"][0][kept][None], paired_iou, 0)
    assert (paired_iou.max(1) > (0.7 if refine else 0.6)).all()  # mean sides are tenths of the image


def test_refinement_places_boxes_better():
    truth = [[0.13, 0.22, 0.47, 0.61]]
    errors = []
    for refine in (False, True):
        found = served(seeing(truth, [0], refine=refine, aspect_ratios=[1.0, 1.15]), places(300, 300))
        errors.append(1 - np.asarray(iou(np.array(truth, "float32"), found["boxes"][0, :1]))[0, 0])
    assert errors[1] < errors[0]


def test_every_box_is_refined_in_batches_of_windows():
    """Algorithm 1 refines the 15 boxes of every class; each comes out as if it were the only one."""
    network = seeing([[0.1, 0.1, 0.45, 0.5], [0.55, 0.4, 0.95, 0.9]], [0, 1], d=8, aspect_ratios=[0.9, 1.1])
    sizes, call, find = [], network.call, network._all_boxes
    network.call = lambda images, training=False: sizes.append(len(images)) or call(images)
    draw = np.random.default_rng(0)
    kinds = draw.integers(0, 2, (1, 70)).astype("int32")
    boxes = (network.truth[kinds[0]] + draw.uniform(-0.05, 0.05, (70, 4)))[None].astype("float32")
    scores = np.where(np.arange(70) % 7, draw.uniform(0.1, 1, 70), 0)[None].astype("float32")
    images = places(64, 64)
    found, again, labels = (np.asarray(part)[0] for part in network._refined(images, find, boxes, scores, kinds))
    assert sizes == [AT_ONCE] * 2  # of 60 boxes
    order = np.argsort(-scores[0], kind="stable")
    np.testing.assert_array_equal(labels[:70], kinds[0][order])
    for place in (0, 40):
        one = order[place : place + 1]
        alone = network._refined(images, find, boxes[:, one], scores[:, one], kinds[:, one])
        np.testing.assert_allclose(found[place], np.asarray(alone[0])[0, 0], atol=1e-6)
        np.testing.assert_allclose(again[place], np.asarray(alone[1])[0, 0], rtol=1e-6)
    assert (again[:60] > 0.5).all() and not again[60:].any()


def test_the_second_look_has_only_operations_that_onnx_has():
    network = build(aspect_ratios=[1.0])
    signature = [tf.TensorSpec(shape, kind) for shape, kind in (((1, 64, 64, 3), "float32"), ((1, 30, 4), "float32"))]
    signature += [tf.TensorSpec((1, 30), "float32"), tf.TensorSpec((1, 30), "int32")]
    look = tf.function(lambda images, *boxes: network._refined(images, network._all_boxes, *boxes), signature)
    graph = look.get_concrete_function().graph.as_graph_def()
    used = {node.op for part in graph.library.function for node in part.node_def} | {node.op for node in graph.node}
    assert "Conv2D" in used and not used & {"Bitcast", "BitwiseAnd"}


@pytest.mark.parametrize("form", [1, 5])
def test_five_masks_part_what_one_mask_joins(form):
    """Two touching objects of one class: with the halves the best boxes are the objects, with "full" their union."""
    truth = np.array([[0.3, 0.2, 0.7, 0.5], [0.3, 0.5, 0.7, 0.8]], "float32")
    network = seeing(truth, [0, 0], refine=False, aspect_ratios=[0.75, 1.5])
    masks = np.array(network(places(64, 64))["masks"])
    if form == 1:  # halves that say nothing
        masks[:, :, 1:] = 0
    boxes, scores = network._boxes_of(tf.constant(masks), 5, network._all_boxes)
    boxes = boxes.numpy()[0, 0][scores.numpy()[0, 0] > 0][:2]
    parted = np.asarray(iou(truth, boxes)).max(1) > 0.6
    assert parted.all() == (form == 5)


@pytest.mark.parametrize(("scale", "count"), [(0, 1), (1, 9), (2, 25)])
def test_windows_cover_the_image_and_overlap(scale, count):
    windows = windows_of(window_grid(scale))
    assert len(windows) == count and windows.min() == 0 and windows.max() == 1
    sides = windows[:, 2:] - windows[:, :2]
    np.testing.assert_allclose(sides, 0.5**scale, atol=1e-9)
    if scale:
        starts = window_grid(scale) / RASTER
        assert (np.diff(starts) <= 0.8 * 0.5**scale + 1 / RASTER).all()


@pytest.mark.parametrize("shape", [(375, 500), (30, 600), (20, 25)], ids=str)
def test_fewer_than_forty_windows_whatever_the_image(shape):
    model = build(refine=False, aspect_ratios=[1.0])
    assert sum(len(windows_of(window_grid(scale))) for scale in range(SCALES)) == 35 < 40
    found = served(model, np.random.default_rng(0).integers(0, 256, (1, *shape, 3)).astype("uint8"))
    assert np.isfinite(found["boxes"]).all() and np.isfinite(found["scores"]).all()


def test_merged_masks_are_the_maximum_over_windows():
    grid, d = window_grid(1), 8
    masks = np.random.default_rng(0).random((1, 9, 2, d, d)).astype("float32")
    merged = np.asarray(merge_masks(masks, grid))[0]
    side = RASTER - grid[-1]
    expected = np.zeros((2, RASTER, RASTER))
    for k, (i, j) in enumerate(np.ndindex(3, 3)):
        at = (np.arange(side) + 0.5) / side * d
        fine = masks[0, k][:, at.astype(int)][:, :, at.astype(int)]
        here = expected[:, grid[i] : grid[i] + side, grid[j] : grid[j] + side]
        np.maximum(here, fine, out=here)
    inside = np.abs(merged - expected) < 1e-5
    assert inside.mean() > 0.9  # a raster's cell on the edge of two cells is the mean of both
    uniform = np.full((1, 9, 1, d, d), 0.25, "float32")
    np.testing.assert_allclose(merge_masks(uniform, grid), 0.25, atol=1e-6)


def test_targets_and_the_five_terms(model):
    images, labels = batch()
    targets = np.asarray(model.encode_targets(labels))
    assert targets.shape == (2, 2, 5, 8, 8)
    for k in range(2):
        own = mask_targets(labels["boxes"], labels["labels"] == k, 8)
        np.testing.assert_array_equal(targets[:, k], own)
    terms = model.compute_losses(targets, model(images))
    assert tuple(terms) == MASKS
    masks = np.asarray(model(images)["masks"])
    expected = ((targets + 0.1) * (masks - targets) ** 2).sum((1, 3, 4)).mean(0)
    np.testing.assert_allclose([float(value) for value in terms.values()], expected, rtol=1e-4)
    none = model.encode_targets({"boxes": np.zeros((2, 0, 4)), "labels": np.zeros((2, 0))})
    assert not np.asarray(none).any()


@pytest.mark.parametrize(("mode", "networks"), [("all", 1), ("class", 2), ("mask", 10)])
def test_the_three_forms_have_the_same_outputs(mode, networks):
    network = build(mode=mode)
    outputs, targets = network(batch()[0]), network.encode_targets(batch()[1])
    assert len(network.mask_backbones) == networks and outputs["masks"].shape == (2, 2, 5, 8, 8)
    assert all(np.isfinite(float(value)) for value in network.compute_losses(targets, outputs).values())


def test_it_learns_one_batch():
    network = build()
    network.compile(optimizer=keras.optimizers.Adam(3e-3))
    logs = [network.train_on_batch(*batch(), return_dict=True)["loss"] for _ in range(40)]
    assert logs[-1] < 0.3 * logs[0]


@pytest.mark.slow
def test_a_compiled_search_finds_the_same():
    network = seeing([[0.1, 0.2, 0.6, 0.7]], [1], aspect_ratios=[1.0])
    images = places(120, 120)
    eager, graph = served(network, images), network.detections(images)
    for name in (
        "boxes",
        "scores",
        "labels",
    ):  # of the best one: further ones stand on plateaus without a highest place
        np.testing.assert_allclose(graph[name][0, :1], eager[name][0, :1], atol=1e-4)


def test_a_file_holds_it(model, tmp_path):
    images = batch()[0]
    for ending in (".keras", ".weights.h5", ".safetensors"):
        path = tmp_path / f"net{ending}"
        model.save(path) if ending == ".keras" else model.save_weights(path)
        np.testing.assert_array_equal(DetectorNet(weights=path)(images)["masks"], model(images)["masks"])


def test_a_classifiers_backbone_is_taken_over():
    keras.utils.set_random_seed(0)
    options = {"backbone": "alexnet", "image_size": 67, "width": 0.02}
    classifier = Classifier(classes=CLASSES, **options)
    network = build(mode="class", d=4, **options)
    network.load_backbone(classifier)
    images = np.random.default_rng(0).integers(0, 256, (1, 67, 67, 3)).astype("float32")
    for each in network.mask_backbones:
        np.testing.assert_array_equal(each(images), classifier.features(images)["features"])
    with pytest.raises(ValueError, match="`classifier`"):
        network.load_backbone(Classifier(classes=CLASSES, backbone="alexnet", image_size=67, width=0.03))


def test_boxes_of_another_class_are_pruned():
    truth = [[0.2, 0.2, 0.8, 0.8]]
    keras.utils.set_random_seed(0)
    judge = Classifier(classes=CLASSES, background=True, backbone="tiny", image_size=64)
    judge.head.kernel.assign(np.zeros(judge.head.kernel.shape))
    for verdict, count in ((0, 0), (1, 1), (2, 0)):  # background, the object's class, the other class
        judge.head.bias.assign(np.eye(3)[verdict])
        network = seeing(truth, [0], classifier=judge, aspect_ratios=[1.0])
        assert min(served(network, places(100, 100))["num_detections"][0], 1) == count
    with pytest.raises(ValueError, match="`classifier`"):
        build(classifier=Classifier(classes=CLASSES, backbone="tiny", image_size=64))


def test_masks_that_are_no_numbers_give_no_detection():
    network = seeing([[0.2, 0.2, 0.8, 0.8]], [0])
    network.truth = np.full((1, 4), np.nan, "float32")
    found = served(network, places(100, 100))
    assert found["num_detections"][0] == 0 and not found["scores"].any()


def test_a_image_without_objects_has_none():
    found = served(seeing(np.zeros((0, 4)), np.zeros(0)), places(100, 100))
    assert found["num_detections"][0] == 0


def test_enlarged_windows_stay_in_the_image():
    windows = np.asarray(enlarged(np.array([[0.4, 0.4, 0.6, 0.5], [0, 0, 1, 1], [0.3, 0.3, 0.3, 0.3]], "float32")))
    np.testing.assert_allclose(windows, [[0.38, 0.39, 0.62, 0.51], [0, 0, 1, 1], [0, 0, 1, 1]], atol=1e-6)


def test_aspect_ratios_are_clusters_of_the_datas():
    ratios = DetectorNet.cluster_aspect_ratios(Shapes(200))
    assert len(ratios) == 10 and ratios == sorted(ratios) and 0.4 < ratios[0] < 1 < ratios[-1] < 2.5
    config = DetectorNet.fit_config({"d": 8}, Shapes(200))
    assert config["aspect_ratios"] == ratios and config["d"] == 8


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"mode": "one"}, "`mode`"),
        ({"d": 0}, "`d`"),
        ({"backbone": "resnet"}, "`backbone`"),
        ({"mask_weight": 0}, "`mask_weight`"),
        ({"negative_fraction": 2}, "`negative_fraction`"),
        ({"aspect_ratios": []}, "`aspect_ratios`"),
        ({"aspect_ratios": [1.0, -1.0]}, "`aspect_ratios`"),
    ],
)
def test_wrong_arguments_are_named(config, named):
    with pytest.raises(ValueError, match=named):
        build(**config)


def test_tflite_is_refused_in_one_sentence(tmp_path):
    from keras_det.export import export

    with pytest.raises(ValueError, match="DetectorNet looks at an image several times"):
        export(build(), "tflite", tmp_path / "net.tflite")
    assert not list(tmp_path.iterdir())
