"""Where on the canvas each subject is, in latent cells and in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ..canvas.compose import OPAQUE, Canvas, placed_alpha
from ..canvas.layout import Box
from ..sizes import PIXEL_STRIDE
from .mentions import Subject

Coverage = Literal["half", "any"]
"""half: a token is in a region if at least half of its pixels are; any: if one pixel is."""

_NOBODY = -1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Regions:
    """Shares of the latent cells of the canvas, [0, 1]."""

    boxes: Tensor
    """(K, h, w): of a cell's pixels, those in a box of subject k and in no later one of another; their sum
    over k is at most 1."""
    shown: Tensor
    """(K, h, w): those in which the subject shows, opaque and not covered; their sum over k is at most 1."""

    def cropped(self, top: int, left: int, height: int, width: int) -> Regions:
        """The same for a part of the canvas, in latent cells."""
        part = np.s_[:, top : top + height, left : left + width]
        return Regions(boxes=self.boxes[part], shown=self.shown[part])


def regions_of(canvas: Canvas, subjects: Sequence[Subject]) -> Regions:
    """Measure where the pictures of each subject lie, and where they show.

    Where boxes overlap, as over a background behind all, the place belongs to the one that was pasted last.

    Args:
        canvas: as composed; pixels beside the last whole cell are left out.
        subjects: those of the canvas's references.
    """
    owner = {index: number for number, one in enumerate(subjects) for index in one.references}
    rows, columns = canvas.height // PIXEL_STRIDE, canvas.width // PIXEL_STRIDE
    owns, shows = (np.full((canvas.height, canvas.width), _NOBODY, np.int64) for _ in range(2))
    for placement in canvas.placements:
        box, number = placement.box, owner[placement.reference]
        alpha = placed_alpha(canvas.references[placement.reference], height=box.height, width=box.width)
        _region(owns, box)[:] = number
        _region(shows, box)[alpha >= OPAQUE] = number
    boxes, shown = (_shares(top, len(subjects), rows, columns) for top in (owns, shows))
    return Regions(boxes=boxes, shown=shown)


def token_shares(cells: Tensor, patch: Sequence[int]) -> Tensor:
    """Shares of cells (K, h, w) -> shares of tokens (K, h / patch, w / patch); odd sizes are filled up."""
    height, width = patch
    filled = F.pad(cells[None], (0, -cells.shape[2] % width, 0, -cells.shape[1] % height), mode="replicate")
    return F.avg_pool2d(filled, (height, width))[0]


def in_region(shares: Tensor, coverage: Coverage) -> Tensor:
    """Shares of tokens (K, h, w) -> bool: which of them are in the region."""
    return shares > 0 if coverage == "any" else shares >= 0.5


def tokens_showing(shares: Tensor) -> tuple[Tensor, ...]:
    """The tokens that show each subject, so that none shows two.

    A token shows the subject with the largest share of it, if that is at least half, or if the subject fills
    half of no token at all.

    Args:
        shares: (K, h, w) of tokens, of `Regions.shown`.

    Returns:
        Per subject (N,) int64, numbered row by row.
    """
    flat = shares.flatten(1)  # (K, tokens)
    largest = flat.amax(0)
    first = flat.argmax(0)
    numbers = torch.arange(len(flat), device=flat.device)[:, None]
    mine = (first == numbers) & (largest > 0)
    half = mine & (flat >= 0.5)
    chosen = torch.where(half.any(1, keepdim=True), half, mine)
    return tuple(row.nonzero()[:, 0] for row in chosen)


def _region(values: npt.NDArray[np.int64], box: Box) -> npt.NDArray[np.int64]:
    return values[box.y : box.bottom, box.x : box.right]


def _shares(top: npt.NDArray[np.int64], count: int, rows: int, columns: int) -> Tensor:
    """Whose each pixel is, (H, W) -> (count, rows, columns) float32: each one's share of each cell."""
    whole = torch.as_tensor(top[: rows * PIXEL_STRIDE, : columns * PIXEL_STRIDE])
    marked = torch.stack([whole == number for number in range(count)]).float()
    return F.avg_pool2d(marked[None], PIXEL_STRIDE)[0]
