"""A running average of the weights, which is what a run ships."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor


class WeightAverage:
    """Exponential moving average; early steps average over fewer, (1 + n) / (10 + n), up to `decay`.

    Args:
        weights: by name, of what is trained; copied as float32.
        decay: share of the old average that a step keeps, in [0, 1).
    """

    def __init__(self, weights: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().float().clone() for name, value in weights.items()}

    def update(self, weights: Mapping[str, Tensor], step: int) -> None:
        """Move the average towards the weights after optimiser step `step`, counted from 0."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        names = list(self.values)
        current = [weights[name].detach().float() for name in names]
        lerp = cast("Any", torch)._foreach_lerp_  # all of them at once
        lerp([self.values[name] for name in names], current, share)
