"""Teach a text encoder, before anything else, what a caption says of each subject.

Learnt from the velocity alone, a small encoder never binds "walks left" to the fox that does so: its
attention settles before that could pay. Asked outright, it takes a minute. The DiT then finds all of it at
the subject's noun, and the encoder stays as it is, as a released one would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .files import TrainingError
from .rates import RateConfig, rate_at
from .text_encoder import TextEncoder


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lesson:
    """B captions and the N subjects that they name."""

    ids: Tensor
    """(B, L) token ids."""
    captions: Tensor
    """(N,) integers: the caption that names a subject."""
    nouns: Tensor
    """(N,) integers: the row of its noun."""
    deeds: Tensor
    """(N,) token ids: what it does."""
    sides: Tensor
    """(N,) integers: how many subjects there are, and which of them it is, as one class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LessonOptions:
    """How long and how fast."""

    num_steps: int = 500
    rate: RateConfig = field(default_factory=lambda: RateConfig(peak=1e-3, warmup=100, constant=0.7))
    num_sides: int = 6
    """Classes of `Lesson.sides`."""


def teach(
    encoder: TextEncoder,
    draw: Callable[[], Lesson],
    options: LessonOptions,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    on_report: Callable[[int, float], None] = lambda _step, _share: None,
) -> bool:
    """Train the encoder, with two linear readers of the nouns that are thrown away.

    Args:
        encoder: changed.
        draw: gives a lesson for each step.
        options: of the run.
        should_stop: asked before each step.
        on_report: told every 50 steps: the steps done, and the share of subjects of whom both deed and side
            were read right in the last lesson.

    Returns:
        Whether all steps were done.

    Raises:
        TrainingError: the loss is not finite.
    """
    config, device = encoder.config, encoder.shared.weight.device
    reader = _reader(config.d_model, config.vocab_size + options.num_sides).to(device)
    weights = [*encoder.parameters(), *reader.parameters()]
    optimiser = torch.optim.AdamW(weights, betas=(0.9, 0.99))
    for step in range(options.num_steps):
        if should_stop():
            return False
        lesson = draw()
        read = reader(encoder(lesson.ids.to(device)))[lesson.captions, lesson.nouns]
        deeds, sides = lesson.deeds.to(device), lesson.sides.to(device)
        of_deeds, of_sides = read.split([config.vocab_size, options.num_sides], dim=-1)
        loss = F.cross_entropy(of_deeds, deeds) + F.cross_entropy(of_sides, sides)
        if not loss.isfinite():
            raise TrainingError(
                f"step {step} of the text encoder gave a loss of {loss.item():g}: lower its learning rate"
            )
        optimiser.zero_grad()
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        nn.utils.clip_grad_norm_(weights, 1.0)
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, options.num_steps, options.rate)
        optimiser.step()  # pyright: ignore[reportUnknownMemberType]
        if (step + 1) % 50 == 0:
            right = (of_deeds.argmax(-1) == deeds) & (of_sides.argmax(-1) == sides)
            on_report(step + 1, right.float().mean().item())
    return True


def _reader(dim: int, num_classes: int) -> nn.Sequential:
    """Linear, and the same at each call."""
    linear = nn.Linear(dim, num_classes)
    with torch.no_grad():
        linear.weight.normal_(0, dim**-0.5, generator=torch.Generator().manual_seed(0))
        linear.bias.zero_()
    return nn.Sequential(nn.LayerNorm(dim), linear)
