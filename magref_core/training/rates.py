"""The learning rate over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import MagrefError

Decay = Literal["late_cosine", "cosine_restarts"]
"""late_cosine: constant, then a cosine to `final`; cosine_restarts: cosines from the top, again and again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RateConfig:
    """Learning rate over the steps.

    Raises:
        MagrefError: a value is outside its range.
    """

    peak: float = 1e-3
    warmup: int = 200
    """Steps of a linear rise at the start."""
    decay: Decay = "late_cosine"
    constant: float = 0.6
    """Share of the run before the cosine of `late_cosine` starts, in [0, 1]."""
    cycle: int = 10_000
    """Steps of one cosine of `cosine_restarts`."""
    final: float = 0.02
    """Share of the peak at the foot of a cosine, in [0, 1]."""

    def __post_init__(self) -> None:
        if self.decay not in get_args(Decay):
            raise MagrefError(
                f"the decay is '{self.decay}', which is unknown: use one of {', '.join(get_args(Decay))}"
            )
        if not (math.isfinite(self.peak) and self.peak > 0):
            raise MagrefError(f"the learning rate is {self.peak}, but must be a finite number above 0")
        if self.warmup < 0 or self.cycle < 1:
            raise MagrefError(f"warmup is {self.warmup} and cycle {self.cycle} steps: use at least 0 and 1")
        if not (0 <= self.constant <= 1 and 0 <= self.final <= 1):
            raise MagrefError(f"constant is {self.constant} and final {self.final}: both must be from 0 to 1")


def rate_at(step: int, num_steps: int, config: RateConfig) -> float:
    """Learning rate of optimiser step `step`, counted from 0, of a run of `num_steps`."""
    if step < config.warmup:
        return config.peak * (step + 1) / config.warmup
    if config.decay == "cosine_restarts":
        progress = (step - config.warmup) % config.cycle / config.cycle
    else:
        start = config.constant * num_steps
        progress = min(1.0, max(0.0, (step - start) / max(1.0, num_steps - start)))
    fall = (1 + math.cos(math.pi * progress)) / 2
    return config.peak * (config.final + (1 - config.final) * fall)
