"""Fine-tuning of any checkpoint on somebody's samples: what fits, how it is trained, and what comes out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from magref_core.dit.attention import Backend
from magref_core.dit.checkpoint import TEXT_LEN_KEY, load_dit, read_checkpoint
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT
from magref_core.training.config import TrainConfig
from magref_core.training.dataset import Dataset, Shard
from magref_core.training.files import TrainingError, save_tensors, save_text
from magref_core.training.lora import PREFIX, LoraConfig, lora_layers, lora_weights
from magref_core.training.rates import RateConfig
from magref_core.training.trainer import STATE_FILE, Models, Trainer

LORA_FILE, DIT_FILE, BASE_FILE = "lora.safetensors", "dit.safetensors", "base.json"
EMPTY_PROMPT = "empty_prompt/text.safetensors"
"""In a folder of samples: the features of an empty prompt, (L, C)."""

LORA_RUN = TrainConfig(
    steps=1000,
    batch_size=1,
    rate=RateConfig(peak=2e-4, warmup=20, final=0.1),
    average=0.99,
    lora=LoraConfig(rank=16, alpha=16.0),
)
FULL_RUN = replace(LORA_RUN, rate=RateConfig(peak=1e-5, warmup=100, final=0.1), average=0.999, lora=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What a command line says otherwise than the configuration; None leaves it."""

    steps: int | None = None
    batch_size: int | None = None
    rate: float | None = None
    drop_references: float | None = None
    seed: int | None = None
    rank: int | None = None
    """Of the LoRA, and its alpha: the update is not scaled."""
    targets: str | None = None
    adapter_steps: int | None = None
    gradient_checkpointing: bool | None = None


def change_config(config: TrainConfig, changes: Changes) -> TrainConfig:
    """The configuration with the changes.

    Raises:
        TrainingError: the targets of a LoRA are given for a run without one.
        MagrefError: a value is outside its range.
    """
    given = {
        name: value
        for name in ("steps", "batch_size", "seed", "adapter_steps", "gradient_checkpointing")
        if (value := getattr(changes, name)) is not None
    }
    if changes.rate is not None:
        given["rate"] = replace(config.rate, peak=changes.rate)
    if changes.drop_references is not None:
        given["drops"] = replace(config.drops, references=changes.drop_references)
    lora = config.lora
    if changes.rank is not None:
        lora = replace(lora or LoraConfig(), rank=changes.rank, alpha=float(changes.rank))
    if changes.targets is not None:
        if lora is None:
            raise TrainingError(
                "targets are given, but the run trains all weights: leave them out, or give a rank"
            )
        lora = replace(lora, targets=changes.targets)
    return replace(config, **given, lora=lora)


def has_new_schedule(changes: Changes) -> bool:
    """Whether a resumed run is told to go on with another schedule than it began with."""
    return any(value is not None for value in (changes.steps, changes.batch_size, changes.rate))


def load_models(file: Path, samples: Path, config: TrainConfig, device: torch.device) -> Models:
    """The DiT, and the features of an empty prompt where a folder of samples has them.

    A frozen DiT is kept in bfloat16 on CUDA, as when it is used; one that is trained is float32, since steps
    would be lost in rounding.

    Raises:
        CheckpointError: the file is no whole DiT.
    """
    half = device.type == "cuda" and config.lora is not None
    dit = load_dit(file, Backend(device=device, dtype=torch.bfloat16 if half else None))
    return Models(dit=dit, empty_text=_read_empty_prompt(samples))


def load_samples(folders: Sequence[Path], models: Models, *, label: str) -> tuple[Dataset, Models]:
    """The samples of all folders, and the models with an empty prompt as long as theirs.

    Prompts get equally many rows, so that all can stand in one batch; the model would add the same rows.

    Raises:
        TrainingError: a folder has none, or they were made with the encoders of another model.
    """
    dataset = Dataset(folders[0])
    for folder in folders[1:]:
        dataset.shards += Dataset(folder).shards
    config = models.dit.config
    for shard in dataset.shards:
        check_shard(shard, config, label=label)
    empty = models.empty_text
    lengths = [shard.tensors["text"].shape[1] for shard in dataset.shards] + (
        [] if empty is None else [len(empty)]
    )
    rows = min(max(lengths), config.text_len)
    dataset.buckets.clear()
    for shard in dataset.shards:
        text = shard.tensors["text"][:, :rows]
        shard.tensors["text"] = F.pad(text, (0, 0, 0, rows - text.shape[1]))
        dataset.buckets.setdefault(shard.shapes, []).append(shard)
    if empty is not None:
        models = replace(models, empty_text=F.pad(empty[:rows], (0, 0, 0, rows - len(empty[:rows]))).float())
    return dataset, models


def check_shard(shard: Shard, config: DiTConfig, *, label: str) -> None:
    """Refuse samples that the model cannot read.

    Raises:
        TrainingError: prompts or image tokens are missing, or as wide as those of another model.
    """
    text, tokens = shard.tensors["text"], shard.tensors.get("image_tokens")
    if text.ndim != 3:
        raise TrainingError(
            f"{shard.file} holds prompts as token ids, but features are needed: make the samples with "
            "encode_samples.py"
        )
    for what, width, needed in (
        ("prompts", text.shape[2], config.text_dim),
        ("image tokens", None if tokens is None else tokens.shape[2], config.clip_dim),
    ):
        if width != needed:
            given = "are missing" if width is None else f"are {width} channels wide"
            raise TrainingError(
                f"the {what} in {shard.file} {given}, but {label} reads {needed} channels: make the samples "
                "with the encoders of this model"
            )
    if any(
        side % patch
        for side, patch in zip(shard.tensors["latents"].shape[2:], config.patch_size, strict=True)
    ):
        raise TrainingError(
            f"the clips in {shard.file} fill no whole tokens: make the samples in multiples of 16 pixels"
        )


def restore_lora(trainer: Trainer, file: Path) -> None:
    """Start from the weights of a LoRA that an earlier run wrote.

    Raises:
        TrainingError: the file is broken, or a LoRA of another model, rank or choice of layers.
    """
    try:
        given = load_file(file)
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{file.name} is no readable LoRA ({error}): choose another file") from error
    weights = {
        name.removeprefix(PREFIX).removesuffix(".weight"): value.float()
        for name, value in given.items()
        if name.endswith((".lora_A.weight", ".lora_B.weight"))
    }
    alphas = {float(value) for name, value in given.items() if name.endswith(".alpha")}
    own = {layer.alpha for _, layer in lora_layers(trainer.models.dit)}
    trainer.restore_weights(weights)
    if any(not math.isclose(alpha, mine, rel_tol=1e-3) for alpha in alphas for mine in own):  # half precision
        raise TrainingError(
            f"{file.name} has alpha {', '.join(f'{alpha:g}' for alpha in sorted(alphas))}, but this run "
            f"{', '.join(f'{alpha:g}' for alpha in sorted(own))}: give --config with that alpha"
        )


def check_base(folder: Path, file: Path) -> None:
    """Remember which checkpoint a run began with, and refuse another one.

    Raises:
        TrainingError: the run began with another checkpoint, or its record is broken.
        CheckpointError: the checkpoint cannot be read.
    """
    base = {"name": file.name, "fingerprint": fingerprint(file)}
    record = folder / BASE_FILE
    if not (folder / STATE_FILE).exists():
        save_text(record, json.dumps(base, indent=2) + "\n")
        return
    try:
        found: Any = json.loads(record.read_text(encoding="utf-8"))
        name, known = str(found["name"]), str(found["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{record.name} in {folder.name} does not tell which checkpoint the run began with: start anew"
        ) from error
    if known != base["fingerprint"]:
        raise TrainingError(
            f"the run in {folder.name} began with {name}, but {file.name} is another checkpoint: give the "
            "first one, or start a new run"
        )


def fingerprint(file: Path) -> str:
    """What tells a checkpoint from others without reading it whole.

    Raises:
        CheckpointError: the file is broken.
    """
    checkpoint = read_checkpoint(file)
    digest = hashlib.sha256(json.dumps(sorted(checkpoint.shapes.items())).encode())
    for part in checkpoint.files:
        size = part.stat().st_size
        with part.open("rb") as stream:
            for place in range(16):
                stream.seek(size * place // 16)
                digest.update(stream.read(2**16))
    return digest.hexdigest()


def export(trainer: Trainer, base: Path) -> Path:
    """Write what the run is for: a LoRA in float16, or all weights in the precision of the checkpoint.

    Returns:
        The file, in the folder of the run.

    Raises:
        TrainingError: the disk is full.
    """
    values = trainer.average.values
    notes = {"base": base.name, "steps": str(trainer.step)}
    if trainer.config.lora is not None:
        weights = lora_weights(trainer.models.dit, values=values)
        half = {name: value.half() if value.ndim else value for name, value in weights.items()}
        save_tensors(trainer.folder / LORA_FILE, half, notes)
        return trainer.folder / LORA_FILE
    config = trainer.models.dit.config
    like = MagrefDiT(config, Backend(device="meta", dtype=_dtype_of(base))).state_dict()
    save_tensors(
        trainer.folder / DIT_FILE,
        {name: value.to(like[name].dtype) for name, value in values.items()},
        notes | {TEXT_LEN_KEY: str(config.text_len)},
    )
    return trainer.folder / DIT_FILE


def apply_lora(dit: MagrefDiT, weights: Mapping[str, Tensor]) -> None:
    """Add the updates of a LoRA file to the weights of a model, in place."""
    for name, first in weights.items():
        if name.endswith(".lora_A.weight"):
            layer = name.removesuffix(".lora_A.weight")
            alpha, second = weights[f"{layer}.alpha"], weights[f"{layer}.lora_B.weight"]
            matrix = dit.get_submodule(layer.removeprefix(PREFIX)).get_parameter("weight")
            matrix.data += (float(alpha) / len(first) * (second.float() @ first.float())).to(matrix)


def _read_empty_prompt(samples: Path) -> Tensor | None:
    file = samples / EMPTY_PROMPT
    if not file.is_file():
        return None
    try:
        return load_file(file)["text"]
    except (SafetensorError, OSError, KeyError) as error:
        raise TrainingError(f"{EMPTY_PROMPT} is broken ({error}): make the samples again") from error


def _dtype_of(file: Path) -> torch.dtype:
    """Of the matrices in a checkpoint; bfloat16 for what is smaller."""
    for part in read_checkpoint(file).files:
        with safe_open(part, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                tensor = weights.get_slice(name)
                if len(tensor.get_shape()) == 2:
                    return {"F32": torch.float32, "F16": torch.float16}.get(
                        tensor.get_dtype(), torch.bfloat16
                    )
    return torch.bfloat16
