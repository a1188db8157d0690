"""Rotary position embedding over frames, rows and columns.

A head's channels are taken in neighbouring pairs; the first pairs turn with the frame, the next with the row,
the last with the column. The turns travel as one tensor of 2 x 2 rotation matrices, (B, L, 1, d / 2, 2, 2)
float32, the form that ComfyUI's own Wan uses, so that nodes that bring their own turns and fused kernels fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

THETA = 10000.0


def axis_dims(head_dim: int) -> tuple[int, int, int]:
    """Channels of a head that belong to frame, row and column: (44, 42, 42) of 128."""
    share = 2 * (head_dim // 6)
    return head_dim - 2 * share, share, share


def rotations(positions: Tensor, dim: int, theta: float = THETA) -> Tensor:
    """Rotation matrices of `dim` channels at each position.

    Computed in float64: at column 100 float32 angles are off by 4e-6.

    Args:
        positions: (...), may be fractional.
        dim: channels, even; pair i turns by position / theta^(2 i / dim).
        theta: base of the turns' slowness.

    Returns:
        (..., dim / 2, 2, 2) float32 on the device of `positions`.

    Source: RoFormer (arXiv 2104.09864), eq. 15; MAGREF, magref/modules/model.py, `rope_params`.
    """
    device = float64_device(positions.device)
    exponents = torch.arange(0, dim, 2, dtype=torch.float64, device=device) / dim
    angles = positions.to(device, torch.float64)[..., None] / theta**exponents
    cos, sin = angles.cos(), angles.sin()
    matrices = torch.unflatten(torch.stack([cos, -sin, sin, cos], dim=-1), -1, (2, 2))
    return matrices.to(torch.float32).to(positions.device)


def float64_device(device: torch.device) -> torch.device:
    """The device itself, or the CPU where the device has no float64."""
    return torch.device("cpu") if device.type in ("mps", "xpu", "privateuseone") else device


class RopeEmbedder(nn.Module):
    """Turns of tokens from their (frame, row, column); a module, so that a host's node may replace it."""

    def __init__(self, dim: int, theta: float, axes_dim: Sequence[int]) -> None:
        super().__init__()
        self.dim = dim
        self.theta = theta
        self.axes_dim = list(axes_dim)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, L, 3) positions -> (B, 1, L, dim / 2, 2, 2) float32."""
        axes = zip(ids.unbind(-1), self.axes_dim, strict=True)
        return torch.cat([rotations(ids, dim, self.theta) for ids, dim in axes], dim=-3).unsqueeze(1)


def grid_positions(
    grid: Sequence[int],
    *,
    steps: Sequence[int | None] = (None, None, None),
    start: float = 0,
    options: Mapping[str, Any] | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Positions of the tokens of a video, frame by frame and row by row.

    Args:
        grid: (T, H, W) in patches.
        steps: tokens along each axis if the grid is to be sampled more or less densely.
        start: position of the first frame.
        options: `scale_t`, `scale_y`, `scale_x` stretch the axes about their first position, and `shift_t`,
            `shift_y`, `shift_x` move them (ComfyUI's ScaleROPE).
        device: where to put them.

    Returns:
        (1, T H W, 3) float32.
    """
    options = options or {}
    axes: list[Tensor] = []
    for name, size, count, first in zip("tyx", grid, steps, (start, 0, 0), strict=True):
        if count is None and first == 0 and not options:
            # The same numbers; torch.compile would compile a linspace anew for each size.
            axes.append(torch.arange(size, dtype=torch.float32, device=device))
            continue
        last = (size - 1) * options.get(f"scale_{name}", 1.0)
        first = first + options.get(f"shift_{name}", 0.0)
        axes.append(torch.linspace(first, first + last, size if count is None else count, device=device))
    return torch.cartesian_prod(*axes)[None]


def rotate(x: Tensor, freqs: Tensor) -> Tensor:
    """Turn the channel pairs of every head.

    Args:
        x: (B, L, heads, d).
        freqs: (B or 1, L, 1, d / 2, 2, 2) float32.

    Returns:
        Shape and dtype of `x`; computed in float32, as a product of complex numbers: on a processor, with
        its gradient, 40 times as fast as the same sums of strided real ones.
    """
    pairs = torch.view_as_complex(torch.unflatten(x.to(freqs.dtype), -1, (-1, 2)))  # (B, L, heads, d / 2)
    turns = torch.complex(freqs[..., 0, 0], freqs[..., 1, 0])
    return torch.view_as_real(pairs * turns).flatten(-2).type_as(x)
