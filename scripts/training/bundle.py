"""Put the parts of a run together as the bundle that the pack ships."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from magref_core.bundle import HASHES, Kind, hashes_of, part_metadata
from magref_core.dit.checkpoint import TEXT_LEN_KEY
from magref_core.training.clip_vision import ClipVisionConfig
from magref_core.training.config import to_json
from magref_core.training.files import save_tensors, save_text
from magref_core.training.trainer import CURVES_FILE, LOG_FILE, STATE_FILE
from magref_core.training.vae_training import WEIGHTS_FILE

from .files import RunFiles, load_text_encoder, read_average, split_weights
from .presets import Preset

CODEC = "training_codec.safetensors"
"""The linear code that the VAE's encoder computes; only a training needs it."""

PARTS: dict[Kind, str] = {
    "dit": "diffusion_models/magref_demo_dit.safetensors",
    "vae": "vae/magref_demo_vae.safetensors",
    "text_encoder": "text_encoders/magref_demo_umt5.safetensors",
    "clip_vision": "clip_vision/magref_demo_clip_vision.safetensors",
}


def export_bundle(files: RunFiles, preset: Preset, bundle: Path) -> None:
    """Write all parts in float16, the training's configuration and log, and the hashes.

    Args:
        files: of a run that has all its parts.
        preset: of the run.
        bundle: `models/demo`, or another folder laid out like it.
    """
    average = read_average(files.dit / STATE_FILE)
    tokenizer = files.tokenizer.read_bytes()
    parts = split_weights(average)
    text_encoder = load_text_encoder(files)
    spiece_model = torch.frombuffer(bytearray(tokenizer), dtype=torch.uint8)
    text_len = {TEXT_LEN_KEY: preset.dit.text_len}
    save_part(bundle, "dit", parts["dit"], text_len)
    save_part(bundle, "vae", load_file(files.vae / WEIGHTS_FILE), {})
    save_part(
        bundle,
        "text_encoder",
        {**text_encoder.state_dict(), "spiece_model": spiece_model},
        asdict(text_encoder.config),
    )
    save_part(bundle, "clip_vision", parts["image_encoder"], asdict(ClipVisionConfig()))
    save_text(bundle / "training.json", to_json(preset))
    for source, name in (
        (files.codec, CODEC),
        (files.dit / LOG_FILE, f"training_{LOG_FILE}"),
        (files.dit / CURVES_FILE, f"training_{CURVES_FILE}"),
    ):
        shutil.copyfile(source, bundle / name)
    save_text(bundle / HASHES, json.dumps(hashes_of(bundle), indent=2) + "\n")


def save_part(bundle: Path, kind: Kind, weights: dict[str, Tensor], config: dict[str, int]) -> None:
    """Write one part in float16, marked with its kind.

    Args:
        bundle: the folder.
        kind: of the part.
        weights: in any float type.
        config: the sizes that its weights do not tell.
    """
    half = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    metadata = part_metadata(kind, config)
    if kind == "dit":  # the DiT loader reads this entry of any file
        metadata[TEXT_LEN_KEY] = str(config[TEXT_LEN_KEY])
    save_tensors(bundle / PARTS[kind], half, metadata)
