"""Early checks across the links of a graph: does what arrives at the model fit the model?"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..magref_core.dit.model import OWN_ENCODERS, RELEASED
from ..magref_core.errors import MagrefError, ShapeError
from ..magref_core.sizes import FRAME_STRIDE, LATENT_CHANNELS, PIXEL_STRIDE


def check_conditioning(model: Any, conditioning: list[Any], latent: Tensor) -> None:
    """Refuse what would fail in the middle of the DiT, or silently give another video.

    Args:
        model: MODEL, ours or native.
        conditioning: the host's pairs of text (B, L, D) and a dict.
        latent: (B, 16, T, h, w).

    Raises:
        MagrefError: the model is no image-to-video Wan 2.1, the prompt is of another encoder, or the canvas
            is missing.
        ShapeError: canvas and latent differ in size.
    """
    config = model.model.model_config.unet_config
    if config.get("in_dim") != 36:
        raise MagrefError(
            f"the model takes {config.get('in_dim', 'other')} channels, but MAGREF takes 36 (noise, mask "
            "and canvas): load a MAGREF checkpoint with MAGREF DiT Loader"
        )
    check_latent(latent)
    for text, extras in conditioning:
        check_text_width(text, model.model.diffusion_model)
        canvas = extras.get("concat_latent_image")
        if canvas is None:
            raise MagrefError(
                "the conditioning carries no canvas: put MAGREF Apply Masked Guidance between prompt and "
                "sampler"
            )
        if canvas.shape[2:] != latent.shape[2:]:
            raise ShapeError(
                f"the canvas is {_size(canvas)}, but the latent is {_size(latent)}: "
                "use the latent of the same MAGREF Apply Masked Guidance"
            )


def check_latent(latent: Tensor) -> None:
    """Refuse a latent that is no video of the Wan 2.1 VAE.

    Raises:
        ShapeError: it is not (B, 16, T, h, w).
    """
    if latent.ndim != 5 or latent.shape[1] != LATENT_CHANNELS:
        raise ShapeError(
            f"the latent is of shape {tuple(latent.shape)}, but a video latent with {LATENT_CHANNELS} "
            "channels is needed: use the one of MAGREF Apply Masked Guidance"
        )


def check_text_width(text: Tensor, diffusion_model: Any) -> None:
    """Refuse a prompt of another text encoder.

    Raises:
        MagrefError: the embedding is not as wide as the DiT expects.
    """
    needed = getattr(diffusion_model, "text_dim", RELEASED.text_dim)
    if text.shape[-1] != needed:
        raise MagrefError(
            f"the prompt comes from a text encoder of width {text.shape[-1]}, but the model needs {needed}: "
            + (
                "choose umt5_xxl_fp8_e4m3fn_scaled.safetensors with type wan in Load CLIP"
                if needed == RELEASED.text_dim
                else f"use {OWN_ENCODERS}"
            )
        )


def _size(latent: Tensor) -> str:
    frames, height, width = latent.shape[2:]
    pixels = f"{width * PIXEL_STRIDE} x {height * PIXEL_STRIDE}"
    return f"{pixels} pixels with {(frames - 1) * FRAME_STRIDE + 1} frames"
