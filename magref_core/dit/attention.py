"""Attention of the DiT, and what a host lends to it: layer classes, attention and rotary kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import DiTConfig
from .lse import AttentionLse, attend_with_lse, boosted_attention
from .prepared import KeysValues
from .rope import rotate
from .subjects import SubjectPlan

Options = dict[str, Any]
"""`transformer_options` of ComfyUI: patches and facts of one call; empty outside it."""


class Operations(Protocol):
    """The layer classes, `torch.nn` or a host's, with the constructors of `torch.nn`."""

    @property
    def Linear(self) -> type[nn.Linear]: ...  # noqa: N802
    @property
    def LayerNorm(self) -> type[nn.LayerNorm]: ...  # noqa: N802
    @property
    def RMSNorm(self) -> type[nn.RMSNorm]: ...  # noqa: N802
    @property
    def Conv3d(self) -> type[nn.Conv3d]: ...  # noqa: N802


class Attention(Protocol):
    """Softmax attention of q (B, L, D) over k and v (B, M, D); gives (B, L, D)."""

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, heads: int, transformer_options: Options
    ) -> Tensor: ...


def attend(q: Tensor, k: Tensor, v: Tensor, *, heads: int, transformer_options: Options) -> Tensor:
    """PyTorch's own fused attention; see `Attention`."""
    q, k, v = (torch.unflatten(x, -1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # (B, heads, L, d)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """What the model is built with."""

    operations: Operations = nn
    attention: Attention = attend
    attention_lse: AttentionLse = attend_with_lse
    """Used in place of `attention` where the identity strength of a subject is changed."""
    rotate: Callable[[Tensor, Tensor], Tensor] = rotate
    """(B, L, heads, d), turns -> (B, L, heads, d); see `rope.rotate`."""
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None
    """Storage of the matrices; None is float32."""

    @property
    def norm_dtype(self) -> torch.dtype | None:
        """Storage of norms that run in the compute dtype; never 8 bits, which would cost much accuracy."""
        return torch.float32 if self.dtype is not None and self.dtype.itemsize < 2 else self.dtype

    def linear(self, in_dim: int, out_dim: int) -> nn.Linear:
        """A matrix with bias, stored in `dtype`."""
        return self.operations.Linear(in_dim, out_dim, device=self.device, dtype=self.dtype)

    def linear32(self, in_dim: int, out_dim: int) -> nn.Linear:
        """A matrix with bias, stored and run in float32."""
        return self.operations.Linear(in_dim, out_dim, device=self.device, dtype=torch.float32)

    def layer_norm(self, dim: int) -> nn.LayerNorm:
        """A norm with weights that runs in the compute dtype."""
        return self.operations.LayerNorm(dim, device=self.device, dtype=self.norm_dtype)

    def rms_norm(self, config: DiTConfig) -> nn.RMSNorm:
        """The norm of queries and keys, over all heads together."""
        return self.operations.RMSNorm(config.dim, eps=config.eps, device=self.device, dtype=self.norm_dtype)


def patches(options: Options, name: str) -> Iterable[Callable[[Options], Any]]:
    """The host's patches of one kind, in order."""
    return options.get("patches", {}).get(name, ())


def replaced_blocks(options: Options) -> dict[Any, Callable[[Options, Options], Options]]:
    """What a host has put in place of blocks, by kind and number; it may write to all that blocks read."""
    return options.get("patches_replace", {}).get("dit", {})


class SelfAttention(nn.Module):
    """Attention among the tokens of the video, with turned queries and keys."""

    def __init__(self, config: DiTConfig, backend: Backend) -> None:
        super().__init__()
        self.dim, self.num_heads, self.head_dim = config.dim, config.num_heads, config.head_dim
        self.attention, self.rotate = backend.attention, backend.rotate
        self.attention_lse = backend.attention_lse
        self.q = backend.linear(config.dim, config.dim)
        self.k = backend.linear(config.dim, config.dim)
        self.v = backend.linear(config.dim, config.dim)
        self.o = backend.linear(config.dim, config.dim)
        self.norm_q = backend.rms_norm(config)
        self.norm_k = backend.rms_norm(config)

    def forward(
        self,
        x: Tensor,
        freqs: Tensor,
        transformer_options: Options | None = None,
        subjects: SubjectPlan | None = None,
    ) -> Tensor:
        """Let each token look at all tokens.

        Args:
            x: (B, L, D) in the compute dtype.
            freqs: (B or 1, L, 1, d / 2, 2, 2) float32, see `rope`.
            transformer_options: `attn1_patch` may change the result before the output projection.
            subjects: whose tokens are looked at more.

        Returns:
            (B, L, D).
        """
        transformer_options = {} if transformer_options is None else transformer_options
        # One function each, so that the intermediates of q are gone before k needs room.
        q = self._turned(self.norm_q, self.q, x, freqs)
        k = self._turned(self.norm_k, self.k, x, freqs)
        out = self._attend(q.flatten(2), k.flatten(2), self.v(x), transformer_options, subjects)
        for patch in patches(transformer_options, "attn1_patch"):
            out = patch({"x": out, "q": q, "k": k, "transformer_options": transformer_options})
        del q, k
        return self.o(out)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, transformer_options: Options, subjects: SubjectPlan | None
    ) -> Tensor:
        heads = self.num_heads
        if subjects is None or not subjects.boosts:
            return self.attention(q, k, v, heads=heads, transformer_options=transformer_options)
        out: list[Tensor] = []
        for begin, end, boost in subjects.split_rows(len(q)):
            part = [x[begin:end] for x in (q, k, v)]
            out.append(
                self.attention(*part, heads=heads, transformer_options=transformer_options)
                if boost is None
                else boosted_attention(*part, heads=heads, boost=boost, attend=self.attention_lse)
            )
        return out[0] if len(out) == 1 else torch.cat(out)

    def _turned(self, norm: nn.Module, linear: nn.Module, x: Tensor, freqs: Tensor) -> Tensor:
        return self.rotate(norm(linear(x)).unflatten(-1, (self.num_heads, self.head_dim)), freqs)


class CrossAttention(nn.Module):
    """Attention to the text and, apart, to the image tokens; both share query and output projection."""

    def __init__(self, config: DiTConfig, backend: Backend) -> None:
        super().__init__()
        self.dim, self.num_heads, self.head_dim = config.dim, config.num_heads, config.head_dim
        self.attention = backend.attention
        self.q = backend.linear(config.dim, config.dim)
        self.k = backend.linear(config.dim, config.dim)
        self.v = backend.linear(config.dim, config.dim)
        self.o = backend.linear(config.dim, config.dim)
        self.norm_q = backend.rms_norm(config)
        self.norm_k = backend.rms_norm(config)
        self.k_img = backend.linear(config.dim, config.dim)
        self.v_img = backend.linear(config.dim, config.dim)
        self.norm_k_img = backend.rms_norm(config)

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        context_img_len: int | None = None,
        transformer_options: Options | None = None,
        subjects: SubjectPlan | None = None,
        keys_values: KeysValues | None = None,
    ) -> Tensor:
        """Let each token look at text and picture.

        Args:
            x: (B, L, D) in the compute dtype.
            context: (B, M, D), image tokens first.
            context_img_len: number of image tokens; with none or 0 the image branch is left out.
            transformer_options: handed to the attention.
            subjects: whose words are added to their regions.
            keys_values: those of `context`, if they are known already.

        Returns:
            (B, L, D).
        """
        transformer_options = {} if transformer_options is None else transformer_options
        known = self.keys_values(context, context_img_len) if keys_values is None else keys_values
        heads = self.num_heads
        q = self.norm_q(self.q(x))
        seen = None
        if known.image is not None:
            seen = self.attention(q, *known.image, heads=heads, transformer_options=transformer_options)
        k, v = known.text
        out = self.attention(q, k, v, heads=heads, transformer_options=transformer_options)
        del q, k
        out = out if seen is None else out + seen
        if subjects is None:
            return self.o(out)
        out = self.o(subjects.add_words(out, v, "value_out"))
        return subjects.add_words(out, v, "value")

    def keys_values(self, context: Tensor, context_img_len: int | None) -> KeysValues:
        """Keys and values of text and picture, which are the same whatever looks at them.

        Args:
            context: as in `forward`.
            context_img_len: likewise.
        """
        num_image_tokens = context_img_len or 0
        image, text = context[:, :num_image_tokens], context[:, num_image_tokens:]
        of_image = (self.norm_k_img(self.k_img(image)), self.v_img(image)) if num_image_tokens else None
        return KeysValues((self.norm_k(self.k(text)), self.v(text)), of_image)
