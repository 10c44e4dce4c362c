"""Images: what is painted is where it should be."""

import numpy as np
import pytest
from PIL import Image

from keras_det import visualize

GREY = np.full((100, 200, 3), 90, "uint8")
BOX = np.array([[0.2, 0.25, 0.6, 0.75]])


def painted(image):
    return (np.asarray(image) != 90).any(-1)


def test_a_box_is_painted_on_its_edges_alone():
    mask = painted(visualize.draw_boxes(GREY, BOX))
    ys, xs = np.nonzero(mask)
    assert (ys.min(), xs.min(), ys.max(), xs.max()) == (20, 50, 59, 149)
    assert not mask[25:55, 55:145].any()


def test_classes_have_colors_and_tags_stay_inside():
    boxes = np.array([[0.0, 0.9, 0.3, 1.0], [0.5, 0.0, 1.0, 0.1]])
    image = visualize.draw_boxes(GREY, boxes, labels=[0, 1], scores=[0.9, 0.5], names=("a long name", "b"))
    assert image.size == (200, 100)
    colors = {tuple(c) for c in np.asarray(image).reshape(-1, 3)}
    assert {visualize.color(0), visualize.color(1)} <= colors
    assert visualize.color(0) != visualize.color(1)


def test_truth_is_dashed_and_white():
    mask = (np.asarray(visualize.draw_boxes(GREY, np.zeros((0, 4)), truth=BOX)) == 255).all(-1)
    assert 0.3 < mask[20, 50:150].mean() < 0.9


def test_boxes_that_leave_the_image_are_drawn_inside():
    assert painted(visualize.draw_boxes(GREY, np.array([[-1.0, -1.0, 2.0, 2.0], [0.5, 0.5, 0.5, 0.5]]))).any()


def test_the_given_image_is_not_changed():
    image = Image.fromarray(GREY)
    visualize.draw_boxes(image, BOX)
    assert not painted(image).any()


def test_heat_lights_the_highest_cell_whatever_its_value():
    values = np.zeros((4, 8))
    values[1, 6] = 1e-3
    for scale in (1.0, 1000.0):
        red = np.asarray(visualize.draw_heat(GREY, values * scale))[..., 0].astype(int)
        y, x = np.unravel_index(red.argmax(), red.shape)
        assert 25 <= y < 50 and 150 <= x < 175 and red.max() > 150
        assert red[80, 20] == int(90 * 0.45)


def test_large_images_are_drawn_on_after_scaling():
    large = np.full((3000, 4000, 3), 90, "uint8")
    image = visualize.draw_boxes(large, BOX, longest=400)
    assert image.size == (400, 300)
    ys, xs = np.nonzero(painted(image))
    assert (ys.min(), xs.min(), ys.max(), xs.max()) == (60, 100, 179, 299)
    assert visualize.draw_boxes(large, BOX).size == (4000, 3000)


@pytest.mark.parametrize("count", [1, 8, 12, 100])
def test_a_sheet_of_photographs_is_bounded(count):
    photographs = [np.zeros((3000, 4000, 3), "uint8"), np.zeros((4000, 3000, 3), "uint8")]
    sheet = visualize.grid([photographs[i % 2] for i in range(count)], columns=4)
    assert max(sheet.size) < 4 * (visualize.TILE + 8) or count == 100
    assert 0.2 * visualize.SHEET < sheet.width * sheet.height + (count == 1) * visualize.SHEET
    assert sheet.width * sheet.height < 1.1 * visualize.SHEET


def test_grid():
    sheet = visualize.grid([GREY] * 5, columns=3, titles=list("abcde"))
    assert sheet.width == 3 * 204 + 4 and sheet.height == 2 * (118 + 4) + 4


def test_default_boxes_matched_ones_in_color():
    boxes = np.random.default_rng(0).random((500, 4))
    boxes = np.concatenate([boxes[:, :2] / 2, 0.5 + boxes[:, 2:] / 2], -1)
    matched = np.full(500, -1)
    matched[3] = 2
    image = np.asarray(visualize.draw_default_boxes(GREY, boxes, matched))
    assert (image == visualize.color(2)).all(-1).any() and (image == 150).all(-1).any()


@pytest.mark.parametrize(
    "rows", [[{"epoch": 1, "loss": 2.0}], [{"epoch": e, "loss": 1 / e, "val_map50": 0.5} for e in (1, 2)]]
)
def test_curves_are_images_and_nothing_else_is_left(rows, tmp_path):
    visualize.plot_curves(rows, ("loss",), tmp_path / "c.png")
    visualize.plot_precision_recall({"a": ([0, 1], [1, 0.5])}, tmp_path / "p.png")
    for name in ("c.png", "p.png"):
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG" and (np.asarray(image.convert("L")) < 128).any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.png", "p.png"]


def test_curves_are_of_losses_and_not_of_counts(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(visualize, "_save", lambda figure, path: drawn.append(figure))
    rows = [{"epoch": 1, "loss": 2.0, "localization": 0.5, "positives": 400.0, "val_map50": 0.5}]
    visualize.plot_curves(rows, ("loss", "localization"), tmp_path / "c.png")
    legends = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in drawn[0].axes]
    assert legends == [["loss", "localization"], ["map50"]]


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="`labels`"):
        visualize.draw_boxes(GREY, BOX, labels=[1, 2])
    with pytest.raises(ValueError, match="uint8"):
        visualize.draw_boxes(GREY.astype(float), BOX)
    with pytest.raises(ValueError, match="at least one"):
        visualize.grid([])
