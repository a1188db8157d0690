"""Backgrounds: painted once, wider than the frame, and cut out for every camera position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np

from ..errors import MagrefError
from .backdrops import (
    Backdrop,
    paint_beach,
    paint_forest,
    paint_hills,
    paint_room,
    paint_sky,
    paint_snow,
    paint_street,
    paint_wall,
)
from .brush import Bytes
from .palette import PALETTE, Colour

MARGIN = 0.25
"""How far a place goes on beyond each side of the frame, in frames."""

_PAINTERS: dict[str, Callable[[Backdrop, tuple[Colour, ...], tuple[float, ...]], None]] = {
    "hills": paint_hills,
    "room": paint_room,
    "sky": paint_sky,
    "beach": paint_beach,
    "street": paint_street,
    "wall": paint_wall,
    "forest": paint_forest,
    "snow": paint_snow,
}
PLACES: tuple[str, ...] = tuple(_PAINTERS)
"""The words a caption may use for a drawn place."""

PHOTO = "photo"
"""The word of a place that is a given picture."""

_PAPER = np.array((250, 246, 238), np.float32)
_SOFTNESS = 0.4
_NUM_SHAPES = 16
_TINTS = tuple(name for name in PALETTE if name not in ("brown", "cream", "charcoal"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A background with an identity of its own; hashable."""

    word: str
    colours: tuple[str, ...]
    """Three names of `PALETTE`."""
    shapes: tuple[float, ...]
    """Numbers in 0..1 that place hills, windows, clouds ..."""
    photo: Bytes | None = field(default=None, compare=False, repr=False)
    """(h, w, 3) in 0..255; only where the word is `PHOTO`."""


def draw_place(rng: np.random.Generator, word: str | None = None) -> Place:
    """Draw a place; any of `PLACES` when no word is given.

    Raises:
        MagrefError: the word is unknown.
    """
    if word is None:
        word = PLACES[int(rng.integers(len(PLACES)))]
    check_place(word)
    names = [str(name) for name in rng.permutation(_TINTS)[:3]]
    shapes = tuple(round(float(number), 4) for number in rng.random(_NUM_SHAPES))
    return Place(word=word, colours=tuple(names), shapes=shapes)


def place_of_photo(photo: Bytes, rng: np.random.Generator) -> Place:
    """A place that is a given picture, cut to the frame's shape when painted.

    Args:
        photo: (h, w, 3) in 0..255.
        rng: draws the part of the picture that shows.
    """
    shapes = tuple(round(float(number), 4) for number in rng.random(_NUM_SHAPES))
    return Place(word=PHOTO, colours=(), shapes=shapes, photo=photo)


def check_place(word: str) -> None:
    """Refuse a word that is no place.

    Raises:
        MagrefError: the message lists the places.
    """
    if word not in _PAINTERS:
        raise MagrefError(f"there is no place '{word}': choose one of {', '.join(PLACES)}")


def paint_place(
    place: Place,
    height: int,
    width: int,
    *,
    light: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    zoom: float = 1.0,
) -> Bytes:
    """Paint the part of a place that a frame shows.

    Args:
        place: what to paint.
        height: of the frame, in pixels.
        width: of the frame, in pixels.
        light: factor on the colours.
        shift: of the camera to the right and down, in frames; up to about `MARGIN`.
        zoom: above 1 the camera is nearer.

    Returns:
        (height, width, 3) in 0..255.
    """
    view = cut_view(wide_view(place, height, width), height, width, shift, zoom)
    return np.array(light_up(view, light))


def wide_view(place: Place, height: int, width: int) -> Bytes:
    """The place with its margin, shared by all callers: read-only; what `cut_view` cuts frames from."""
    if place.photo is not None:
        return _crop_photo(place.photo, place.shapes, height, width)
    return _paint_wide(place, height, width)


def cut_view(wide: Bytes, height: int, width: int, shift: tuple[float, float], zoom: float) -> Bytes:
    """The frame that a camera sees of a wide view; see `paint_place`."""
    tall, broad = wide.shape[:2]
    if zoom == 1.0 and shift == (0.0, 0.0):
        top, left = (tall - height) // 2, (broad - width) // 2
        return wide[top : top + height, left : left + width]
    centre_x = (broad - width) // 2 + width * (0.5 + shift[0])
    centre_y = (tall - height) // 2 + height * (0.5 + shift[1])
    step = 1 / zoom
    matrix = np.array(
        [
            [step, 0, centre_x - 0.5 - step * (width / 2 - 0.5)],
            [0, step, centre_y - 0.5 - step * (height / 2 - 0.5)],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    view = cv2.warpAffine(wide, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(view, np.uint8)


def light_up(picture: Bytes, light: float) -> Bytes:
    """Multiply colours by `light`; a fourth channel is alpha, which stays and which no colour passes."""
    if light == 1.0:
        return picture
    if picture.shape[2] == 3:
        return np.asarray(cv2.convertScaleAbs(picture, alpha=light), np.uint8)
    lit = np.asarray(cv2.convertScaleAbs(picture, alpha=light), np.uint8)
    np.minimum(lit, picture[..., 3:], out=lit)
    lit[..., 3] = picture[..., 3]
    return lit


@lru_cache(maxsize=8)
def _paint_wide(place: Place, height: int, width: int) -> Bytes:
    backdrop = Backdrop(height, width, margin=MARGIN)
    _PAINTERS[place.word](backdrop, tuple(PALETTE[name] for name in place.colours), place.shapes)
    drawn = backdrop.finish().astype(np.float32)
    soft = drawn * (1 - _SOFTNESS) + _PAPER * _SOFTNESS
    painted = np.rint(soft).astype(np.uint8)
    painted.flags.writeable = False
    return painted


def _crop_photo(photo: Bytes, shapes: tuple[float, ...], height: int, width: int) -> Bytes:
    tall, broad = (round(side * (1 + 2 * MARGIN)) for side in (height, width))
    rows, columns = photo.shape[:2]
    size = min(rows / tall, columns / broad) * (0.75 + 0.25 * shapes[0])
    cut_rows, cut_columns = max(1, int(size * tall)), max(1, int(size * broad))
    top, left = int(shapes[1] * (rows - cut_rows)), int(shapes[2] * (columns - cut_columns))
    cut = photo[top : top + cut_rows, left : left + cut_columns]
    return np.asarray(cv2.resize(cut, (broad, tall), interpolation=cv2.INTER_AREA), np.uint8)
