"""Noise levels of a run, and the integer timesteps that the DiT is told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import MagrefError

Solver = Literal["unipc", "dpm++", "euler"]

NUM_TIMESTEPS = 1000
"""Timestep of pure noise; timestep = 1000 sigma."""

_FIRST_LEVEL: dict[Solver, float] = {
    "unipc": 0.9990000128746033,  # 0.999 as float32: the official scheduler takes it from a float32 table
    "dpm++": 1.0,
    "euler": 1.0,
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Schedule:
    """Where a run stops on its way from noise to video."""

    sigmas: Tensor
    """(N + 1,) float32 in [0, 1], falling; the share of noise. The last one is 0."""
    timesteps: Tensor
    """(N,) int64 in [0, 1000]; 1000 sigma without its fraction, what the DiT is told at each step."""


def flow_schedule(solver: Solver, num_steps: int, shift: float) -> Schedule:
    """Noise levels that linger near 1 the more, the larger `shift` is.

    Evenly spaced levels u become shift u / (1 + (shift - 1) u). They start at 1, with unipc just below.
    All is computed in float64, and the timesteps are cut off there: rounding to float32 first would lift
    some of them by one (874 to 875 for dpm++ with 10 steps and shift 3).

    Args:
        solver: decides the first level; euler, which the official code lacks, takes that of dpm++.
        num_steps: number of answers asked of the DiT, at least 1; MAGREF takes 40.
        shift: above 0; 1 spaces the levels evenly, MAGREF takes 3.

    Returns:
        The schedule, on the CPU.

    Raises:
        MagrefError: the solver is unknown, `num_steps` is below 1, or `shift` is not a finite number above 0.

    Source: MAGREF, magref/utils/fm_solvers.py, `get_sampling_sigmas`, and fm_solvers_unipc.py,
    `set_timesteps`.
    """
    if solver not in _FIRST_LEVEL:
        raise MagrefError(
            f"the solver is '{solver}', which is unknown: choose one of {', '.join(_FIRST_LEVEL)}"
        )
    if num_steps < 1:
        raise MagrefError(f"the sampler is given {num_steps} steps, but needs at least 1: set steps to 40")
    if not (math.isfinite(shift) and shift > 0):
        raise MagrefError(f"the shift is {shift}, but must be a finite number above 0: set shift to 3")
    spacing = -_FIRST_LEVEL[solver] / num_steps
    even = [step * spacing + _FIRST_LEVEL[solver] for step in range(num_steps)]
    levels = [shift * level / (1 + (shift - 1) * level) for level in even]
    return Schedule(
        sigmas=torch.tensor([*levels, 0.0], dtype=torch.float32),
        timesteps=torch.tensor([truncated_timestep(level) for level in levels]),
    )


def truncated_timestep(sigma: float) -> int:
    """The integer timestep of a noise level in [0, 1]; exact for a sigma that float32 can hold."""
    return int(sigma * NUM_TIMESTEPS)


def carry_timesteps(schedule: Schedule) -> Tensor:
    """Sigmas from which the schedule's timesteps can be read off.

    A host hands the DiT 1000 sigma, in float32, and no step number. Rounding may have carried the sigma or
    the product over the border between two timesteps; such a sigma is moved back by the smallest amount.

    Args:
        schedule: as `flow_schedule` makes it.

    Returns:
        (N + 1,) float32; 1000 sigma without its fraction is the timestep, whether it is multiplied in float32
        or in float64. Equal to `schedule.sigmas`, or one unit in the last place beside it (two at most).
    """
    carried = schedule.sigmas[:-1]
    for _ in range(2):  # the second round is for products that float32 still lifts to the border
        carried = _moved(carried, schedule.timesteps)
    return torch.cat([carried, schedule.sigmas[-1:]])


def _moved(sigmas: Tensor, timesteps: Tensor) -> Tensor:
    """Move those sigmas by one unit in the last place that tell another timestep."""
    products = torch.stack([sigmas.double() * NUM_TIMESTEPS, (sigmas * NUM_TIMESTEPS).double()])
    told = products.long()  # cuts the fraction off
    lower = torch.nextafter(sigmas, torch.zeros_like(sigmas))
    higher = torch.nextafter(sigmas, torch.full_like(sigmas, math.inf))
    sigmas = torch.where(told.amax(0) > timesteps, lower, sigmas)
    return torch.where(told.amin(0) < timesteps, higher, sigmas)
