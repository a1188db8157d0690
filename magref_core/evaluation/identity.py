"""Who is it, and what does it do: the candidate whose drawing explains a generated subject best."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .matching import Bytes, Floats, match_costs


class Renderer(Protocol):
    """Draws a candidate on its track."""

    def __call__(self, candidate: int, frame: int, scale: float) -> Floats:
        """(H, W, 4) in 0..1, colours multiplied by alpha; `scale` is a factor on the size."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """Where a subject is looked for around its track."""

    reach: int = 6
    """Largest shift in pixels in each direction."""
    scales: tuple[float, ...] = (0.9, 1.0, 1.1)
    frames: tuple[int, ...] = (1, 6, 11, 16)
    """Frames that are compared, counted as the renderer counts."""
    together: bool = False
    """One shift and one size for all frames, so that the way counts as well; else the best in each frame."""


def candidate_costs(
    video: Bytes,
    render: Renderer,
    num_candidates: int,
    *,
    search: Search,
    visible: Callable[[int], Floats] | None = None,
) -> Floats:
    """How badly each candidate explains a video, at the best shift and size.

    Args:
        video: (F, H, W, 3) in 0..255.
        render: draws a candidate.
        num_candidates: how many there are.
        search: where to look.
        visible: gives for a frame, as (H, W) in 0..1, where nothing stands in front of the subject.

    Returns:
        (num_candidates,): sums over the frames; the least is the one shown, see `match_costs`.
    """
    side = 2 * search.reach + 1
    total = np.zeros((num_candidates, len(search.scales) * side * side), np.float32)
    for frame in search.frames:
        pairs = itertools.product(range(num_candidates), search.scales)
        sprites = [render(candidate, frame, scale) for candidate, scale in pairs]
        costs = match_costs(
            video[frame],
            np.stack(sprites),
            (search.reach, search.reach),
            visible=None if visible is None else visible(frame),
        )
        costs = np.reshape(costs, (num_candidates, -1))
        total += costs if search.together else costs.min(1, keepdims=True)
    return total.min(1)


def is_first(costs: npt.NDArray[np.floating], index: int = 0) -> bool:
    """Whether a candidate costs less than every other one; a draw does not count."""
    return bool((np.delete(costs, index) > costs[index]).all())


def best_assignment(costs: npt.NDArray[np.floating]) -> tuple[int, ...]:
    """Give each subject another one of as many candidates, at the least cost in all.

    Args:
        costs: (N, N) by subject and candidate; N is small.

    Returns:
        The candidate of each subject.
    """
    subjects = range(len(costs))
    return min(
        itertools.permutations(subjects),
        key=lambda given: float(sum(costs[subject, given[subject]] for subject in subjects)),
    )


def shows_each_once(costs: npt.NDArray[np.floating]) -> bool:
    """Whether N subjects show N candidates, one each, whoever shows which.

    Args:
        costs: (N, N) by subject and candidate; each subject shows the candidate of the least cost.
    """
    return len(set(costs.argmin(1).tolist())) == len(costs)
