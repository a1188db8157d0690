"""Teach the DiT who is who: to name what a patch shows, and to look at the same part of its reference.

Rectified flow alone takes long to find out that the fox of the prompt is the fox of the canvas; until then
the looks of all subjects are averaged. Where it is known what shows whom, that can be told: which patch
shows the fox, what the fox does, where the patch lies, and which part of the canvas it repeats. A model that
was trained on the world's videos knows as much before it sees its first reference; a small one does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MagrefError
from .text_encoder import PAD

NOBODY = 0
"""Owner of a patch that shows no subject."""
NO_WORD = PAD
"""For what is no subject."""
PLACE_WEIGHT = 5.0
"""Of squared errors of places beside cross-entropies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroundingConfig:
    """How strongly attention is taught, and where.

    Raises:
        MagrefError: a value is outside its range.
    """

    weight: float = 0.0
    """Of the loss beside that of the velocity; 0 for none."""
    blocks: tuple[int, ...] = (2, 3, 4)
    """Blocks whose self-attention is taught the parts, in its first head; the other heads stay free."""
    read_blocks: tuple[int, ...] = (0, 1, 2)
    """Blocks after which it can be read what a patch shows and where it lies."""
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
    words: Tensor
    """(B, S, 2) token ids: what each subject is and what it does, one piece of the prompt each; `NO_WORD` for
    none."""
    regions: Tensor | None = None
    """(B, S, h, w) integers in {0, 1}: the canvas patches of each subject's boxes, as `Regions.boxes` of
    `subjects` gives them; None where the samples do not tell."""

    def told_by(self, *, text: Tensor, references: Tensor) -> Parts:
        """Without what the model cannot know; both are (B,) bool.

        Args:
            text: whether a sample keeps its prompt; without it nobody is in the clip.
            references: whether it keeps its canvas; without it nobody is there.
        """
        owners = self.owners.clone()
        owners[~text.to(owners.device), 1:] = NOBODY
        owners[~references.to(owners.device), 0] = NOBODY
        regions = self.regions
        if regions is not None:
            regions = regions * references.to(regions)[:, None, None, None]
        return replace(self, owners=owners, regions=regions)

    def to(self, device: torch.device) -> Parts:
        """On another device."""
        return Parts(
            owners=self.owners.to(device),
            heights=self.heights.to(device),
            words=self.words.to(device),
            regions=None if self.regions is None else self.regions.to(device),
        )


class Reader(nn.Module):
    """Reads off the residual stream what a patch shows and where it lies; only training needs it.

    Args:
        dim: of the stream.
        num_pieces: of the tokenizer.
        config: tells the blocks.
        generator: of the first weights; None draws from the global one.
    """

    def __init__(
        self, dim: int, num_pieces: int, config: GroundingConfig, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.num_pieces = num_pieces
        self.heads = nn.ModuleDict()
        for block in config.read_blocks:
            head = nn.Linear(dim, 2 * num_pieces + 2)
            with torch.no_grad():
                head.weight.normal_(0, dim**-0.5, generator=generator)
                head.bias.zero_()
            self.heads[str(block)] = nn.Sequential(nn.LayerNorm(dim), head)

    def forward(self, tokens: Tensor, block: int) -> tuple[Tensor, Tensor]:
        """Read the residual stream after a block.

        Args:
            tokens: (B, L, D).
            block: its number.

        Returns:
            Logits of two words (B, L, 2, num_pieces), and column and row (B, L, 2) from 0 to 1.
        """
        read = self.heads[str(block)](tokens.float())
        return read[..., :-2].unflatten(-1, (2, self.num_pieces)), read[..., -2:]


class Grounding:
    """Collects the losses of one forward pass through ComfyUI's kinds of patches.

    Args:
        parts: of the batch.
        config: what is taught.
        reader: None to leave out what it reads.
    """

    def __init__(self, parts: Parts, config: GroundingConfig, reader: Reader | None = None) -> None:
        self.config, self.reader = config, reader
        self.targets, self.counted = wanted_attention(parts, config.spread)
        self.words, self.places = wanted_words(parts), wanted_places(parts)
        self.part_losses: list[Tensor] = []
        self.reading_losses: list[Tensor] = []

    def options(self) -> dict[str, Any]:
        """`transformer_options` for the model."""
        patches: Mapping[str, list[Callable[[dict[str, Any]], Any]]] = {
            "attn1_patch": [self._listen],
            "double_block": [self._read],
        }
        return {"patches": dict(patches)}

    def loss(self) -> Tensor:
        """The means over the blocks that were listened to, reading and parts added up."""
        heard = [losses for losses in (self.part_losses, self.reading_losses) if losses]
        return torch.stack([torch.stack(losses).mean() for losses in heard]).sum()

    def _listen(self, seen: dict[str, Any]) -> Tensor:
        if seen["transformer_options"]["block_index"] in self.config.blocks:
            num_canvas = self.targets.shape[-1]
            q, k = seen["q"][:, num_canvas:, 0], seen["k"][:, :num_canvas, 0]
            self.part_losses.append(attention_loss(q, k, self.targets, self.counted))
        return seen["x"]

    def _read(self, seen: dict[str, Any]) -> dict[str, Any]:
        if self.reader is not None and seen["block_index"] in self.config.read_blocks:
            logits, places = self.reader(seen["img"], seen["block_index"])
            losses = F.cross_entropy(logits.flatten(0, 2), self.words.flatten(), reduction="none")
            counted = self.words.flatten() != NO_WORD
            loss = 2 * (losses * counted).sum() / counted.sum().clamp(min=1)
            self.reading_losses.append(
                loss + PLACE_WEIGHT * F.mse_loss(places, self.places.expand_as(places))
            )
        return seen


def wanted_words(parts: Parts) -> Tensor:
    """What each patch shows and what that does, as `Parts.words`: (B, L, 2).

    On the canvas nobody does anything.
    """
    owner = parts.owners.flatten(1).long()
    words = parts.words.long().take_along_dim((owner - 1).clamp(min=0)[..., None], dim=1)
    words = torch.where(owner[..., None] == NOBODY, NO_WORD, words)
    words[:, : parts.owners[0, 0].numel(), 1] = NO_WORD
    return words


def wanted_places(parts: Parts) -> Tensor:
    """Column and row of each patch, (L, 2) from 0 to 1."""
    num_frames, height, width = parts.owners.shape[1:]
    columns, rows = torch.linspace(0, 1, width), torch.linspace(0, 1, height)
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)  # (h, w, 2)
    return grid.flatten(0, 1).repeat(num_frames, 1).to(parts.owners.device)


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
    """Cross-entropy between where one head looks and where it should.

    Args:
        q: (B, N, d) queries.
        k: (B, M, d) keys.
        targets: (B, N, M) shares of the keys, 1 in sum where it counts.
        counted: (B, N) whether a query counts.

    Returns:
        A mean over the queries that count; 0 where none does.

    Source: FastComposer (arXiv 2305.10431), whose localisation loss does so in cross-attention.
    """
    scores = q.float() @ k.float().transpose(1, 2) / math.sqrt(q.shape[-1])
    entropies = -(targets * scores.log_softmax(-1)).sum(-1)
    return (entropies * counted).sum() / counted.sum().clamp(min=1)
