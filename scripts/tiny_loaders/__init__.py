"""Lets a ComfyUI of our own load encoders and segmenters that are smaller than the released ones.

ComfyUI takes the sizes of these from its built-in tables: the smallest text encoder that its loader
accepts has five billion weights. This node folder, which only our own test server loads, hands the sizes
found in the file to ComfyUI's loading functions; files of the released sizes go through untouched.
"""

from __future__ import annotations

import comfy.clip_vision
import comfy.sd

from . import segmenters as segmenters
from .layers import layer_count

NODE_CLASS_MAPPINGS: dict[str, type] = {}

RELEASED_VOCABULARY = 256384
FIRST_BLOCK = "encoder.block.0.layer."
LAYERS = "vision_model.encoder.layers."
CLIP_VISION_H_LAYERS = 32

load_released_text_encoder = comfy.sd.load_text_encoder_state_dicts
load_released_clip_vision = comfy.clip_vision.load_clipvision_from_sd


def load_text_encoder(state_dicts, *args, model_options={}, **kwargs):  # noqa: B006 - the host's own signature
    """The host's function, told the sizes of a small UMT5."""
    weights = state_dicts[0]
    if "spiece_model" in weights and weights["shared.weight"].shape[0] != RELEASED_VOCABULARY:
        model_options = {**model_options, "umt5xxl_model_config": umt5_sizes(weights)}
    return load_released_text_encoder(state_dicts, *args, model_options=model_options, **kwargs)


def load_clip_vision(weights, *args, **kwargs):
    """The host's function, or a small CLIP vision model."""
    count = layer_count(weights, LAYERS) if f"{LAYERS}0.mlp.fc1.weight" in weights else CLIP_VISION_H_LAYERS
    if count >= 23:
        return load_released_clip_vision(weights, *args, **kwargs)
    model = comfy.clip_vision.ClipVisionModel(clip_vision_sizes(weights, count))
    model.load_sd(weights)
    return model


def umt5_sizes(weights):
    """The entries of the host's umt5 table, read from the shapes."""
    num_heads = weights[f"{FIRST_BLOCK}0.SelfAttention.relative_attention_bias.weight"].shape[1]
    vocabulary, width = weights["shared.weight"].shape
    return {
        "d_model": width,
        "d_ff": weights[f"{FIRST_BLOCK}1.DenseReluDense.wi_0.weight"].shape[0],
        "d_kv": weights[f"{FIRST_BLOCK}0.SelfAttention.q.weight"].shape[0] // num_heads,
        "num_heads": num_heads,
        "num_layers": layer_count(weights, "encoder.block.", ".layer.0.layer_norm.weight"),
        "vocab_size": vocabulary,
    }


def clip_vision_sizes(weights, count):
    """The entries of the host's clip vision table, read from the shapes."""
    ff, width = weights[f"{LAYERS}0.mlp.fc1.weight"].shape
    patch_size = weights["vision_model.embeddings.patch_embedding.weight"].shape[-1]
    num_patches = weights["vision_model.embeddings.position_embedding.weight"].shape[0] - 1
    return {
        "model_type": "clip_vision_model",
        "hidden_act": "gelu",
        "hidden_size": width,
        "image_size": patch_size * round(num_patches**0.5),
        "intermediate_size": ff,
        "num_attention_heads": 16,
        "num_channels": 3,
        "num_hidden_layers": count,
        "patch_size": patch_size,
        "projection_dim": weights["visual_projection.weight"].shape[0],
    }


comfy.sd.load_text_encoder_state_dicts = load_text_encoder
comfy.clip_vision.load_clipvision_from_sd = load_clip_vision
