"""Pictures of a canvas for a person: the canvas, its mask, its latent mask, and what CLIP sees."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ..sizes import PATCH_STRIDE, PIXEL_STRIDE
from .clip_view import CLIP_MEAN, CLIP_STD, clip_pixels
from .compose import Bytes, Canvas
from .masks import to_latent_mask

ViewKind = Literal["canvas", "mask", "latent_mask", "clip"]

MAX_SIDE = 1024
"""Longest side of a view in pixels; a larger canvas is shown smaller."""

MARK = (0, 150, 255)
"""Colour of what is marked as a reference; between that of skin and most things."""
_TINT = 0.45
_GRID = 0.35
"""How much darker the borders of tokens are drawn."""


def draw_views(canvas: Canvas) -> dict[ViewKind, Tensor]:
    """What a person should see of a canvas.

    Args:
        canvas: as composed.

    Returns:
        Pictures, (h, w, 3) uint8. canvas: as it is. mask: the canvas in grey, with what is marked as a
        reference in colour. latent_mask: the same in whole latent cells of 8 x 8 pixels, with a line around
        each token of 16 x 16. clip: (224, 224, 3), the stretched square that the image encoder gets, its
        overshoot clipped.
    """
    image: Bytes = canvas.image.numpy()
    mask = canvas.mask.numpy().astype(np.bool_)
    cells = to_latent_mask(canvas.mask[None])[0].numpy()
    whole = np.zeros_like(mask)
    enlarged = cells.repeat(PIXEL_STRIDE, axis=0).repeat(PIXEL_STRIDE, axis=1).astype(np.bool_)
    whole[: enlarged.shape[0], : enlarged.shape[1]] = enlarged
    grey: Bytes = np.asarray(Image.fromarray(image).convert("L"))
    return {
        "canvas": _limited(image),
        "mask": _limited(_tinted(grey, mask)),
        "latent_mask": _limited(_with_grid(_tinted(grey, whole))),
        "clip": clip_square(canvas),
    }


def clip_square(canvas: Canvas) -> Tensor:
    """What CLIP sees, (224, 224, 3) uint8; values beyond 0 and 255, which it sees as well, are clipped."""
    seen = clip_pixels(canvas.pixels()[None])[0]
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    levels = ((seen * std + mean) * 255).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(1, 2, 0).contiguous()


def thumbnail(image: Tensor, alpha: Tensor | None, *, max_side: int) -> Tensor:
    """A picture with its alpha, made smaller where it is larger than asked for.

    Args:
        image: (H, W, 3) uint8.
        alpha: (H, W) uint8, or None for an opaque picture.
        max_side: in pixels, of the longer side.

    Returns:
        (h, w, 4) uint8.
    """
    opaque = torch.full_like(image[..., 0], 255) if alpha is None else alpha
    picture = Image.fromarray(torch.cat([image, opaque[..., None]], dim=-1).numpy())
    picture.thumbnail((max_side, max_side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return torch.as_tensor(np.array(picture))


def _tinted(grey: Bytes, mask: npt.NDArray[np.bool_]) -> Bytes:
    """(H, W) -> (H, W, 3): the grey picture with the marked pixels mixed with `MARK`."""
    levels = np.arange(256)[:, None]
    marked = ((1 - _TINT) * levels + _TINT * np.asarray(MARK)).astype(np.uint8)
    shades: Bytes = np.concatenate([np.broadcast_to(levels, (256, 3)).astype(np.uint8), marked])
    return shades[grey + mask * np.uint16(256)]


def _with_grid(picture: Bytes) -> Bytes:
    """The picture with a darker line at the upper and left border of each token."""
    lined: Bytes = np.array(picture)
    for lines in (np.s_[::PATCH_STRIDE], np.s_[:, ::PATCH_STRIDE]):
        lined[lines] = (picture[lines] * (1 - _GRID)).astype(np.uint8)
    return lined


def _limited(picture: Bytes) -> Tensor:
    if max(picture.shape[:2]) > MAX_SIDE:
        shown = Image.fromarray(picture)
        shown.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BOX)
        picture = np.array(shown)
    return torch.as_tensor(picture)
