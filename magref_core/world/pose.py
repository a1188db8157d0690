"""How a puppet stands in one frame, in few steps, so that sprites can be kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """Legs, arm and eyelids."""

    stride: float = 0.0
    """-1 (left foot first) .. 1 (right foot first); 0 stands."""
    wave: float = 0.0
    """0 (arm down) .. 1 (arm up)."""
    blink: bool = False


STRIDES = (0.0, 1.0, 0.0, -1.0)
"""One cycle of steps, by quarters."""

WAVES = (0.5, 1.0)
"""The two places of a waving arm."""


def draw_pose(rng: np.random.Generator) -> Pose:
    """Any pose of a film, sometimes with closed eyes."""
    return Pose(
        stride=STRIDES[int(rng.integers(4))],
        wave=(0.0, *WAVES)[int(rng.integers(3))],
        blink=bool(rng.random() < 0.1),
    )
