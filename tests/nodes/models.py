"""Small models as host objects: the golden DiT and VAE, and encoders with random weights."""

from __future__ import annotations

import functools
from pathlib import Path

import comfy.clip_vision
import comfy.ldm.wan.vae
import comfy.sd
import torch
from magref_pack.nodes.model import load_magref_dit
from safetensors.torch import load_file

DATA = Path(__file__).parents[1] / "golden" / "data"
DIT_FILE = DATA / "dit_weights.safetensors"
TEXT_WIDTH = 4096
CLIP_CONFIG = {
    "hidden_size": 1280,
    "image_size": 56,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "patch_size": 14,
    "hidden_act": "gelu",
    "model_type": "clip_vision_model",
    "num_channels": 3,
    "projection_dim": 16,
}


def our_model():
    """The golden DiT as our MODEL, a fresh one each time."""
    return load_magref_dit(str(DIT_FILE))


def native_model():
    """The same weights as the host's own MODEL."""
    return comfy.sd.load_diffusion_model(str(DIT_FILE))


@functools.cache
def vae() -> comfy.sd.VAE:
    """The golden VAE."""
    weights = {key: value.float() for key, value in load_file(DATA / "vae_weights.safetensors").items()}
    return comfy.sd.VAE(sd=weights)


@functools.cache
def clip_vision(width: int = 1280) -> comfy.clip_vision.ClipVisionModel:
    """A tower of three random layers."""
    model = comfy.clip_vision.ClipVisionModel({**CLIP_CONFIG, "hidden_size": width})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
    return model


def conditioning(tokens: int, *, seed: int, width: int = TEXT_WIDTH) -> list:
    """A prompt of random numbers, padded with zero rows to 512 as the host's encoder does."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.zeros(1, 512, width)
    text[:, :tokens] = torch.randn(1, tokens, width, generator=generator)
    return [[text, {}]]
