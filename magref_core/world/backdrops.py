"""The painters of the places: gradients and large flat shapes, no outlines."""

from __future__ import annotations

import cv2
import numpy as np

from .brush import Bytes, Points, arc, box, curve, ellipse, pattern_mask, xy
from .palette import Colour

_SHIFT = 4
_OVERSAMPLING = 2


class Backdrop:
    """A picture in frame units, 0..1 across and down, that goes on `margin` beyond each side."""

    def __init__(self, height: int, width: int, *, margin: float) -> None:
        """An empty picture for frames of `height` x `width` pixels."""
        self.size = tuple(round(side * (1 + 2 * margin)) for side in (height, width))
        self.unit = (width * _OVERSAMPLING, height * _OVERSAMPLING)
        self.margin = margin
        self.low, self.high = -margin - 0.02, 1 + margin + 0.02
        self.aspect = width / height
        tall, broad = (side * _OVERSAMPLING for side in self.size)
        self.image: Bytes = np.zeros((tall, broad, 3), np.uint8)

    def gradient(self, top: Colour, bottom: Colour, end: float = 1.0) -> None:
        """Fill everything, from `top` at 0 to `bottom` at `end`."""
        rows = len(self.image)
        heights = (np.arange(rows) + 0.5) / self.unit[1] - self.margin
        part = np.minimum(np.maximum(heights / end, 0), 1)[:, None]
        colours = np.array(top) * (1 - part) + np.array(bottom) * part
        self.image[:] = np.rint(colours)[:, None].astype(np.uint8)

    def fill(self, points: Points, colour: Colour) -> None:
        """A flat polygon in frame units."""
        fixed = np.rint((points + self.margin) * self.unit * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(self.image, [fixed], tuple(float(part) for part in colour), cv2.LINE_8, _SHIFT)

    def disc(self, x: float, y: float, radius: float, colour: Colour, flat: float = 1.0) -> None:
        """A circle whose radius is in frame heights; `flat` below 1 flattens it."""
        self.fill(ellipse(x, y, radius / self.aspect, radius * flat), colour)

    def ground(self, top: float, colour: Colour) -> None:
        """A flat floor from `top` down."""
        self.fill(
            xy((self.low, top), (self.high, top), (self.high, self.high), (self.low, self.high)), colour
        )

    def ridge(self, heights: tuple[float, ...], colour: Colour) -> None:
        """A rolling line of hills through evenly spaced heights, filled down to the bottom."""
        places = np.linspace(self.low, self.high, len(heights))
        line = curve(*zip(places.tolist(), heights, strict=True))
        ends = xy((self.high, self.high), (self.low, self.high))
        self.fill(np.concatenate([line, ends]), colour)

    def pattern(self, name: str, colour: Colour, scale: float) -> None:
        """A pattern of the brush over everything, `scale` frames high."""
        rows, columns = self.image.shape[:2]
        step = 1 / (scale * self.unit[1])
        across: Points = np.arange(columns, dtype=np.float64)[None] * step
        down: Points = np.arange(rows, dtype=np.float64)[:, None] * step
        mask = pattern_mask(name, across, down)
        self.image[mask] = colour

    def finish(self) -> Bytes:
        """The picture with its margins, (rows, columns, 3) in 0..255."""
        rows, columns = self.size
        return np.asarray(cv2.resize(self.image, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


def mix(first: Colour, second: Colour, part: float) -> Colour:
    """`first` with `part` of `second`."""
    red, green, blue = (round(a * (1 - part) + b * part) for a, b in zip(first, second, strict=True))
    return red, green, blue


_WHITE: Colour = (255, 255, 255)
_SKY: Colour = (170, 215, 245)


def _heights(shapes: tuple[float, ...], low: float, high: float) -> tuple[float, ...]:
    return tuple(low + (high - low) * shape for shape in shapes)


def _cloud(backdrop: Backdrop, x: float, y: float, size: float, colour: Colour) -> None:
    for across, down, part in ((-1.1, 0.15, 0.7), (0, 0, 1.0), (1.1, 0.1, 0.75)):
        backdrop.disc(x + across * size / backdrop.aspect, y + down * size, part * size, colour, 0.75)


def paint_hills(backdrop: Backdrop, colours: tuple[Colour, ...], shapes: tuple[float, ...]) -> None:
    """A sun and three rows of hills."""
    backdrop.gradient(mix(_SKY, colours[0], 0.3), mix(_WHITE, colours[0], 0.2), 0.6)
    backdrop.disc(0.1 + 0.8 * shapes[0], 0.15 + 0.12 * shapes[1], 0.09, mix((255, 230, 120), _WHITE, 0.2))
    backdrop.ridge(_heights(shapes[2:7], 0.3, 0.62), mix(colours[1], _WHITE, 0.5))
    backdrop.ridge(_heights(shapes[7:12], 0.48, 0.72), mix(colours[2], _WHITE, 0.35))
    backdrop.ridge(_heights(shapes[12:16], 0.72, 0.82), mix(colours[1], colours[2], 0.5))


def paint_room(backdrop: Backdrop, colours: tuple[Colour, ...], shapes: tuple[float, ...]) -> None:
    """A wall with a window and a shelf, and a floor of boards."""
    backdrop.gradient(mix(colours[0], _WHITE, 0.45), mix(colours[0], _WHITE, 0.35))
    floor = 0.74 + 0.06 * shapes[0]
    backdrop.ground(floor, mix((196, 150, 104), colours[1], 0.3))
    backdrop.ground(floor - 0.03, mix(colours[0], (90, 70, 60), 0.25))
    backdrop.ground(floor, mix((206, 164, 118), colours[1], 0.3))
    wide, tall = (0.3 + 0.1 * shapes[1]) / backdrop.aspect, 0.3 + 0.08 * shapes[2]
    left = shapes[3] * (0.42 - wide)
    top = 0.1 + 0.08 * shapes[4]
    frame = mix(colours[1], _WHITE, 0.3)
    backdrop.fill(box(left - 0.02, top - 0.03, left + wide + 0.02, top + tall + 0.03, 0.01), frame)
    backdrop.fill(box(left, top, left + wide, top + tall, 0.005), mix(_SKY, _WHITE, 0.2))
    cross = left + wide / 2
    backdrop.fill(box(cross - 0.006, top, cross + 0.006, top + tall, 0.001), frame)
    backdrop.fill(box(left, top + tall / 2 - 0.01, left + wide, top + tall / 2 + 0.01, 0.001), frame)
    start, height = 0.6 + 0.1 * shapes[5], 0.28 + 0.1 * shapes[6]
    backdrop.fill(
        box(start, height, start + 0.28, height + 0.03, 0.005), mix((150, 104, 70), colours[2], 0.3)
    )
    for index in range(4):
        book = 0.08 + 0.07 * shapes[7 + index]
        x = start + 0.02 + 0.055 * index
        backdrop.fill(box(x, height - book, x + 0.045, height, 0.004), mix(colours[index % 3], _WHITE, 0.15))


def paint_sky(backdrop: Backdrop, colours: tuple[Colour, ...], shapes: tuple[float, ...]) -> None:
    """Clouds above, and one to stand on."""
    backdrop.gradient(mix(_SKY, colours[0], 0.45), mix(colours[1], _WHITE, 0.55), 0.9)
    for index in range(5):
        x, y = -0.1 + 0.27 * index + 0.15 * shapes[2 * index], 0.1 + 0.45 * shapes[2 * index + 1]
        _cloud(backdrop, x, y, 0.05 + 0.05 * shapes[10 + index], mix(_WHITE, colours[2], 0.12))
    for index in range(9):
        backdrop.disc(-0.2 + 0.17 * index, 0.98 + 0.06 * shapes[index], 0.19, mix(_WHITE, colours[2], 0.06))


def paint_beach(backdrop: Backdrop, colours: tuple[Colour, ...], shapes: tuple[float, ...]) -> None:
    """Sky, sea, sand and a parasol."""
    backdrop.gradient(mix(_SKY, colours[0], 0.25), (235, 246, 252), 0.5)
    backdrop.disc(0.1 + 0.8 * shapes[0], 0.16 + 0.1 * shapes[1], 0.1, (255, 236, 150))
    sea = 0.42 + 0.08 * shapes[2]
    backdrop.ground(sea, mix((60, 150, 200), colours[1], 0.25))
    for index in range(3):
        y = sea + 0.06 + 0.07 * index
        backdrop.fill(
            box(-0.1 + shapes[3 + index], y, 0.12 + shapes[3 + index], y + 0.018, 0.008), (190, 228, 240)
        )
    backdrop.ridge(_heights(shapes[6:10], 0.64, 0.74), (244, 222, 168))
    x, y = (0.08 if shapes[10] < 0.5 else 0.86) + 0.06 * shapes[11], 0.36 + 0.06 * shapes[12]
    backdrop.fill(box(x - 0.006, y, x + 0.006, 0.78, 0.001), (150, 110, 80))
    backdrop.fill(arc(x, y, 0.24 / backdrop.aspect, 0.2, 180, 360), colours[2])
    for start in (216, 288):
        wedge = arc(x, y, 0.24 / backdrop.aspect, 0.2, start, start + 36, 6)
        backdrop.fill(np.concatenate([wedge, xy((x, y))]), mix(colours[2], _WHITE, 0.75))


def paint_street(backdrop: Backdrop, colours: tuple[Colour, ...], shapes: tuple[float, ...]) -> None:
    """Houses with windows, a pavement and a road."""
    backdrop.gradient(mix(_SKY, colours[0], 0.3), _WHITE, 0.8)
    left, index = backdrop.low - 0.1 * shapes[0], 0
    while left < backdrop.high:
        wide = (0.36 + 0.2 * shapes[index % 16]) / backdrop.aspect
        top = 0.12 + 0.28 * shapes[(index * 3 + 1) % 16]
        wall = mix(colours[index % 3], _WHITE, 0.3)
        backdrop.fill(box(left, top, left + wide, 0.8, 0.002), wall)
        if shapes[(index * 5 + 2) % 16] < 0.5:
            roof = xy(
                (left - 0.01, top + 0.005), (left + wide / 2, top - 0.13), (left + wide + 0.01, top + 0.005)
            )
            backdrop.fill(roof, mix(colours[(index + 1) % 3], (90, 60, 50), 0.35))
        for row in range(3):
            for part in (0.27, 0.73):
                x, y = left + wide * part, top + 0.08 + 0.17 * row
                pane = (0.042 / backdrop.aspect, 0.05)
                backdrop.fill(
                    box(x - pane[0], y - pane[1], x + pane[0], y + pane[1], 0.004),
                    mix((255, 244, 200), wall, 0.15),
                )
        left, index = left + wide, index + 1
    backdrop.ground(0.72, (205, 200, 196))
    backdrop.ground(0.8, (150, 150, 160))
    for number in range(8):
        x = backdrop.low + 0.22 * number + 0.1 * shapes[3]
        backdrop.fill(box(x, 0.905, x + 0.1, 0.93, 0.002), (235, 232, 220))


def paint_wall(backdrop: Backdrop, colours: tuple[Colour, ...], shapes: tuple[float, ...]) -> None:
    """Wallpaper with a pattern and a plain floor."""
    first = mix(colours[0], _WHITE, 0.4)
    backdrop.gradient(first, first)
    name = ("stripes", "bars", "dots", "checks", "diagonal")[int(shapes[0] * 5)]
    backdrop.pattern(name, mix(colours[1], _WHITE, 0.45), 0.9 + 0.8 * shapes[1])
    floor = 0.76 + 0.06 * shapes[2]
    backdrop.ground(floor - 0.04, mix(colours[2], _WHITE, 0.65))
    backdrop.ground(floor, mix(colours[2], (120, 90, 70), 0.35))


def paint_forest(backdrop: Backdrop, colours: tuple[Colour, ...], shapes: tuple[float, ...]) -> None:
    """Two rows of trees on a meadow."""
    backdrop.gradient(mix(_SKY, colours[0], 0.3), mix((225, 240, 210), colours[0], 0.15), 0.7)
    backdrop.ridge(_heights(shapes[0:4], 0.6, 0.7), mix((120, 180, 120), colours[1], 0.3))
    round_crowns = shapes[4] < 0.5
    for index in range(7):
        x = -0.18 + 0.22 * index + 0.1 * shapes[5 + index]
        y, size = 0.3 + 0.12 * shapes[(6 + index) % 16], 0.17 + 0.07 * shapes[(7 + index) % 16]
        backdrop.fill(box(x - 0.014, y, x + 0.014, 0.76, 0.002), (142, 104, 78))
        green = mix((70, 150, 90), colours[1 + index % 2], 0.4)
        if round_crowns:
            backdrop.disc(x, y, size, green, 1.1)
        else:
            half = 0.8 * size / backdrop.aspect
            backdrop.fill(xy((x - half, y + 0.22), (x, y - 0.25), (x + half, y + 0.22)), green)
    backdrop.ridge(_heights(shapes[12:16], 0.7, 0.77), mix((160, 205, 120), colours[2], 0.2))


def paint_snow(backdrop: Backdrop, colours: tuple[Colour, ...], shapes: tuple[float, ...]) -> None:
    """White hills, mountains and falling flakes."""
    backdrop.gradient(mix((120, 140, 190), colours[0], 0.45), mix((220, 228, 245), colours[0], 0.15), 0.7)
    for index in range(4):
        x, top = -0.15 + 0.38 * index + 0.1 * shapes[index], 0.18 + 0.16 * shapes[4 + index]
        half = 0.42 / backdrop.aspect
        backdrop.fill(
            xy((x - half, 0.75), (x, top), (x + half, 0.75)), mix((140, 150, 180), colours[1], 0.35)
        )
        cap = 0.26
        backdrop.fill(
            xy(
                (x - half * cap, top + cap * (0.75 - top)),
                (x, top),
                (x + half * cap, top + cap * (0.75 - top)),
            ),
            _WHITE,
        )
    backdrop.ridge(_heights(shapes[8:12], 0.58, 0.7), mix(_WHITE, colours[2], 0.18))
    backdrop.ridge(_heights(shapes[12:16], 0.72, 0.8), mix(_WHITE, colours[2], 0.06))
    for index in range(16):
        x, y = (shapes[index] * 7 + 0.31 * index) % 1.4 - 0.2, (shapes[15 - index] * 5 + 0.17 * index) % 0.7
        backdrop.disc(x, y, 0.016, _WHITE)
