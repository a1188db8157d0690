"""From a scene to frames, with the exact place of every actor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import MagrefError
from .brush import Bytes
from .identity import Identity
from .motions import Actor, Step, track
from .places import cut_view, light_up, wide_view
from .puppets import FILL, GROUND, MIDDLE, draw_puppet
from .scene import Scene

_SPRITE_STEP = 8
_SOLID = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Film:
    """A drawn scene; N actors in the order of the scene, T frames."""

    frames: Bytes
    """(T, H, W, 3) in 0..255."""
    masks: npt.NDArray[np.bool_]
    """(N, T, H, W); where an actor is seen, those before it taken off."""
    boxes: npt.NDArray[np.int32]
    """(N, T, 4) as x0, y0, x1, y1 (ends excluded) of the whole actor clipped to the frame; zeros outside."""


def film(scene: Scene, *, num_frames: int | None = None) -> Film:
    """Draw all frames of a scene, or only its first ones."""
    count, length, height, width = len(scene.actors), scene.length, scene.height, scene.width
    shown = length if num_frames is None else min(num_frames, length)
    wide = wide_view(scene.place, height, width)
    frames: Bytes = np.empty((shown, height, width, 3), np.uint8)
    masks = np.zeros((count, shown, height, width), np.bool_)
    boxes = np.zeros((count, shown, 4), np.int32)
    tracks = [track(actor, length) for actor in scene.actors]
    for index in range(shown):
        part = index / max(1, length - 1)
        shift, zoom = scene.camera.view(part)
        gain = scene.light.gain(part)
        frames[index] = light_up(cut_view(wide, height, width, (shift, 0.0), zoom), gain)
        for number in scene.order:
            actor = scene.actors[number]
            placed = _place_sprite(scene, actor, actor.identity, tracks[number][index], part, (0.0, 0.0), 1.0)
            if placed is None:
                continue
            patch, left, top = placed
            bottom, right = top + patch.shape[0], left + patch.shape[1]
            _composite(frames[index, top:bottom, left:right], patch)
            solid = patch[..., 3] >= _SOLID
            masks[:, index, top:bottom, left:right] &= ~solid
            masks[number, index, top:bottom, left:right] |= solid
            boxes[number, index] = _box_of(solid, left, top)
    return Film(frames=frames, masks=masks, boxes=boxes)


def render_actor(
    scene: Scene,
    index: int,
    frame_index: int,
    *,
    identity: Identity | None = None,
    dx: float = 0.0,
    dy: float = 0.0,
    scale: float = 1.0,
) -> npt.NDArray[np.float32]:
    """One actor of one frame alone, exactly as `film` lays it over the frame.

    Args:
        scene: the scene.
        index: of the actor.
        frame_index: 0..length - 1.
        identity: another puppet on the same track, if given.
        dx: moved to the right by so many pixels.
        dy: moved down by so many pixels.
        scale: factor on its size, about its middle.

    Returns:
        (H, W, 4) in 0..1, colours multiplied by alpha; nothing in front is taken off.

    Raises:
        MagrefError: there is no such actor or frame.
    """
    if not 0 <= index < len(scene.actors):
        raise MagrefError(f"the scene has {len(scene.actors)} actors: there is no index {index}")
    if not 0 <= frame_index < scene.length:
        raise MagrefError(f"the scene has {scene.length} frames: there is no index {frame_index}")
    actor = scene.actors[index]
    step = track(actor, scene.length)[frame_index]
    part = frame_index / max(1, scene.length - 1)
    picture = np.zeros((scene.height, scene.width, 4), np.float32)
    placed = _place_sprite(scene, actor, identity or actor.identity, step, part, (dx, dy), scale)
    if placed is not None:
        patch, left, top = placed
        picture[top : top + patch.shape[0], left : left + patch.shape[1]] = patch.astype(np.float32) / 255
    return picture


def _place_sprite(
    scene: Scene,
    actor: Actor,
    identity: Identity,
    step: Step,
    part: float,
    offset: tuple[float, float],
    scale: float,
) -> tuple[Bytes, int, int] | None:
    """The lit sprite as it lies in the frame: premultiplied patch, left, top; None where nothing shows."""
    size = actor.height * step.scale * scene.height / FILL
    side = max(1, math.ceil(size / _SPRITE_STEP)) * _SPRITE_STEP
    sprite = draw_puppet(identity, step.pose, side)
    matrix = _matrix(scene, actor, step, part, offset, scale, side)
    square = np.array([[0.0, side, 0.0, side], [0.0, 0.0, side, side]])
    across, down = (matrix[:, :2] @ square + matrix[:, 2:]).tolist()
    left, top = max(0, math.floor(min(across))), max(0, math.floor(min(down)))
    right = min(scene.width, math.ceil(max(across)))
    bottom = min(scene.height, math.ceil(max(down)))
    if right <= left or bottom <= top:
        return None
    # OpenCV counts from pixel centres; the matrix speaks of pixel corners.
    centre = matrix[:, :2] @ np.array([0.5, 0.5]) - np.array([0.5 + left, 0.5 + top])
    shifted = np.concatenate([matrix[:, :2], matrix[:, 2:] + centre[:, None]], 1)
    patch = cv2.warpAffine(sprite, shifted, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    return light_up(np.asarray(patch, np.uint8), scene.light.gain(part)), left, top


def _matrix(
    scene: Scene, actor: Actor, step: Step, part: float, offset: tuple[float, float], scale: float, side: int
) -> npt.NDArray[np.float64]:
    """(2, 3): from the sprite's square in pixels to the frame in pixels."""
    shift, zoom = scene.camera.view(part)
    size = actor.height * scene.height * step.scale / FILL
    middle_x = step.x * scene.width
    middle_y = step.y * scene.height - (GROUND - MIDDLE) * size * step.squash
    middle_x = (middle_x - (0.5 + shift) * scene.width) * zoom + 0.5 * scene.width + offset[0]
    middle_y = (middle_y - 0.5 * scene.height) * zoom + 0.5 * scene.height + offset[1]
    factor = size * zoom * scale / side
    across, down = step.facing * factor / step.squash, factor * step.squash
    cos, sin = math.cos(math.radians(step.angle)), math.sin(math.radians(step.angle))
    linear = np.array([[cos * across, -sin * down], [sin * across, cos * down]])
    move = np.array([middle_x, middle_y]) - linear @ np.array([0.5 * side, MIDDLE * side])
    return np.concatenate([linear, move[:, None]], 1)


def _composite(under: Bytes, patch: Bytes) -> None:
    """Lay a premultiplied patch over a part of a frame, in place."""
    rest = 255 - patch[..., 3:].astype(np.uint16)
    kept = (under * rest + 127) // 255
    under[:] = np.minimum(kept + patch[..., :3], 255).astype(np.uint8)


def _box_of(solid: npt.NDArray[np.bool_], left: int, top: int) -> tuple[int, int, int, int]:
    columns, rows = np.flatnonzero(solid.any(0)), np.flatnonzero(solid.any(1))
    if not len(columns):
        return 0, 0, 0, 0
    return left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1
