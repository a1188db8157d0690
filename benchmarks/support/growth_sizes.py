"""Sizes of videos for the growth benchmark, a model for them, and the traffic that no program avoids."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from magref_core.dit.attention import Backend
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT
from magref_core.sizes import PIXEL_STRIDE, num_latent_frames

from .dit_models import IMAGE_TOKENS, Shape

RESOLUTIONS = {"480p": (480, 832), "720p": (720, 1280)}
"""Height and width in pixels."""
SMALL_RESOLUTIONS = {"480p": (128, 224), "720p": (176, 320)}
"""About a quarter of each side, for processors; whole tokens."""
FRAMES = (17, 33, 49, 81, 121, 161)

SMALL_CONFIG = DiTConfig(dim=256, ffn_dim=704, num_heads=2, num_layers=2)
"""Narrow for short videos: products and attention balance at 1472 tokens, in the release at 29184."""
GPU_LAYERS = 10
"""Of the 40 of the released model: the blocks are alike, and 161 frames at 720p would take minutes in all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """One video."""

    resolution: str
    """A key of `RESOLUTIONS`."""
    height: int
    width: int
    frames: int
    shape: Shape

    @property
    def label(self) -> str:
        """As it stands in tables."""
        return f"{self.resolution}, {self.frames} frames"


def sizes_for(
    device: str, *, layers: int | None, resolutions: list[str], frames: list[int], dtype: torch.dtype
) -> list[Size]:
    """The sizes of a run, shortest video first.

    Args:
        device: cpu or cuda; a CPU gets `SMALL_CONFIG` and `SMALL_RESOLUTIONS`.
        layers: of the model; None: 2 on a CPU, `GPU_LAYERS` on a GPU.
        resolutions: of `RESOLUTIONS`.
        frames: numbers of frames, each 4 k + 1.
        dtype: of the weights.

    Raises:
        ShapeError: a number of frames that the VAE does not know.
    """
    is_small = device == "cpu"
    config = SMALL_CONFIG if is_small else replace(DiTConfig(), num_layers=GPU_LAYERS)
    if layers is not None:
        config = replace(config, num_layers=layers)
    places = SMALL_RESOLUTIONS if is_small else RESOLUTIONS
    sizes = [
        Size(
            resolution=name,
            height=places[name][0],
            width=places[name][1],
            frames=count,
            shape=Shape(config=config, latent=_latent(*places[name], count), dtype=dtype),
        )
        for name in resolutions
        for count in frames
    ]
    return sorted(sizes, key=lambda size: size.shape.num_tokens)


def _latent(height: int, width: int, frames: int) -> tuple[int, int, int]:
    return num_latent_frames(frames), height // PIXEL_STRIDE, width // PIXEL_STRIDE


def weight_bytes(shape: Shape) -> int:
    """Bytes of all weights in the dtype of the shape."""
    model = MagrefDiT(shape.config, Backend(device="meta"))
    return sum(weight.numel() for weight in model.parameters()) * shape.dtype.itemsize


def forward_bytes(shape: Shape) -> int:
    """The least that one forward pass moves: weights once, products and attentions from and to memory once.

    Norms, modulation, rotation, activations and residuals count as fused into their neighbours, and what
    several products read as read once. The embeddings and the head, some thousandths, are left out.
    """
    config, n = shape.config, shape.num_tokens
    d, seen = config.dim, config.text_len + IMAGE_TOKENS
    # Values into and out of products and attentions: qkv 1 + 3, attention 3 + 1, o 1 + 1; q 1 + 1, attention
    # 1 + 1, o 1 + 1; and of the context 1 + 2 where keys and values are made, 2 where they are used.
    tokens = 18 * n * d + 2 * n * config.ffn_dim
    return weight_bytes(shape) + config.num_layers * (tokens + 5 * seen * d) * shape.dtype.itemsize
