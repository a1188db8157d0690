"""ComfyUI's VAE and image encoder with the golden weights, in float32 on the CPU."""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

VAE_WEIGHTS = "vae_weights.safetensors"
CLIP_WEIGHTS = "clip_weights.safetensors"

_CLIP_NAMES = {
    "patch_embedding.weight": "embeddings.patch_embedding.weight",
    "cls_embedding": "embeddings.class_embedding",
    "pos_embedding": "embeddings.position_embedding.weight",
    "pre_norm": "pre_layrnorm",
    "post_norm": "post_layernorm",
    "transformer": "encoder.layers",
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.out_proj",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}
"""Official names of the visual tower -> the host's, within `vision_model.`; the rest is split or left out."""


@cache
def enter() -> None:
    """Make the host importable, on the CPU; it must come first on the path, before our folder `nodes`."""
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    importlib.import_module("comfy.cli_args").args.cpu = True


@dataclass(frozen=True, kw_only=True, slots=True)
class HostVAE:
    """The host's Wan VAE behind the signatures that `magref_core.latents` wants."""

    vae: Any
    latent_format: Any

    def encode(self, video: Tensor) -> Tensor:
        """(1, 3, F, H, W) in [-1, 1] -> (1, 16, T, h, w), normalised."""
        frames = (video[0].permute(1, 2, 3, 0) + 1) / 2  # (F, H, W, 3) in [0, 1]
        return self.latent_format.process_in(self.vae.encode(frames))

    def decode(self, latents: Tensor) -> Tensor:
        """(1, 16, T, h, w), normalised -> (1, 3, 4 T - 3, 8 h, 8 w), clamped to [-1, 1]."""
        frames = self.vae.decode(self.latent_format.process_out(latents))  # (1, F, H, W, 3) in [0, 1]
        return frames.movedim(-1, 1) * 2 - 1


def load_vae(folder: Path) -> HostVAE:
    """The golden VAE."""
    enter()
    sd, formats = importlib.import_module("comfy.sd"), importlib.import_module("comfy.latent_formats")
    weights = {name: tensor.float() for name, tensor in load_file(folder / VAE_WEIGHTS).items()}
    vae = sd.VAE(sd=weights, device=torch.device("cpu"), dtype=torch.float32)
    return HostVAE(vae=vae, latent_format=formats.Wan21())


def load_clip_vision(folder: Path) -> Any:
    """The golden image encoder: the torch module inside the host's `ClipVisionModel`."""
    enter()
    host = importlib.import_module("comfy.clip_vision")
    with safe_open(folder / CLIP_WEIGHTS, "pt") as opened:
        config = json.loads(opened.metadata()["config"])
    weights = clip_weights_for_host(load_file(folder / CLIP_WEIGHTS))
    encoder = host.ClipVisionModel(_host_clip_config(config, weights))
    missing = encoder.load_sd(weights).missing_keys
    assert not missing, f"the host's image encoder misses {missing}"
    return encoder.model.float()


def clip_weights_for_host(official: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the official visual tower, and split its joint query, key and value layers."""
    ours: dict[str, Tensor] = {"visual_projection.weight": official["head"].T.float()}
    for name, tensor in official.items():
        if name == "head":
            continue
        renamed = name
        for old, new in _CLIP_NAMES.items():
            renamed = renamed.replace(old, new)
        if ".attn.to_qkv." in renamed:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                split = renamed.replace("attn.to_qkv", f"self_attn.{letter}_proj")
                ours[f"vision_model.{split}"] = part.float()
        else:
            flat = tensor.squeeze(0) if name == "pos_embedding" else tensor
            flat = flat.flatten() if name == "cls_embedding" else flat
            ours[f"vision_model.{renamed}"] = flat.float()
    return ours


def _host_clip_config(config: dict[str, Any], weights: dict[str, Tensor]) -> dict[str, Any]:
    dim = config["vision_dim"]
    patch_size = weights["vision_model.embeddings.patch_embedding.weight"].shape[-1]
    num_tokens = weights["vision_model.embeddings.position_embedding.weight"].shape[0]
    return {
        "hidden_act": "gelu",
        "hidden_size": dim,
        "image_size": round((num_tokens - 1) ** 0.5) * patch_size,
        "intermediate_size": weights["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "model_type": "clip_vision_model",
        "num_attention_heads": config["vision_heads"],
        "num_channels": 3,
        "num_hidden_layers": config["vision_layers"],
        "patch_size": patch_size,
        "projection_dim": config["embed_dim"],
    }
