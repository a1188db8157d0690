"""One block of the DiT, its head, and the arithmetic of modulation.

The residual stream, the norms and the modulation are float32; attention and feed-forward run in the compute
dtype, which is the dtype of the `context` that a block is given. So does the official code under autocast.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Backend, CrossAttention, Options, SelfAttention, patches
from .config import DiTConfig
from .prepared import KeysValues
from .subjects import SubjectPlan


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, the outer two modulated by the timestep."""

    def __init__(self, config: DiTConfig, backend: Backend) -> None:
        super().__init__()
        dim, eps = config.dim, config.eps
        ops, device = backend.operations, backend.device
        # norm1 and norm2 have no weights of their own: the timestep gives them, see `modulated_norm`.
        self.norm1 = ops.LayerNorm(dim, eps, elementwise_affine=False, device=device)
        self.self_attn = SelfAttention(config, backend)
        self.norm3 = ops.LayerNorm(dim, eps, device=device, dtype=torch.float32)
        self.cross_attn = CrossAttention(config, backend)
        self.norm2 = ops.LayerNorm(dim, eps, elementwise_affine=False, device=device)
        self.ffn = nn.Sequential(
            backend.linear(dim, config.ffn_dim), TanhGelu(), backend.linear(config.ffn_dim, dim)
        )
        self.modulation = nn.Parameter(torch.zeros(1, 6, dim, device=device, dtype=torch.float32))

    def forward(
        self,
        x: Tensor,
        e: Tensor,
        freqs: Tensor,
        context: Tensor,
        context_img_len: int | None = 257,
        transformer_options: Options | None = None,
        subjects: SubjectPlan | None = None,
        keys_values: KeysValues | None = None,
    ) -> Tensor:
        """Run the block.

        Args:
            x: (B, L, D) residual stream.
            e: (B, 6, D), or (B, T, 6, D) with one timestep per latent frame.
            freqs: turns of the tokens, see `rope`.
            context: (B, M, D), image tokens first, in the compute dtype.
            context_img_len: number of image tokens, None for none.
            transformer_options: `attn2_patch` may change x after the cross-attention.
            subjects: the controls of subjects in this block.
            keys_values: of the cross-attention, if they are known already.

        Returns:
            (B, L, D) float32.
        """
        transformer_options = {} if transformer_options is None else transformer_options
        dtype, eps = context.dtype, self.norm1.eps
        # Not named where there are none: other packs put forwards of their own in the place of these.
        controls: dict[str, SubjectPlan] = {} if subjects is None else {"subjects": subjects}
        known: dict[str, KeysValues] = {} if keys_values is None else {"keys_values": keys_values}
        parts = (_float32(self.modulation, e) + (e if e.ndim == 4 else e[:, None])).unbind(
            2
        )  # 6 of (B, T, D)
        x = x.float().contiguous()
        y = self.self_attn(
            modulated_norm(x, parts[0], parts[1], eps, dtype),
            freqs,
            transformer_options=transformer_options,
            **controls,
        )
        x = gated_sum(x, y, parts[2])
        del y
        x = x + self.cross_attn(
            self.norm3(x).to(dtype),
            context,
            context_img_len=context_img_len,
            transformer_options=transformer_options,
            **controls,
            **known,
        )
        for patch in patches(transformer_options, "attn2_patch"):
            x = patch({"x": x, "transformer_options": transformer_options})
        y = self.ffn(modulated_norm(x, parts[3], parts[4], self.norm2.eps, dtype))
        return gated_sum(x, y, parts[5])


class Head(nn.Module):
    """From tokens to the velocity of their patch; all in float32."""

    def __init__(self, config: DiTConfig, backend: Backend) -> None:
        super().__init__()
        self.norm = backend.operations.LayerNorm(
            config.dim, config.eps, elementwise_affine=False, device=backend.device
        )
        self.head = backend.linear32(config.dim, math.prod(config.patch_size) * config.out_dim)
        self.modulation = nn.Parameter(
            torch.zeros(1, 2, config.dim, device=backend.device, dtype=torch.float32)
        )

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """Run the head.

        Args:
            x: (B, L, D).
            e: (B, D), or (B, T, D) with one timestep per latent frame; before the projection to six.

        Returns:
            (B, L, pt ph pw C) float32, ordered row in patch, column in patch, channel.
        """
        frames = e if e.ndim == 3 else e[:, None]  # (B, T, D)
        shift, scale = (_float32(self.modulation, e) + frames[:, :, None]).unbind(2)  # 2 of (B, T, D)
        return self.head(modulated_norm(x.float(), shift, scale, self.norm.eps, torch.float32))


class ImageProjection(nn.Module):
    """CLIP vision tokens -> tokens of the DiT."""

    def __init__(self, config: DiTConfig, backend: Backend) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            backend.layer_norm(config.clip_dim),
            backend.linear(config.clip_dim, config.clip_dim),
            nn.GELU(),
            backend.linear(config.clip_dim, config.dim),
            backend.layer_norm(config.dim),
        )

    def forward(self, image_embeds: Tensor) -> Tensor:
        """(B, N, clip_dim) -> (B, N, D)."""
        return self.proj(image_embeds)


class TanhGelu(nn.Module):
    """GELU by its tanh formula; overwrites its input when no gradient will ask for it."""

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)."""
        if x.requires_grad:
            return F.gelu(x, approximate="tanh")
        # The hidden layer is by far the largest activation; a second copy would set the peak of memory.
        return torch.ops.aten.gelu_(x, approximate="tanh")


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """LayerNorm(x) (1 + scale) + shift, in float32.

    Args:
        x: (B, L, D).
        shift: (B, T, D) float32; T is 1 or the number of latent frames.
        scale: as `shift`.
        eps: of the norm.
        dtype: of the result.

    Returns:
        (B, L, D) in `dtype`.
    """
    width = x.shape[-1:]
    x = x.float()
    if shift.shape[1] > 1:
        shift, scale = per_token(shift, x.shape[1]), per_token(scale, x.shape[1])
        return torch.addcmul(shift, F.layer_norm(x, width, eps=eps), 1 + scale).to(dtype)
    # One vector for a whole sample is what a norm calls its weights: one pass over the tokens instead of two.
    samples = zip(x, 1 + scale[:, 0], shift[:, 0], strict=True)
    rows = [F.layer_norm(tokens, width, weight, bias, eps).to(dtype) for tokens, weight, bias in samples]
    return rows[0][None] if len(rows) == 1 else torch.stack(rows)


def gated_sum(x: Tensor, y: Tensor, gate: Tensor) -> Tensor:
    """Residual x (B, L, D) float32 plus y (B, L, D), in any dtype, times gate (B, T, D) float32."""
    return torch.addcmul(x, y, per_token(gate, x.shape[1]))


def per_token(e: Tensor, num_tokens: int) -> Tensor:
    """Give each token the vector of its frame: (B, T, D) -> (B, L, D), or (B, 1, D) where all share one.

    Where T does not divide L, each frame gets the next larger number of tokens and the last fewer.
    """
    num_frames = e.shape[1]
    if num_frames in (1, num_tokens):
        return e
    return e.repeat_interleave(-(-num_tokens // num_frames), dim=1)[:, :num_tokens]


def _float32(modulation: Tensor, like: Tensor) -> Tensor:
    # The host may have left a block's own parameter on another device.
    return modulation.to(like.device, torch.float32)
