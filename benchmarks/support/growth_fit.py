"""How time grows with the number of tokens: a constant, a linear and a quadratic share, none below zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

ROUNDING = 1e-9
"""Shares below it, at the largest size, are rounding and count as none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """Seconds = constant + linear n + quadratic n^2, for n tokens."""

    constant: float
    linear: float
    quadratic: float
    worst: float
    """The largest deviation from a measured time, relative to it."""

    def seconds(self, tokens: float) -> float:
        """What the curve says."""
        return self.constant + self.linear * tokens + self.quadratic * tokens**2

    @property
    def balance(self) -> float | None:
        """Tokens at which the quadratic share is as large as the linear one; None if one of them is 0."""
        return self.linear / self.quadratic if self.linear and self.quadratic else None

    def sentence(self) -> str:
        """The curve in words."""
        text = (
            f"t = {1e3 * self.constant:.3g} ms + {1e6 * self.linear:.3g} ms k + "
            f"{1e9 * self.quadratic:.3g} ms k^2 for k thousand tokens, off by at most {self.worst:.0%}"
        )
        balance = (
            "" if self.balance is None else f"; attention's square is level at {self.balance:,.0f} tokens"
        )
        return text + balance


def fit_growth(tokens: Sequence[int], seconds: Sequence[float]) -> Growth:
    """The curve with the least sum of squared relative deviations, of those without a negative share.

    Args:
        tokens: of each measurement, three different counts at least.
        seconds: of each, above 0.

    Raises:
        ValueError: too few different counts.
    """
    if len(set(tokens)) < 3:
        raise ValueError(
            f"{len(set(tokens))} different sizes were measured, but a curve needs 3: measure more"
        )
    n = torch.tensor(tokens, dtype=torch.float64)
    t = torch.tensor(seconds, dtype=torch.float64)
    scale = n.max()  # keeps the three columns of one size
    columns = torch.stack([(n / scale) ** power for power in range(3)], dim=1) / t[:, None]
    ones = torch.ones(len(t), dtype=torch.float64)
    best, least = torch.zeros(3, dtype=torch.float64), float("inf")
    for count in range(1, 4):
        for kept in combinations(range(3), count):
            found = torch.linalg.lstsq(columns[:, kept], ones).solution
            error = float((columns[:, kept] @ found - 1).square().sum())
            if error < least and bool((found >= 0).all()):
                best, least = torch.zeros(3, dtype=torch.float64), error
                best[list(kept)] = found
    best[best < ROUNDING * best.sum()] = 0
    worst = float((columns @ best - 1).abs().max())
    constant, linear, quadratic = (best / scale ** torch.arange(3)).tolist()
    return Growth(constant=constant, linear=linear, quadratic=quadratic, worst=worst)
