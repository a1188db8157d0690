"""Training samples on the disk: shards of latents and conditions, and batches drawn from them.

A shard is one safetensors file with N samples of one size: `latents` and `canvas_latents` (N, 16, T, h, w),
`latent_mask` (N, h, w), `subject` (N, T, h, w) in 0..255, `text` (N, L) token ids or (N, L, C) features, and
perhaps `image_tokens` (N, M, C), or the `canvas` (N, H, W, 3) uint8 that they are made of; and, for
`grounding`, `owners` and `heights` (N, T, h / 2, w / 2) in bytes, heights in 0..255, and `words` (N, S, 2)
token ids; for `disentangling`, `regions` (N, S, h / 2, w / 2) in {0, 1} as well. Any float dtype will do;
float16 halves the disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from ..sizes import LATENT_CHANNELS
from .conditions import Conditions
from .files import TrainingError, save_tensors
from .grounding import Parts

NEEDED = ("latents", "canvas_latents", "latent_mask", "subject", "text")
PARTS = ("owners", "heights", "words")
"""What grounding needs, all of them or none."""
OPTIONAL = ("image_tokens", "canvas", "regions", *PARTS)
FORMAT = {"kind": "magref_samples"}

Shapes = tuple[tuple[str, tuple[int, ...], bool], ...]
"""Name and shape of each tensor of a sample, and whether it is floating."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """B training samples."""

    latents: Tensor
    """(B, 16, T, h, w) float32; latent frame 0 is the canvas."""
    subject: Tensor
    """(B, T, h, w) float32 in [0, 1]; share of the cell that shows a subject."""
    conditions: Conditions
    canvas: Tensor | None
    """(B, H, W, 3) uint8."""
    parts: Parts | None
    """What each patch shows, where the samples tell."""
    names: tuple[str, ...]
    """Shard and number of each sample, for messages."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shard:
    """Samples of one size."""

    file: str
    tensors: dict[str, Tensor]

    @property
    def shapes(self) -> Shapes:
        """What its samples are made of."""
        return tuple(
            (name, tuple(value.shape[1:]), value.is_floating_point())
            for name, value in sorted(self.tensors.items())
        )

    def __len__(self) -> int:
        return len(self.tensors["latents"])


class Dataset:
    """All shards of a folder, in memory.

    Args:
        folder: with one .safetensors file or more.

    Raises:
        TrainingError: the folder has no shard, or one is broken or lacks a tensor.
    """

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise TrainingError(f"the folder {folder} holds no .safetensors shard: make the data set first")
        self.shards = [read_shard(file) for file in files]
        self.buckets: dict[Shapes, list[Shard]] = {}
        """Shards whose samples can stand in one batch."""
        for shard in self.shards:
            self.buckets.setdefault(shard.shapes, []).append(shard)

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    def batch(self, count: int, generator: torch.Generator, *, num_latent_frames: int | None = None) -> Batch:
        """Draw samples of one size with replacement; sizes come up in proportion to their samples.

        Args:
            count: samples.
            generator: advanced; decides all.
            num_latent_frames: cut the clips off after so many latent frames; shorter ones are left out,
                unless all are shorter.
        """
        buckets = self._buckets_of(num_latent_frames or 0)
        shares = torch.tensor([float(sum(len(shard) for shard in bucket)) for bucket in buckets])
        bucket = buckets[int(torch.multinomial(shares, 1, generator=generator))]
        starts = torch.tensor([0] + [len(shard) for shard in bucket]).cumsum(0)
        picks = torch.randint(int(starts[-1]), (count,), generator=generator)
        shards = torch.searchsorted(starts, picks, right=True) - 1
        rows = [
            (bucket[int(shard)], int(pick - starts[shard])) for shard, pick in zip(shards, picks, strict=True)
        ]
        return _collate(rows, num_latent_frames)

    def _buckets_of(self, num_latent_frames: int) -> list[list[Shard]]:
        """Those whose clips are long enough, or all."""
        buckets = list(self.buckets.values())
        long = [each for each in buckets if each[0].tensors["latents"].shape[2] >= num_latent_frames]
        return long or buckets


def write_shard(file: Path, samples: Sequence[Mapping[str, Tensor]]) -> None:
    """Stack samples, each without the leading N, into one shard.

    Raises:
        TrainingError: there is no sample, or the file cannot be written.
    """
    if not samples:
        raise TrainingError(f"{file.name} would hold no samples: give at least one")
    save_tensors(file, {name: torch.stack([s[name] for s in samples]) for name in samples[0]}, FORMAT)


def read_shard(file: Path) -> Shard:
    """Read a shard.

    Raises:
        TrainingError: the file is broken or lacks a tensor, or its tensors do not belong together.
    """
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{file.name} is no readable shard ({error}): make the data set again") from error
    if missing := [name for name in NEEDED if name not in tensors]:
        raise TrainingError(f"{file.name} lacks {', '.join(missing)}: make the data set again")
    tensors = {name: value for name, value in tensors.items() if name in NEEDED + OPTIONAL}
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    if not _belong_together(shapes):
        raise TrainingError(f"{file.name} holds tensors that make up no samples ({shapes}): make it again")
    return Shard(file=file.name, tensors=tensors)


def _belong_together(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the tensors of a shard hold the same samples, one at least."""
    latents = shapes["latents"]
    if len(latents) != 5 or latents[1] != LATENT_CHANNELS or not latents[0]:
        return False
    count, _, *sizes = latents
    return (
        shapes["canvas_latents"] == latents
        and shapes["subject"] == (count, *sizes)
        and shapes["latent_mask"] == (count, *sizes[1:])
        and all(shape[:1] == (count,) for shape in shapes.values())
        and len(shapes["text"]) in (2, 3)
    )


def _collate(rows: Sequence[tuple[Shard, int]], num_latent_frames: int | None) -> Batch:
    def stack(name: str) -> Tensor:
        return torch.stack([shard.tensors[name][row] for shard, row in rows])

    text = stack("text")
    frames = slice(num_latent_frames)

    def stack_if_held(name: str) -> Tensor | None:
        return stack(name) if all(name in shard.tensors for shard, _ in rows) else None

    image_tokens = stack_if_held("image_tokens")
    parts = None
    if all(name in shard.tensors for shard, _ in rows for name in PARTS):
        parts = Parts(
            owners=stack("owners")[:, frames],
            heights=stack("heights")[:, frames].float() / 255,
            words=stack("words").long(),
            regions=stack_if_held("regions"),
        )
    return Batch(
        latents=stack("latents")[:, :, frames].float(),
        subject=stack("subject")[:, frames].float() / 255,
        conditions=Conditions(
            canvas_latents=stack("canvas_latents")[:, :, frames].float(),
            latent_mask=stack("latent_mask").float(),
            image_tokens=None if image_tokens is None else image_tokens.float(),
            text=text.float() if text.is_floating_point() else text.long(),
        ),
        canvas=stack_if_held("canvas"),
        parts=parts,
        names=tuple(f"{shard.file}:{row}" for shard, row in rows),
    )
