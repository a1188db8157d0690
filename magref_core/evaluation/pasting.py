"""Whether a video repeats the very pixels of a reference instead of showing its subject anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..canvas.references import Reference
from .matching import BACKGROUND_ERROR, Bytes, Floats
from .sightings import subjects_of
from .sprite_field import HEIGHTS, field_of, shrink, sprites_of

FINER = (0.925, 0.95, 0.975, 1.025, 1.05, 1.075)
"""Sizes that are tried beside the best one: a copy must fit to the pixel."""
SAME_LIGHT = (0.93, 1.07)
"""Gains under which a picture still counts as the same one."""


def paste_scores(frames: Bytes, references: Sequence[Reference]) -> Floats:
    """How well each picture, not turned, bent or lit anew, explains a frame at its best place and size.

    Args:
        frames: (F, H, W, 3) in 0..255; a few are enough.
        references: of all subjects; backgrounds are left out.

    Returns:
        (F, N): 1 where the picture is in the frame pixel by pixel, 0 where nothing of it is. On drawn videos
        new views reach 0.4 to 0.87, copies in small frames 0.8 and more: a hint, no proof.
    """
    small = np.stack([shrink(frame) for frame in frames])
    scores: list[Floats] = []
    for subject in subjects_of(references):
        coarse = _scores(small, sprites_of(subject, small.shape[1]))  # (F, K)
        number = int(coarse.max(0).argmax())
        photo, share = number // (2 * len(HEIGHTS)), HEIGHTS[number // 2 % len(HEIGHTS)]
        alone = replace(subject, references=(subject.references[photo],))
        fine = _scores(small, sprites_of(alone, small.shape[1], [share * factor for factor in FINER]))
        scores.append(np.maximum(0, np.maximum(coarse.max(1), fine.max(1))))
    return np.stack(scores, 1)


def _scores(frames: Floats, sprites: Sequence[Floats]) -> Floats:
    """(F, K): what each sprite explains at its best place under its own light."""
    field = field_of(frames, sprites)
    areas = np.array([sprite[..., 3].sum() for sprite in sprites], np.float32)
    is_same = (field.gains >= SAME_LIGHT[0]) & (field.gains <= SAME_LIGHT[1])
    costs = np.where(is_same, field.costs, np.inf).min((2, 3))
    return np.asarray(-costs / (BACKGROUND_ERROR * areas), np.float32)
