"""References with names, and a small text encoder with a real tokenizer."""

from __future__ import annotations

import functools

import comfy.sd
import comfy.supported_models_base
import comfy.text_encoders.wan
import torch
from magref_pack.magref_core.canvas.references import Reference

from scripts.tiny_models import tiny_text_encoder, tiny_tokenizer

WIDTH = 4096
"""Of prompts, as the DiT takes them."""


def reference(name: str, *, size: tuple[int, int] = (32, 32), seed: int = 0, **fields) -> Reference:
    """A picture of noise."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (*size, 3), generator=generator, dtype=torch.uint8)
    return Reference(name=name, image=image, **fields)


@functools.cache
def clip(embeddings: str | None = None) -> comfy.sd.CLIP:
    """The host's UMT5 with few random weights; `embeddings` is the folder of embedding files."""
    weights = {key: value for key, value in tiny_text_encoder().items() if "block.23" not in key}
    weights.pop("spiece_model")
    config = {"d_model": WIDTH, "d_kv": 8, "d_ff": 16, "num_heads": 2, "num_layers": 2, "vocab_size": 512}
    target = comfy.supported_models_base.ClipTarget(
        comfy.text_encoders.wan.WanT5Tokenizer,
        comfy.text_encoders.wan.te(),  # codespell:ignore te
    )
    found = comfy.sd.CLIP(
        target,
        tokenizer_data={"spiece_model": torch.ByteTensor(list(tiny_tokenizer()))},
        state_dict=[weights],
        model_options={"model_name": "umt5xxl", "umt5xxl_model_config": config},
    )
    # The host hands no folder on to this tokenizer; given one, it reads the files as those of other models.
    getattr(found.tokenizer, found.tokenizer.clip).embedding_directory = embeddings
    return found
