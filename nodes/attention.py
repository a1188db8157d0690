"""Which of the host's attentions the DiT uses."""

from __future__ import annotations

from typing import Any

import comfy.cli_args
import comfy.ldm.modules.attention
import torch


def chosen_attention(device: torch.device) -> Any:
    """The host's choice; on a CPU, where the host has made none, PyTorch's fused attention.

    There the host falls back to the sub-quadratic one, which takes twice the time for the same numbers up to
    rounding. Whoever starts the host with --use-quad-cross-attention gets it.
    """
    module = comfy.ldm.modules.attention
    chosen = module.optimized_attention  # looked up at each call: the host and other packs rebind it
    is_fallback = chosen is module.attention_sub_quad and not comfy.cli_args.args.use_quad_cross_attention
    return module.attention_pytorch if is_fallback and device.type == "cpu" else chosen
