"""Fonts for class names in any script: DejaVu Sans, which matplotlib brings, and the system's fonts for the rest."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from PIL import ImageFont

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Looked for first, since a font with a few signs of a script is no good font of it.
_PREFERRED = (
    "Noto Sans CJK",
    "Source Han Sans",
    "Microsoft YaHei",
    "PingFang",
    "Hiragino",
    "Malgun Gothic",
    "WenQuanYi",
    "SimHei",
    "IPAGothic",
    "NanumGothic",
    "Noto Sans",
    "Droid Sans Fallback",
    "Arial Unicode MS",
)


def legible(text: str, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """A text and a font of this size in pixels that has all of its signs.

    DejaVu Sans has Latin, Cyrillic and Greek among others; for what it lacks, such as Chinese, Japanese and Korean, a
    font of the system is taken. Where none has all signs, they are written as Python's escapes instead of as boxes.

    >>> legible("caf\\u00e9 \\u0416 \\u03a9", 12)[0] == "caf\\u00e9 \\u0416 \\u03a9"
    True
    """
    path = _font_of(frozenset(text))
    if path is None:
        text, path = text.encode("ascii", "backslashreplace").decode(), _dejavu()
    return text, _load(path, size)


def families(texts: Iterable[str]) -> list[str]:
    """Names of fonts for matplotlib's `font.family` that together have the signs of all texts."""
    names = {path: name for name, path in _system_fonts()}
    found = (_font_of(frozenset(text)) for text in texts)
    return ["DejaVu Sans", *dict.fromkeys(names[path] for path in found if path in names)]


def in_their_scripts(figure: Figure) -> Figure:
    """The matplotlib figure, its texts in fonts that have their signs."""
    from matplotlib.text import Text

    texts = figure.findobj(Text)
    names = families(text.get_text() for text in texts)
    if len(names) > 1:  # DejaVu Sans alone is what they have
        for text in texts:
            text.set_fontfamily(names)
        for axis in figure.axes:
            axis.tick_params(labelfontfamily=names)
    return figure


@functools.lru_cache(64)
def _load(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@functools.cache
def _dejavu() -> str:
    import matplotlib

    return os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


@functools.lru_cache(1024)
def _font_of(signs: frozenset[str]) -> str | None:
    """The file of the first font that has all of these signs."""
    signs = frozenset(sign for sign in signs if not sign.isspace())
    if signs <= _signs(_dejavu()):
        return _dejavu()
    return next((path for _, path in _system_fonts() if signs <= _signs(path)), None)


@functools.cache
def _system_fonts() -> tuple[tuple[str, str], ...]:
    """Names and files of the system's fonts, the preferred ones first."""
    from matplotlib import font_manager

    def rank(font):
        known = (place for place, name in enumerate(_PREFERRED) if font.name.startswith(name))
        return next(known, len(_PREFERRED)), font.style != "normal", abs(int(font.weight) - 400), font.fname

    fonts = [font for font in font_manager.fontManager.ttflist if isinstance(font.weight, int)]
    return tuple((font.name, font.fname) for font in sorted(fonts, key=rank))


@functools.lru_cache(256)
def _signs(path: str) -> frozenset[str]:
    """The signs that a font has; none of a file that is no font."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
