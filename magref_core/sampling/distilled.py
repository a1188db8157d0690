"""How to sample with LoRAs that make a model need few steps."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .schedule import Solver


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingPreset:
    """What the makers of a LoRA recommend; the defaults are MAGREF's own."""

    steps: int = 40
    shift: float = 3.0
    guidance_scale: float = 5.0
    """1 does without the negative prompt."""
    solver: Solver = "unipc"


OFFICIAL = SamplingPreset()

PRESETS: dict[str, SamplingPreset] = {
    "lightx2v_4_steps": SamplingPreset(steps=4, shift=5.0, guidance_scale=1.0, solver="euler"),
    "lightx2v_8_steps": SamplingPreset(steps=8, shift=5.0, guidance_scale=1.0, solver="euler"),
}
"""LoRAs of step and guidance distillation.

lightx2v names 4 steps at timesteps 1000, 750, 500 and 250 with shift 5 and no guidance; twice as many steps
are in use too, at twice the time.

Source: ModelTC/LightX2V, configs/distill, `infer_steps`, `sample_shift`, `enable_cfg`, `denoising_step_list`.
"""

_LIGHTX2V = re.compile(r"lightx2v|step.?distill", re.IGNORECASE)


def preset_for(file_name: str) -> str | None:
    """Name of the preset for a LoRA, told by the name of its file; None for a LoRA of another kind."""
    return "lightx2v_4_steps" if _LIGHTX2V.search(file_name) else None
