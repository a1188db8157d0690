from __future__ import annotations

import numpy as np
import pytest
import torch

from magref_core.errors import MagrefError
from magref_core.sampling.schedule import Schedule, carry_timesteps, flow_schedule, truncated_timestep

FIRST_LEVEL = {"unipc": float(np.float32(0.999)), "dpm++": 1.0, "euler": 1.0}
SHIFTS = [1 + 0.5 * half for half in range(23)]  # 1, 1.5, ..., 12


def official_levels(solver: str, num_steps: int, shift: float) -> np.ndarray:
    """The oracle: numpy in float64, in the words of the official scheduler."""
    even = np.linspace(FIRST_LEVEL[solver], 0, num_steps + 1)[:-1]
    return shift * even / (1 + (shift - 1) * even)


@pytest.mark.parametrize("solver", ["unipc", "dpm++", "euler"])
@pytest.mark.parametrize("shift", [0.3, 1, 3.0, 5.0, 12.0])
def test_the_sigmas_are_the_official_ones_to_the_last_bit(solver, shift):
    for num_steps in (1, 2, 3, 7, 40, 99, 1000):
        expected = np.append(official_levels(solver, num_steps, shift), 0).astype(np.float32)
        sigmas = flow_schedule(solver, num_steps, shift).sigmas
        assert sigmas.dtype == torch.float32
        assert sigmas.tolist() == expected.tolist()


@pytest.mark.parametrize("solver", ["unipc", "dpm++"])
def test_timesteps_are_cut_off_in_float64(solver):
    for num_steps in range(1, 101):
        for shift in SHIFTS:
            expected = (official_levels(solver, num_steps, shift) * 1000).astype(np.int64)
            timesteps = flow_schedule(solver, num_steps, shift).timesteps
            assert timesteps.dtype == torch.int64
            assert timesteps.tolist() == expected.tolist()


def test_a_timestep_a_hair_below_875_is_874_although_its_sigma_is_stored_as_0_875():
    schedule = flow_schedule("dpm++", 10, 3.0)
    assert schedule.sigmas[3] == 0.875
    assert schedule.timesteps[3] == 874


def test_an_integer_shift_gives_the_same_schedule_as_its_float():
    whole, real = flow_schedule("unipc", 40, 3), flow_schedule("unipc", 40, 3.0)
    assert torch.equal(whole.sigmas, real.sigmas)
    assert torch.equal(whole.timesteps, real.timesteps)


@pytest.mark.parametrize("solver", ["unipc", "dpm++"])
def test_carried_sigmas_tell_the_official_timesteps_for_all_steps_and_shifts(solver):
    moved = 0
    for num_steps in range(1, 101):
        for shift in SHIFTS:
            schedule = flow_schedule(solver, num_steps, shift)
            carried = carry_timesteps(schedule)
            official = (official_levels(solver, num_steps, shift) * 1000).astype(np.int64)
            assert_told(carried[:-1], official.tolist())
            assert ulps_between(carried, schedule.sigmas).max() <= 1
            assert (carried.diff() < 0).all()
            moved += ulps_between(carried, schedule.sigmas).sum().item()
    assert moved > 0  # otherwise nothing was proved


@pytest.mark.parametrize("below", [True, False])
def test_a_carried_sigma_tells_its_timestep_even_right_at_the_border(below):
    borders = [border / 1000 for border in range(1, 1000)]
    levels = [float(np.nextafter(level, 0)) for level in borders] if below else borders
    timesteps = [border - below for border in range(1, 1000)]
    sigmas = torch.tensor([*levels, 0.0], dtype=torch.float64).float()
    carried = carry_timesteps(Schedule(sigmas=sigmas, timesteps=torch.tensor(timesteps)))
    assert_told(carried[:-1], timesteps)
    assert ulps_between(carried, sigmas).max() == (2 if below else 1)


def assert_told(sigmas: torch.Tensor, timesteps: list[int]) -> None:
    """The timesteps come out of the sigmas in float64, and as a host multiplies, in float32."""
    assert [truncated_timestep(sigma) for sigma in sigmas.tolist()] == timesteps
    assert (sigmas * 1000).floor().tolist() == timesteps


def ulps_between(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Count the float32 steps between positive numbers by their bit patterns."""
    return (left.view(torch.int32) - right.view(torch.int32)).abs()


def test_carrying_moves_a_sigma_in_either_direction_and_only_where_it_must():
    sigmas = torch.tensor([0.9, 0.875, 0.25, 0.0])  # the first is stored as 0.89999998
    schedule = Schedule(sigmas=sigmas, timesteps=torch.tensor([900, 874, 250]))
    up = np.nextafter(np.float32(0.9), np.float32(1))
    down = np.nextafter(np.float32(0.875), np.float32(0))
    assert carry_timesteps(schedule).tolist() == [up, down, 0.25, 0.0]


def test_carrying_leaves_the_schedule_as_it_was():
    schedule = flow_schedule("dpm++", 10, 3.0)
    carry_timesteps(schedule)
    assert schedule.sigmas[3] == 0.875


def test_an_unknown_solver_is_refused_with_the_known_ones():
    with pytest.raises(MagrefError, match=r"solver is 'heun', .*: choose one of unipc, dpm\+\+, euler$"):
        flow_schedule("heun", 40, 3.0)


@pytest.mark.parametrize("num_steps", [0, -3])
def test_a_run_without_steps_is_refused_with_the_remedy(num_steps):
    with pytest.raises(MagrefError, match=rf"given {num_steps} steps, .* at least 1: set steps to 40"):
        flow_schedule("unipc", num_steps, 3.0)


@pytest.mark.parametrize("shift", [0, 0.0, -1.5, float("nan"), float("inf")])
def test_a_shift_that_is_not_above_0_is_refused_with_the_remedy(shift):
    with pytest.raises(MagrefError, match=rf"the shift is {shift}, .* above 0: set shift to 3"):
        flow_schedule("unipc", 40, shift)
