"""Everything a run needs to go on as if it had never stopped, in one file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors import SafetensorError
from torch import Tensor

from .config import TrainConfig, differences, from_json, to_json
from .files import TrainingError, save_tensors

SCHEDULE_FIELDS = frozenset(
    {"steps", "rate", "clip_lengths", "batch_size", "flow", "drops", "grounding", "precision"}
)
"""What may change in a resumed run when that is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunState:
    """A run between two steps."""

    step: int
    """Optimiser steps done."""
    weights: dict[str, Tensor]
    """What is trained, by name."""
    average: dict[str, Tensor]
    """Its running average, float32."""
    optimiser: dict[str, Tensor]
    """`<moment>.<name>`."""


def save_state(file: Path, state: RunState, config: TrainConfig) -> None:
    """Write a state; the earlier file survives whatever goes wrong.

    Raises:
        TrainingError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for part in ("weights", "average", "optimiser"):
        tensors |= {f"{part}/{name}": value for name, value in getattr(state, part).items()}
    metadata = {"step": str(state.step), "config": to_json(config), "kind": "magref_run"}
    save_tensors(file, tensors, metadata)


def load_state(file: Path, config: TrainConfig, *, new_schedule: bool = False) -> RunState:
    """Read a state back.

    Args:
        file: as `save_state` wrote it.
        config: of the run that goes on.
        new_schedule: allow other values of `SCHEDULE_FIELDS`.

    Raises:
        TrainingError: the file is missing, cut off or of another kind, or was saved by a run with another
            configuration.
    """
    metadata, tensors = read_state(file)
    if metadata.get("kind") != "magref_run":
        raise TrainingError(f"{file.name} is not the state of a training run: choose state.safetensors")
    saved = from_json(TrainConfig, metadata["config"], label=f"the configuration in {file.name}")
    changed = [name for name in differences(saved, config) if not (new_schedule and name in SCHEDULE_FIELDS)]
    if changed:
        raise TrainingError(
            f"{file.name} was saved with another configuration ({', '.join(changed)} differ): use the one "
            "kept beside it, allow a new schedule, or start a new run from its weights alone"
        )
    parts: dict[str, dict[str, Tensor]] = {"weights": {}, "average": {}, "optimiser": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    return RunState(step=int(metadata["step"]), **parts)


def optimiser_tensors(optimiser: torch.optim.Optimizer, names: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The optimiser's memory by the names of the parameters."""
    return {
        f"{moment}.{name}": value
        for name, parameter in names.items()
        for moment, value in optimiser.state.get(parameter, {}).items()
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer, names: Mapping[str, Tensor], memory: Mapping[str, Tensor]
) -> None:
    """Give the optimiser back what `optimiser_tensors` took."""
    for name, parameter in names.items():
        found: dict[str, Any] = {}
        for moment in ("step", "exp_avg", "exp_avg_sq"):
            if (value := memory.get(f"{moment}.{name}")) is not None:
                # A copy, as the file is mapped; the fused optimiser wants its count of steps there too.
                found[moment] = value.to(parameter.device, copy=True)
        if found:
            optimiser.state[parameter] = found


def read_state(file: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a state, whatever it is of.

    Raises:
        TrainingError: the file is missing or cut off.
    """
    if not file.is_file():
        raise TrainingError(f"there is no {file.name} to go on from: start a new run")
    opener: Any = safetensors.safe_open  # pyright: ignore[reportUnknownMemberType]
    try:
        with opener(file, framework="pt") as weights:
            return weights.metadata() or {}, {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        reason = re.sub(r"\s+", " ", str(error))
        raise TrainingError(
            f"{file.name} is cut off or broken ({reason}): use an earlier copy, or start from exported "
            "weights"
        ) from error
