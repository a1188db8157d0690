"""From what a finder saw to a verdict on each subject: correct, swapped, merged or missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import MagrefError
from .matching import Floats
from .sightings import Sightings
from .sprite_verdicts import State, states_of

Verdict = Literal["correct", "swapped", "merged", "missing"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Where one verdict ends and the next begins, by the measure of a finder."""

    present: float
    """Likeness, median over the frames, from which on a subject is there."""
    rival: float
    """By how much another one may look more alike at a subject's place before the place counts as its."""
    split: float
    """Share of a band, among what looks like anybody, from which on a second subject is mixed in."""


LIMITS: Mapping[str, Limits] = {
    "encoder": Limits(present=0.5, rival=0.02, split=0.4),
    "faces": Limits(present=0.28, rival=0.05, split=0.5),
}
"""By the method of the sightings; colours has a rule of its own, `sprite_verdicts`. Those of faces follow the
usual threshold of ArcFace, those of encoders are a guess that was not tried on photographs."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judgement:
    """Verdicts on N subjects."""

    verdicts: tuple[Verdict, ...]
    order: tuple[str, ...]
    """As given; empty for none."""
    confusion: Floats
    """(N, N) in [0, 1]: how much of the place that belongs to a subject (row) shows each (column)."""


def parse_order(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """Names with commas between, from left to right.

    Args:
        text: empty for none.
        names: of all subjects.

    Raises:
        MagrefError: a name is unknown or comes twice.
    """
    order = tuple(word.strip() for word in text.split(",") if word.strip())
    for name in order:
        if name not in names:
            raise MagrefError(f"the order names '{name}', but the subjects are {', '.join(names)}: use those")
        if order.count(name) > 1:
            raise MagrefError(f"the order names '{name}' twice: name each subject once")
    return order


def judge(sightings: Sightings, order: Sequence[str] = ()) -> Judgement:
    """Judge each subject.

    A subject is missing where nothing is like it, or where what is most like it is another subject; merged
    where its place shows it and another one; swapped where it stands where the order has another one; else
    correct.

    Args:
        sightings: of a finder.
        order: names from left to right at the start of the video; those left out may stand anywhere. Without
            it nobody is swapped.
    """
    names = sightings.names
    found = states_of(sightings) if sightings.method == "colours" else _find_states(sightings)
    middles = _middles_at_start(sightings)
    listed = [names.index(name) for name in order if found[names.index(name)] == "correct"]
    by_place = sorted(listed, key=lambda index: middles[index])
    verdicts: list[Verdict] = list(found)
    for expected, standing in zip(listed, by_place, strict=True):
        if expected != standing:
            verdicts[standing] = "swapped"
    places = dict(zip(listed, by_place, strict=True))
    shares = sightings.shares.mean((0, 2))  # (place, subject)
    confusion = np.stack([shares[places.get(index, index)] for index in range(len(names))])
    return Judgement(verdicts=tuple(verdicts), order=tuple(order), confusion=confusion)


def _find_states(sightings: Sightings) -> list[State]:
    """Correct, merged or missing, by limits, whoever stands where."""
    limits = LIMITS[sightings.method]
    likeness = np.median(sightings.likeness, 0)
    shares = sightings.shares.mean(0)  # (place, band, subject)
    states: list[State] = []
    for index in range(len(sightings.names)):
        others = [other for other in range(len(sightings.names)) if other != index]
        own = likeness[index, index]
        rival = max((likeness[index, other] - own for other in others), default=-np.inf)
        mixed = max((_mixed(shares[index], index, other) for other in others), default=0.0)
        if own < limits.present or rival > limits.rival:
            states.append("missing")
        else:
            states.append("merged" if mixed > limits.split else "correct")
    return states


def _mixed(shares: Floats, index: int, other: int) -> float:
    """The largest part that another subject has in a band of a place, of what is like either."""
    mine, its = shares[:, index], shares[:, other]
    return float((its / np.maximum(mine + its, 1e-6)).max())


def _middles_at_start(sightings: Sightings) -> npt.NDArray[np.float32]:
    """(N,): where each subject is from left to right, in the first third of the frames.

    Where the finder says in which of them it recognises a subject, those count.
    """
    count = max(1, len(sightings.frames) // 3)
    middles = sightings.boxes[:count, :, 0] + sightings.boxes[:count, :, 2] / 2  # (F, N)
    if sightings.halves is None:
        return np.asarray(np.median(middles, 0), np.float32)
    own = np.diagonal(sightings.halves[:count], axis1=1, axis2=3).max(1)  # (F, N)
    weights = own**2 + 1e-3
    return np.asarray((middles * weights).sum(0) / weights.sum(0), np.float32)
