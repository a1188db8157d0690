"""Finding subjects by their pictures themselves: the cut-out, in several sizes, mirrored, lighter and darker.

It needs no model. It suits drawn subjects, whose colours stay where they are; of photographed people and
things it sees the clothes and colours at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from ..canvas.references import Reference
from .halves import Views, compare, pair_of, views_of
from .matching import BACKGROUND_ERROR, Bytes, Floats
from .sightings import Sightings, subjects_of
from .sprite_field import (
    HEIGHTS,
    Field,
    Placing,
    best_placings,
    field_of,
    premultiplied,
    shrink,
    sprites_of,
)

CANDIDATES = 5
"""Places per frame among which a way through the video is chosen."""
PARTS = (5, 3)
"""Rows and columns into which a sprite is cut; each part may lie a little elsewhere, for poses differ."""
REACH = 0.12
"""How far a part may be moved, in heights of the sprite."""
STIFFNESS = 0.1
"""What the largest move of a part costs, as a share of what its pixels cost where nothing explains them."""
BANDS = 4
"""Parts of a place from top to bottom, for telling the head of one on the body of another."""
JUMP = 0.3
"""What it costs to be elsewhere in the next frame, in likeness."""
SURE = 0.5
"""What it is worth that a half of a place is the subject for certain, in likeness."""
FLAT = 0.02
"""Deviation of the colours of a frame, 0..1, below which there is nothing to be seen."""
_VOTE = 0.04
"""Squared difference of colours, 0..3, by which one subject must explain a pixel better than another."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Fit:
    """A placing whose parts have found their own places."""

    placing: Placing
    errors: Floats
    """(H, W): squared difference of the colours that is left, `BACKGROUND_ERROR` where it says nothing."""
    region: npt.NDArray[np.bool_]
    """(H, W): where the sprite lies."""
    halves: tuple[float, float] = (0.0, 0.0)
    """How likely its upper and its lower half are the subject."""

    def value(self, taken: Sequence[_Fit] = ()) -> float:
        """What it explains that the others do not; less for small ones: a few pixels are easily alike.

        More where the subject is recognised.
        """
        alike = self.gain_over(taken) * min(1.0, float(self.region.mean() / 0.08) ** 0.5)
        return alike + SURE * max(self.halves)

    def gain_over(self, others: Sequence[_Fit]) -> float:
        """The share of its pixels that it explains beyond what the others do, 1 for all; may be below 0."""
        if not self.region.any():
            return 0.0
        left = np.full(int(self.region.sum()), BACKGROUND_ERROR, np.float32)
        for other in others:
            left = np.minimum(left, other.errors[self.region])
        return float((left - self.errors[self.region]).mean()) / BACKGROUND_ERROR

    def likeness_in(self, region: npt.NDArray[np.bool_]) -> float:
        """The share of some pixels that it explains, 1 for all."""
        left = float(self.errors[region].mean()) if region.any() else BACKGROUND_ERROR
        return 1 - left / BACKGROUND_ERROR


def find_by_sprites(
    frames: Bytes,
    numbers: Sequence[int],
    references: Sequence[Reference],
    *,
    check: Callable[[], None] = lambda: None,
) -> Sightings:
    """Look for each subject; see `sightings.Finder`.

    Args:
        frames: (F, H, W, 3) in 0..255.
        numbers: (F,) of the frames in the video.
        references: of all subjects.
        check: asked often; may raise to stop.
    """
    small = np.stack([shrink(frame) for frame in frames])
    subjects = subjects_of(references)
    sought: list[_Sought] = []
    candidates: list[list[list[_Fit]]] = []  # [subject][frame][candidate]
    for subject in subjects:
        check()
        field = field_of(small, sprites_of(subject, small.shape[1]))
        views = [views_of(premultiplied(reference)) for reference in subject.references]
        sought.append(_Sought(field=field, views=views, frames=frames, small=small))
        candidates.append([sought[-1].candidates(index) for index in range(len(small))])
    ways = _ways(candidates, small.shape[1])
    count, total = len(subjects), len(small)
    boxes = np.zeros((total, count, 4), np.float32)
    likeness = np.zeros((total, count, count), np.float32)
    shares = np.zeros((total, count, BANDS, count), np.float32)
    halves = np.zeros((total, count, 2, count), np.float32)
    alone = np.zeros((total, count), np.float32)
    for index, frame in enumerate(small):
        check()
        for place in range(count):
            own = ways[place][index]
            boxes[index, place] = _box(own.placing, frame)
            if frame.std(axis=(0, 1)).max() < FLAT:
                continue  # a frame of one colour shows nobody, whatever its light
            fits = [own if other == place else sought[other].near(index, own) for other in range(count)]
            shares[index, place] = _shares(fits, place)
            likeness[index, place] = [fit.likeness_in(own.region) for fit in fits]
            halves[index, place] = np.transpose([fit.halves for fit in fits])
            others = [ways[other][index] for other in range(count) if other != place]
            alone[index, place] = own.gain_over(others)
    return Sightings(
        names=tuple(subject.name for subject in subjects),
        frames=tuple(numbers),
        boxes=boxes,
        likeness=likeness,
        shares=shares,
        alone=alone,
        halves=halves,
        method="colours",
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Sought:
    """A subject, and the video in which it is looked for."""

    field: Field
    views: Sequence[Views]
    """Of each of its pictures, in the order of the sprites of the field."""
    frames: Bytes
    small: Floats
    """The frames as `field` knows them."""

    def candidates(self, index: int) -> list[_Fit]:
        """Where it may be in a frame, the likeliest first by colours."""
        return self._fitted(index, best_placings(self.field, index, CANDIDATES))

    def near(self, index: int, own: _Fit) -> _Fit:
        """It at the place of another one; nothing of it where it does not fit in at all."""
        fits = self._fitted(index, best_placings(self.field, index, 1, own.placing))
        nothing = np.full_like(own.errors, BACKGROUND_ERROR)
        return fits[0] if fits else _Fit(placing=own.placing, errors=nothing, region=own.region)

    def _fitted(self, index: int, placings: Sequence[Placing]) -> list[_Fit]:
        """By parts, and with how likely either half is the subject, told from the frame in full size."""
        frame = self.frames[index]
        factor = frame.shape[0] / self.small.shape[1]
        pairs: list[Floats] = []
        for placing in placings:
            tall, wide = placing.sprite.shape[:2]
            box = (placing.top * factor, placing.left * factor, tall * factor, wide * factor)
            pairs.append(pair_of(frame, self.views[placing.number // (2 * len(HEIGHTS))], box))
        told = compare(pairs)
        return [
            replace(_fit(self.small[index], placing), halves=(float(upper), float(lower)))
            for placing, (upper, lower) in zip(placings, told, strict=True)
        ]


def _fit(frame: Floats, placing: Placing) -> _Fit:
    """Let each part of a sprite find the place where it explains the frame best."""
    height, width = frame.shape[:2]
    tall, wide = placing.sprite.shape[:2]
    reach = max(1, round(REACH * tall))
    pad = reach + max(tall, wide)
    planes = np.concatenate(
        [(frame**2).sum(2, keepdims=True), frame, np.ones((height, width, 1), np.float32)], 2
    )
    padded = np.pad(planes, ((pad, pad), (pad, pad), (0, 0)))
    errors = np.full((height, width), BACKGROUND_ERROR, np.float32)
    region = np.zeros((height, width), np.bool_)
    edges = [
        [round(side * step / count) for step in range(count + 1)]
        for side, count in zip((tall, wide), PARTS, strict=True)
    ]
    for top, bottom in zip(edges[0], edges[0][1:], strict=False):
        for left, right in zip(edges[1], edges[1][1:], strict=False):
            part = placing.sprite[top:bottom, left:right]
            if part[..., 3].sum() < 1:
                continue
            row, column = placing.top + top, placing.left + left
            window = padded[
                row + pad - reach : row + pad + reach + bottom - top,
                column + pad - reach : column + pad + reach + right - left,
            ]
            if window.shape[:2] != (bottom - top + 2 * reach, right - left + 2 * reach):
                continue  # wholly outside
            down, across = _best_move(window, part, placing.gain, reach)
            _lay(errors, region, frame, part, placing.gain, (row + down, column + across))
    return _Fit(placing=placing, errors=errors, region=region)


def _best_move(window: Floats, part: Floats, gain: float, reach: int) -> tuple[int, int]:
    """How far down and to the right of its place a part explains a window best."""
    alpha, colours = part[..., 3:], part[..., :3]
    squares = (colours**2).sum(2, keepdims=True) / np.maximum(alpha, 1e-3)
    terms = np.concatenate([alpha, -2 * gain * colours, gain**2 * squares - BACKGROUND_ERROR * alpha], 2)
    seen, weights = (torch.as_tensor(each).permute(2, 0, 1)[None] for each in (window, terms))
    costs = F.conv2d(seen, weights)[0, 0].numpy()
    steps = np.arange(-reach, reach + 1)
    moved = (steps[:, None] ** 2 + steps[None] ** 2) / reach**2
    chosen = (costs + STIFFNESS * BACKGROUND_ERROR * float(alpha.sum()) * moved).argmin()
    row, column = (int(each) for each in np.unravel_index(int(chosen), costs.shape))
    return row - reach, column - reach


def _lay(
    errors: Floats,
    region: npt.NDArray[np.bool_],
    frame: Floats,
    part: Floats,
    gain: float,
    corner: tuple[int, int],
) -> None:
    """Write what a part leaves unexplained into `errors` and where it lies into `region`."""
    top, left = max(0, corner[0]), max(0, corner[1])
    bottom = min(frame.shape[0], corner[0] + part.shape[0])
    right = min(frame.shape[1], corner[1] + part.shape[1])
    if bottom <= top or right <= left:
        return
    seen = part[top - corner[0] : bottom - corner[0], left - corner[1] : right - corner[1]]
    there = frame[top:bottom, left:right]
    alpha, colours = seen[..., 3], seen[..., :3] * gain
    squares = (colours**2).sum(2) / np.maximum(alpha, 1e-3)
    rest = alpha * (there**2).sum(2) - 2 * (there * colours).sum(2) + squares
    rest += (1 - alpha) * BACKGROUND_ERROR
    errors[top:bottom, left:right] = np.minimum(errors[top:bottom, left:right], rest)
    region[top:bottom, left:right] |= alpha > 0.5


def _ways(candidates: Sequence[Sequence[Sequence[_Fit]]], height: int) -> list[list[_Fit]]:
    """One way through the video for each subject, those that are surest first; they keep apart."""
    free = [_way(given, [], height) for given in candidates]
    order = sorted(range(len(free)), key=lambda subject: -sum(fit.value() for fit in free[subject]))
    taken: list[list[_Fit]] = []
    ways = list(free)
    for subject in order:
        ways[subject] = _way(candidates[subject], taken, height)
        taken.append(ways[subject])
    return ways


def _way(candidates: Sequence[Sequence[_Fit]], taken: Sequence[Sequence[_Fit]], height: int) -> list[_Fit]:
    """The candidates, one per frame, that are most alike and jump least."""
    totals: list[list[float]] = []
    origins: list[list[int]] = []
    for index, given in enumerate(candidates):
        own = [fit.value([other[index] for other in taken]) for fit in given]
        if not index:
            totals.append(own)
            continue
        before = candidates[index - 1]
        costs = [
            [total - _jump(earlier, fit, height) for total, earlier in zip(totals[-1], before, strict=True)]
            for fit in given
        ]
        best = [int(np.argmax(each)) for each in costs]
        origins.append(best)
        totals.append([value + each[origin] for value, each, origin in zip(own, costs, best, strict=True)])
    chosen = [int(np.argmax(totals[-1]))]
    for best in reversed(origins):
        chosen.append(best[chosen[-1]])
    return [given[index] for given, index in zip(candidates, reversed(chosen), strict=True)]


def _jump(earlier: _Fit, later: _Fit, height: int) -> float:
    (row, column), (next_row, next_column) = earlier.placing.middle, later.placing.middle
    distance = float(np.hypot(next_row - row, next_column - column)) / height
    return JUMP * min(1.0, distance / 0.5)


def _box(placing: Placing, frame: Floats) -> Floats:
    """x, y, width and height in shares of the frame, within it."""
    height, width = frame.shape[:2]
    tall, wide = placing.sprite.shape[:2]
    top, left = max(0, placing.top), max(0, placing.left)
    bottom, right = min(height, placing.top + tall), min(width, placing.left + wide)
    return np.array([left / width, top / height, (right - left) / width, (bottom - top) / height], np.float32)


def _shares(fits: Sequence[_Fit], place: int) -> Floats:
    """(B, N): of the pixels of each band, how many each subject explains clearly better than all others."""
    region = fits[place].region
    shares = np.zeros((BANDS, len(fits)), np.float32)
    if not region.any():
        return shares
    rows = np.nonzero(region)[0]
    top, bottom = int(rows.min()), int(rows.max()) + 1
    errors = np.stack([fit.errors[region] for fit in fits])  # (N, P)
    rest = errors if len(fits) > 1 else np.concatenate([errors, np.full_like(errors, BACKGROUND_ERROR)])
    ordered = np.partition(rest, 1, axis=0)
    is_clear = (ordered[1] - ordered[0] > _VOTE) & (ordered[0] < 0.8 * BACKGROUND_ERROR)
    best, bands = rest.argmin(0), (rows - top) * BANDS // (bottom - top)
    for band in range(BANDS):
        here = bands == band
        votes = np.bincount(best[here & is_clear], minlength=len(fits))[: len(fits)]
        shares[band] = votes / max(1, int(here.sum()))
    return shares
