"""The noise that a run starts from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gaussian_noise(
    shape: Sequence[int],
    seed: int,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal noise that depends on nothing but its arguments.

    CPU and GPU draw different numbers for one seed. The official code draws on its GPU; ComfyUI on
    the CPU, so that a seed means the same on every machine.

    Args:
        shape: (16, T, h, w), or with a leading 1, which changes no number.
        seed: of a generator of its own, in [0, 2^64).
        device: where the generator draws and the noise stays.
        dtype: of the draw; another one draws other numbers.

    Returns:
        The noise.

    Source: MAGREF, magref/subject2video.py, `generate`.
    """
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(tuple(shape), generator=generator, device=device, dtype=dtype)
