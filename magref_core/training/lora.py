"""LoRA: train two thin matrices beside each frozen one, in the names that ComfyUI's own loader reads."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import MagrefError

PREFIX = "diffusion_model."
"""Before the path of a layer in the names of a LoRA file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """Which matrices get a LoRA, and how large.

    Raises:
        MagrefError: the rank is below 1, alpha no number above 0, or the targets no regular expression.
    """

    rank: int = 32
    alpha: float = 32.0
    """The update is scaled by alpha / rank."""
    targets: str = r"blocks\.\d+\.((self|cross)_attn\.(q|k|v|o)|ffn\.(0|2))"
    """Regular expression for the whole path of a layer."""

    def __post_init__(self) -> None:
        if self.rank < 1 or not (math.isfinite(self.alpha) and self.alpha > 0):
            raise MagrefError(
                f"the LoRA has rank {self.rank} and alpha {self.alpha}, but needs a rank of at least 1 and "
                "an alpha above 0"
            )
        check_pattern("the targets of the LoRA", self.targets)


class LoraLinear(nn.Module):
    """A frozen matrix plus scale B A; with B = 0, as made, nothing changes. A and B are float32."""

    def __init__(self, base: nn.Linear, config: LoraConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale, self.alpha = config.alpha / config.rank, config.alpha
        device = base.weight.device
        bound = base.in_features**-0.5
        first = torch.empty(config.rank, base.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(first.to(device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, config.rank, device=device))
        self.is_merged = False

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in the dtype of the matrix."""
        out = self.base(x)
        if self.is_merged:
            return out
        update = (x.to(self.lora_A.dtype) @ self.lora_A.T) @ self.lora_B.T
        return out + (self.scale * update).to(out.dtype)

    @torch.no_grad()
    def merge(self, *, undo: bool = False) -> None:
        """Add the update to the matrix itself, or take it out again."""
        if self.is_merged is not undo:
            return
        update = self.scale * (self.lora_B @ self.lora_A)
        self.base.weight += (-update if undo else update).to(self.base.weight)
        self.is_merged = not undo


def add_lora(model: nn.Module, config: LoraConfig, generator: torch.Generator) -> None:
    """Freeze the model and put a `LoraLinear` in the place of each target.

    Args:
        model: changed in place.
        config: targets and size.
        generator: of the first A; on the CPU, advanced.

    Raises:
        MagrefError: no layer has such a path.
    """
    model.requires_grad_(False)
    pattern = re.compile(config.targets)
    targets = [
        (path, module)
        for path, module in _modules(model)
        if isinstance(module, nn.Linear) and pattern.fullmatch(path)
    ]
    if not targets:
        raise MagrefError(f"no layer is called '{config.targets}': correct the targets of the LoRA")
    for path, module in targets:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, LoraLinear(module, config, generator))


def lora_layers(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    """Paths and layers that `add_lora` made."""
    for path, module in _modules(model):
        if isinstance(module, LoraLinear):
            yield path, module


def lora_weights(model: nn.Module, *, values: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """What a LoRA file holds: names that ComfyUI's LoraLoaderModelOnly reads.

    Args:
        model: with `LoraLinear` layers.
        values: parameters by name to write instead of the model's own, such as their average.
    """
    weights: dict[str, Tensor] = {}
    for path, layer in lora_layers(model):
        for side in ("lora_A", "lora_B"):
            value = getattr(layer, side) if values is None else values[f"{path}.{side}"]
            weights[f"{PREFIX}{path}.{side}.weight"] = value.detach()
        weights[f"{PREFIX}{path}.alpha"] = torch.tensor(layer.alpha)
    return weights


def check_pattern(label: str, pattern: str) -> None:
    """Refuse what is no regular expression.

    Raises:
        MagrefError: see above.
    """
    try:
        re.compile(pattern)
    except re.error as error:
        raise MagrefError(f"{label} are '{pattern}', no regular expression ({error}): correct it") from error


def _modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Paths and modules, at this moment."""
    return list(cast("Any", model).named_modules())  # its own annotation lacks the types
