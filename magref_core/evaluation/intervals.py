"""Means over scenes with bootstrap intervals; a scene is drawn as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import ShapeError

RESAMPLES = 2000
LEVEL = 0.95

Numbers = npt.ArrayLike
"""One number per scene."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float
    count: float
    """How many answers it is the mean of."""

    @property
    def is_significant(self) -> bool:
        """Whether 0 is outside; of a difference."""
        return self.low > 0 or self.high < 0


def estimate(sums: Numbers, counts: Numbers, *, seed: int = 0) -> Estimate | None:
    """The mean of all answers of all scenes.

    Args:
        sums: the answers of each scene, added up.
        counts: how many there are in each.
        seed: of the bootstrap.

    Returns:
        The estimate; None where there is no answer.

    Raises:
        ShapeError: the two do not speak of the same scenes.
    """
    total, number = _checked(sums, counts)
    if number.sum() <= 0:
        return None
    weights = _draw_weights(len(total), seed)
    means = _ratio(weights @ total, weights @ number)
    return _estimate(float(total.sum() / number.sum()), means, float(number.sum()))


def difference(
    sums: tuple[Numbers, Numbers], counts: tuple[Numbers, Numbers], *, seed: int = 0
) -> Estimate | None:
    """The first mean minus the second, of the same scenes in the same order.

    Args:
        sums: the answers of each scene under either condition.
        counts: how many there are.
        seed: of the bootstrap, which draws the same scenes for both.

    Returns:
        The estimate; None where one has no answer.

    Raises:
        ShapeError: the four do not speak of the same scenes.
    """
    (first, first_number), (second, second_number) = (
        _checked(*each) for each in zip(sums, counts, strict=True)
    )
    if len(first) != len(second):
        raise ShapeError(f"{len(first)} scenes are compared with {len(second)}: give the same scenes to both")
    if min(first_number.sum(), second_number.sum()) <= 0:
        return None
    weights = _draw_weights(len(first), seed)
    means = _ratio(weights @ first, weights @ first_number) - _ratio(
        weights @ second, weights @ second_number
    )
    value = float(first.sum() / first_number.sum() - second.sum() / second_number.sum())
    return _estimate(value, means, float(first_number.sum()))


def _checked(sums: Numbers, counts: Numbers) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    total, number = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    if total.ndim != 1 or total.shape != number.shape:
        raise ShapeError(f"the sums are {total.shape}, the counts {number.shape}: give one of each per scene")
    return total, number


def _draw_weights(num_scenes: int, seed: int) -> npt.NDArray[np.float64]:
    """(RESAMPLES, num_scenes): how often each scene is drawn."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_scenes, np.full(num_scenes, 1 / num_scenes), RESAMPLES).astype(np.float64)


def _ratio(total: npt.NDArray[np.float64], number: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


def _estimate(value: float, means: npt.NDArray[np.float64], count: float) -> Estimate:
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(means, (tail, 1 - tail))
    return Estimate(value=value, low=float(low), high=float(high), count=count)
