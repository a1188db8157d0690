"""Rectified flow: noise levels, the straight path from video to noise, and the loss on its velocity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import MagrefError

Law = Literal["logit_normal", "uniform_weighted"]
"""logit_normal: sigma is the sigmoid of a normal; uniform_weighted: an even grid whose middle counts most."""

GRID = 1000
"""Points of the grid of `uniform_weighted`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowConfig:
    """Which noise levels are trained, and what counts in the loss.

    Raises:
        MagrefError: a value is outside its range.
    """

    law: Law = "logit_normal"
    mean: float = 0.0
    """Of the normal under `logit_normal`."""
    deviation: float = 1.0
    """Of the same."""
    shift: float = 3.0
    """Above 0; larger values train more at high noise, where references decide who appears."""
    subject_weight: float = 4.0
    """At least 0; a latent cell on a subject counts 1 + this."""
    canvas_weight: float = 0.25
    """At least 0; what latent frame 0, the canvas, counts beside the others."""

    def __post_init__(self) -> None:
        if self.law not in get_args(Law):
            raise MagrefError(
                f"the law is '{self.law}', which is unknown: use one of {', '.join(get_args(Law))}"
            )
        if not math.isfinite(self.mean):
            raise MagrefError(f"mean is {self.mean}, but must be a finite number")
        for name in ("deviation", "shift"):
            _check_number(name, getattr(self, name), above=0.0)
        for name in ("subject_weight", "canvas_weight"):
            _check_number(name, getattr(self, name), least=0.0)


def shifted(sigmas: Tensor, shift: float) -> Tensor:
    """Move noise levels in [0, 1] towards 1: shift s / (1 + (shift - 1) s)."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def draw_sigmas(count: int, config: FlowConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise levels of one batch, and how much each sample counts.

    Args:
        count: samples.
        config: law and shift.
        generator: on the CPU, advanced.

    Returns:
        Sigmas (count,) in [0, 1] and weights (count,), 1 on average; float32.

    Source: Wan 2.1 (logit-normal, arXiv 2403.03206); DiffSynth-Studio, diffsynth/diffusion/flow_match.py, for
    the weighted grid.
    """
    if config.law == "logit_normal":
        normal = torch.randn(count, generator=generator) * config.deviation + config.mean
        return shifted(normal.sigmoid(), config.shift), torch.ones(count)
    index = torch.randint(GRID, (count,), generator=generator)
    grid = shifted(torch.linspace(1, 0, GRID + 1)[:-1], config.shift)
    return grid[index], grid_weights(grid)[index]


def grid_weights(sigmas: Tensor) -> Tensor:
    """Weights of a grid of sigmas (N,): a bell around one half, 0 at its foot, 1 on average."""
    bell = torch.exp(-2 * (sigmas - 0.5) ** 2)
    bell = bell - bell.min()
    return bell * (len(bell) / bell.sum())


def noised(video: Tensor, noise: Tensor, sigmas: Tensor) -> Tensor:
    """The state on the way: (1 - sigma) video + sigma noise, for (B, ...) and sigmas (B,)."""
    share = sigmas.view(-1, *[1] * (video.ndim - 1)).to(video)
    return torch.lerp(video, noise, share)


def cell_weights(subject: Tensor, config: FlowConfig) -> Tensor:
    """What each latent cell counts.

    Args:
        subject: (B, T, h, w) in [0, 1]; share of the cell that shows a subject.
        config: the two weights.

    Returns:
        (B, 1, T, h, w) float32.
    """
    weights = 1 + config.subject_weight * subject.float()
    weights[:, 0] = config.canvas_weight
    return weights[:, None]


def flow_loss(velocity: Tensor, video: Tensor, noise: Tensor, weights: Tensor) -> Tensor:
    """Weighted squared error of the velocity, noise minus video.

    Args:
        velocity: (B, 16, T, h, w) answer of the model.
        video: (B, 16, T, h, w) latents without noise.
        noise: as `video`.
        weights: broadcasts against them; its mean is divided out.

    Returns:
        (B,) float32, one loss per sample.
    """
    error = (velocity.float() - (noise - video).float()).square()
    weights = weights.expand_as(error)
    return (error * weights).flatten(1).sum(1) / weights.flatten(1).sum(1)


def _check_number(name: str, value: float, *, above: float = -math.inf, least: float = -math.inf) -> None:
    if not (math.isfinite(value) and value > above and value >= least):
        bound = f"above {above:g}" if above > -math.inf else f"at least {least:g}"
        raise MagrefError(f"{name} is {value}, but must be a finite number {bound}")
