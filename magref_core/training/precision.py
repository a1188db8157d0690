"""The arithmetic of matrix products in training."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from .config import Precision


@contextmanager
def matrix_precision(device: torch.device, precision: Precision) -> Generator[None]:
    """Within, matrices are multiplied as asked; weights, residual stream and their gradients stay float32.

    With "bfloat16" autocast rounds what goes into a product, on processors only where they multiply in it:
    others would be slower than in float32. Measured on one core of a Zen 5, a training step of a DiT of width
    256 takes two thirds of its time in float32. Attention is then spelled out, since the fused kernel of
    PyTorch 2.11 makes the step a tenth longer.
    """
    if precision == "float32" or (device.type == "cpu" and not multiplies_bfloat16()):
        yield
    elif device.type == "cpu":
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            yield
    else:
        with torch.autocast(device.type, torch.bfloat16):
            yield


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for products of bfloat16."""
    has = torch.cpu.get_capabilities()
    return any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
