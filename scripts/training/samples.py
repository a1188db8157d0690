"""From drawn scenes to the samples that the trainer reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from magref_core.canvas.compose import compose_canvas
from magref_core.canvas.masks import to_latent_mask
from magref_core.sizes import FRAME_STRIDE, PATCH_STRIDE, PIXEL_STRIDE
from magref_core.subjects.mentions import Subject
from magref_core.subjects.regions import in_region, regions_of, token_shares
from magref_core.training.grounding import NO_WORD, NOBODY
from magref_core.world.captions import deed
from magref_core.world.film import Film, film
from magref_core.world.scene import MAX_SUBJECTS, SceneOptions, draw_scene

from .staging import Staged, StagingOptions, stage

LEAST_SHARE = 0.15
"""Of a patch that a subject must cover to own it."""

PATCH = (PATCH_STRIDE // PIXEL_STRIDE,) * 2
"""Latent cells of a token, down and across."""

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
        **part_maps(staged, drawn),
        "regions": subject_regions(staged),
        "words": subject_words(staged, encoders.text),
        "text": encoders.text(staged.prompt).to(torch.int16),
    }


def part_maps(staged: Staged, drawn: Film) -> Sample:
    """`owners` and `heights` of `magref_core.training.grounding`, in bytes; actors count from 1."""
    scene, canvas = staged.scene, staged.canvas
    height, width = canvas.height, canvas.width
    on_canvas = torch.zeros(len(scene.actors), height, width)
    for placement in canvas.placements:
        actor = staged.subjects[placement.reference]
        if actor is not None:
            alone = replace(placement, reference=0)
            reference = canvas.references[placement.reference]
            cut = compose_canvas([reference], [alone], height=height, width=width, mask_shape="cutout").mask
            on_canvas[actor] = torch.maximum(on_canvas[actor], cut.float())
    seen = torch.from_numpy(drawn.masks).float()  # (N, F, H, W)
    later = seen[:, 1:].unflatten(1, (-1, FRAME_STRIDE)).mean(2)
    shares = F.avg_pool2d(torch.cat([on_canvas[:, None], later], dim=1), PATCH_STRIDE)  # (N, T, h, w)
    largest, owner = shares.max(0)
    heights = torch.stack([_heights(each) for each in shares])
    return {
        "owners": torch.where(largest > LEAST_SHARE, owner + 1, NOBODY).to(torch.uint8),
        "heights": (heights.gather(0, owner[None])[0] * 255).round().to(torch.uint8),
    }


def subject_regions(staged: Staged) -> Tensor:
    """`regions` of `magref_core.training.grounding`, in bytes: as MAGREF Subject Disentangle finds them."""
    actors = range(len(staged.scene.actors))
    subjects = [
        Subject(
            name=str(actor),
            word="",
            references=tuple(index for index, shown in enumerate(staged.subjects) if shown == actor),
        )
        for actor in (*actors, None)
    ]
    shares = token_shares(regions_of(staged.canvas, subjects).boxes, PATCH)
    found = in_region(shares[: len(actors)], "half").to(torch.uint8)
    return torch.cat([found, found.new_zeros(MAX_SUBJECTS - len(actors), *found.shape[1:])])


def subject_words(staged: Staged, encode: Callable[[str], Tensor]) -> Tensor:
    """`words` of `magref_core.training.grounding`: each actor's category, and the last word of its deed."""
    words = torch.full((MAX_SUBJECTS, 2), NO_WORD, dtype=torch.int16)
    for number, actor in enumerate(staged.scene.actors):
        for place, word in enumerate((actor.identity.category, deed(actor).split()[-1])):
            words[number, place] = int(encode(word)[0])
    return words


def _heights(shares: Tensor) -> Tensor:
    """How far down a subject each patch lies: (T, h, w) in [0, 1], from the rows that show it."""
    rows = torch.arange(shares.shape[1]).float()
    is_seen = (shares > LEAST_SHARE).any(-1)  # (T, h)
    top = torch.where(is_seen, rows, torch.inf).amin(1)[:, None]
    bottom = torch.where(is_seen, rows, -torch.inf).amax(1)[:, None]
    down = ((rows - top) / (bottom - top).clamp(min=1)).nan_to_num(0.5).clamp(0, 1)
    return down[..., None].expand_as(shares)


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
