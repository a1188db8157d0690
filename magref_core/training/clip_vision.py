"""A small CLIP vision tower, by which the DiT sees the canvas."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..canvas.clip_view import CLIP_MEAN, CLIP_STD
from ..errors import CheckpointError, ShapeError


def quick_clip_pixels(pixels: Tensor, *, size: int) -> Tensor:
    """As `canvas.clip_view.clip_pixels` but for rounding (1e-6), twice as fast for a batch on a processor.

    The filter is separable and linear: a matrix stretches the rows, another the columns.

    Args:
        pixels: (B, 3, H, W) float32 in [-1, 1].
        size: side of the square, in pixels.

    Returns:
        (B, 3, size, size) float32.
    """
    rows, columns = (_stretch(length, size).to(pixels.device) for length in pixels.shape[2:])
    mean, std = (pixels.new_tensor(each)[:, None, None] for each in (CLIP_MEAN, CLIP_STD))
    return (rows @ pixels @ columns.T).mul_(0.5 / std).add_((0.5 - mean) / std)


@functools.cache
def _stretch(length: int, size: int) -> Tensor:
    """(size, length): what each of `length` pixels gives to each of `size`."""
    unit = torch.eye(length)[None, :, :, None]
    return F.interpolate(unit, size=(size, 1), mode="bicubic", align_corners=False)[0, :, :, 0].T.contiguous()


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipVisionConfig:
    """Shape of the tower; field names are those of released CLIP configs.

    Raises:
        CheckpointError: a field is below 1, heads do not share the channels, or patches not the picture.
    """

    hidden_size: int = 128
    """Channels of a token."""
    intermediate_size: int = 256
    num_attention_heads: int = 4
    num_hidden_layers: int = 3
    """The DiT reads what all but the last one give."""
    image_size: int = 224
    """Side of the square picture, in pixels."""
    patch_size: int = 32
    """Side of a square patch, in pixels."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise CheckpointError(f"{name} of the CLIP vision model is {value}, but must be at least 1")
        for whole, part in (("hidden_size", "num_attention_heads"), ("image_size", "patch_size")):
            size, divisor = getattr(self, whole), getattr(self, part)
            if size % divisor:
                raise CheckpointError(
                    f"{whole} {size} of the CLIP vision model is not divisible by its {part} {divisor}: "
                    f"use {size - size % divisor or divisor}"
                )

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size

    @property
    def num_tokens(self) -> int:
        """Class token and patches."""
        return self.grid**2 + 1


class ClipVision(nn.Module):
    """Pictures -> tokens. Keys of the state dict are those of CLIP and of ComfyUI.

    Args:
        config: the shape; None for the default one.
        generator: of the first weights; None draws from the global one.

    Source: Radford et al., CLIP (arXiv 2103.00020), with exact GELU and without a projection.
    """

    def __init__(
        self, config: ClipVisionConfig | None = None, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.config = ClipVisionConfig() if config is None else config
        self.vision_model = _VisionModel(self.config)
        self._reset(generator)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Look at pictures.

        Args:
            pixels: (B, 3, image_size, image_size), normalised, as from `canvas.clip_view.clip_pixels`.

        Returns:
            tokens (B, 1 + patches, hidden_size) before the last layer, class token first, and the summary
            (B, hidden_size) of the class token after it.

        Raises:
            ShapeError: the pictures have another size.
        """
        tokens = self.tokens(pixels)
        last = self.vision_model.encoder.layers[-1](tokens)
        return tokens, self.vision_model.post_layernorm(last[:, 0])

    def tokens(self, pixels: Tensor) -> Tensor:
        """As `forward`, but only what the DiT reads: the tokens before the last layer."""
        side = self.config.image_size
        if tuple(pixels.shape[1:]) != (3, side, side):
            raise ShapeError(
                f"the pictures are {tuple(pixels.shape)}, but (batch, 3, {side}, {side}) is needed: "
                "prepare them with clip_pixels"
            )
        tokens = self.vision_model.pre_layrnorm(self.vision_model.embeddings(pixels))
        for layer in list(self.vision_model.encoder.layers)[:-1]:
            tokens = layer(tokens)
        return tokens

    @torch.no_grad()
    def _reset(self, generator: torch.Generator | None) -> None:
        """Linear layers keep the size of a signal; what is added to the stream shrinks with the depth."""
        depth = (2 * self.config.num_hidden_layers) ** -0.5
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
                continue
            if "norm" in name:
                continue  # they start with 1
            if "class_embedding" in name or "position_embedding" in name:
                deviation = 0.02
            else:
                deviation = parameter[0].numel() ** -0.5
            if "out_proj" in name or "fc2" in name:
                deviation *= depth
            parameter.normal_(0, deviation, generator=generator)


class _VisionModel(nn.Module):
    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size)  # so is it spelt in released files
        self.encoder = _Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size)


class _Embeddings(nn.Module):
    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.zeros(config.hidden_size))
        self.patch_embedding = nn.Conv2d(
            3, config.hidden_size, kernel_size=config.patch_size, stride=config.patch_size, bias=False
        )
        self.position_embedding = nn.Embedding(config.num_tokens, config.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)  # (B, N, D)
        first = self.class_embedding.expand(len(pixels), 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


class _Encoder(nn.Module):
    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))


class _Layer(nn.Module):
    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size)
        self.self_attn = _Attention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size)
        self.mlp = _FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class _Attention(nn.Module):
    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )  # (B, H, L, d)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))
