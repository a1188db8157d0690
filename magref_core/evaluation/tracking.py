"""Where a subject is in each frame, and which way it goes."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from .matching import Bytes, Floats, match_costs

Direction = Literal["left", "right", "none"]

MIN_WALK = 0.1
"""Distance in frame widths, over the whole clip, from which on a subject counts as going somewhere."""

STEP = 2
"""Subjects are tracked in pictures of half the width and height."""


def locate(frames: Bytes, sprites: Floats, reach: tuple[int, int]) -> Floats:
    """Find a subject in every frame.

    Args:
        frames: (F, H, W, 3) in 0..255.
        sprites: (K, H, W, 4) in 0..1, colours multiplied by alpha: views of the subject; the best counts.
        reach: how far it may be from where the sprites lie, down or up and to the right or left, in pixels.

    Returns:
        (F, 3): shift down and to the right in pixels, and the cost there; see `match_costs`.
    """
    half = (frames.shape[2] // STEP, frames.shape[1] // STEP)
    views = np.stack([_shrink(sprite, half) for sprite in sprites])
    down, right = (-(-pixels // STEP) for pixels in reach)
    found = np.zeros((len(frames), 3), np.float32)
    for index, frame in enumerate(frames):
        costs = match_costs(_shrink(frame, half), views, (down, right)).min(0)
        row, column = np.unravel_index(int(costs.argmin()), costs.shape)
        found[index] = (int(row) - down) * STEP, (int(column) - right) * STEP, costs[row, column]
    return found


def direction_of_track(places: npt.NDArray[np.floating]) -> Direction:
    """Which way a subject goes, by the straight line through its places.

    Args:
        places: (F,) to the right, in frame widths.
    """
    times = np.arange(len(places)) - (len(places) - 1) / 2
    distance = float((times * places).sum() / (times**2).sum()) * (len(places) - 1)
    if abs(distance) < MIN_WALK:
        return "none"
    return "right" if distance > 0 else "left"


def _shrink(picture: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), picture.dtype)
