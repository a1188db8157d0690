"""From somebody's clips and pictures to the samples that the trainer reads."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from magref_core.canvas.clip_view import clip_pixels
from magref_core.canvas.compose import Canvas, compose_canvas
from magref_core.canvas.masks import to_latent_mask
from magref_core.canvas.references import Reference
from magref_core.errors import MagrefError
from magref_core.sizes import FRAME_STRIDE
from magref_core.training.augment import AugmentConfig, augment, choose_references, draw_augmentation
from magref_core.training.files import TrainingError
from magref_core.training.masking import PAPER, LayoutConfig, random_layout

from .samples import Encode, Sample, subject_share
from .user_clips import Clip, ClipOptions, read_reference
from .user_data import Material, Source

LARGEST = 2
"""References larger than this many canvases are shrunk before they are changed, which saves time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UserEncoders:
    """What turns pixels and words into what the DiT reads."""

    video: Encode
    image: Callable[[Tensor], Tensor]
    """Canvas (1, 3, size, size) as from `clip_pixels` -> image tokens (1, N, C)."""
    image_size: int
    text: Callable[[str], Tensor]
    """Prompt -> features (L, C), without the zeros after its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CanvasOptions:
    """How the canvases of a sample are made.

    Raises:
        MagrefError: there is to be no canvas.
    """

    variants: int = 4
    """Canvases per clip; each has other pictures, places and changes, and another part of a long clip."""
    layout: LayoutConfig = PAPER
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    drawn: bool = False
    """Draw how many and which pictures stand on a canvas; else each subject stands there once."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.variants < 1:
            raise MagrefError(f"there are to be {self.variants} canvases per clip: use at least 1")


def make_samples(
    material: Material, clip: Clip, options: ClipOptions, canvases: CanvasOptions, encoders: UserEncoders
) -> Iterator[Sample]:
    """One sample per canvas; the seed and the name of the material decide all of them.

    Args:
        material: prompt and references.
        clip: its target.
        options: size and length.
        canvases: how many canvases, and how they are made.
        encoders: of the model that is to be trained.

    Raises:
        MagrefError: a reference is broken, too thin, or there are more than the canvas has room for.
    """
    sources = _by_subject(material.references)
    orders = [
        _shuffled(pictures, f"{canvases.seed} {material.name} {name}") for name, pictures in sources.items()
    ]
    for variant in range(canvases.variants):
        rng = random.Random(f"{canvases.seed} {material.name} {variant}")
        if canvases.drawn:
            chosen = draw_references(material.references, rng)
        else:
            chosen = [pictures[variant % len(pictures)] for pictures in orders]
        try:
            canvas = draw_canvas(chosen, options, canvases, rng)
        except MagrefError as error:
            raise TrainingError(f"the canvas of '{material.name}' cannot be drawn: {error}") from error
        yield encode_sample(canvas, cut(clip, options.length - 1, rng), material.prompt, encoders)


def draw_references(sources: tuple[Source, ...], rng: random.Random) -> list[Source]:
    """Draw by `choose_references`; backgrounds count as one subject, which has its own chance."""
    places = [source for source in sources if source.kind == "background"]
    subjects = list(_by_subject(tuple(source for source in sources if source.kind != "background")).values())
    if not subjects:
        return [rng.choice(places)]
    generator = torch.Generator().manual_seed(rng.getrandbits(63))
    choice = choose_references([len(pictures) for pictures in subjects], generator)
    chosen = [subjects[subject][picture] for subject, picture in choice.pictures]
    return chosen + ([rng.choice(places)] if places and choice.has_background else [])


def draw_canvas(
    sources: list[Source], options: ClipOptions, canvases: CanvasOptions, rng: random.Random
) -> Canvas:
    """Change the references, so that they cannot just be copied, and lay them out."""
    generator = torch.Generator().manual_seed(rng.getrandbits(63))
    limit = LARGEST * max(options.height, options.width)
    references = [
        _reference(source, number, limit, canvases.augment, generator)
        for number, source in enumerate(sources)
    ]
    placements = random_layout(
        [(reference.height, reference.width) for reference in references],
        height=options.height,
        width=options.width,
        config=canvases.layout,
        rng=rng,
    )
    return compose_canvas(references, placements, height=options.height, width=options.width)


def cut(clip: Clip, num_frames: int, rng: random.Random) -> Clip:
    """A random part of a clip: `num_frames`, or, if it is shorter, all that make whole latent frames."""
    count = min(num_frames, len(clip.frames) // FRAME_STRIDE * FRAME_STRIDE)
    start = rng.randrange(len(clip.frames) - count + 1)
    part = slice(start, start + count)
    return Clip(frames=clip.frames[part], subject=None if clip.subject is None else clip.subject[part])


@torch.no_grad()
def encode_sample(canvas: Canvas, clip: Clip, prompt: str, encoders: UserEncoders) -> Sample:
    """One sample of `magref_core.training.dataset`: the canvas, then the clip; in float16 and bytes."""
    video = torch.cat([canvas.image[None], clip.frames])  # (F, H, W, 3)
    guide = torch.zeros(video.shape)  # the zeros after the canvas are mid-grey
    guide[0] = canvas.image / 127.5 - 1
    seen = torch.ones(clip.frames.shape[:3]) if clip.subject is None else clip.subject.float()
    return {
        "latents": encoders.video(video).half(),
        "canvas_latents": encoders.video(guide).half(),
        "latent_mask": to_latent_mask(canvas.mask[None])[0],
        "subject": subject_share(torch.cat([seen[:1], seen]), canvas.mask),
        "image_tokens": encoders.image(clip_pixels(canvas.pixels()[None], size=encoders.image_size))[
            0
        ].half(),
        "text": encoders.text(prompt).half(),
    }


def _by_subject(sources: tuple[Source, ...]) -> dict[str, list[Source]]:
    found: dict[str, list[Source]] = {}
    for source in sources:
        found.setdefault(source.subject, []).append(source)
    return found


def _shuffled(sources: list[Source], seed: str) -> list[Source]:
    order = list(sources)
    random.Random(seed).shuffle(order)
    return order


def _reference(
    source: Source, number: int, limit: int, config: AugmentConfig, generator: torch.Generator
) -> Reference:
    image, alpha = read_reference(source)
    opaque = torch.full(image.shape[:2], 255, dtype=torch.uint8)
    picture = torch.cat([image, (opaque if alpha is None else alpha)[..., None]], dim=2)
    picture = picture.permute(2, 0, 1).float() / 255  # (4, H, W)
    picture = _blank(_shrunk(picture, limit))
    change = draw_augmentation(picture.shape[1], picture.shape[2], config, generator)
    picture = augment(picture, change, fill="reflect" if alpha is None else "white")
    levels = (picture * 255).round().to(torch.uint8).permute(1, 2, 0)
    return Reference(
        name=f"{number + 1}",
        kind=source.kind,
        image=levels[..., :3].contiguous(),
        alpha=None if alpha is None else levels[..., 3].contiguous(),
    )


def _shrunk(picture: Tensor, limit: int) -> Tensor:
    """(4, H, W) with no side over the limit."""
    longer = max(picture.shape[1:])
    if longer <= limit:
        return picture
    size = [max(1, round(side * limit / longer)) for side in picture.shape[1:]]
    # Colours under a zero alpha may be anything: they must not bleed into the subject.
    weighted = torch.cat([picture[:3] * picture[3:], picture[3:]])
    small = F.interpolate(weighted[None], size=size, mode="bilinear", antialias=True)[0]
    return torch.cat([small[:3] / small[3:].clamp_min(1e-4), small[3:]]).clamp(0, 1)


def _blank(picture: Tensor) -> Tensor:
    """(4, H, W) that is white where it is transparent, as the canvas, so that blurring makes no dark rim."""
    return torch.cat([torch.where(picture[3:] > 0, picture[:3], 1.0), picture[3:]])
