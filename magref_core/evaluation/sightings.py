"""Where in a video each subject was found, and whom it looks like there: what a finder tells the judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..canvas.references import Reference
from .matching import Bytes, Floats


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sightings:
    """N subjects in F frames; place n is where subject n was found best, whoever stands there."""

    names: tuple[str, ...]
    frames: tuple[int, ...]
    """(F,) numbers of the frames that were looked at, rising."""
    boxes: Floats
    """(F, N, 4): x, y, width and height of each place, in shares of the frame."""
    likeness: Floats
    """(F, N, N) by place and subject: how much what stands there looks like a subject; 1 is the same, 0
    nothing alike; may be below."""
    shares: Floats
    """(F, N, B, N) by place, band of it from top to bottom, and subject in [0, 1]: the part of the band that
    looks more like this subject than like any other; the last axis adds up to at most 1."""
    alone: Floats
    """(F, N): the likeness of each subject in what no other subject explains, each at its own place."""
    method: str
    """What found them, for the report."""
    halves: Floats | None = None
    """(F, N, 2, N) by place, its upper and lower half, and subject in [0, 1]: how likely the half shows the
    subject, of `halves.compare`; None where the method does not ask that."""

    def scores(self) -> npt.NDArray[np.float32]:
        """(F, N): the likeness of each subject at its own place."""
        return np.asarray(np.diagonal(self.likeness, axis1=1, axis2=2), np.float32)


class Finder(Protocol):
    """Looks for subjects in a video."""

    def __call__(
        self, frames: Bytes, numbers: Sequence[int], references: Sequence[Reference], /
    ) -> Sightings:
        """Look for each subject.

        Args:
            frames: (F, H, W, 3) in 0..255; only those that are to be looked at.
            numbers: (F,) their numbers in the video.
            references: one or several photos of each subject, see `subjects_of`.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subject:
    """Whom to look for."""

    name: str
    references: tuple[Reference, ...]
    """Photos of the same subject."""


def subjects_of(references: Sequence[Reference]) -> tuple[Subject, ...]:
    """The subjects of a canvas in the order of their first photos; backgrounds are left out."""
    photos: dict[str, list[Reference]] = {}
    for reference in references:
        if reference.kind != "background":
            photos.setdefault(reference.subject or reference.name, []).append(reference)
    return tuple(Subject(name=name, references=tuple(given)) for name, given in photos.items())


def spread(num_frames: int, count: int) -> tuple[int, ...]:
    """At most `count` frame numbers, evenly from the first to the last."""
    if num_frames <= count:
        return tuple(range(num_frames))
    return tuple(sorted({round(index * (num_frames - 1) / (count - 1)) for index in range(count)}))
