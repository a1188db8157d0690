"""Classifier-free guidance."""

from __future__ import annotations

from torch import Tensor


def guide(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    """Move from the answer without the prompt to, and past, the answer with it.

    Args:
        cond: answer for the prompt, any shape; velocities or denoised states, but the same kind in both.
        uncond: answer for the negative prompt, of the same shape. Canvas and image features are in both.
        guidance_scale: 0 gives `uncond`, 1 gives `cond`; MAGREF takes 5.

    Returns:
        uncond + guidance_scale (cond - uncond).

    Source: MAGREF, magref/subject2video.py, `generate`.
    """
    return uncond + guidance_scale * (cond - uncond)
