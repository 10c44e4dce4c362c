"""Rendered scenes: textured shapes on cluttered backgrounds, made on the fly and the same on every machine.

Scene `i` is a pure function of `(seed, i, size)`. Its random numbers are the raw words of a PCG64 generator, every
cosine and power is rounded to a coarse grid before it is used, and all the rest is integer arithmetic or IEEE sums,
products, quotients and roots: nothing that a platform's mathematical library, compiler or NumPy version could round
in its own way. Weights are trained on these scenes, so their distribution is frozen: `tests/data/test_shapes.py`
keeps the checksums of a few.

Pixels are drawn as 32-bit words (red, green, blue, unused), two channels of a word in one multiplication.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import sys
from collections.abc import Callable

import numpy as np

from keras_det.data.source import Annotation, Source

CLASSES = ("ellipse", "rectangle", "triangle", "star", "ring", "cross")

_MIN_SIZE, _MAX_SIZE = 32, 2048
_MAX_OBJECTS = 32
_TRIES = 20  # places tried for an object before it is left out
_MIN_VISIBLE = 0.6  # of an object's area within the image, when all is drawn
_STICK_OUT = 0.12  # of a box's height or width, on one side of the image
_LAYOUT = 96  # cells on a side of the grid on which hidden areas are measured

_HOLE = 0.55  # inner radius of a ring
_ARM = 0.34  # half-width of a cross's arm
_NOTCH = 0.46  # radius of a star's inner corners

_SIDES = tuple(round(0.1 * 6.0 ** (k / 1023), 5) for k in range(1024))
_PERIODS = tuple(round(0.02 * 9.0 ** (k / 255), 5) for k in range(256))
_TURNS = tuple((round(math.cos(k * math.pi / 256), 6), round(math.sin(k * math.pi / 256), 6)) for k in range(512))

_PAIR = np.uint32(0x00FF00FF)
_OTHER_PAIR = np.uint32(0xFF00FF00)
_EIGHT = np.uint32(8)
_FULL = np.uint32(256)


class _Dice:
    """Uniform numbers from the raw words of a generator, whose stream NumPy never changes."""

    def __init__(self, *entropy: int):
        self._generator = np.random.PCG64(np.random.SeedSequence(entropy))
        self._numbers: list[float] = []

    def __call__(self) -> float:
        if not self._numbers:
            self._numbers = ((self._generator.random_raw(256) >> np.uint64(11)) * 2.0**-53).tolist()
        return self._numbers.pop()

    def integer(self, low: int, high: int) -> int:
        """One of low..high, both included."""
        return low + int(self() * (high - low + 1))

    def between(self, low: float, high: float) -> float:
        return low + self() * (high - low)

    def pick(self, items):
        return items[int(self() * len(items))]

    def bytes(self, count: int) -> np.ndarray:
        """`count` random bytes, the same whatever the machine's byte order."""
        words = self._generator.random_raw(-(-count // 8)).astype("<u8", copy=False)
        return words.view(np.uint8)[:count]


# Unit shapes: signed functions of (u, v), negative inside, whose gradient is about 1 at the outline.


def _ellipse(u, v):
    return np.sqrt(u * u + v * v) - 1


def _rectangle(u, v):
    return np.maximum(np.abs(u), np.abs(v)) - 1


def _triangle(u, v):
    slanted = np.abs(u) * _SIN60 + (v * np.float32(0.5) - np.float32(0.5))
    return np.maximum(slanted, np.float32(-0.5) - v)


def _star(u, v):
    """Fold the plane on the star's mirrors into half a point, whose edge is one line."""
    u = np.abs(u)
    for nu, nv in _MIRRORS:
        beyond = 2 * np.maximum(u * nu + v * nv, 0)
        u, v = u - beyond * nu, v - beyond * nv
    nu, nv = _EDGE
    return np.abs(u) * nu + (v - 1) * nv


def _ring(u, v):
    return np.abs(np.sqrt(u * u + v * v) - np.float32((1 + _HOLE) / 2)) - np.float32((1 - _HOLE) / 2)


def _cross(u, v):
    u, v = np.abs(u), np.abs(v)
    return np.maximum(np.minimum(u, v) - np.float32(_ARM), np.maximum(u, v) - 1)


def _lump(u, v):
    """Three discs in one: an outline that is no class."""
    discs = [(u - np.float32(x)) ** 2 + (v - np.float32(y)) ** 2 for x, y in ((-0.45, 0.1), (0.3, -0.3), (0.25, 0.5))]
    radii = (0.5, 0.55, 0.4)
    return np.minimum.reduce([np.sqrt(d) - np.float32(r) for d, r in zip(discs, radii)])


def _crescent(u, v):
    bite = u - np.float32(0.6)
    return np.maximum(np.sqrt(u * u + v * v) - 1, np.float32(0.85) - np.sqrt(bite * bite + v * v))


def _points(count: int, radius: float) -> list[tuple[float, float]]:
    """The corners of a regular polygon, the first one at (0, radius)."""
    angles = [2 * math.pi * k / count for k in range(count)]
    return [(round(radius * math.sin(a), 6), round(radius * math.cos(a), 6)) for a in angles]


def _edge_of_star() -> tuple[np.float32, np.float32]:
    """Normal of the line from a star's tip (0, 1) to its inner corner."""
    du, dv = _NOTCH * math.sin(math.pi / 5), _NOTCH * math.cos(math.pi / 5) - 1
    length = math.hypot(du, dv)
    return np.float32(round(-dv / length, 6)), np.float32(round(du / length, 6))


_SIN60 = np.float32(0.866025)
_EDGE = _edge_of_star()
_MIRRORS = tuple(
    (np.float32(round(su * math.cos(math.pi / 5), 6)), np.float32(round(-math.sin(math.pi / 5), 6))) for su in (1, -1)
)

_FIELDS: dict[str, Callable] = {
    "ellipse": _ellipse,
    "rectangle": _rectangle,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
    "lump": _lump,
    "crescent": _crescent,
}
_CORNERS = {  # of the shapes that have corners; the others fill the unit disc
    "rectangle": [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)],
    "triangle": _points(3, 1.0),
    "star": _points(5, 1.0),
    "cross": [(s * p, t * q) for p, q in ((1.0, _ARM), (_ARM, 1.0)) for s in (-1, 1) for t in (-1, 1)],
}


@dataclasses.dataclass(frozen=True)
class _Shape:
    """A shape in a scene, lengths in image sides: `(u, v)` lies at center + rotation (a u, b v)."""

    kind: str
    a: float
    b: float
    turn: tuple[float, float]
    y: float
    x: float
    box: tuple[float, float, float, float]  # ymin, xmin, ymax, xmax of the whole shape, not clipped

    def window(self, size: int) -> tuple[slice, slice]:
        """Rows and columns of the image that the shape and its soft edge can touch."""
        low = [max(0, math.floor(p * size) - 1) for p in self.box[:2]]
        high = [min(size, math.ceil(p * size) + 1) for p in self.box[2:]]
        return slice(low[0], max(low[0], high[0])), slice(low[1], max(low[1], high[1]))

    def distance(self, size: int) -> np.ndarray:
        """About the signed distance in pixels, float32 `[rows, columns]` of the window, negative inside."""
        rows, columns = self.window(size)
        dy = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + np.float32(0.5 - self.y * size)
        dx = np.arange(columns.start, columns.stop, dtype=np.float32) + np.float32(0.5 - self.x * size)
        cos, sin = self.turn
        a, b = self.a * size, self.b * size
        u = dx * np.float32(cos / a) + dy * np.float32(sin / a)
        v = dx * np.float32(-sin / b) + dy * np.float32(cos / b)
        return _FIELDS[self.kind](u, v) * np.float32(math.sqrt(a * b))


def _extent(kind: str, a: float, b: float, turn: tuple[float, float]) -> tuple[float, float, float, float]:
    """Box of a shape about its own origin."""
    cos, sin = turn
    if kind not in _CORNERS:
        y, x = math.sqrt((a * sin) ** 2 + (b * cos) ** 2), math.sqrt((a * cos) ** 2 + (b * sin) ** 2)
        return -y, -x, y, x
    xs = [a * cos * u - b * sin * v for u, v in _CORNERS[kind]]
    ys = [a * sin * u + b * cos * v for u, v in _CORNERS[kind]]
    return min(ys), min(xs), max(ys), max(xs)


def _place(dice: _Dice, kind: str) -> _Shape:
    """A shape of random size, stretch, angle and place; `side` is the longer side of its box."""
    side, ratio, turn = dice.pick(_SIDES), dice.between(0.6, 1.0), dice.pick(_TURNS)
    top, left, bottom, right = _extent(kind, 1.0, ratio, turn)
    scale = side / max(bottom - top, right - left)
    top, left, bottom, right = top * scale, left * scale, bottom * scale, right * scale
    height, width = bottom - top, right - left
    y = dice.between(-_STICK_OUT * height, 1 - (1 - _STICK_OUT) * height) - top
    x = dice.between(-_STICK_OUT * width, 1 - (1 - _STICK_OUT) * width) - left
    return _Shape(kind, scale, scale * ratio, turn, y, x, (y + top, x + left, y + bottom, x + right))


def _layout(dice: _Dice, objects: tuple[int, int]) -> list[_Shape]:
    """The scene's objects in drawing order: a later one lies on top, and may not hide too much of any before it."""
    shapes: list[_Shape] = []
    visible: list[np.ndarray] = []
    areas: list[int] = []
    for _ in range(dice.integer(*objects)):
        kind = dice.pick(CLASSES)
        for _ in range(_TRIES):
            shape = _place(dice, kind)
            window = shape.window(_LAYOUT)
            inside = shape.distance(_LAYOUT) <= 0
            left = [np.count_nonzero(v) - np.count_nonzero(v[window] & inside) for v in visible]
            if all(rest >= _MIN_VISIBLE * area for rest, area in zip(left, areas)):
                for v in visible:
                    v[window] &= ~inside
                own = np.zeros((_LAYOUT, _LAYOUT), bool)
                own[window] = inside
                shapes.append(shape)
                visible.append(own)
                areas.append(np.count_nonzero(inside))
                break
    return shapes


def _profile(name: str) -> np.ndarray:
    """How much of the second color (0..256) a texture's level 0..255 shows."""
    level = np.arange(256)
    if name == "hard":
        fraction = np.clip((np.abs(level - 128) - 64) * 16 + 128, 0, 256)
    elif name == "soft":
        fraction = np.abs(level - 128) * 2
    elif name == "spots":
        fraction = np.where(level >= 208, 256, 0)
    else:
        fraction = level
    return fraction.astype(np.uint32)


_PROFILES = {name: _profile(name) for name in ("hard", "soft", "spots", "linear")}
_HALVES = np.where(np.arange(256) < 128, 0, 256).astype(np.uint32)


def _blend(under, over, fraction):
    """Mix packed pixels; `fraction` uint32, 0 (all `under`) to 256 (all `over`)."""
    rest = _FULL - fraction
    pair = ((over & _PAIR) * fraction + (under & _PAIR) * rest) >> _EIGHT & _PAIR
    other = ((over >> _EIGHT & _PAIR) * fraction + (under >> _EIGHT & _PAIR) * rest) & _OTHER_PAIR
    return pair | other


def _phase(window: tuple[slice, slice], down: float, right: float) -> np.ndarray:
    """Turns of a plane wave, uint16 `[rows, columns]` with 65536 to the turn."""
    rows = np.arange(window[0].start, window[0].stop) * round(65536 * down)
    columns = np.arange(window[1].start, window[1].stop) * round(65536 * right)
    return rows.astype(np.uint16)[:, None] + columns.astype(np.uint16)


def _levels(phase: np.ndarray) -> np.ndarray:
    return (phase >> np.uint16(8)).astype(np.uint8)


def _mottle(noise: _Dice, height: int, width: int, cell: int) -> np.ndarray:
    """Random levels in square cells."""
    rows, columns = -(-height // cell), -(-width // cell)
    grid = noise.bytes(rows * columns).reshape(rows, columns)
    return grid.repeat(cell, axis=1)[:, :width].repeat(cell, axis=0)[:height]


def _clouds(noise: _Dice, height: int, width: int, cell: int) -> np.ndarray:
    """Random levels, interpolated between the corners of square cells."""
    rows, columns = height // cell + 2, width // cell + 2
    grid = noise.bytes(rows * columns).reshape(rows, columns).astype(np.uint16)
    at, part = np.divmod(np.arange(width), cell)
    part = (part * 256 // cell).astype(np.uint16)
    lines = (grid[:, at] * (256 - part) + grid[:, at + 1] * part) >> np.uint16(8)
    at, part = np.divmod(np.arange(height), cell)
    part = (part * 256 // cell).astype(np.uint16)[:, None]
    return _levels(lines[at] * (256 - part) + lines[at + 1] * part)


_TEXTURES = (
    "plain",
    "plain",
    "stripes",
    "waves",
    "checks",
    "gradient",
    "radial",
    "mottle",
    "speckle",
    "clouds",
    "camouflage",
)


class _Painter:
    """Draws one scene; `paint` takes its parts in order."""

    def __init__(self, dice: _Dice, noise: _Dice, size: int):
        self.dice, self.noise, self.size = dice, noise, size
        self.black, self.white = dice.integer(32, 64), dice.integer(180, 240)
        self.canvas = np.empty((size, size), np.uint32)
        self.whole = slice(0, size), slice(0, size)
        self.used: list[tuple[int, ...]] = []

    def paint(self, shapes: list[_Shape]) -> np.ndarray:
        """The scene with these objects, uint8 `[size, size, 3]`."""
        self._background()
        for shape in shapes:
            self._object(shape)
        for _ in range(self.dice.integer(0, 4) // 2):
            self._line(max(1, self.size // 300))
        self._light()
        return self._noisy_pixels()

    def _color(self) -> tuple[int, ...]:
        return tuple(self.dice.integer(0, 255) for _ in range(3))

    def _distinct_color(self, apart: int = 90) -> tuple[int, ...]:
        """A color that stands out against those in use, or the one of eight that does so best."""
        best, gap = (0, 0, 0), -1
        for _ in range(8):
            color = self._color()
            near = min((max(abs(p - q) for p, q in zip(color, other)) for other in self.used), default=255)
            if near > gap:
                best, gap = color, near
            if near >= apart:
                break
        return best

    def _pack(self, color: tuple[int, ...]) -> np.uint32:
        """A color under the scene's exposure, as a pixel."""
        shown = [self.black + c * (self.white - self.black) // 255 for c in color]
        return np.uint32(int.from_bytes(bytes([*shown, 255]), sys.byteorder))

    def _second_color(self, color: tuple[int, ...], contrast: float) -> tuple[int, ...]:
        return tuple(c + int((o - c) * contrast) for c, o in zip(color, self._color()))

    def _texture(self, window: tuple[slice, slice], extent: float, first, second):
        """Packed pixels of the window, or one pixel for a plain surface; `extent` is the surface's length in pixels."""
        dice, noise, size = self.dice, self.noise, self.size
        name, period, (cos, sin) = dice.pick(_TEXTURES), dice.pick(_PERIODS), dice.pick(_TURNS)
        cell, height, width = (
            dice.between(0.004, 0.018),
            window[0].stop - window[0].start,
            window[1].stop - window[1].start,
        )
        first, second = self._pack(first), self._pack(second)
        if name == "plain":
            return first
        period = max(4.0, min(period * size, 0.4 * extent))
        cell = max(1, round(cell * size))
        if name in ("stripes", "waves"):
            level = _levels(_phase(window, sin / period, cos / period))
            fraction = _PROFILES["hard" if name == "stripes" else "soft"]
        elif name == "checks":
            period *= 2
            across = _phase(window, sin / period, cos / period)
            level, fraction = _levels(across ^ _phase(window, cos / period, -sin / period)), _HALVES
        elif name == "gradient":
            level, fraction = _levels(_phase(window, sin / (1.6 * extent), cos / (1.6 * extent))), _PROFILES["soft"]
        elif name == "radial":
            level, fraction = self._radial(window, extent), _PROFILES["soft"]
        elif name in ("mottle", "speckle"):
            level = _mottle(noise, height, width, cell)
            fraction = _PROFILES["linear" if name == "mottle" else "spots"]
        else:
            level = _clouds(noise, height, width, max(3, round(period)))
            fraction = _PROFILES["linear" if name == "clouds" else "hard"]
        return _blend(first, second, fraction).take(level)

    def _radial(self, window: tuple[slice, slice], extent: float) -> np.ndarray:
        """Levels that grow with the squared distance from a random point of the window."""
        squares = []
        for side in window:
            center = side.start + (side.stop - side.start) * self.dice.between(0.2, 0.8)
            offset = np.arange(side.start, side.stop) + (0.5 - center)
            squares.append(np.minimum(offset * offset * (32000 / (extent * extent)), 32000).astype(np.uint16))
        return _levels(squares[0][:, None] + squares[1])

    def _background(self) -> None:
        """A textured ground, at times in two parts, with patches, lines and dots that are no objects."""
        dice, size = self.dice, self.size
        ground = self._color()
        other = self._second_color(ground, dice.between(0.15, 0.7))
        self.used += [ground, other]
        self.canvas[:] = self._texture(self.whole, size, ground, other)
        if dice() < 0.25:
            self._divide()
        for _ in range(dice.integer(0, 3)):
            self._patch(dice.pick(("lump", "crescent")))
        for _ in range(dice.integer(0, 5)):
            self._line(max(1, round(size * dice.between(0.003, 0.014))))
        for _ in range(dice.integer(0, 2)):
            self._dots()

    def _divide(self) -> None:
        """Another texture on one side of a straight line."""
        cos, sin = self.dice.pick(_TURNS)
        offset = self.size * self.dice.between(-0.3, 0.3)
        at = np.arange(self.size, dtype=np.float32) - np.float32(self.size / 2)
        distance = (at * np.float32(sin))[:, None] + (at * np.float32(cos) + np.float32(offset))
        ground = self._color()
        self.used.append(ground)
        self._lay(self.whole, distance, self.size, ground, self._second_color(ground, self.dice.between(0.15, 0.7)))

    def _patch(self, kind: str) -> None:
        shape = _place(self.dice, kind)
        color = self._color()
        self.used.append(color)
        self._surface(shape, color, self._second_color(color, self.dice.between(0.3, 1.0)))

    def _object(self, shape: _Shape) -> None:
        color = self._distinct_color()
        second = self._second_color(color, self.dice.between(0.3, 1.0))
        self.used.append(color)
        self._surface(shape, color, second)

    def _surface(self, shape: _Shape, first, second) -> None:
        extent = self.size * max(shape.box[2] - shape.box[0], shape.box[3] - shape.box[1])
        self._lay(shape.window(self.size), shape.distance(self.size), extent, first, second)

    def _lay(self, window, distance: np.ndarray, extent: float, first, second) -> None:
        """Blend a texture over the canvas where the distance is negative, with an edge one pixel soft."""
        fraction = np.clip(np.float32(128) - distance * np.float32(256), 0, 256).astype(np.uint32)
        self.canvas[window] = _blend(self.canvas[window], self._texture(window, extent, first, second), fraction)

    def _line(self, width: int) -> None:
        """A bent line with soft edges, longer than wide in a random one of both directions."""
        dice, size = self.dice, self.size
        canvas = self.canvas.T if dice() < 0.5 else self.canvas
        length = max(2, int(size * dice.between(0.15, 1.0)))
        along = np.arange(length)
        height = (
            size * dice()
            + along * dice.between(-0.9, 0.9)
            + along * (along - length) * (dice.between(-1.2, 1.2) / size)
        )
        floor = np.floor(height)
        fraction = np.full((width + 1, length), 256, np.uint32)
        fraction[width] = (height - floor) * 256
        fraction[0] = 256 - fraction[width]
        rows = floor.astype(np.int64) + np.arange(width + 1)[:, None]
        columns = np.broadcast_to(along + dice.integer(0, size - length), rows.shape)
        kept = (rows >= 0) & (rows < size)
        rows, columns = rows[kept], columns[kept]
        canvas[rows, columns] = _blend(canvas[rows, columns], self._pack(self._color()), fraction[kept])

    def _dots(self) -> None:
        """A few small discs of one color and radius."""
        dice, size = self.dice, self.size
        radius = size * dice.between(0.003, 0.013)
        reach = int(radius) + 1
        at = np.arange(-reach, reach + 1)
        disc = np.nonzero((at * at)[:, None] + at * at <= radius * radius)
        centers = [[dice.integer(reach, size - 1 - reach) for _ in range(2)] for _ in range(dice.integer(4, 24))]
        rows, columns = (np.array(center)[:, None] + at[part] for center, part in zip(zip(*centers), disc))
        self.canvas[rows, columns] = self._pack(self._color())

    def _light(self) -> None:
        """Illumination that falls off linearly across the scene, 0.55 to 1."""
        low, (cos, sin) = self.dice.between(0.55, 1.0), self.dice.pick(_TURNS)
        drop = (1 - low) * 256 / (self.size * (abs(cos) + abs(sin)))
        at = np.arange(self.size)
        down, right = ((at if c >= 0 else at[::-1]) * abs(c) * drop for c in (sin, cos))
        fraction = 256 - (down.astype(np.uint32)[:, None] + right.astype(np.uint32))
        pair = (self.canvas & _PAIR) * fraction >> _EIGHT & _PAIR
        self.canvas = pair | ((self.canvas >> _EIGHT & _PAIR) * fraction & _OTHER_PAIR)

    def _noisy_pixels(self) -> np.ndarray:
        """Add triangular noise of the scene's strength; exposure and light leave room for it, so nothing wraps."""
        pixels = self.canvas.view(np.uint8)
        top = self.dice.pick((0, 1, 3, 3, 7, 7, 15))
        if top:
            noise = self.noise.bytes(pixels.size).reshape(pixels.shape)
            pixels += (noise & np.uint8(top)) + (noise >> np.uint8(4) & np.uint8(top)) - np.uint8(top)
        image = np.empty((self.size, self.size, 3), np.uint8)
        for channel in range(3):
            image[..., channel] = pixels[:, channel::4]
        return image


def _integer(name: str, value, low: int, high: int | None) -> int:
    """A whole number in range, or an error that names the argument."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < low or (high is not None and number > high):
        limits = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be {limits}, got {number}")
    return number


class Shapes(Source):
    """Scenes of textured shapes on cluttered backgrounds: a data set that needs no files and no network.

    Six classes (`ellipse`, `rectangle`, `triangle`, `star`, `ring`, `cross`), each shape stretched by up to 1:0.6 and
    turned at will, the longer side of its box from 10 % to 60 % of the image (log-uniform), plain or textured
    (stripes, checks, gradients, noise, speckle), on a textured ground with lines, dots and patches that are no
    objects, under uneven light and noise. Shapes overlap, and at least 60 % of each one's area within the image stays
    visible; they stick out of the image by at most 12 % of their height or width.

    The same arguments give the same bytes on every machine, in whatever order scenes are asked for; a scene's layout
    does not depend on `size`, nor a scene on `images`.

    Args:
        images: Number of scenes, at least 1.
        seed: Non-negative integer; another seed gives other scenes.
        size: Height and width of the images in pixels, 32 to 2048.
        objects: Fewest and most objects in a scene, 1 to 32, drawn uniformly; `(1, 1)` gives one object each. An
            object for which 20 random places are all too crowded is left out; the first one never is.

    Raises:
        TypeError: When a number is no integer, or `objects` no pair.
        ValueError: When a number is out of range.

    Example:
        >>> scenes = Shapes(images=10, seed=3)
        >>> scenes.image(0).shape
        (300, 300, 3)
        >>> len(scenes.annotation(0).boxes) == len(scenes.annotation(0).labels)
        True
    """

    def __init__(self, images: int = 1000, seed: int = 0, size: int = 300, objects: tuple[int, int] = (1, 6)):
        self.name = "shapes"
        self.classes = CLASSES
        self._images = _integer("images", images, 1, None)
        self._seed = _integer("seed", seed, 0, None)
        self._size = _integer("size", size, _MIN_SIZE, _MAX_SIZE)
        if not isinstance(objects, (tuple, list)) or len(objects) != 2:
            raise TypeError(f"objects must be a pair (fewest, most), got {objects!r}")
        low = _integer("objects[0]", objects[0], 1, _MAX_OBJECTS)
        self._objects = low, _integer("objects[1]", objects[1], low, _MAX_OBJECTS)

    @property
    def max_objects(self) -> int:
        """The most objects that a scene can have."""
        return self._objects[1]

    def with_objects(self, objects: tuple[int, int]) -> Shapes:
        """As many scenes of the same seed and size with other numbers of objects, as `Shapes` takes them."""
        return Shapes(self._images, self._seed, self._size, objects)

    def __len__(self) -> int:
        """Number of scenes."""
        return self._images

    def annotation(self, i: int) -> Annotation:
        """Boxes and labels of scene `i`, later objects on top of earlier ones; nothing is rendered.

        A box is the tight extent of the whole shape, hidden parts included, clipped to the image.

        Raises:
            IndexError: When `i` is not in 0 .. len - 1.
        """
        shapes = _layout(self._dice(i), self._objects)
        boxes = np.clip(np.array([shape.box for shape in shapes]), 0.0, 1.0)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * self._size**2
        none = np.zeros(len(shapes), bool)
        return Annotation(
            image_id=f"shapes-{self._seed}-{i}",
            height=self._size,
            width=self._size,
            boxes=boxes.astype(np.float32),
            labels=np.array([CLASSES.index(shape.kind) for shape in shapes], np.int32),
            difficult=none,
            is_crowd=none.copy(),
            area=area.astype(np.float32),
        )

    def image(self, i: int) -> np.ndarray:
        """Scene `i`, uint8 RGB `[size, size, 3]`.

        Raises:
            IndexError: When `i` is not in 0 .. len - 1.
        """
        dice = self._dice(i)
        shapes = _layout(dice, self._objects)
        return _Painter(dice, _Dice(self._seed, int(i), 1), self._size).paint(shapes)

    def _dice(self, i: int) -> _Dice:
        return _Dice(self._seed, self._check_index(i))
