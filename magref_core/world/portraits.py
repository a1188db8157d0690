"""References: a puppet or a place seen on another occasion than the film."""

from __future__ import annotations

import cv2
import numpy as np

from ..errors import MagrefError
from .brush import Bytes
from .identity import Identity
from .places import Place, light_up, paint_place
from .pose import Pose, draw_pose
from .puppets import draw_puppet

_MIN_SIZE = 16
_TILT = 15.0
_ROOM = 1.3
"""The square in which a turned puppet has room, in squares of the puppet."""


def portrait(identity: Identity, rng: np.random.Generator, *, size: int = 128, plain: bool = False) -> Bytes:
    """A close picture of a puppet: any pose, side, tilt, size and light.

    Args:
        identity: who.
        rng: draws the view; unused when `plain`.
        size: side in pixels of the puppet's square before it is cropped; the picture is smaller or equal to
            about 1.2 times this.
        plain: standing, upright, looking to the right, in full size and light.

    Returns:
        (h, w, 4) in 0..255, colours not multiplied by alpha; cropped to where alpha is above 0. Colours are 0
        where alpha is.

    Raises:
        MagrefError: the size is too small.
    """
    if size < _MIN_SIZE:
        raise MagrefError(f"a portrait of {size} pixels is too small: give at least {_MIN_SIZE}")
    if plain:
        return _crop(_straight(draw_puppet(identity, Pose(), size)))
    pose = draw_pose(rng)
    facing = -1 if rng.random() < 0.5 else 1
    tilt = float(rng.uniform(-_TILT, _TILT))
    scale = float(rng.uniform(0.75, 1.0))
    light = float(rng.uniform(0.75, 1.12))
    sprite = draw_puppet(identity, pose, size)
    room = int(np.ceil(size * _ROOM))
    angle = np.deg2rad(tilt)
    linear = scale * np.array(
        [[np.cos(angle) * facing, -np.sin(angle)], [np.sin(angle) * facing, np.cos(angle)]]
    )
    move = np.full(2, room / 2 - 0.5) - linear @ np.full(2, size / 2 - 0.5)
    matrix = np.concatenate([linear, move[:, None]], 1)
    turned = np.asarray(cv2.warpAffine(sprite, matrix, (room, room), flags=cv2.INTER_LINEAR), np.uint8)
    return _crop(_straight(light_up(turned, light)))


def view_of_place(place: Place, rng: np.random.Generator, height: int, width: int) -> Bytes:
    """A place under another light, a little to the side and nearer: (height, width, 3) in 0..255."""
    light = float(rng.uniform(0.75, 1.1))
    shift = (float(rng.uniform(-0.1, 0.1)), float(rng.uniform(-0.04, 0.04)))
    return paint_place(place, height, width, light=light, shift=shift, zoom=float(rng.uniform(1.0, 1.15)))


def _straight(premultiplied: Bytes) -> Bytes:
    alpha = premultiplied[..., 3:].astype(np.float32)
    colours = premultiplied[..., :3] * (255 / np.maximum(alpha, 1))
    straight = np.concatenate([np.minimum(np.rint(colours), 255), alpha], 2).astype(np.uint8)
    return straight


def _crop(picture: Bytes) -> Bytes:
    rows = np.flatnonzero(picture[..., 3].any(1))
    columns = np.flatnonzero(picture[..., 3].any(0))
    return np.ascontiguousarray(picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
