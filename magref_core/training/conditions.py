"""What the DiT is told besides the noise, and leaving parts of it out so that guidance can be learnt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..canvas.guidance import assemble_guidance
from ..canvas.masks import mask_channels
from ..errors import MagrefError
from ..sizes import FRAME_STRIDE


@dataclass(frozen=True, kw_only=True, slots=True)
class DropConfig:
    """How often a condition is left out.

    Raises:
        MagrefError: a rate is outside [0, 1].
    """

    text: float = 0.1
    """Rate at which the prompt is emptied."""
    references: float = 0.1
    """Rate at which canvas latents, mask and image tokens are zeroed together."""

    def __post_init__(self) -> None:
        for name in ("text", "references"):
            rate = getattr(self, name)
            if not 0 <= rate <= 1:
                raise MagrefError(f"the drop rate of {name} is {rate}, but must be from 0 to 1")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Conditions:
    """Conditions of a batch of B samples."""

    canvas_latents: Tensor
    """(B, 16, T, h, w), of the canvas followed by mid-grey frames."""
    latent_mask: Tensor
    """(B, h, w) in {0, 1}; 1 on a reference."""
    image_tokens: Tensor | None
    """(B, N, C) of the CLIP vision model."""
    text: Tensor
    """(B, L) token ids, 0 after the end, or (B, L, C) text features, zero after the end."""


def drop_conditions(
    conditions: Conditions,
    config: DropConfig,
    generator: torch.Generator,
    *,
    empty_text: Tensor | None = None,
) -> Conditions:
    """Leave out the prompt of some samples and the references of some, independently.

    Args:
        conditions: of a batch.
        config: the rates.
        generator: on the CPU, advanced.
        empty_text: (L,) token ids or (L, C) features of an empty prompt, what a dropped one becomes; without
            it that is 0.

    Returns:
        New conditions; the given tensors stay as they are.
    """
    count, device = len(conditions.text), conditions.text.device
    no_text = (torch.rand(count, generator=generator) < config.text).to(device)
    no_references = (torch.rand(count, generator=generator) < config.references).to(device)
    text = _zeroed(conditions.text, no_text)
    if empty_text is not None:
        text[no_text] = empty_text.to(text)
    image_tokens = conditions.image_tokens
    return replace(
        conditions,
        canvas_latents=_zeroed(conditions.canvas_latents, no_references),
        latent_mask=_zeroed(conditions.latent_mask, no_references),
        image_tokens=None if image_tokens is None else _zeroed(image_tokens, no_references),
        text=text,
    )


def guidance_channels(conditions: Conditions) -> Tensor:
    """The 20 channels of masked guidance, (B, 20, T, h, w), in the dtype of the canvas latents."""
    num_frames = (conditions.canvas_latents.shape[2] - 1) * FRAME_STRIDE + 1
    mask = mask_channels(conditions.latent_mask.to(conditions.canvas_latents), num_frames)
    return assemble_guidance(mask, conditions.canvas_latents)


def _zeroed(values: Tensor, dropped: Tensor) -> Tensor:
    """A copy with the samples in `dropped` (B,) set to 0."""
    return values.masked_fill(dropped.view(-1, *[1] * (values.ndim - 1)).to(values.device), 0)
