"""Where the pieces of one run of the recipe lie, and reading them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn

from magref_core.dit.model import MagrefDiT
from magref_core.training.clip_vision import ClipVision
from magref_core.training.grounding import Reader
from magref_core.training.initial import initialise
from magref_core.training.linear_codec import LinearCodec
from magref_core.training.text_encoder import TextEncoder, TextEncoderConfig
from magref_core.training.tokenizer import Tokenizer
from magref_core.training.trainer import TRAINED_ALONG, Models

from .presets import Preset
from .samples import Encoders


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFiles:
    """The folder of one run."""

    folder: Path

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.model"

    @property
    def codec(self) -> Path:
        return self.folder / "codec.safetensors"

    @property
    def text_encoder(self) -> Path:
        return self.folder / "text_encoder.safetensors"

    @property
    def vae(self) -> Path:
        return self.folder / "vae"

    @property
    def samples(self) -> Path:
        return self.folder / "samples"

    @property
    def dit(self) -> Path:
        return self.folder / "dit"


def load_encoders(files: RunFiles) -> Encoders:
    """What turns drawings into samples; every piece must be there."""
    codec = LinearCodec.load(files.codec).eval()
    tokenizer = Tokenizer(files.tokenizer.read_bytes())
    return Encoders(
        video=lambda clip: codec.encode(clip[None])[0],
        text=lambda prompt: tokenizer.batch([prompt])[0],
    )


def load_text_encoder(files: RunFiles) -> TextEncoder:
    """The text encoder of a run, which stays as its own stage left it."""
    weights = load_file(files.text_encoder)
    encoder = TextEncoder(TextEncoderConfig(vocab_size=len(weights["shared.weight"])))
    encoder.load_state_dict(weights)
    return encoder.requires_grad_(False)


def new_models(files: RunFiles, preset: Preset, device: torch.device) -> Models:
    """An untrained DiT with what is trained along, and the text encoder."""
    tokenizer = Tokenizer(files.tokenizer.read_bytes())
    generator = torch.Generator().manual_seed(preset.training.seed)
    dit = MagrefDiT(preset.dit)
    initialise(dit, generator)
    return Models(
        dit=dit.to(device),
        text_encoder=load_text_encoder(files).to(device),
        empty_text=tokenizer.batch([""])[0],
        image_encoder=ClipVision(generator=generator).to(device),
        reader=Reader(preset.dit.dim, tokenizer.num_pieces, preset.training.grounding, generator).to(device),
    )


def averaged_models(files: RunFiles, preset: Preset, state: Path) -> Models:
    """The models with the averaged weights of a run's state, ready to be used."""
    models = new_models(files, preset, torch.device("cpu"))
    for name, weights in split_weights(read_average(state)).items():
        part: nn.Module = getattr(models, name)
        part.load_state_dict(weights)
        part.eval()
    return models


def split_weights(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Weights of a run by the field of `Models` that they belong to, under their own names."""
    parts: dict[str, dict[str, Tensor]] = {"dit": {}}
    for name, value in weights.items():
        field, _, rest = name.partition(".")
        if field in TRAINED_ALONG:
            parts.setdefault(field, {})[rest] = value
        else:
            parts["dit"][name] = value
    return parts


def read_average(state: Path) -> dict[str, Tensor]:
    """The averaged weights in a run's state."""
    prefix = "average/"
    with safe_open(state, framework="pt") as tensors:
        names = [name for name in tensors.keys() if name.startswith(prefix)]  # noqa: SIM118
        return {name.removeprefix(prefix): tensors.get_tensor(name) for name in names}
