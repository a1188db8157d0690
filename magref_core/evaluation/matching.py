"""How well drawn sprites explain a frame, for all small shifts at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from ..errors import ShapeError

Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

BACKGROUND_ERROR = 0.25
"""Squared difference of colours, 0..3, that a pixel costs which no sprite explains.

Blurred and pale colours still count for a sprite: with 0.1 the smallest would explain a poor clip best.
"""


def match_costs(
    frame: Bytes, sprites: Floats, reach: tuple[int, int], *, visible: Floats | None = None
) -> Floats:
    """What it costs to explain a frame by each sprite, at each shift.

    A pixel that a sprite covers costs the squared difference of the colours, one that it does not cover costs
    `BACKGROUND_ERROR`. All sprites thus answer for the same pixels: neither a small one nor a large one has
    an advantage, a hat that the frame does not show costs, and so does a hat that the sprite lacks. Costs are
    told as the difference to no sprite at all: below 0 a sprite explains the frame better than none.

    Args:
        frame: (H, W, 3) in 0..255.
        sprites: (K, H, W, 4) in 0..1, colours multiplied by alpha, where they lie when not shifted.
        reach: R and S, the largest shifts down and to the right in pixels, and as far up and to the left.
        visible: (H, W) in 0..1; 0 where something stands in front, so that the pixel tells nothing.

    Returns:
        (K, 2 R + 1, 2 S + 1) by shift, the smallest (up, left) first.

    Raises:
        ShapeError: the sprites are not of the frame's size.
    """
    if sprites.ndim != 4 or sprites.shape[1:] != (*frame.shape[:2], 4):
        raise ShapeError(
            f"the sprites are {sprites.shape}, but the frame is {frame.shape}: "
            "draw (K, height, width, 4) in its size"
        )
    down, right = reach
    seen = sprites[..., 3].max(0) > 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        return np.zeros((len(sprites), 2 * down + 1, 2 * right + 1), np.float32)
    top, bottom, left, end = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    # The sum over pixels of visible * alpha * (|frame - colour|^2 - BACKGROUND_ERROR) is a product of what
    # the frame gives and what a sprite gives.
    given = np.pad(_frame_planes(frame, visible), ((0, 0), (down, down), (right, right)))
    given = given[:, top : bottom + 2 * down, left : end + 2 * right]
    windows = np.lib.stride_tricks.sliding_window_view(given, (bottom - top, end - left), (1, 2))
    # A sprite moved to the right by s meets the pixels that begin s further right.
    shifted = np.reshape(np.moveaxis(windows, 0, 2), ((2 * down + 1) * (2 * right + 1), -1))
    terms = np.reshape(_sprite_planes(sprites[:, top:bottom, left:end]), (len(sprites), -1))
    # By torch, whose threads a program sets: NumPy's own would fight with a training that runs beside.
    costs = torch.as_tensor(terms) @ torch.as_tensor(shifted).T
    return np.reshape(costs.numpy(), (len(sprites), 2 * down + 1, 2 * right + 1))


def _frame_planes(frame: Bytes, visible: Floats | None) -> Floats:
    """(5, H, W): what is multiplied by alpha, by the three colours, and by their squares."""
    weight = np.ones(frame.shape[:2], np.float32) if visible is None else visible
    colours = np.moveaxis(frame.astype(np.float32) / 255, 2, 0)
    return np.stack([weight * ((colours**2).sum(0) - BACKGROUND_ERROR), *(-2 * weight * colours), weight])


def _sprite_planes(sprites: Floats) -> Floats:
    """(K, 5, h, w): alpha, the three colours times alpha, and the squared colour times alpha."""
    alpha, colours = sprites[..., 3], np.moveaxis(sprites[..., :3], 3, 1)
    squares = (colours**2).sum(1) / np.maximum(alpha, 1e-3)
    return np.concatenate([alpha[:, None], colours, squares[:, None]], 1)
