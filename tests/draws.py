"""What the tests of random draws compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def is_drawn_from(values: Sequence[float], share_below: Callable[[float], float]) -> bool:
    """Whether the test of Kolmogorov and Smirnov lets the values pass at p = 0.01.

    Args:
        values: a thousand or more draws.
        share_below: the distribution function that they should have.
    """
    ordered, count = sorted(values), len(values)
    distance = max(
        max((index + 1) / count - share_below(value), share_below(value) - index / count)
        for index, value in enumerate(ordered)
    )
    return distance < 1.628 / count**0.5
