"""What every cut-out back-end offers, and how its result becomes part of a reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ..canvas.compose import OPAQUE
from ..canvas.references import Reference
from .cleanup import Cleanup, clean, despill

SMALL_SHARE = 1 / 32
"""Share of the picture below which a cut-out deserves a look; the bound OpenS2V sets for its best subset."""

FULL_SHARE = 0.995
"""Share of the picture from which on nothing was cut away to speak of."""

_FRAME_SLACK = 0.1
"""Share of the border that may be cut away, and of the middle that may be kept, in an inverted mask."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CutOut:
    """The answer of a back-end."""

    alpha: Tensor | None
    """(H, W) uint8; 255 on the subject. None: the picture stays as it is."""
    warnings: tuple[str, ...] = ()
    """One sentence each, for the user."""


class Segmenter(Protocol):
    """A way to cut subjects out."""

    def __call__(self, reference: Reference, /) -> CutOut:
        """Find the subject of one reference; the size is that of its picture."""
        ...


def cut_out(
    reference: Reference, segmenter: Segmenter, *, cleanup: Cleanup | None = None
) -> tuple[Reference, tuple[str, ...]]:
    """Give a reference the alpha that a back-end finds.

    Args:
        reference: its own alpha is replaced if the back-end has an answer.
        segmenter: the back-end.
        cleanup: what to do to the alpha; None leaves it alone.

    Returns:
        The reference, and warnings for the user. An empty cut-out is never applied.

    Raises:
        MagrefError: the back-end cannot work with what it is given.
    """
    found = segmenter(reference)
    if found.alpha is None:
        return reference, found.warnings
    alpha = clean(found.alpha, cleanup) if cleanup else found.alpha
    warning = _judge(reference.name, (alpha >= OPAQUE).float().mean().item()) or _judge_place(
        reference.name, alpha
    )
    warnings = (*found.warnings, warning) if warning else found.warnings
    if not bool((alpha >= OPAQUE).any()):
        return reference, warnings
    image = despill(reference.image, alpha) if cleanup and cleanup.despill else reference.image
    return replace(reference, image=image, alpha=alpha), warnings


def _judge(name: str, share: float) -> str | None:
    """A warning if the share of the picture that is left is suspicious."""
    if share == 0:
        return (
            f"the cut-out of '{name}' is empty, so its picture is used as it was: "
            "choose another method, or connect a mask"
        )
    if share < SMALL_SHARE:
        return (
            f"the cut-out of '{name}' covers only {share:.1%} of its picture: look at it, and if it is "
            "wrong, crop the picture or connect a mask"
        )
    if share >= FULL_SHARE:
        return (
            f"the cut-out of '{name}' covers the whole picture, nothing was cut away: "
            "choose another method, or connect a mask"
        )
    return None


def _judge_place(name: str, alpha: Tensor) -> str | None:
    """A warning if the frame of the picture is marked and its middle is not, as in an inverted mask."""
    height, width = alpha.shape
    opaque = alpha >= OPAQUE
    frame = torch.cat([opaque[0], opaque[-1], opaque[:, 0], opaque[:, -1]]).float().mean().item()
    middle = opaque[height // 3 : -(height // 3) or None, width // 3 : -(width // 3) or None]
    if frame > 1 - _FRAME_SLACK and middle.float().mean().item() < _FRAME_SLACK:
        return (
            f"the cut-out of '{name}' keeps the border of its picture and leaves out the middle, as an "
            "inverted mask does: look at it, and if it is wrong, put InvertMask between"
        )
    return None
