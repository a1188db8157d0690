"""The shipped model trained on, with subject disentanglement and without: the paper's ablation in small.

Both runs begin with the same weights and see the same samples, noise and noise levels.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file

from magref_core.bundle import HASHES, hashes_of
from magref_core.dit.attention import Backend
from magref_core.dit.checkpoint import TEXT_LEN_KEY, load_dit
from magref_core.training.clip_vision import ClipVision, ClipVisionConfig
from magref_core.training.dataset import Dataset
from magref_core.training.disentangling import DisentanglingConfig
from magref_core.training.files import save_tensors, save_text, write_whole
from magref_core.training.rates import RateConfig
from magref_core.training.tokenizer import Tokenizer
from magref_core.training.trainer import (
    CONFIG_FILE,
    CURVES_FILE,
    LOG_FILE,
    STATE_FILE,
    Hooks,
    Models,
    Progress,
    Trainer,
)

from .bundle import CODEC, PARTS, save_part
from .files import RunFiles, load_text_encoder, read_average, split_weights
from .presets import PRESETS, Preset
from .stopping import stop_on_signals

Name = Literal["disentangled", "control"]
NAMES: tuple[Name, ...] = ("disentangled", "control")
FIRST_SEED = 500_000
"""Of the drawings: none that the shipped model or a run of the recipe has seen, and below those held out."""
PAIRS = 0.5
"""Rate of scenes with two of one category among those with several subjects."""
RATE = RateConfig(peak=3e-4, warmup=50, constant=0.5)


def variant_preset(
    *,
    steps: int,
    batch_size: int,
    num_samples: int,
    num_short_samples: int,
    disentangling: DisentanglingConfig,
) -> Preset:
    """The recipe of the shipped model for a short run on more pairs.

    Args:
        steps: of the run.
        batch_size: of a step.
        num_samples: whole clips that are drawn.
        num_short_samples: short ones, as well.
        disentangling: of the run that has it; `train_variant` switches it off for the control.
    """
    preset = PRESETS["cpu"]
    training = replace(
        preset.training,
        steps=steps,
        batch_size=batch_size,
        rate=RATE,
        average=0.995,
        grounding=replace(preset.training.grounding, weight=0.0),  # its reader is not shipped
        disentangling=disentangling,
    )
    scenes = replace(preset.scenes, subjects={1: 0.2, 2: 0.65, 3: 0.15}, same_category=PAIRS)
    return replace(
        preset,
        scenes=scenes,
        training=training,
        num_samples=num_samples,
        num_short_samples=num_short_samples,
    )


def take_encoders(bundle: Path, files: RunFiles) -> None:
    """Put tokenizer, text encoder and linear code of a bundle where a run looks for them."""
    weights = load_file(bundle / PARTS["text_encoder"])
    model = bytes(weights.pop("spiece_model").tolist())
    files.folder.mkdir(parents=True, exist_ok=True)

    def write(path: Path) -> None:
        path.write_bytes(model)

    write_whole(files.tokenizer, write)
    save_tensors(files.text_encoder, {name: value.float() for name, value in weights.items()}, {})
    shutil.copyfile(bundle / CODEC, files.codec)


def load_models(bundle: Path, files: RunFiles, device: torch.device) -> Models:
    """The models of a bundle in float32, to be trained on."""
    tokenizer = Tokenizer(files.tokenizer.read_bytes())
    image_encoder = ClipVision()
    image_encoder.load_state_dict(load_file(bundle / PARTS["clip_vision"]))
    dit = load_dit(bundle / PARTS["dit"], Backend(device=device, dtype=torch.float32))
    return Models(
        dit=dit.requires_grad_(),
        text_encoder=load_text_encoder(files).to(device),
        empty_text=tokenizer.batch([""])[0],
        image_encoder=image_encoder.to(device),
    )


def train_variant(
    name: Name, bundle: Path, files: RunFiles, preset: Preset, *, deadline: float = float("inf")
) -> bool:
    """Train one of the two, or go on where it was stopped.

    Args:
        name: which.
        bundle: to begin with.
        files: encoders and samples must be there.
        preset: of both runs.
        deadline: stop at this `time.monotonic`.

    Returns:
        Whether all steps are done.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = preset.training
    if name == "control":
        config = replace(config, disentangling=replace(config.disentangling, rate=0.0))
    trainer = Trainer(load_models(bundle, files, device), Dataset(files.samples), config, files.folder / name)
    if (files.folder / name / STATE_FILE).exists():
        trainer.resume()
    print(f"{name}: training on {device} from step {trainer.step}", flush=True)
    with stop_on_signals() as stopped:
        trainer.train(
            Hooks(
                should_stop=lambda: bool(stopped) or time.monotonic() > deadline,
                on_report=lambda progress: _print(name, progress),
            )
        )
    return trainer.step >= config.steps


def export_variant(name: Name, bundle: Path, files: RunFiles, preset: Preset, target: Path) -> None:
    """Write a bundle with the trained DiT and image encoder; the rest is that of the one it began with."""
    shutil.copytree(bundle, target, dirs_exist_ok=True)
    folder = files.folder / name
    parts = split_weights(read_average(folder / STATE_FILE))
    save_part(target, "dit", parts["dit"], {TEXT_LEN_KEY: preset.dit.text_len})
    save_part(target, "clip_vision", parts["image_encoder"], asdict(ClipVisionConfig()))
    shutil.copyfile(folder / CONFIG_FILE, target / "training.json")
    shutil.copyfile(folder / LOG_FILE, target / f"training_{LOG_FILE}")
    shutil.copyfile(folder / CURVES_FILE, target / f"training_{CURVES_FILE}")
    card = f"# A variant of the small demo model: {name}\n\nTrained on by scripts/train_disentangled.py.\n"
    save_text(target / "README.md", card)
    save_text(target / HASHES, json.dumps(hashes_of(target), indent=2) + "\n")


def _print(name: Name, progress: Progress) -> None:
    print(
        f"{name}: step {progress.step} of {progress.num_steps}, loss {progress.loss:.4f}, "
        f"{progress.seconds_left / 60:.0f} min left",
        flush=True,
    )
