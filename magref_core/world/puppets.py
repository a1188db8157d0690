"""A puppet in a pose, as a small picture with transparency."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from . import puppets_animals, puppets_objects, puppets_people
from .brush import Brush, Bytes, premultiplied_square
from .identity import Identity
from .pose import Pose

GROUND = 0.95
"""Where the feet stand in the square of a puppet, from the top."""

MIDDLE = 0.52
"""The height in the square about which a puppet turns."""

FILL = 0.9
"""The height of a puppet as part of its square."""

_DRAWN_SIDE = 192
"""The least side in pixels at which shapes are drawn before they are shrunk."""

_PAINTERS: dict[str, Callable[[Brush, Identity, Pose], None]] = {
    "girl": puppets_people.paint_girl,
    "boy": puppets_people.paint_boy,
    "robot": puppets_people.paint_robot,
    "witch": puppets_people.paint_witch,
    "fox": puppets_animals.paint_fox,
    "cat": puppets_animals.paint_cat,
    "bear": puppets_animals.paint_bear,
    "penguin": puppets_animals.paint_penguin,
    "ball": puppets_objects.paint_ball,
    "kite": puppets_objects.paint_kite,
    "teapot": puppets_objects.paint_teapot,
    "car": puppets_objects.paint_car,
}


@lru_cache(maxsize=96)
def draw_puppet(identity: Identity, pose: Pose, size: int) -> Bytes:
    """Draw a puppet that looks to the right.

    Args:
        identity: who.
        pose: how it stands.
        size: side of the square in pixels; the puppet fills about `FILL` of the height and its feet stand at
            `GROUND`.

    Returns:
        (size, size, 4) in 0..255, colours multiplied by alpha. Shared by all callers: read-only.
    """
    brush = Brush(size * max(3, -(-_DRAWN_SIDE // size)))
    _PAINTERS[identity.category](brush, identity, pose)
    sprite = premultiplied_square(brush, size)
    sprite.flags.writeable = False
    return sprite
