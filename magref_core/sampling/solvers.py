"""The solvers: each leads a noisy state down the noise levels, asking a denoiser once per level.

All of them take the same kind of step. With x = (1 - sigma) video + sigma noise, going to the next level
keeps the share sigma' / sigma of the state and fills the rest with a guess of the video (the target). Euler
aims at the latest answer; dpm++ extrapolates from the last two; unipc does the same, and takes each step
again once the answer at its end is known. Distances between levels are measured in
lambda = log((1 - sigma) / sigma), as both papers have it.

The weights are Python floats, computed in float64; states keep their dtype, for which float32 is meant.

Source: MAGREF, magref/utils/fm_solvers.py and fm_solvers_unipc.py (the official solvers), after DPM-Solver++
(arXiv 2211.01095) and UniPC (arXiv 2302.04867).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from ..errors import MagrefError
from .schedule import Solver

Denoise = Callable[[Tensor, int], Tensor]
"""(state at sigmas[step], step) -> the denoised state, of the same shape."""

OnStep = Callable[[int, Tensor, Tensor], None]
"""Told (step, state given to the denoiser, its answer) after every answer; may raise to stop the run."""


class Sample(Protocol):
    """What every solver looks like."""

    def __call__(
        self, denoise: Denoise, x: Tensor, sigmas: Tensor, *, on_step: OnStep | None = None
    ) -> Tensor: ...


def sample_euler(denoise: Denoise, x: Tensor, sigmas: Tensor, *, on_step: OnStep | None = None) -> Tensor:
    """First order: each step aims at the latest answer.

    Args:
        denoise: asked once per step.
        x: state at `sigmas[0]`, any shape; the noise itself when that is the start of a schedule.
        sigmas: (N + 1,) in [0, 1], falling; any part of a schedule will do.
        on_step: see `OnStep`.

    Returns:
        The state at `sigmas[-1]`; `x` itself when there is no step to take.

    Raises:
        MagrefError: the sigmas do not fall, or leave [0, 1].
    """
    levels = _levels(sigmas)
    for step in range(len(levels) - 1):
        denoised = _ask(denoise, x, step, on_step)
        x = _step(levels, step, x, denoised)
    return x


def sample_dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor, *, on_step: OnStep | None = None) -> Tensor:
    """DPM-Solver++ (2M), midpoint form: each step aims at what the last two answers lead to.

    The first step, and the one that ends at sigma 0, are of first order. A run that stops above 0 keeps the
    second order to its end. A first sigma of exactly 1 is infinitely far from the next in lambda and makes
    the second step first order as well.

    Args, Returns, Raises: as `sample_euler`.
    """
    levels = _levels(sigmas)
    previous: Tensor | None = None
    for step in range(len(levels) - 1):
        denoised = _ask(denoise, x, step, on_step)
        x = _step(levels, step, x, _extrapolated(levels, step, denoised, previous))
        previous = denoised
    return x


def sample_unipc(denoise: Denoise, x: Tensor, sigmas: Tensor, *, on_step: OnStep | None = None) -> Tensor:
    """UniPC of order 2 with B(h) = exp(-h) - 1 ("bh2") and its corrector.

    The predictor is the step of `sample_dpmpp_2m`. The answer at the end of a step serves to take the step
    again, in the order it had, before the next one starts; the answer itself is not asked for anew. The
    last step is never corrected, so a run that stops above sigma 0 ends at a predicted state.

    Args, Returns, Raises: as `sample_euler`. `on_step` sees the predicted states, which are the ones
    that the denoiser is given.
    """
    levels = _levels(sigmas)
    start = x
    previous: Tensor | None = None
    before: Tensor | None = None
    for step in range(len(levels) - 1):
        denoised = _ask(denoise, x, step, on_step)
        if previous is not None:
            x = _step(levels, step - 1, start, _corrected(levels, step - 1, previous, before, denoised))
        start = x
        x = _step(levels, step, start, _extrapolated(levels, step, denoised, previous))
        before, previous = previous, denoised
    return x


SOLVERS: dict[Solver, Sample] = {
    "unipc": sample_unipc,
    "dpm++": sample_dpmpp_2m,
    "euler": sample_euler,
}


def _levels(sigmas: Tensor) -> list[float]:
    """The sigmas as floats, after a check."""
    levels = [float(sigma) for sigma in sigmas.cpu()]
    for level in levels:
        if not 0 <= level <= 1:
            raise MagrefError(
                f"a sigma is {level:g}, but the solver needs sigmas from 1 down to 0: "
                "use it with a flow model such as Wan, and its sigmas"
            )
    for above, below in itertools.pairwise(levels):
        if not above > below:
            raise MagrefError(
                f"sigma {above:g} is followed by {below:g}, but sigmas must fall at every step: "
                "use fewer steps or a scheduler without repeated values"
            )
    return levels


def _ask(denoise: Denoise, x: Tensor, step: int, on_step: OnStep | None) -> Tensor:
    denoised = denoise(x, step)
    if on_step is not None:
        on_step(step, x, denoised)
    return denoised


def _step(levels: list[float], step: int, x: Tensor, target: Tensor) -> Tensor:
    """Lead `x` from one level to the next, straight towards `target`."""
    kept = levels[step + 1] / levels[step]
    return kept * x + (1 - kept) * target


def _extrapolated(levels: list[float], step: int, denoised: Tensor, previous: Tensor | None) -> Tensor:
    """Target of a step: the answers' line in lambda, followed to the middle of the step."""
    if previous is None or levels[step + 1] == 0:
        return denoised
    ahead = _distance(levels[step], levels[step + 1])
    behind = _distance(levels[step - 1], levels[step])
    return denoised + (ahead / behind / 2) * (denoised - previous)


def _corrected(
    levels: list[float], step: int, denoised: Tensor, before: Tensor | None, after: Tensor
) -> Tensor:
    """Target of a step from the answers at its start, at the start of the step before, and at its end."""
    if before is None:
        return denoised + 0.5 * (after - denoised)
    ahead = _distance(levels[step], levels[step + 1])
    behind = _distance(levels[step - 1], levels[step])
    weight_before, weight_after = _corrector_weights(ahead, behind)
    return denoised + weight_before * (before - denoised) + weight_after * (after - denoised)


def _corrector_weights(ahead: float, behind: float) -> tuple[float, float]:
    """Weights of the earlier and the later difference, for steps of these lengths in lambda.

    They solve w_1 + w_2 = b_1 and r w_1 + w_2 = b_2, where r = -behind / ahead is the place of the earlier
    answer, and b_1, b_2 are the moments of the exponential integral over B(h) (UniPC, theorem 3.1, in
    the data-prediction form). The earlier difference is then divided by r.
    """
    growth = math.expm1(-ahead)
    moment = growth / -ahead - 1
    b_1 = moment / growth
    b_2 = 2 * (moment / -ahead - 0.5) / growth
    place = -behind / ahead
    weight_before = (b_1 - b_2) / (1 - place)
    return weight_before / place, b_1 - weight_before


def _distance(sigma: float, sigma_next: float) -> float:
    """Length of a step in lambda, infinite from sigma 1; `sigma_next` is in (0, 1)."""
    if sigma == 1:
        return math.inf
    return math.log((1 - sigma_next) / sigma_next) - math.log((1 - sigma) / sigma)
