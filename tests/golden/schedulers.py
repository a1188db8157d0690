"""The solvers on a toy network: timesteps, sigmas and every stored state."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor

from magref_core.sampling.schedule import Solver, carry_timesteps, flow_schedule, truncated_timestep
from magref_core.sampling.solvers import SOLVERS

from .report import Row, compare, equal

FILE = "schedulers.safetensors"
TABLE = "schedulers.json"
FILES = (FILE, TABLE)

TRAJECTORY_LIMIT = 2e-5


def check(folder: Path) -> Iterator[Row]:
    """Run every case of the folder and compare; yields nothing if the files are absent."""
    if not all((folder / name).is_file() for name in FILES):
        return
    tensors = load_file(folder / FILE)
    table: dict[str, Any] = json.loads((folder / TABLE).read_text("utf-8"))
    for case, golden in table.items():
        if settings := re.fullmatch(r"(unipc|dpm\+\+)\.shift([\d.]+)\.steps(\d+)", case):
            solver, shift, num_steps = cast(Solver, settings[1]), float(settings[2]), int(settings[3])
            yield from check_schedule(TABLE, case, solver, num_steps, shift, golden)
            states = _run(solver, num_steps, shift, tensors["noise"])
            trajectory = tensors[f"{case}.trajectory"]  # every state, or evenly spaced ones
            stride = num_steps // (len(trajectory) - 1)
            yield compare(FILE, case, "trajectory", states[::stride], trajectory, TRAJECTORY_LIMIT)


def check_schedule(
    file: str, case: str, solver: Solver, num_steps: int, shift: float, golden: dict[str, Any]
) -> Iterator[Row]:
    """Compare sigmas and timesteps, and the timesteps as they come out of the carried sigmas."""
    schedule = flow_schedule(solver, num_steps, shift)
    told = [truncated_timestep(sigma) for sigma in carry_timesteps(schedule)[:-1].tolist()]
    golden_sigmas = torch.as_tensor(golden["sigmas"], dtype=torch.float32)
    yield compare(file, case, "sigmas", schedule.sigmas, golden_sigmas, 0.0)
    yield equal(file, case, "timesteps", schedule.timesteps.tolist(), golden["timesteps"])
    yield equal(file, case, "timesteps, carried", told, golden["timesteps"])


def _run(solver: Solver, num_steps: int, shift: float, noise: Tensor) -> Tensor:
    """All states from `noise` to the end, (steps + 1, *noise.shape)."""
    schedule = flow_schedule(solver, num_steps, shift)
    states: list[Tensor] = []

    def denoise(x: Tensor, step: int) -> Tensor:
        return x - schedule.sigmas[step] * toy_velocity(x, int(schedule.timesteps[step]))

    final = SOLVERS[solver](
        denoise, noise, schedule.sigmas, on_step=lambda step, x, denoised: states.append(x)
    )
    return torch.stack([*states, final])


def toy_velocity(x: Tensor, timestep: int) -> Tensor:
    """The stand-in for the DiT with which the trajectories were made."""
    s = timestep / 1000
    return 0.8 * torch.tanh(2 * x) + 0.5 * torch.sin(6 * s + x) - 0.1 * s * x
