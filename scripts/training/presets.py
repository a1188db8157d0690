"""The presets of the demo model's one recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from magref_core.dit.config import DiTConfig
from magref_core.training.conditions import DropConfig
from magref_core.training.config import TrainConfig
from magref_core.training.flow import FlowConfig
from magref_core.training.grounding import GroundingConfig
from magref_core.training.masking import PAPER, LayoutConfig
from magref_core.training.rates import RateConfig
from magref_core.training.text_lessons import LessonOptions
from magref_core.training.vae_training import VAETrainingOptions
from magref_core.world.scene import SceneOptions

from .staging import StagingOptions

PresetName = Literal["cpu", "cuda", "smoke"]
TEXT_DIM, TEXT_LEN, CLIP_DIM = 128, 32, 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """All that one run of the recipe needs."""

    scenes: SceneOptions
    staging: StagingOptions
    dit: DiTConfig
    training: TrainConfig
    num_samples: int
    """Drawn before the training; each is seen several times, with other noise."""
    num_short_samples: int = 0
    """As well; of the first frames only, which takes a third of the time."""
    vae: tuple[VAETrainingOptions, ...]
    """Phases of the decoder's training, each starting from the average of the one before."""
    lessons: LessonOptions = field(default_factory=LessonOptions)
    """Of the text encoder."""
    num_captions: int = 20_000
    """That the tokenizer, and then the text encoder, learns from."""
    num_clips: int = 500
    """The linear code is fitted to."""


def _dit(dim: int, ffn_dim: int, *, num_layers: int = 6) -> DiTConfig:
    return DiTConfig(
        dim=dim,
        num_heads=dim // 128,
        num_layers=num_layers,
        ffn_dim=ffn_dim,
        text_dim=TEXT_DIM,
        text_len=TEXT_LEN,
        clip_dim=CLIP_DIM,
    )


def _vae_phases(coarse: int, fine: int) -> tuple[VAETrainingOptions, ...]:
    """First the coarse levels alone, which takes a third of the time per step, then all."""
    return (
        VAETrainingOptions(num_steps=coarse, active_levels=2),
        VAETrainingOptions(num_steps=fine, rate=RateConfig(peak=7e-4, warmup=50, constant=0.5)),
    )


_CAST = ("girl", "robot", "fox", "bear", "penguin", "ball", "kite", "teapot")
_ALONE = ("stands", "walks left", "walks right", "jumps", "spins", "waves", "bounces", "grows")

PRESETS: dict[PresetName, Preset] = {
    "cpu": Preset(
        scenes=SceneOptions(
            height=64,
            width=96,
            categories=_CAST,
            motions=_ALONE,
            subjects={1: 0.45, 2: 0.4, 3: 0.15},
            same_category=0.1,
            camera=0.05,
            light=0.03,
        ),
        staging=StagingOptions(
            layout=LayoutConfig(larger_grids=0.1, splits=0.0, scale=(0.8, 1.0)), drop_reference=0.03
        ),
        dit=_dit(256, 512),
        training=TrainConfig(
            steps=4_400,
            batch_size=32,
            precision="bfloat16",
            flow=FlowConfig(shift=8.0),
            drops=DropConfig(text=0.06, references=0.05),
            grounding=GroundingConfig(weight=0.3),
            rate=RateConfig(peak=1e-3, warmup=200, constant=0.85),
            clip_lengths=((0.5, 2), (1.0, 5)),
            keep_short=0.25,
        ),
        num_samples=26_000,
        num_short_samples=60_000,
        vae=_vae_phases(400, 700),
    ),
    "cuda": Preset(
        scenes=SceneOptions(height=96, width=160),
        staging=StagingOptions(layout=LayoutConfig(scale=(0.7, 1.0)), drop_reference=0.05),
        dit=_dit(384, 768),
        training=TrainConfig(
            steps=40_000,
            batch_size=64,
            precision="bfloat16",
            flow=FlowConfig(shift=8.0),
            drops=DropConfig(text=0.06, references=0.05),
            grounding=GroundingConfig(weight=0.3),
            rate=RateConfig(peak=1e-3, warmup=200, constant=0.8),
            clip_lengths=((0.5, 2), (1.0, 5)),
            keep_short=0.25,
        ),
        num_samples=80_000,
        num_short_samples=80_000,
        vae=_vae_phases(2000, 20_000),
    ),
    "smoke": Preset(
        scenes=SceneOptions(height=64, width=96, categories=_CAST[:3], motions=_ALONE[:3], subjects={1: 1.0}),
        staging=StagingOptions(layout=PAPER),
        dit=_dit(128, 256, num_layers=2),
        training=TrainConfig(
            steps=150, batch_size=8, rate=RateConfig(peak=2e-3, warmup=20), clip_lengths=((1.0, 2),)
        ),
        num_samples=600,
        vae=_vae_phases(5, 10),
        lessons=LessonOptions(num_steps=50),
        num_captions=2000,
        num_clips=100,
    ),
}
