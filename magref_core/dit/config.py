"""The shape of the DiT."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import CheckpointError


@dataclass(frozen=True, kw_only=True, slots=True)
class DiTConfig:
    """Shape of the DiT; the defaults are the released 14B checkpoint.

    Raises:
        CheckpointError: a field is below 1, or `dim` cannot be shared among the heads.
    """

    dim: int = 5120
    """Channels of a token."""
    ffn_dim: int = 13824
    num_heads: int = 40
    num_layers: int = 40
    in_dim: int = 36
    """16 of noise, 4 of mask, 16 of canvas latents."""
    out_dim: int = 16
    patch_size: tuple[int, int, int] = (1, 2, 2)
    """Latent cells of one token: frames, rows, columns."""
    freq_dim: int = 256
    """Channels of the timestep's sinusoid."""
    text_dim: int = 4096
    """Channels of the text encoder, umt5-xxl."""
    text_len: int = 512
    """Rows of text; every one is attended to, the padding too."""
    clip_dim: int = 1280
    """Channels of the CLIP vision tokens, ViT-H/14."""
    eps: float = 1e-6

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in _COUNTS} | {"patch_size": min(self.patch_size)}
        for name, value in counts.items():
            if value < 1:
                raise CheckpointError(f"{name} of the DiT is {value}, but must be at least 1")
        if self.dim % self.num_heads or self.dim // self.num_heads % 2:
            raise CheckpointError(
                f"dim {self.dim} of the DiT does not give {self.num_heads} heads an even number of channels: "
                f"use a dim that is a multiple of {2 * self.num_heads}"
            )

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.dim // self.num_heads


_COUNTS = (
    "dim",
    "ffn_dim",
    "num_heads",
    "num_layers",
    "in_dim",
    "out_dim",
    "freq_dim",
    "text_dim",
    "text_len",
    "clip_dim",
)
