"""A small UMT5 encoder, to be trained together with the DiT."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CheckpointError

PAD, END = 0, 1
"""Ids of the piece that fills up and of the one that ends a prompt."""

NUM_BUCKETS = 32
"""Distances that the attention tells apart, half of them to each side."""
MAX_DISTANCE = 128
"""Tokens from which on all distances are one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextEncoderConfig:
    """Shape of the encoder; field names are those of released UMT5 configs, but for the last.

    Raises:
        CheckpointError: a field is below 1.
    """

    vocab_size: int
    """Pieces of the tokenizer."""
    d_model: int = 128
    """Channels of a token, and of the encoder's answer."""
    d_kv: int = 32
    """Channels of a head."""
    d_ff: int = 256
    num_heads: int = 4
    num_layers: int = 2
    text_len: int = 32
    """Rows that prompts are filled up to."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise CheckpointError(f"{name} of the text encoder is {value}, but must be at least 1")


class TextEncoder(nn.Module):
    """Token ids -> text that the DiT reads. Keys of the state dict are those of UMT5 and of ComfyUI.

    Args:
        config: the shape.
        generator: of the first weights; None draws from the global one.

    Source: Raffel et al., T5 (arXiv 1910.10683), and Chung et al., UMT5 (arXiv 2304.09151): pre-norm without
    means, gated GELU, no biases, attention without a scale, and relative positions in every block.
    """

    def __init__(self, config: TextEncoderConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = _Stack(config)
        self._reset(generator)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode prompts.

        Args:
            ids: (B, L) integer; padding as `prompt_mask` expects it.
            mask: (B, L) in {0, 1}; 1 on what belongs to the prompt. None: `prompt_mask(ids)`.

        Returns:
            (B, L, d_model), zero where the mask is.
        """
        mask = prompt_mask(ids) if mask is None else mask
        return self.encoder(self.shared(ids), mask.bool()) * mask[..., None]

    @torch.no_grad()
    def _reset(self, generator: torch.Generator | None) -> None:
        """T5's own deviations: logits of about 1, and a residual stream that starts as the words."""
        config = self.config
        inner = config.num_heads * config.d_kv
        deviations = {
            "shared": 1.0,
            "q": (config.d_model * config.d_kv) ** -0.5,
            "o": inner**-0.5,
            "wo": config.d_ff**-0.5,
        }
        for name, parameter in self.named_parameters():
            layer = name.split(".")[-2]
            if not layer.endswith("layer_norm"):
                parameter.normal_(0, deviations.get(layer, config.d_model**-0.5), generator=generator)


class _Stack(nn.Module):
    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.block = nn.ModuleList(_Block(config) for _ in range(config.num_layers))
        self.final_layer_norm = RMSNorm(config.d_model)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        buckets = position_buckets(x.shape[1], device=x.device)
        for block in self.block:
            x = block(x, mask, buckets)
        return self.final_layer_norm(x)


class _Block(nn.Module):
    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList([_AttentionLayer(config), _FeedForwardLayer(config)])

    def forward(self, x: Tensor, mask: Tensor, buckets: Tensor) -> Tensor:
        return self.layer[1](self.layer[0](x, mask, buckets))


class _AttentionLayer(nn.Module):
    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.SelfAttention = _Attention(config)
        self.layer_norm = RMSNorm(config.d_model)

    def forward(self, x: Tensor, mask: Tensor, buckets: Tensor) -> Tensor:
        return x + self.SelfAttention(self.layer_norm(x), mask, buckets)


class _Attention(nn.Module):
    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        inner = config.num_heads * config.d_kv
        self.num_heads = config.num_heads
        self.q, self.k, self.v = (nn.Linear(config.d_model, inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, config.d_model, bias=False)
        self.relative_attention_bias = nn.Embedding(NUM_BUCKETS, config.num_heads)

    def forward(self, x: Tensor, mask: Tensor, buckets: Tensor) -> Tensor:
        """Tokens (B, L, D), mask (B, L), buckets (L, L) -> (B, L, D)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )  # (B, H, L, d)
        logits = (q @ k.transpose(-1, -2)).float()  # (B, H, L, L), unscaled
        logits = logits + self.relative_attention_bias(buckets).movedim(-1, 0)
        logits = logits.masked_fill(~mask[:, None, None], torch.finfo(logits.dtype).min)
        mixed = logits.softmax(dim=-1).to(v.dtype) @ v
        return self.o(mixed.transpose(1, 2).flatten(2))


class _FeedForwardLayer(nn.Module):
    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.DenseReluDense = _GatedGelu(config)
        self.layer_norm = RMSNorm(config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.DenseReluDense(self.layer_norm(x))


class _GatedGelu(nn.Module):
    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.wi_0, self.wi_1 = (nn.Linear(config.d_model, config.d_ff, bias=False) for _ in range(2))
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


class RMSNorm(nn.Module):
    """Divides by the root of the mean square; float32 inside, and no dtype of its own."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> the same."""
        scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.eps)
        return (x * scale).to(x.dtype) * self.weight.to(x.dtype)


def prompt_mask(ids: Tensor) -> Tensor:
    """(B, L) ids -> (B, L) float in {0, 1}; 1 up to the first end of prompt and on it."""
    ends = (ids == END).int()
    return (ends.cumsum(dim=1) - ends == 0).float()


def position_buckets(length: int, *, device: torch.device | None = None) -> Tensor:
    """(L, L) integer in 0..31: the class of the distance from query (row) to key (column).

    Up to 7 tokens each distance is a class of its own, from there on classes grow with the logarithm; keys
    on the right have the upper half of the classes.

    Source: Raffel et al., T5, section 2.1.
    """
    positions = torch.arange(length, device=device)
    offsets = positions[None] - positions[:, None]
    distances = offsets.abs()
    side = NUM_BUCKETS // 2
    exact = side // 2
    # Distances of 0 would give -inf, which has no integer; they are below `exact` and not looked at.
    logs = torch.log(distances.clamp(min=1).float() / exact) / math.log(MAX_DISTANCE / exact)
    far = (exact + (logs * (side - exact)).long()).clamp(max=side - 1)
    return torch.where(distances < exact, distances, far) + side * (offsets > 0)


@torch.no_grad()
def silence_pieces(encoder: TextEncoder, known: Tensor) -> None:
    """Zero the vectors of pieces that the training texts lack, so that they stay without a meaning.

    Training never moves them, as no gradient reaches them; left random they would disturb a prompt that
    uses them, such as one with a full stop.

    Args:
        encoder: changed.
        known: (N,) integer; ids of the pieces that do occur.
    """
    keep = torch.zeros(encoder.config.vocab_size, dtype=torch.bool, device=encoder.shared.weight.device)
    keep[known] = True
    encoder.shared.weight[~keep] = 0
