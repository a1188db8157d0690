"""Back-end: a mask that the user hands in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..canvas.compose import OPAQUE
from ..canvas.references import Reference
from ..errors import MagrefError, ShapeError
from .cutout import CutOut


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GivenMask:
    """Takes a mask as the alpha."""

    mask: Tensor
    """(H, W) float in [0, 1]; 1 on the subject."""

    def __call__(self, reference: Reference, /) -> CutOut:
        """See `Segmenter`.

        Raises:
            ShapeError: the mask has another size than the picture.
            MagrefError: nothing, or less than half of every pixel, is marked.
        """
        if self.mask.shape != (reference.height, reference.width):
            raise ShapeError(
                f"the mask of '{reference.name}' is {_size(self.mask)}, but its picture is "
                f"{reference.width} x {reference.height}: give a mask of the same size (for a picture "
                "without transparency Load Image gives one of 64 x 64: leave that unconnected)"
            )
        alpha = (self.mask.cpu().clamp(0, 1) * 255).round().to(torch.uint8)
        if not bool((alpha >= OPAQUE).any()):
            raise MagrefError(
                f"the mask of '{reference.name}' is empty, but it must be 1 on the subject: Load Image's "
                "MASK marks the transparent part, so put InvertMask between, or leave the mask unconnected"
            )
        return CutOut(alpha=alpha)


def _size(mask: Tensor) -> str:
    if mask.ndim != 2:
        return f"of shape {tuple(mask.shape)}"
    return f"{mask.shape[1]} x {mask.shape[0]}"
