"""The strides of the Wan 2.1 VAE and DiT, and the sizes they allow."""

from __future__ import annotations

from .errors import ShapeError

PIXEL_STRIDE = 8
"""Pixels per latent cell, in height and in width."""

PATCH_STRIDE = 16
"""Pixels per DiT token, in height and in width: a token is 2 x 2 latent cells."""

FRAME_STRIDE = 4
"""Pixel frames per latent frame; the first latent frame holds a single one."""

LATENT_CHANNELS = 16
"""Channels of a latent."""


def check_video_size(*, height: int, width: int) -> None:
    """Refuse a video that the DiT cannot cut into whole tokens.

    Args:
        height: in pixels.
        width: in pixels.

    Raises:
        ShapeError: a side is not a positive multiple of 16; the message offers the nearest size.
    """
    if height > 0 and width > 0 and height % PATCH_STRIDE == 0 and width % PATCH_STRIDE == 0:
        return
    raise ShapeError(
        f"the video is {width} x {height} pixels, but both sides must be multiples of {PATCH_STRIDE}: "
        f"use {_nearest_side(width)} x {_nearest_side(height)}"
    )


def check_num_frames(num_frames: int) -> None:
    """Refuse a length that the causal VAE cannot represent.

    Args:
        num_frames: pixel frames of the whole video, those that are dropped after decoding included.

    Raises:
        ShapeError: the count is not 4 n + 1; the message offers the nearest one.
    """
    if num_frames >= 1 and num_frames % FRAME_STRIDE == 1:
        return
    nearest = max(0, (num_frames + 1) // FRAME_STRIDE) * FRAME_STRIDE + 1
    raise ShapeError(
        f"the video has {num_frames} frames, but the count must be a multiple of {FRAME_STRIDE} plus 1: "
        f"use {nearest}"
    )


def num_latent_frames(num_frames: int) -> int:
    """Latent frames of a video of `num_frames` pixel frames.

    Args:
        num_frames: 4 n + 1.

    Returns:
        n + 1.

    Raises:
        ShapeError: see `check_num_frames`.
    """
    check_num_frames(num_frames)
    return (num_frames - 1) // FRAME_STRIDE + 1


def _nearest_side(side: int) -> int:
    """The multiple of 16 next to `side`, the larger one at half way, and never 0."""
    return max(PATCH_STRIDE, (side + PATCH_STRIDE // 2) // PATCH_STRIDE * PATCH_STRIDE)
