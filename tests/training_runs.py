"""Runs of the trainer so small that they take no time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT
from magref_core.training.conditions import DropConfig
from magref_core.training.config import TrainConfig
from magref_core.training.dataset import Dataset, write_shard
from magref_core.training.flow import FlowConfig
from magref_core.training.initial import initialise
from magref_core.training.lora import LoraConfig
from magref_core.training.rates import RateConfig
from magref_core.training.text_encoder import TextEncoder, TextEncoderConfig
from magref_core.training.trainer import Hooks, Models, Trainer

TINY_DIT = DiTConfig(
    dim=128, num_heads=1, num_layers=1, ffn_dim=64, freq_dim=32, text_dim=16, text_len=4, clip_dim=16
)
TINY_TEXT = TextEncoderConfig(
    vocab_size=11, d_model=16, d_kv=8, d_ff=16, num_heads=2, num_layers=1, text_len=4
)
TINY_LORA = LoraConfig(rank=4, alpha=8.0)
TINY = TrainConfig(
    steps=6,
    batch_size=2,
    flow=FlowConfig(shift=3.0),
    drops=DropConfig(text=0.2, references=0.2),
    rate=RateConfig(warmup=2),
)
WITHOUT_DROPS = replace(TINY, drops=DropConfig(text=0, references=0))
EMPTY_TEXT = torch.tensor([1, 0, 0, 0])
FRAMES, ROWS, COLUMNS = 2, 4, 4


def sample(seed: int, *, has_ids: bool = False, frames: int = FRAMES, rows: int = ROWS) -> dict[str, Tensor]:
    """One training sample; the right half of each frame shows the subject."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(16, frames, rows, COLUMNS, generator=generator)
    subject = torch.zeros(frames, rows, COLUMNS, dtype=torch.uint8)
    subject[..., COLUMNS // 2 :] = 255
    canvas_latents = latents * torch.tensor([1.0] + [0.0] * (frames - 1)).view(-1, 1, 1)
    ids = torch.randint(2, 11, (4,), generator=generator).to(torch.int16)
    ids[3] = 1
    return {
        "latents": latents.half(),
        "canvas_latents": canvas_latents.half(),
        "latent_mask": torch.ones(rows, COLUMNS, dtype=torch.uint8),
        "subject": subject,
        "image_tokens": torch.randn(3, 16, generator=generator).half(),
        "text": ids if has_ids else torch.randn(4, 16, generator=generator).half(),
    }


def dataset_in(folder: Path, samples: Sequence[Mapping[str, Tensor]]) -> Dataset:
    """A data set of one shard."""
    write_shard(folder / "0.safetensors", samples)
    return Dataset(folder)


def tiny_dit(config: DiTConfig = TINY_DIT, *, seed: int = 0) -> MagrefDiT:
    """A DiT with drawn weights whose answer is not 0."""
    dit = MagrefDiT(config)
    generator = torch.Generator().manual_seed(seed)
    initialise(dit, generator)
    with torch.no_grad():
        dit.head.head.weight.normal_(0, 0.02, generator=generator)
    return dit


def tiny_trainer(folder: Path, config: TrainConfig = TINY, *, has_text_encoder: bool = False) -> Trainer:
    """A trainer in `folder` on four samples beside it; each call makes the same one anew."""
    samples = folder.parent / f"samples of {folder.name}"
    dataset = dataset_in(samples, [sample(seed, has_ids=has_text_encoder) for seed in range(4)])
    dit = tiny_dit()
    if not has_text_encoder:
        return Trainer(Models(dit=dit), dataset, config, folder)
    text_encoder = TextEncoder(TINY_TEXT, torch.Generator().manual_seed(1))
    return Trainer(Models(dit=dit, text_encoder=text_encoder, empty_text=EMPTY_TEXT), dataset, config, folder)


def with_lora(config: TrainConfig = TINY) -> TrainConfig:
    """The same run as a LoRA."""
    return replace(config, lora=TINY_LORA)


def snapshot(trainer: Trainer) -> dict[str, Tensor]:
    """All weights, averages and memory of the optimiser, as they are now."""
    parts = {f"weights/{name}": value.detach().clone() for name, value in trainer.weights.items()}
    parts |= {f"average/{name}": value.clone() for name, value in trainer.average.values.items()}
    states = trainer.optimiser.state
    for name, weight in trainer.weights.items():
        parts |= {f"{moment}/{name}": value.clone() for moment, value in states.get(weight, {}).items()}
    return parts


def assert_same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    """The same names with the same bits."""
    assert set(first) == set(second)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def losses_of(trainer: Trainer, count: int) -> list[tuple[float, float]]:
    """Loss and norm of so many steps."""
    return [trainer.train_step() for _ in range(count)]


def stopping_after(trainer: Trainer, step: int) -> Hooks:
    """Hooks that stop the run once so many steps are done."""
    return Hooks(should_stop=lambda: trainer.step >= step)
