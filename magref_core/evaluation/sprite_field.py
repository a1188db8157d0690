"""Where the cut-out of a subject explains a frame: all places, sizes, sides and lights at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..canvas.references import Reference
from .matching import BACKGROUND_ERROR, Bytes, Floats
from .sightings import Subject

SIDE = 72
"""Longer side in pixels at which frames are compared."""
HEIGHTS = tuple(0.22 * 1.16**step for step in range(11))
"""Of a subject, in frame heights: 0.22 to 0.97."""
GAINS = (0.45, 1.5)
"""By how much a subject may be darker or lighter than in its picture."""
MARGIN = 0.3
"""Of a subject that may lie outside of the frame."""


_spectra = cast("Callable[..., Tensor]", torch.fft.rfft2)  # pyright: ignore[reportUnknownMemberType]
_from_spectra = cast("Callable[..., Tensor]", torch.fft.irfft2)  # pyright: ignore[reportUnknownMemberType]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Field:
    """What it costs to explain F frames by K sprites of one subject at every place."""

    sprites: tuple[Floats, ...]
    """(h, w, 4) each in 0..1, colours multiplied by alpha."""
    costs: Floats
    """(F, K, Y, X) as of `matching.match_costs`, infinite where too much lies outside of the frame."""
    gains: Floats
    """(F, K, Y, X): the light under which it costs that."""
    margin: int
    """Rows above and columns left of the frame at which Y and X begin."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Placing:
    """A sprite at a place of a frame."""

    cost: float
    """As of `matching.match_costs`: negative where the subject explains the frame better than nothing."""
    sprite: Floats
    number: int
    """Of the sprite in its field."""
    top: int
    left: int
    gain: float
    """Factor on its colours."""

    @property
    def middle(self) -> tuple[float, float]:
        """Row and column."""
        height, width = self.sprite.shape[:2]
        return self.top + height / 2, self.left + width / 2


def sprites_of(subject: Subject, height: int, shares: Sequence[float] = HEIGHTS) -> tuple[Floats, ...]:
    """Each photo in all sizes, as it is and mirrored.

    Args:
        subject: with or without cut-outs; without one the whole picture is the sprite.
        height: of the frames, in pixels.
        shares: the sizes, in frame heights.

    Returns:
        (h, w, 4) each in 0..1, colours multiplied by alpha.
    """
    sprites: list[Floats] = []
    for reference in subject.references:
        picture = premultiplied(reference)
        for share in shares:
            rows = max(4, round(share * height))
            columns = max(3, round(rows * picture.shape[1] / picture.shape[0]))
            sprite = np.asarray(
                cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA), np.float32
            )
            sprites += [sprite, np.ascontiguousarray(sprite[:, ::-1])]
    return tuple(sprites)


def premultiplied(reference: Reference) -> Floats:
    """(H, W, 4) in 0..1, cropped to the cut-out."""
    image = np.divide(reference.image.numpy(), 255, dtype=np.float32)
    if reference.alpha is None:
        return np.concatenate([image, np.ones((*image.shape[:2], 1), np.float32)], 2)
    alpha = np.divide(reference.alpha.numpy()[..., None], 255, dtype=np.float32)
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    whole = np.concatenate([image * alpha, alpha], 2)
    return whole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def shrink(frame: Bytes) -> Floats:
    """(h, w, 3) in 0..1."""
    height, width = frame.shape[:2]
    factor = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.float32)
    return np.divide(small, 255, dtype=np.float32)


def field_of(frames: Floats, sprites: Sequence[Floats]) -> Field:
    """All placings at once, by products of spectra.

    A sprite of colours c and alpha a costs, at a place and under a gain g, the sum over its pixels in the
    frame of a |f - g c|^2 - a BACKGROUND_ERROR, least for g = sum(a f c) / sum(a |c|^2).
    """
    total, height, width = frames.shape[:3]
    margin = round(MARGIN * height)
    tall, wide = (max(sprite.shape[axis] for sprite in sprites) for axis in (0, 1))
    size = (_fast(height + 2 * margin + tall), _fast(width + 2 * margin + wide))
    planes = np.concatenate(
        [(frames**2).sum(3, keepdims=True), frames, np.ones((total, height, width, 1), np.float32)], 3
    )
    padded = np.pad(np.moveaxis(planes, 3, 1), ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    given = _spectra(torch.as_tensor(padded), s=size)  # (F, 5, ...)
    answers = [_costs_of(given, sprite, size, height + 2 * margin, width + 2 * margin) for sprite in sprites]
    costs, gains = (torch.stack([answer[index] for answer in answers], 1).numpy() for index in (0, 1))
    return Field(sprites=tuple(sprites), costs=costs, gains=gains, margin=margin)


def _fast(length: int) -> int:
    """The next length whose spectrum is quick to compute: without prime factors above 5."""
    rest = length
    for factor in (2, 3, 5):
        while rest % factor == 0:
            rest //= factor
    return length if rest == 1 else _fast(length + 1)


def _costs_of(
    given: Tensor, sprite: Floats, size: tuple[int, int], height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Costs and gains of one sprite, (F, Y, X) each."""
    values = torch.as_tensor(np.ascontiguousarray(np.moveaxis(sprite, 2, 0)))
    colours, alpha = values[:3], values[3]
    squares = (colours**2).sum(0) / alpha.clamp_min(1e-3)
    spectra = _spectra(torch.cat([alpha[None], colours, squares[None]]), s=size).conj()  # (5, ...)
    varying = [given[:, 0] * spectra[0], (given[:, 1:4] * spectra[1:4]).sum(1)]
    fixed = [given[:1, 4] * spectra[4], given[:1, 4] * spectra[0]]  # the same in every frame
    light, product, square, area = (
        each
        for sums in (varying, fixed)
        for each in _from_spectra(torch.stack(sums, 1), s=size)[..., :height, :width].unbind(1)
    )
    gain = (product / square.clamp_min(1e-3)).clamp(*GAINS)
    cost = light - 2 * gain * product + gain**2 * square - BACKGROUND_ERROR * area
    is_outside = area < (1 - MARGIN) * alpha.sum()
    return torch.where(is_outside, torch.inf, cost), gain


def best_placings(field: Field, frame: int, count: int, around: Placing | None = None) -> list[Placing]:
    """The cheapest placings in a frame that are apart from each other, the best first.

    Args:
        field: of one subject.
        frame: index into its frames.
        count: at most so many.
        around: only where another subject is, in about its size; None: anywhere.
    """
    costs = field.costs[frame]
    if around is not None:
        costs = np.where(_near(field, around, costs.shape, (0.15, 0.2), (0.74, 1.35)), costs, np.inf)
    found: list[Placing] = []
    while len(found) < count:
        sprite, row, column = (int(each) for each in np.unravel_index(int(costs.argmin()), costs.shape))
        if not np.isfinite(costs[sprite, row, column]):
            break
        placing = Placing(
            cost=float(costs[sprite, row, column]),
            sprite=field.sprites[sprite],
            number=sprite,
            top=row - field.margin,
            left=column - field.margin,
            gain=float(field.gains[frame, sprite, row, column]),
        )
        found.append(placing)
        if len(found) < count:
            taken = _near(field, placing, costs.shape, (0.25, 0.25), (0.7, 1.45))
            costs = np.where(taken, np.inf, costs)
    return found


def _near(
    field: Field,
    around: Placing,
    shape: tuple[int, ...],
    reach: tuple[float, float],
    sizes: tuple[float, float],
) -> npt.NDArray[np.bool_]:
    """(K, Y, X): placings of about the same middle, within `reach` heights, and size."""
    tall = around.sprite.shape[0]
    rows, columns = np.arange(shape[1])[:, None], np.arange(shape[2])[None]
    chosen = np.zeros(shape, np.bool_)
    for index, sprite in enumerate(field.sprites):
        if sizes[0] <= sprite.shape[0] / tall <= sizes[1]:
            down = rows - field.margin + sprite.shape[0] / 2 - around.middle[0]
            across = columns - field.margin + sprite.shape[1] / 2 - around.middle[1]
            chosen[index] = (abs(down) <= reach[0] * tall) & (abs(across) <= reach[1] * tall)
    return chosen
