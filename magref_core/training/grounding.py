"""Teach attention where to look: at the part of a reference that a patch of the video shows.

Rectified flow alone takes long to find out that the fox of the prompt is the fox of the canvas; until then
the looks of all subjects are averaged. Where it is known what shows whom, attention can be told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import MagrefError

NOBODY = 0
"""Owner of a patch that shows no subject."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroundingConfig:
    """How strongly attention is taught, and where.

    Raises:
        MagrefError: a value is outside its range.
    """

    weight: float = 0.0
    """Of the loss beside that of the velocity; 0 for none."""
    blocks: tuple[int, ...] = (1, 2, 3, 4)
    """Blocks whose first head is taught; the other heads stay free."""
    spread: float = 0.15
    """Standard deviation of the heights that count as the same part, in heights of the subject."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0) or not self.spread > 0:
            raise MagrefError(
                f"the grounding has weight {self.weight} and spread {self.spread}: use at least 0, and "
                "above 0"
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parts:
    """What each patch of latents shows; frame 0 is the canvas."""

    owners: Tensor
    """(B, T, h, w) integers: the subject that a patch shows most of, counted from 1; 0 for none."""
    heights: Tensor
    """(B, T, h, w) float32 in [0, 1]: how far down its subject a patch lies."""


class Grounding:
    """Collects the loss of one forward pass through ComfyUI's kind of patch, `attn1_patch`."""

    def __init__(self, parts: Parts, config: GroundingConfig) -> None:
        self.config = config
        self.targets, self.counted = wanted_attention(parts, config.spread)
        self.losses: list[Tensor] = []

    def options(self) -> dict[str, Any]:
        """`transformer_options` for the model."""
        patches: Mapping[str, list[Callable[[dict[str, Any]], Tensor]]] = {"attn1_patch": [self._listen]}
        return {"patches": dict(patches)}

    def loss(self) -> Tensor:
        """Mean over the blocks that were listened to."""
        return torch.stack(self.losses).mean()

    def _listen(self, seen: dict[str, Any]) -> Tensor:
        if seen["transformer_options"]["block_index"] in self.config.blocks:
            self.losses.append(
                attention_loss(seen["q"][:, :, 0], seen["k"][:, :, 0], self.targets, self.counted)
            )
        return seen["x"]


def wanted_attention(parts: Parts, spread: float) -> tuple[Tensor, Tensor]:
    """Where on the canvas each later patch should look.

    Args:
        parts: of the clip.
        spread: see `GroundingConfig`.

    Returns:
        Shares (B, N, M) of M canvas patches for each of N later patches, 1 in sum where the patch's subject
        is on the canvas, and whether it is, (B, N).
    """
    owners, heights = parts.owners.flatten(2), parts.heights.float().flatten(2)
    canvas_owner, canvas_height = owners[:, :1], heights[:, :1]  # (B, 1, M)
    owner, height = owners[:, 1:].flatten(1)[..., None], heights[:, 1:].flatten(1)[..., None]  # (B, N, 1)
    is_same = (owner == canvas_owner) & (owner != NOBODY)
    shares = torch.exp(-0.5 * ((height - canvas_height) / spread) ** 2) * is_same
    total = shares.sum(-1, keepdim=True)
    return shares / total.clamp(min=1e-8), is_same.any(-1)


def attention_loss(q: Tensor, k: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """Cross-entropy between where one head looks on the canvas and where it should.

    Args:
        q: (B, L, d) queries of all patches, those of the canvas first.
        k: (B, L, d) keys.
        targets: see `wanted_attention`.
        counted: as well.

    Returns:
        A mean over the patches that count; 0 where none does.

    Source: FastComposer (arXiv 2305.10431), whose localisation loss does so in cross-attention.
    """
    num_canvas = targets.shape[-1]
    scores = q[:, num_canvas:].float() @ k[:, :num_canvas].float().transpose(1, 2) / math.sqrt(q.shape[-1])
    entropies = -(targets * scores.log_softmax(-1)).sum(-1)
    return (entropies * counted).sum() / counted.sum().clamp(min=1)
