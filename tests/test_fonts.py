"""Class names in any script: letters where a font has them, escapes where none has."""

import doctest
import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw

from keras_det import fonts, visualize


def test_doctests():
    assert doctest.testmod(fonts).failed == 0


def drawn(text):
    text, font = fonts.legible(text, 20)
    image = Image.new("L", (120, 40))
    ImageDraw.Draw(image).text((2, 2), text, fill=255, font=font)
    return np.asarray(image)


@pytest.mark.parametrize("signs", ["\u00e9\u00f1\u0142\u0151", "\u0416\u042f\u0444\u044b", "\u03a9\u03a8\u03bb\u03c0"])
def test_latin_cyrillic_and_greek_are_letters(signs):
    """A font without them draws the same box for all."""
    images = [drawn(sign) for sign in signs]
    for i, one in enumerate(images):
        assert one.any() and all((one != other).any() for other in images[:i])


def test_what_no_font_has_is_written_as_escapes(monkeypatch):
    monkeypatch.setattr(fonts, "_system_fonts", lambda: ())
    fonts._font_of.cache_clear()
    assert fonts.legible("cat \u732b", 12)[0] == r"cat \u732b"
    assert fonts.families(["\u732b"]) == ["DejaVu Sans"]
    fonts._font_of.cache_clear()


@pytest.fixture
def with_another_font(tmp_path, monkeypatch):
    """A system whose one further font is said to have Chinese signs."""
    path = str(shutil.copy(fonts._dejavu(), tmp_path / "cjk.ttf"))
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    system = ("Broken", str(tmp_path / "broken.ttf")), ("Noto Sans CJK", path)
    signs = fonts._signs
    monkeypatch.setattr(fonts, "_system_fonts", lambda: system)
    monkeypatch.setattr(fonts, "_signs", lambda p: signs(p) | ({"\u732b", "\u72ac"} if p == path else set()))
    fonts._font_of.cache_clear()
    yield path
    fonts._font_of.cache_clear()


def test_the_systems_fonts_are_taken_for_other_scripts(with_another_font):
    text, font = fonts.legible("\u732b 0.98", 12)
    assert text == "\u732b 0.98" and font.path == with_another_font
    assert fonts.legible("cat 0.98", 12)[1].path == fonts._dejavu()
    assert fonts.families(["cat", "\u732b"]) == ["DejaVu Sans", "Noto Sans CJK"]


def test_plots_name_the_further_font(with_another_font):
    from matplotlib.figure import Figure

    figure = Figure()
    axis = figure.subplots()
    axis.barh([0, 1], [1, 2])
    axis.set_yticks([0, 1], ["cat", "\u732b"])
    fonts.in_their_scripts(figure)
    assert axis.get_yticklabels()[1].get_fontfamily() == ["DejaVu Sans", "Noto Sans CJK"]
    plain = Figure()
    plain.subplots().set_title("cat")
    before = plain.axes[0].title.get_fontfamily()
    assert fonts.in_their_scripts(plain).axes[0].title.get_fontfamily() == before


def test_tags_of_boxes_show_the_names():
    gray, box = np.full((100, 200, 3), 90, "uint8"), np.array([[0.3, 0.1, 0.9, 0.9]])
    one, other = (visualize.draw_boxes(gray, box, [0], names=[name]) for name in ("\u0416", "\u042f"))
    assert (np.asarray(one) != np.asarray(other)).any()
