"""What the CLIP image encoder sees of the canvas."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..errors import ShapeError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures CLIP was trained on; red, green, blue in 0..1."""


def clip_pixels(pixels: Tensor, *, size: int = 224) -> Tensor:
    """Stretch the whole canvas to a square, without keeping its shape and without cropping.

    The bicubic filter neither smooths before shrinking nor clips its overshoot: so was the model trained.

    Args:
        pixels: (B, 3, H, W) in [-1, 1].
        size: side of the square, in pixels.

    Returns:
        (B, 3, size, size), normalised by the mean and deviation of CLIP; dtype and device as given.

    Raises:
        ShapeError: the pixels have another layout.

    Source: MAGREF, magref/modules/clip.py, `CLIPModel.visual`. The preprocessing of ComfyUI smooths,
    clips and rounds, which changes the features.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ShapeError(f"the pixels are {tuple(pixels.shape)}, but (batch, 3, height, width) is needed")
    square = F.interpolate(pixels, size=(size, size), mode="bicubic", align_corners=False)
    mean = pixels.new_tensor(CLIP_MEAN)[:, None, None]
    std = pixels.new_tensor(CLIP_STD)[:, None, None]
    return (square * 0.5 + 0.5 - mean) / std
