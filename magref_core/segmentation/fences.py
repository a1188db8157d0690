"""Parts of a picture that a strong line fences in: no way leads out of them but over a step of colour."""

from __future__ import annotations

import numpy as np

from .arrays import Array, load_opencv

_HEIGHTS = (20.0, 35.0, 50.0, 70.0)
"""Steps of 8-bit Lab over two pixels from which on a place is part of a fence; each is tried."""

_OPENINGS = (0, 9, 21)
"""Pixels below which an appendage of what is fenced in is taken off; each is tried."""

_LEAST_PART = 0.03
"""Share of the picture."""

_UPPER_PART = 0.75
"""Of the left and right border; below it, and on the lower border, a subject may be cut off."""


def fenced_parts(steps: Array) -> list[Array]:
    """What cannot be reached from the border of the picture without crossing a fence.

    Args:
        steps: (h, w), of `colour_steps`.

    Returns:
        Masks, (h, w) bool, each a connected part without the fence's outer side; perhaps none, and one may
        be there twice.
    """
    cv2 = load_opencv()
    found: list[Array] = []
    for height in _HEIGHTS:
        fence: Array = cv2.dilate((steps > height).astype(np.uint8), np.ones((3, 3), np.uint8))
        inside: Array = cv2.erode(_unreached(fence), np.ones((3, 3), np.uint8), borderValue=1)
        for opening in _OPENINGS:
            found.extend(_parts(_opened(inside, opening)))
    return found


def _unreached(fence: Array) -> Array:
    """(h, w) in {0, 1}; 0 where a way leads to the border, without the part where subjects are cut off."""
    cv2 = load_opencv()
    _, labels = cv2.connectedComponents(1 - fence, connectivity=4)
    rows = round(fence.shape[0] * _UPPER_PART)
    open_labels = np.unique(np.concatenate([labels[0], labels[:rows, 0], labels[:rows, -1]]))
    return (~np.isin(labels, open_labels[open_labels > 0])).astype(np.uint8)


def _opened(mask: Array, pixels: int) -> Array:
    """Without what is thinner than so many pixels; the border of the picture makes nothing thin."""
    if not pixels:
        return mask
    cv2 = load_opencv()
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (pixels, pixels))
    return cv2.dilate(cv2.erode(mask, kernel, borderValue=1), kernel, borderValue=0)


def _parts(mask: Array) -> list[Array]:
    """The connected parts, large enough to be a subject at all; each (h, w) bool."""
    _, labels, stats, _ = load_opencv().connectedComponentsWithStats(mask, connectivity=4)
    least = _LEAST_PART * mask.size
    areas: Array = stats[:, -1]
    return [labels == label for label in range(1, len(areas)) if areas[label] > least]
