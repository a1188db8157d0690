"""What the subjects' controls do inside one forward of the DiT.

Subject disentanglement: z0 <- z0 + alpha sum_k M_k v_k in every block, where z0 are the tokens of the first
latent frame, M_k the region of subject k on the canvas and v_k the mean of the values that cross-attention
holds of its words. With the projection `value_out` v_k passes through the output projection, as an attention
that looks at nothing but these words would; `value` adds it to the tokens as it stands.

Identity strength: a bias on the self-attention's logits of the tokens that show a subject, see `lse`.

Source: MAGREF (arXiv 2505.23742 v2), section 3.2, eq. 5 and 6, and figure 3, which leave alpha, the place in
the block and the projection open; the released program has nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Projection = Literal["value_out", "value"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Injection:
    """Words of subjects that are added to their regions of the first latent frame."""

    rows: tuple[int, int]
    """First and last + 1 of the batch."""
    blocks: tuple[int, int]
    """First and last + 1."""
    averages: Tensor
    """(K, L) float32: the mean over the rows of the text that are each subject's words."""
    amounts: Tensor
    """(N, K) float32: alpha M_k for each of the N tokens of a latent frame."""
    projection: Projection = "value_out"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Boost:
    """Tokens that are looked at more, or less."""

    rows: tuple[int, int]
    blocks: tuple[int, int]
    keys: tuple[Tensor, ...]
    """Per subject (M,) int64: its tokens; no two subjects share one."""
    factors: tuple[float, ...]
    """Per subject e^b - 1 for a bias b of its logits; above -1."""
    near: bool = False
    """Only for queries that look at the subject already."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SubjectPlan:
    """Everything for one forward."""

    injections: tuple[Injection, ...] = ()
    boosts: tuple[Boost, ...] = ()

    def at(self, block: int) -> SubjectPlan | None:
        """What is to be done in a block; None if nothing is."""
        injections = tuple(one for one in self.injections if one.blocks[0] <= block < one.blocks[1])
        boosts = tuple(one for one in self.boosts if one.blocks[0] <= block < one.blocks[1])
        return SubjectPlan(injections=injections, boosts=boosts) if injections or boosts else None

    def add_words(self, tokens: Tensor, values: Tensor, projection: Projection) -> Tensor:
        """Add the words of one projection.

        Args:
            tokens: (B, L, D).
            values: (B, M, D): those of the text, without the image tokens.
            projection: the others are left out.

        Returns:
            The tokens; written over, unless a gradient is wanted.
        """
        wanted = [one for one in self.injections if one.projection == projection]
        if not wanted:
            return tokens
        if tokens.requires_grad:
            tokens = tokens.clone()  # attention keeps its result for the backward pass
        for one in wanted:
            begin, end = one.rows
            words = one.averages @ values[begin:end].float()  # (rows, K, D)
            tokens[begin:end, : len(one.amounts)] += (one.amounts @ words).to(tokens.dtype)
        return tokens

    def split_rows(self, num_rows: int) -> list[tuple[int, int, Boost | None]]:
        """The batch in parts, from first row to last + 1, each with what is boosted in it."""
        parts: list[tuple[int, int, Boost | None]] = []
        place = 0
        for boost in sorted(self.boosts, key=lambda one: one.rows):
            begin, end = boost.rows
            if begin > place:
                parts.append((place, begin, None))
            parts.append((begin, end, boost))
            place = end
        return parts if place >= num_rows else [*parts, (place, num_rows, None)]


def averages_of(positions: tuple[tuple[int, ...], ...], text_len: int) -> Tensor:
    """Rows of words per subject -> (K, text_len) float32 that takes their means."""
    averages = torch.zeros(len(positions), text_len)
    for index, own in enumerate(positions):
        averages[index, list(own)] = 1 / len(own)
    return averages
