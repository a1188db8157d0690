"""Small random LoRAs of the golden DiT under the names that training tools use, and the same merged in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import folder_paths
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from . import models

RANK = 4
ALPHA = 2.0

STYLES: dict[str, tuple[Callable[[str], str], str, str, bool]] = {
    "native": (lambda name: f"diffusion_model.{name}", "lora_A", "lora_B", False),
    "native with alpha": (lambda name: f"diffusion_model.{name}", "lora_down", "lora_up", True),
    "kohya": (lambda name: "lora_unet_" + name.replace(".", "_"), "lora_down", "lora_up", True),
    "wan-fun": (lambda name: "lora_unet__" + name.replace(".", "_"), "lora_down", "lora_up", True),
}
"""What a tool makes of a layer's name, what it calls the two factors, and whether it stores alpha."""


def show_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder the one in which the host looks for LoRAs."""
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(folder)], {".safetensors"}))


def weights() -> dict[str, Tensor]:
    """The golden DiT in float32."""
    return {name: weight.float() for name, weight in load_file(models.DIT_FILE).items()}


def lora(style: str, *, seed: int = 0) -> dict[str, Tensor]:
    """A LoRA on every matrix of the blocks; equal numbers in each style but for alpha."""
    rename, down, up, has_alpha = STYLES[style]
    result: dict[str, Tensor] = {}
    for layer, (a, b) in factors(seed).items():
        result |= {f"{rename(layer)}.{down}.weight": a, f"{rename(layer)}.{up}.weight": b}
        if has_alpha:
            result[f"{rename(layer)}.alpha"] = torch.tensor(ALPHA)
    return result


def factors(seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer -> (rank, in) and (out, rank)."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: tuple(weight.shape) for name, weight in load_file(models.DIT_FILE).items()}
    return {
        name.removesuffix(".weight"): (
            torch.randn(RANK, shape[1], generator=generator) * 0.05,
            torch.randn(shape[0], RANK, generator=generator) * 0.05,
        )
        for name, shape in sorted(shapes.items())
        if name.startswith("blocks.") and name.endswith(".weight") and len(shape) == 2
    }


def merged(style: str, strength: float, *, seed: int = 0) -> dict[str, Tensor]:
    """The golden weights plus strength * alpha / rank * up @ down."""
    scale = ALPHA / RANK if STYLES[style][3] else 1.0
    result = weights()
    for layer, (a, b) in factors(seed).items():
        result[f"{layer}.weight"] += strength * scale * (b @ a)
    return result
