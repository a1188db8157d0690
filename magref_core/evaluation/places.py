"""Which place is behind the subjects."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import numpy.typing as npt

from .matching import Bools, Bytes, Floats

_SIZE = (48, 32)
"""Width and height in which places are compared: their shapes are large and flat."""


def place_costs(frames: Bytes, outside: Bools, views: Bytes) -> Floats:
    """How badly each place explains the background, whatever the light.

    Args:
        frames: (F, H, W, 3) in 0..255.
        outside: (F, H, W); where no subject is.
        views: (K, S, F, H, W, 3) in 0..255: each place in those frames, in S positions; the best counts.

    Returns:
        (K,): share of the squared colours that one factor on the light leaves unexplained, 0..1.
    """
    seen, colours = _pixels(frames, outside)
    length = float((colours**2).sum())
    costs = np.ones(views.shape[:2], np.float32)
    for place, position in itertools.product(range(views.shape[0]), range(views.shape[1])):
        view = np.stack([_shrink(picture) for picture in views[place, position]])[seen]
        explained = float((view * colours).sum()) ** 2 / max(float((view**2).sum()), 1e-6)
        costs[place, position] = (length - explained) / max(length, 1e-6)
    return costs.min(1)


def layout_costs(frames: Bytes, outside: Bools, views: Bytes) -> Floats:
    """How badly the shapes of each place explain the background, whatever its colours.

    Args:
        frames: (F, H, W, 3) in 0..255, with a still camera.
        outside: (F, H, W); where no subject is.
        views: (K, H, W, 3) in 0..255.

    Returns:
        (K,): share of the variance that the best linear change of colours leaves unexplained, 0..1.
    """
    seen, colours = _pixels(frames, outside)
    variance = max(float(((colours - colours.mean(0)) ** 2).sum()), 1e-6)
    costs = np.ones(len(views), np.float32)
    for index, view in enumerate(views):
        shown = np.broadcast_to(_shrink(view), (*seen.shape, 3))[seen]
        terms = np.concatenate([shown, np.ones((len(shown), 1), np.float32)], 1).astype(np.float64)
        across = np.transpose(terms)
        weights = np.linalg.solve(across @ terms + 1e-3 * np.eye(4), across @ colours)
        costs[index] = float(((colours - terms @ weights) ** 2).sum()) / variance
    return costs


def _pixels(frames: Bytes, outside: Bools) -> tuple[Bools, npt.NDArray[np.float64]]:
    """Which pixels of the shrunk frames are compared, (F, h, w), and their colours, (N, 3) in 0..1."""
    shares = np.stack([_shrink(mask.astype(np.uint8) * np.uint8(255)) for mask in outside])
    seen = shares > 0.999
    return seen, np.stack([_shrink(frame) for frame in frames])[seen].astype(np.float64)


def _shrink(picture: Bytes) -> Floats:
    small = np.asarray(cv2.resize(picture, _SIZE, interpolation=cv2.INTER_AREA), np.float32)
    return np.divide(small, 255, dtype=np.float32)
