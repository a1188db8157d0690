"""Lets ComfyUI load a SAM 3 that is narrower than the released one, and a filter in the place of BiRefNet."""

from __future__ import annotations

from typing import Any

import comfy.bg_removal_model
import comfy.model_detection
import comfy.supported_models
import comfy.text_encoders.sam3_clip
import torch

from .layers import layer_count

TRUNK = "detector.backbone.vision_backbone.trunk."
QUERIES = "detector.transformer.decoder.query_embed.weight"
TEXT_LAYERS = "encoder.transformer.resblocks."
FILTER = "filter.weight"

released_unet_config = comfy.model_detection.detect_unet_config
released_clip_target = comfy.supported_models.SAM3.clip_target
released_background_remover = comfy.bg_removal_model.load_background_removal_model


def detect_unet_config(weights, *args, **kwargs):
    """The host's function; of a SAM 3 it learns the widths and the depth from the shapes."""
    config = released_unet_config(weights, *args, **kwargs)
    if config and str(config.get("image_model")).startswith("SAM3"):
        config["embed_dim"] = weights[f"{TRUNK}patch_embed.proj.weight"].shape[0]
        config["d_model"] = weights[QUERIES].shape[1]
        config["depth"] = layer_count(weights, f"{TRUNK}blocks.", ".attn.qkv.weight")
    return config


def sam3_clip_target(self, *args, **kwargs):
    """The host's function, after its table has been given the sizes of the text encoder in the file."""
    weights = {key[key.index("encoder.") :]: value for key, value in self._clip_stash.items()}
    layers = layer_count(weights, TEXT_LAYERS, ".attn.in_proj_weight")
    hidden, width = weights[f"{TEXT_LAYERS}0.mlp.c_fc.weight"].shape
    sizes = {"hidden_size": width, "intermediate_size": hidden, "num_hidden_layers": layers}
    comfy.text_encoders.sam3_clip.SAM3_CLIP_CONFIG.update(sizes)
    return released_clip_target(self, *args, **kwargs)


class Filter(torch.nn.Module):
    """(B, 3, H, W) -> (B, 1, H, W), as BiRefNet's logits."""

    def __init__(self, config, dtype, device, operations):
        super().__init__()
        self.filter = operations.Conv2d(3, 1, 31, padding=15, bias=False, dtype=dtype, device=device)

    def forward(self, pixel_values):
        return self.filter(pixel_values)


def load_background_removal(weights):
    """The host's function, with the filter as the network where the file holds one."""
    networks: dict[str, Any] = comfy.bg_removal_model.BG_REMOVAL_MODELS
    released = networks["birefnet"]
    if FILTER in weights:
        networks["birefnet"] = Filter
    try:
        return released_background_remover(weights)
    finally:
        networks["birefnet"] = released


comfy.model_detection.detect_unet_config = detect_unet_config
comfy.supported_models.SAM3.clip_target = sam3_clip_target
comfy.bg_removal_model.load_background_removal_model = load_background_removal
