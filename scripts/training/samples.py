"""From drawn scenes to the samples that the trainer reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from magref_core.canvas.masks import to_latent_mask
from magref_core.sizes import FRAME_STRIDE, PIXEL_STRIDE
from magref_core.world.film import film
from magref_core.world.scene import SceneOptions, draw_scene

from .staging import Staged, StagingOptions, stage

Sample = dict[str, Tensor]
Encode = Callable[[Tensor], Tensor]
"""Clip (F, H, W, 3) uint8, or float in [-1, 1] -> normalised latents (16, T, h, w)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoders:
    """What turns pixels and words into what is stored; the image encoder is trained, so canvases are."""

    video: Encode
    text: Callable[[str], Tensor]
    """Prompt -> token ids (L,)."""


def draw_samples(
    scenes: SceneOptions,
    staging: StagingOptions,
    encoders: Encoders,
    *,
    seed: int,
    num_frames: int | None = None,
) -> Iterator[Sample]:
    """Samples without end, of whole films or their first frames; the seed decides all of them."""
    rng = np.random.default_rng(seed)
    while True:
        yield make_sample(stage(draw_scene(rng, scenes), staging, rng), encoders, num_frames=num_frames)


@torch.no_grad()
def make_sample(staged: Staged, encoders: Encoders, *, num_frames: int | None = None) -> Sample:
    """One sample of `magref_core.training.dataset`, in float16 and bytes.

    The clip's first frame gives way to the canvas.
    """
    drawn = film(staged.scene, num_frames=num_frames)
    canvas = staged.canvas.image
    clip = torch.cat([canvas[None], torch.from_numpy(drawn.frames[1:])])  # (F, H, W, 3)
    guide = torch.zeros(clip.shape)  # the zeros after the canvas are mid-grey
    guide[0] = canvas / 127.5 - 1
    mask = to_latent_mask(staged.canvas.mask[None])
    return {
        "latents": encoders.video(clip).half(),
        "canvas_latents": encoders.video(guide).half(),
        "latent_mask": mask[0],
        "subject": subject_share(torch.from_numpy(drawn.masks.any(0)), staged.canvas.mask),
        "canvas": canvas,
        "text": encoders.text(staged.prompt).to(torch.int16),
    }


def subject_share(seen: Tensor, canvas_mask: Tensor) -> Tensor:
    """Share of each latent cell that shows a subject: (T, h, w) in 0..255.

    Args:
        seen: (F, H, W) bool; the clip, whose first frame counts as the canvas.
        canvas_mask: (H, W) in {0, 1}.
    """
    cell = PIXEL_STRIDE
    first = F.avg_pool2d(canvas_mask[None, None].float(), cell)[0]
    later = F.avg_pool3d(seen[None, None, 1:].float(), (FRAME_STRIDE, cell, cell))[0, 0]
    return (torch.cat([first, later]) * 255).round().to(torch.uint8)
