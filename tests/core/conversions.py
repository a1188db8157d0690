"""A small DiT to convert, and what happens while it is converted."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from magref_core.dit.attention import Backend
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT

CONFIG = DiTConfig(dim=128, ffn_dim=64, num_heads=1, num_layers=2, text_dim=8, clip_dim=12, freq_dim=16)


def random_weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    shapes = MagrefDiT(CONFIG, Backend(device="meta")).state_dict()
    return {name: torch.randn(value.shape) * 0.1 for name, value in shapes.items()}


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


class Stopped(BaseException):
    """What a signal or the host raises."""


def stopping_after(calls):
    """A check that stops the run at its n-th call."""
    seen = iter(range(calls))

    def check():
        if next(seen, None) is None:
            raise Stopped

    return check
