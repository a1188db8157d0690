"""Flat, outlined shapes on a square of premultiplied RGBA."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from .palette import INK, Colour

Bytes = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
"""(N, 2) as x, y; 0..1 over the square, y down."""

_SHIFT = 4
_SCALE = 1 << _SHIFT
_EDGE = 0.021


class Brush:
    """Draws on a square whose sides are 1; without smoothing, so draw large and shrink by area."""

    def __init__(self, side: int) -> None:
        """An empty square of `side` x `side` pixels."""
        self.side = side
        self.image: Bytes = np.zeros((side, side, 4), np.uint8)

    def fill(
        self,
        points: Points,
        colour: Colour,
        *,
        pattern: str = "plain",
        second: Colour | None = None,
        edge: bool = True,
    ) -> None:
        """Fill a polygon, lay a pattern of a second colour over it, and draw its outline."""
        fixed = self._fixed(points)
        cv2.fillPoly(self.image, [fixed], _rgba(colour), cv2.LINE_8, _SHIFT)
        if second is not None and pattern != "plain":
            self._lay_pattern(fixed, pattern, second)
        if edge:
            self._outline(fixed)

    def stroke(self, points: Points, colour: Colour, width: float, *, edge: bool = True) -> None:
        """An open line with round ends; `width` is that of the coloured part."""
        fixed = self._fixed(points)
        if edge:
            thick = max(1, round((width + 2 * _EDGE) * self.side))
            cv2.polylines(self.image, [fixed], False, _rgba(INK), thick, cv2.LINE_8, _SHIFT)
        thick = max(1, round(width * self.side))
        cv2.polylines(self.image, [fixed], False, _rgba(colour), thick, cv2.LINE_8, _SHIFT)

    def _outline(self, fixed: npt.NDArray[np.int32]) -> None:
        thick = max(1, round(_EDGE * self.side))
        cv2.polylines(self.image, [fixed], True, _rgba(INK), thick, cv2.LINE_8, _SHIFT)

    def _lay_pattern(self, fixed: npt.NDArray[np.int32], pattern: str, second: Colour) -> None:
        """Paint the pattern where the polygon is, within its bounding box alone."""
        left, top = (max(0, int(low) // _SCALE) for low in fixed.min(0))
        right, bottom = (min(self.side, int(high) // _SCALE + 2) for high in fixed.max(0))
        inside: Bytes = np.zeros((bottom - top, right - left), np.uint8)
        moved = (fixed - (left * _SCALE, top * _SCALE)).astype(np.int32)
        cv2.fillPoly(inside, [moved], (1.0,), cv2.LINE_8, _SHIFT)
        where = (inside > 0) & _pattern_map(pattern, self.side)[top:bottom, left:right]
        region = self.image[top:bottom, left:right]
        cv2.copyTo(np.full_like(region, (*second, 255)), where.astype(np.uint8), region)

    def _fixed(self, points: Points) -> npt.NDArray[np.int32]:
        return np.rint(points * (self.side * _SCALE)).astype(np.int32)


def _rgba(colour: Colour) -> tuple[float, float, float, float]:
    return (*colour, 255)


def xy(*points: tuple[float, float]) -> Points:
    """Points from pairs."""
    return np.array(points, np.float64)


@lru_cache(maxsize=4)
def _circle(count: int) -> Points:
    angles = np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def ellipse(x: float, y: float, rx: float, ry: float | None = None, tilt: float = 0.0) -> Points:
    """The outline of an ellipse; `tilt` in degrees, clockwise on the screen."""
    points = _circle(28) * (rx, rx if ry is None else ry)
    if tilt:
        points = points @ _turn(tilt)
    return points + np.array((x, y))


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float, count: int = 14) -> Points:
    """Part of an ellipse, angles in degrees clockwise from the right."""
    angles = np.deg2rad(np.linspace(start, end, count))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], 1)


def box(left: float, top: float, right: float, bottom: float, radius: float = 0.03) -> Points:
    """A rectangle with round corners."""
    corners = (
        (right - radius, bottom - radius, 0),
        (left + radius, bottom - radius, 90),
        (left + radius, top + radius, 180),
        (right - radius, top + radius, 270),
    )
    return np.concatenate([arc(x, y, radius, radius, a, a + 90, 5) for x, y, a in corners])


def soft(*points: tuple[float, float], rounds: int = 2) -> Points:
    """A closed polygon with its corners cut (Chaikin)."""
    outline = xy(*points)
    for _ in range(rounds):
        following = np.roll(outline, -1, 0)
        outline = np.stack([0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following], 1)
        outline = np.concatenate(outline)
    return outline


def curve(*points: tuple[float, float], rounds: int = 3) -> Points:
    """An open line with its corners cut; the ends stay."""
    line = xy(*points)
    for _ in range(rounds):
        first, following = line[:-1], line[1:]
        middle = np.stack([0.75 * first + 0.25 * following, 0.25 * first + 0.75 * following], 1)
        line = np.concatenate([line[:1], *middle, line[-1:]])
    return line


def turned(points: Points, degrees: float, centre: tuple[float, float]) -> Points:
    """The points turned clockwise on the screen about a centre."""
    return (points - centre) @ _turn(degrees) + centre


def star(x: float, y: float, radius: float, spikes: int = 5, inner: float = 0.45) -> Points:
    """A star standing on two of its spikes."""
    angles = np.arange(2 * spikes) * (np.pi / spikes) - np.pi / 2
    radii = np.where(np.arange(2 * spikes) % 2, radius * inner, radius)
    return np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], 1)


def heart(x: float, y: float, radius: float) -> Points:
    """A heart, about 2 `radius` wide."""
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    across = np.sin(t) ** 3
    down = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16
    return np.stack([x + radius * across, y + radius * down], 1)


def _turn(degrees: float) -> Points:
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def pattern_mask(pattern: str, x: Points, y: Points) -> npt.NDArray[np.bool_]:
    """Where the second colour of a pattern lies, for a row of `x` (1, W) and a column of `y` (H, 1): (H, W).

    The scale is coarse, so that a puppet 40 pixels tall still shows it when its square is 1.
    """
    if pattern == "stripes":
        mask = (y % 0.15 < 0.075) & (x == x)
    elif pattern == "bars":
        mask = ((x + 0.0375) % 0.15 < 0.075) & (y == y)
    elif pattern == "halves":
        mask = (x > 0) & (y == y)
    elif pattern == "checks":
        mask = (x % 0.2 < 0.1) ^ (y % 0.2 < 0.1)
    elif pattern == "diagonal":
        mask = (x + y) % 0.17 < 0.085
    elif pattern == "dots":
        across = (x + 0.08 * (np.floor(y / 0.12) % 2)) % 0.16 - 0.08
        mask = across**2 + (y % 0.12 - 0.06) ** 2 < 0.042**2
    else:
        mask = (x != x) & (y != y)
    return mask


@lru_cache(maxsize=32)
def _pattern_map(pattern: str, side: int) -> npt.NDArray[np.bool_]:
    """A pattern over the whole square, (side, side)."""
    steps = (np.arange(side) + 0.5) / side
    return pattern_mask(pattern, steps[None] - 0.5, steps[:, None])


def premultiplied_square(brush: Brush, size: int) -> Bytes:
    """What was drawn, shrunk by area to `size` x `size`."""
    return np.asarray(cv2.resize(brush.image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
