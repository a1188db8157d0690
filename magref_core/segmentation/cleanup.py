"""Mend an alpha: drop stray parts, close holes, grow or shrink it, soften its edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..canvas.compose import OPAQUE
from ..errors import MagrefError
from .arrays import Array, clip, load_opencv

_SPILL_DEPTH = 2
"""Pixels behind the edge to which the colour of the surroundings reaches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleanup:
    """What to do to an alpha, in this order; the defaults do nothing.

    Raises:
        MagrefError: the feather is negative.
    """

    keep_largest: bool = False
    """Drop all but the largest connected part."""
    fill_holes: bool = False
    """Close what is enclosed on all sides."""
    grow: int = 0
    """Pixels of the picture by which the edge moves outwards; negative moves it inwards."""
    feather: int = 0
    """Pixels over which the edge becomes soft."""
    despill: bool = False
    """Colour the edge of the subject as the subject is a little further in, see `despill`."""

    def __post_init__(self) -> None:
        if self.feather < 0:
            raise MagrefError(
                f"the feather is {self.feather} pixels, but it cannot be negative: use 0 or more"
            )


def clean(alpha: Tensor, cleanup: Cleanup) -> Tensor:
    """Apply a cleanup; needs OpenCV unless there is nothing to do.

    Args:
        alpha: (H, W) uint8; 255 on the subject.
        cleanup: what to do.

    Returns:
        As given, on the CPU. Growing hardens a soft edge to one pixel.

    Raises:
        MagrefError: OpenCV is missing.
    """
    values: Array = alpha.cpu().numpy()
    if cleanup.keep_largest:
        values = keep_largest(values)
    if cleanup.fill_holes:
        values = fill_holes(values)
    if cleanup.grow:
        values = grow(values, cleanup.grow)
    if cleanup.feather:
        values = load_opencv().GaussianBlur(values, (0, 0), cleanup.feather / 2)
    return torch.as_tensor(np.ascontiguousarray(values))


def despill(image: Tensor, alpha: Tensor) -> Tensor:
    """Take the colour of the former surroundings out of the edge of a subject; needs OpenCV.

    Args:
        image: (H, W, 3) uint8.
        alpha: (H, W) uint8; 255 on the subject.

    Returns:
        The image with new colours where alpha is above 0 and the subject's inside is not yet reached: the
        mean of the inside nearby. The rest, and what has no inside nearby, keeps its colours.
    """
    cv2 = load_opencv()
    values, opacity = image.cpu().numpy().astype(np.float32), alpha.cpu().numpy()
    kernel = np.ones((3, 3), np.uint8)
    inside: Array = cv2.erode(
        (opacity == 255).astype(np.uint8), kernel, iterations=_SPILL_DEPTH, borderValue=1
    )
    weights = inside.astype(np.float32)
    window = 4 * _SPILL_DEPTH + 1, 4 * _SPILL_DEPTH + 1
    share: Array = cv2.GaussianBlur(weights, window, 0)
    nearby: Array = cv2.GaussianBlur(values * weights[..., None], window, 0)
    spilt = (opacity > 0) & (inside == 0) & (share > 1e-3)
    values[spilt] = nearby[spilt] / share[spilt][:, None]
    return torch.as_tensor(np.rint(values).astype(np.uint8))


def keep_largest(alpha: Array) -> Array:
    """The connected part with most opacity, (H, W); all else becomes 0."""
    count, labels = load_opencv().connectedComponents((alpha > 0).astype(np.uint8))
    if count <= 2:  # the background and at most one part
        return alpha
    opacity = np.bincount(labels.ravel(), alpha.ravel(), count)
    return np.where(labels == opacity.argmax(), alpha, 0).astype(np.uint8)


def fill_holes(alpha: Array, *, largest: float = 1.0) -> Array:
    """Make enclosed transparent parts opaque.

    Args:
        alpha: (H, W); parts that touch the edge of the picture are not enclosed.
        largest: share of the subject's area up to which a hole is filled.

    Returns:
        (H, W).
    """
    _, labels, stats, _ = load_opencv().connectedComponentsWithStats(
        (alpha < OPAQUE).astype(np.uint8), connectivity=4
    )
    open_labels = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    areas: Array = stats[:, -1]
    is_hole = areas <= largest * np.count_nonzero(alpha >= OPAQUE)
    is_hole[open_labels] = False
    is_hole[0] = False  # the subject itself
    return np.where(is_hole[labels], 255, alpha).astype(np.uint8)


def grow(alpha: Array, pixels: int) -> Array:
    """Move the edge of the opaque part by `pixels`, outwards if positive, with one pixel of softness."""
    cv2 = load_opencv()
    opaque = (alpha >= OPAQUE).astype(np.uint8)
    if opaque.all() or not opaque.any():
        return alpha
    inside: Array = cv2.distanceTransform(opaque, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside: Array = cv2.distanceTransform(1 - opaque, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    signed = np.where(opaque, inside - 0.5, 0.5 - outside)  # pixels to the edge, positive inside
    return (clip(signed + pixels + 0.5, 0, 1) * 255).astype(np.uint8)
