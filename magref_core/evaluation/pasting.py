"""Whether a video repeats the very pixels of a reference instead of showing its subject anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..canvas.references import Reference
from .matching import BACKGROUND_ERROR, Bytes, Floats
from .sightings import subjects_of
from .sprite_field import field_of, shrink, sprites_of

SAME_LIGHT = (0.93, 1.07)
"""Gains under which a picture still counts as the same one."""


def paste_scores(frames: Bytes, references: Sequence[Reference]) -> Floats:
    """How well each picture, not turned, bent or lit anew, explains a frame at its best place and size.

    Args:
        frames: (F, H, W, 3) in 0..255; a few are enough.
        references: of all subjects; backgrounds are left out.

    Returns:
        (F, N): 1 where the picture is in the frame pixel by pixel, 0 where nothing of it is. New views of a
        drawn subject reach about 0.5 to 0.7.
    """
    small = np.stack([shrink(frame) for frame in frames])
    scores: list[Floats] = []
    for subject in subjects_of(references):
        field = field_of(small, sprites_of(subject, small.shape[1]))
        areas = np.array([sprite[..., 3].sum() for sprite in field.sprites], np.float32)
        is_same = (field.gains >= SAME_LIGHT[0]) & (field.gains <= SAME_LIGHT[1])
        costs = np.where(is_same, field.costs, np.inf).min((2, 3)) / (BACKGROUND_ERROR * areas)
        scores.append(np.maximum(0, -costs.min(1)).astype(np.float32))
    return np.stack(scores, 1)
