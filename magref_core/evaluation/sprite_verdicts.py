"""Is a subject there, mixed with another one, or missing: told from sightings by colours.

No single number tells it: whoever is missing is found in somebody else's colours, and a mixture looks half
like each. A linear rule on some measures and their products does; its weights are fitted to drawn videos by
`benchmarks/subject_report.py --fit`, with other seeds than those that the benchmark measures.
"""

from __future__ import annotations

import itertools
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .matching import Floats
from .sightings import Sightings
from .sprite_weights import MEANS, SPREADS, WEIGHTS

State = Literal["correct", "merged", "missing"]
STATES: tuple[State, ...] = ("correct", "merged", "missing")

Numbers = npt.NDArray[np.float64]

TOP = 3
"""Frames that count as the best, and as the worst, of a subject."""
ALONE_LIMIT = 0.5
"""Mean chance of its halves, over the frames, from which on the only subject of a video counts as there."""
LEAST = 0.4
"""Likeness below which a subject is missing, whatever else is measured."""
LONE_MERGER = 2.0
"""Taken off the logarithm of the chance that one subject is merged while all others are not."""
_FEW = 0.08
"""Added to shares that are divided by, so that a band without votes tells nothing."""


def states_of(sightings: Sightings) -> list[State]:
    """The state of each subject."""
    if len(sightings.names) == 1:
        own = float(np.median(sightings.likeness[:, 0, 0]))
        known = float(np.mean(sightings.halves)) if sightings.halves is not None else 0.0
        return ["correct" if own >= LEAST and known >= ALONE_LIMIT else "missing"]
    measures = measures_of(sightings)
    scores = expand(measures, np.array(MEANS), np.array(SPREADS)) @ np.array(WEIGHTS)
    states = _together(scores)
    return ["missing" if own < LEAST else state for state, own in zip(states, measures[:, 0], strict=True)]


def _together(scores: Numbers) -> list[State]:
    """The states that are most likely together: it takes two to be merged, as a rule."""
    count = len(scores)
    merged = STATES.index("merged")

    def value(given: tuple[int, ...]) -> float:
        alone = given.count(merged) == 1
        return float(scores[range(count), given].sum()) - LONE_MERGER * alone

    best = max(itertools.product(range(len(STATES)), repeat=count), key=value) if count <= 6 else None
    chosen = [int(index) for index in scores.argmax(1)] if best is None else best
    return [STATES[index] for index in chosen]


def expand(measures: Numbers, means: Numbers, spreads: Numbers) -> Numbers:
    """(N, M) -> (N, M + M (M + 1) / 2 + 1): normalised, their products, and 1."""
    normal = (measures - means) / spreads
    first, second = np.triu_indices(normal.shape[1])
    products = normal[:, first] * normal[:, second] / 2
    return np.concatenate([normal, products, np.ones((len(normal), 1))], 1)


def measures_of(sightings: Sightings) -> Numbers:
    """(N, M): what is measured of each of at least two subjects."""
    rows = [
        np.concatenate(
            [_of_looks(sightings, index), _of_places(sightings, index), _of_halves(sightings, index)]
        )
        for index in range(len(sightings.names))
    ]
    return np.stack(rows)


def _of_halves(sightings: Sightings, index: int) -> Numbers:
    """Whether either half of its place, and of the others, is recognised as it."""
    halves = np.asarray(sightings.halves, np.float64)  # (F, place, half, subject)
    others = [other for other in range(len(sightings.names)) if other != index]
    own = halves[:, index, :, index]  # (F, 2)
    best = own[np.argsort(own.max(1))[-TOP:]]
    apart = own[:, None] * (1 - own[:, None, ::-1])
    its = np.moveaxis(halves[:, index][..., others], 2, 1)  # (F, others, 2)
    mixed = (apart * its[..., ::-1] * (1 - its)).max(2).mean(0)
    elsewhere = np.moveaxis(halves[:, others][..., index], 2, 1)  # (F, 2, others)
    return np.array(
        [
            *_surely(own.mean(0)),
            *_surely(np.sort(best, 1).mean(0)),
            _surely(np.median(own.min(1))),
            _surely(np.median(own.max(1))),
            _surely(own.min(1).max()),
            abs(own[:, 0] - own[:, 1]).mean(),
            mixed.max(),
            _surely(its.mean((0,)).max()),
            _surely(its.min(2).mean(0).max()),
            _surely(elsewhere.mean(0).max()),
            _surely(elsewhere.min(1).mean(0).max()),
        ],
        np.float64,
    )


def _surely(chance: Any) -> Any:
    """Logarithm of the odds, within 5 of even."""
    return np.maximum(np.minimum(np.log((chance + 1e-4) / (1 - chance + 1e-4)), 5), -5)


def _of_looks(sightings: Sightings, index: int) -> Numbers:
    """Who explains what, and how well."""
    others = [other for other in range(len(sightings.names)) if other != index]
    likeness = np.median(sightings.likeness, 0)  # (place, subject)
    ordered = np.sort(sightings.likeness[:, index, index])
    own = likeness[index, index]
    shares = sightings.shares.mean(0)  # (place, band, subject)
    rival = max(others, key=lambda other: float(shares[index, :, other].sum()))
    mine, its = shares[index, :, index], shares[index, :, rival]
    half = len(mine) // 2
    upper_lower = np.array([[mine[:half].mean(), mine[half:].mean()], [its[:half].mean(), its[half:].mean()]])
    mixed_halves = upper_lower[1] / (upper_lower.sum(0) + _FEW)
    mixed_bands = its / (mine + its + _FEW)
    overlaps = {other: _overlap(sightings.boxes[:, index], sightings.boxes[:, other]) for other in others}
    by_frame = sightings.shares[:, index].mean(1)  # (F, N)
    is_clear = by_frame[:, index] > 2 * by_frame[:, others].max(1)
    at_rival = shares[rival].mean(0)
    alone = np.median(sightings.alone, 0)
    return np.array(
        [
            own,
            ordered[-TOP:].mean(),
            ordered[:TOP].mean(),
            max(likeness[index, other] for other in others) - own,
            mine.mean(),
            its.mean(),
            its.sum() / (mine.sum() + its.sum() + 0.3),
            mixed_halves.max(),
            mixed_halves.min(),
            mixed_bands.max(),
            max(overlaps.values()),
            max(overlap * (likeness[other, other] - own) for other, overlap in overlaps.items()),
            is_clear.mean(),
            max(likeness[other, index] - likeness[other, other] for other in others),
            at_rival[index] / (at_rival[index] + at_rival[rival] + _FEW),
            alone[index],
            np.sort(sightings.alone[:, index])[-TOP:].mean(),
            alone[index] / max(own, 0.1),
            alone[rival],
        ],
        np.float64,
    )


def _of_places(sightings: Sightings, index: int) -> Numbers:
    """Size, way and ground beside those of the others, and how well these are seen."""
    others = [other for other in range(len(sightings.names)) if other != index]
    boxes = sightings.boxes
    sizes = np.log(np.median(boxes[..., 3], 0) + 0.05)
    middles = boxes[:, index, :2] + boxes[:, index, 2:] / 2
    jumps = np.sqrt((np.diff(middles, axis=0) ** 2).sum(1))
    grounds = [np.median(boxes[:, each, 1] + boxes[:, each, 3]) for each in range(len(sightings.names))]
    scores = sightings.scores()
    return np.array(
        [
            len(others) > 1,
            sizes[index],
            sizes[index] - sizes[others].mean(),
            np.log(boxes[:, index, 3] + 0.05).std(),
            jumps.sum(),
            jumps.max(initial=0),
            grounds[index],
            grounds[index] - np.mean([grounds[other] for other in others]),
            np.median(scores[:, others].min(1)),
            (scores[:, index] > 0.62).mean(),
            np.median(sightings.alone[:, others].min(1)),
        ],
        np.float64,
    )


def _overlap(boxes: Floats, others: Floats) -> float:
    """Mean over the frames of shared area over all area."""
    corner = np.maximum(boxes[:, :2], others[:, :2])
    end = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])
    shared = np.maximum(end - corner, 0).prod(1)
    whole = boxes[:, 2:].prod(1) + others[:, 2:].prod(1) - shared
    return float((shared / (whole + 1e-9)).mean())
