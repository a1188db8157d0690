"""The 20 channels that the DiT sees beside the noise."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ShapeError
from ..sizes import FRAME_STRIDE, LATENT_CHANNELS, PIXEL_STRIDE


def assemble_guidance(mask_channels: Tensor, canvas_latents: Tensor) -> Tensor:
    """Put the mask channels in front of the canvas latents.

    Args:
        mask_channels: (B, 4, T, h, w) in {0, 1}; 1 where a reference is.
        canvas_latents: (B, 16, T, h, w), normalised by the mean and deviation of the VAE.

    Returns:
        (B, 20, T, h, w); dtype and device of the latents.

    Raises:
        ShapeError: the two do not belong to the same video.

    Source: MAGREF, magref/subject2video.py, `y` in `generate`.
    """
    if canvas_latents.ndim != 5 or canvas_latents.shape[1] != LATENT_CHANNELS:
        raise ShapeError(
            f"the canvas latents are {tuple(canvas_latents.shape)}, but (batch, {LATENT_CHANNELS}, frames, "
            "height, width) is needed: encode the canvas with the Wan 2.1 VAE"
        )
    batch, _, *sizes = canvas_latents.shape
    if mask_channels.shape != (batch, FRAME_STRIDE, *sizes):
        raise ShapeError(
            f"the mask belongs to {_describe(mask_channels)}, the canvas latents to "
            f"{_describe(canvas_latents)}: use the same width, height and length for both"
        )
    return torch.cat([mask_channels.to(canvas_latents), canvas_latents], dim=1)


def _describe(latents: Tensor) -> str:
    """Size and length in pixels of the video that a (B, C, T, h, w) tensor stands for."""
    batch, _, num_frames, height, width = latents.shape
    size = f"{width * PIXEL_STRIDE} x {height * PIXEL_STRIDE} pixels"
    return f"{batch} x {size} x {(num_frames - 1) * FRAME_STRIDE + 1} frames"
