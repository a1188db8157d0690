"""Back-end: the transparency that the picture file brought along."""

from __future__ import annotations

from dataclasses import dataclass

from ..canvas.references import Reference
from .cutout import CutOut, Segmenter


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnAlpha:
    """Takes the file's own transparency, and asks another back-end where there is none."""

    fallback: Segmenter | None = None
    """None: a picture without transparency stays whole, with a warning."""

    def __call__(self, reference: Reference, /) -> CutOut:
        """See `Segmenter`."""
        if reference.alpha is not None:
            return CutOut(alpha=reference.alpha)
        if self.fallback is not None:
            return self.fallback(reference)
        warning = (
            f"the picture of '{reference.name}' has no transparency, so the whole picture is used: "
            "choose another method, or connect a mask"
        )
        return CutOut(alpha=None, warnings=(warning,))
