"""Short clips of a run in progress, without a host: solver, linear decoder and contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from magref_core.sampling.schedule import flow_schedule
from magref_core.sampling.solvers import SOLVERS
from magref_core.training.conditions import Conditions, guidance_channels
from magref_core.training.linear_codec import LinearCodec
from magref_core.training.trainer import Models
from magref_core.world.film import film

from .samples import Encoders, make_sample
from .staging import Staged

SHOWN_FRAMES = (1, 6, 11, 16)
GAP = 4
"""Pixels between pictures."""


@torch.no_grad()
def conditions_of(staged: Sequence[Staged], encoders: Encoders, models: Models) -> Conditions:
    """What the model is told of some scenes."""
    samples = [make_sample(each, encoders) for each in staged]

    def stack(name: str) -> Tensor:
        return torch.stack([sample[name] for sample in samples])

    return Conditions(
        canvas_latents=stack("canvas_latents").float(),
        latent_mask=stack("latent_mask").float(),
        image_tokens=models.look(stack("canvas")),
        text=stack("text").long(),
    )


@torch.no_grad()
def generate(
    models: Models,
    conditions: Conditions,
    *,
    seed: int,
    num_steps: int = 20,
    shift: float = 3.0,
    scale: float = 1.0,
) -> Tensor:
    """Latents (B, 16, T, h, w) of a batch by UniPC; `scale` above 1 guides by the prompt."""
    assert models.text_encoder is not None and models.empty_text is not None
    channels = guidance_channels(conditions)
    context = models.text_encoder(conditions.text)
    empty = models.text_encoder(models.empty_text[None]).expand_as(context)
    schedule = flow_schedule("unipc", num_steps, shift)
    noise = torch.randn(conditions.canvas_latents.shape, generator=torch.Generator().manual_seed(seed))

    def denoise(x: Tensor, step: int) -> Tensor:
        sigma = schedule.sigmas[step]
        timesteps = schedule.timesteps[step].expand(len(x)).float()
        state = torch.cat([x, channels], dim=1)
        velocity = models.dit(state, timesteps, context, conditions.image_tokens)
        if scale != 1:
            plain = models.dit(state, timesteps, empty, conditions.image_tokens)
            velocity = plain + scale * (velocity - plain)
        return x - sigma * velocity

    return SOLVERS["unipc"](denoise, noise, schedule.sigmas)


def to_frames(codec: LinearCodec, latents: Tensor) -> np.ndarray:
    """(B, F, H, W, 3) uint8 by the linear decoder."""
    with torch.no_grad():
        pixels = codec.decode(latents)
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()


def draw_sheet(staged: Sequence[Staged], frames: np.ndarray, file: Path, *, zoom: int = 2) -> None:
    """Save rows of canvas, true frames and generated frames (B, F, H, W, 3)."""
    rows = []
    for each, clip in zip(staged, frames, strict=True):
        true = film(each.scene).frames
        pictures = [each.canvas.image.numpy(), *true[list(SHOWN_FRAMES[::3])], *clip[list(SHOWN_FRAMES)]]
        padded = [np.pad(picture, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for picture in pictures]
        rows.append(np.concatenate(padded, axis=1))
    sheet = Image.fromarray(np.concatenate(rows))
    sheet.resize((sheet.width * zoom, sheet.height * zoom), Image.Resampling.NEAREST).save(file)
