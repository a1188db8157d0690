"""The VAE of Wan 2.1 in any width, in the published key names, fast enough to be trained on a CPU.

A clip goes through at once: the official code walks along time in chunks, with a cache of the frames before,
which gives the same numbers. Activations are (B, T, H, W, C), so that norms, concatenations and 2-D
convolutions run over contiguous channels, and a 3-D convolution is a 2-D one over three stacked frames:
on a CPU that is ten times faster than PyTorch's own, backward pass included.

Source: Wan-Video/Wan2.1, wan/modules/vae.py (Apache-2.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..errors import ShapeError
from ..sizes import LATENT_CHANNELS, PIXEL_STRIDE, check_num_frames

linalg: Any = torch.linalg
"""Without types in PyTorch."""

LATENT_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
"""Per channel: the DiT sees (latent - mean) / std, whatever Wan 2.1 VAE made the latent."""

LATENT_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
"""See `LATENT_MEAN`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WanVAEConfig:
    """Shape of the VAE. Loaders of Wan 2.1 infer `dim` from the weights and take the rest as it is here."""

    dim: int = 96
    """Channels at full resolution; the release has 96."""
    z_dim: int = LATENT_CHANNELS
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    """Channels per level, in multiples of `dim`; each further level halves height and width."""
    num_res_blocks: int = 2
    """Per level of the encoder; the decoder has one more."""
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    """Whether the step from a level to the next halves the time as well."""


class WanVAE(nn.Module):
    """Clips to latents and back.

    `decode` of a clip that is cut short in time gives the same frames, cut short; so does `encode`.
    """

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.conv1 = CausalConv3d(2 * config.z_dim, 2 * config.z_dim, 1)
        self.conv2 = CausalConv3d(config.z_dim, config.z_dim, 1)
        self.decoder = Decoder(config)

    def encode(self, video: Tensor) -> Tensor:
        """Means of the latents.

        Args:
            video: (B, 3, F, H, W) in [-1, 1], with F = 4 n + 1, H and W multiples of 8.

        Returns:
            (B, 16, n + 1, H / 8, W / 8), not normalised; the DiT sees them after `normalise`.

        Raises:
            ShapeError: a size does not fit.
        """
        check_num_frames(video.shape[2])
        height, width = video.shape[3:]
        if height % PIXEL_STRIDE or width % PIXEL_STRIDE:
            raise ShapeError(
                f"the clip is {width} x {height} pixels, but both sides must be multiples of "
                f"{PIXEL_STRIDE}: crop or enlarge it"
            )
        moments = self.conv1(self.encoder(video.permute(0, 2, 3, 4, 1).contiguous()))
        return moments[..., : self.config.z_dim].permute(0, 4, 1, 2, 3)

    def decode(self, latents: Tensor) -> Tensor:
        """Clips from latents.

        Args:
            latents: (B, 16, T, h, w), not normalised.

        Returns:
            (B, 3, 4 T - 3, 8 h, 8 w), about [-1, 1], not clamped.
        """
        video = self.decoder(self.conv2(latents.permute(0, 2, 3, 4, 1).contiguous()))
        return video.permute(0, 4, 1, 2, 3)


def normalise(latents: Tensor) -> Tensor:
    """(B, 16, T, h, w) of the VAE -> the same as the DiT sees it."""
    mean, std = latent_statistics(latents)
    return (latents - mean) / std


def denormalise(latents: Tensor) -> Tensor:
    """The inverse of `normalise`."""
    mean, std = latent_statistics(latents)
    return latents * std + mean


def latent_statistics(like: Tensor) -> tuple[Tensor, Tensor]:
    """`LATENT_MEAN` and `LATENT_STD` as (16, 1, 1, 1), dtype and device of `like`."""
    return (
        like.new_tensor(LATENT_MEAN)[:, None, None, None],
        like.new_tensor(LATENT_STD)[:, None, None, None],
    )


def init_weights(vae: WanVAE, generator: torch.Generator) -> None:
    """Draw weights from which training gets going.

    Convolutions keep the size of what goes through; of a causal kernel only the tap on the frame itself is
    drawn, the past starts at 0; residual branches and attention start near 0; time is doubled by copying.

    Args:
        vae: float32; changed in place.
        generator: of the same device.
    """
    for module in vae.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.zeros_(module.weight)
            present = module.weight[:, :, -1] if isinstance(module, nn.Conv3d) else module.weight
            nn.init.normal_(present, std=present[0].numel() ** -0.5, generator=generator)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    for module in vae.modules():
        if isinstance(module, ResidualBlock):
            last = module.residual[6]
            assert isinstance(last, CausalConv3d)
            last.weight.data *= 0.1
        elif isinstance(module, AttentionBlock):
            nn.init.zeros_(module.proj.weight)
        elif isinstance(module, Upsample) and module.time_conv is not None:
            width = module.time_conv.in_channels
            module.time_conv.weight.data[:, :, -1, 0, 0] = torch.eye(width).repeat(2, 1)


class CausalConv3d(nn.Conv3d):
    """A convolution that sees no later frame; before the first frame there are zeros.

    (B, T, H, W, C) -> (B, T, H, W, out), or half as many frames with `halve_time`: then each pair of frames
    is seen with the frame before it, and the clip must begin with such a frame, of which no result is made.
    """

    def __init__(
        self, in_dim: int, out_dim: int, kernel: int | tuple[int, int, int], *, halve_time: bool = False
    ):
        stride = (2, 1, 1) if halve_time else 1
        super().__init__(in_dim, out_dim, kernel, stride=stride)  # pyright: ignore[reportUnknownMemberType]
        self.halve_time = halve_time

    def forward(self, input: Tensor) -> Tensor:
        x = input
        num_frames, taps = x.shape[1], self.weight.shape[2]
        weight = self.weight
        if self.halve_time:
            x = torch.cat([x[:, tap : num_frames - 2 + tap : 2] for tap in range(3)], dim=-1)
        elif num_frames == 1:
            weight = weight[:, :, -1:]
        elif taps > 1:
            past = F.pad(x, (0, 0, 0, 0, 0, 0, taps - 1, 0))
            x = torch.cat([past[:, tap : tap + num_frames] for tap in range(taps)], dim=-1)
        return _conv2d(x, weight.transpose(1, 2).flatten(1, 2), self.bias, padding=weight.shape[-1] // 2)


def _conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, *, padding: int = 0, stride: int = 1) -> Tensor:
    """(B, T, H, W, C) -> (B, T, H', W', out), each frame for itself."""
    frames = x.flatten(0, 1).permute(0, 3, 1, 2)  # channels last in memory
    frames = F.conv2d(frames, weight, bias, stride=stride, padding=padding)
    return frames.permute(0, 2, 3, 1).view(*x.shape[:2], *frames.shape[2:], -1)


class RMSNorm(nn.Module):
    """Each position's channels scaled to a mean square of gamma squared."""

    def __init__(self, dim: int, *, num_axes: int = 4) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, *(1,) * (num_axes - 1)))

    def forward(self, x: Tensor) -> Tensor:
        length: Tensor = linalg.vector_norm(x, dim=-1, keepdim=True)
        length = length.clamp_min(1e-12)
        return x * length.reciprocal() * (self.gamma.flatten() * x.shape[-1] ** 0.5)


class ResidualBlock(nn.Module):
    """Two causal convolutions beside a shortcut, which is 1 x 1 where the width changes.

    While `is_skipped` only the shortcut is run, which saves time if the last convolution is 0 anyway.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            RMSNorm(in_dim),
            nn.SiLU(),
            CausalConv3d(in_dim, out_dim, 3),
            RMSNorm(out_dim),
            nn.SiLU(),
            nn.Dropout(0.0),
            CausalConv3d(out_dim, out_dim, 3),
        )
        self.shortcut = CausalConv3d(in_dim, out_dim, 1) if in_dim != out_dim else nn.Identity()
        self.is_skipped = False

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) if self.is_skipped else self.shortcut(x) + self.residual(x)


class AttentionBlock(nn.Module):
    """Self-attention of one head among the positions of a frame."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = RMSNorm(dim, num_axes=3)
        self.to_qkv = nn.Conv2d(dim, 3 * dim, 1)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        qkv = _conv2d(self.norm(x), self.to_qkv.weight, self.to_qkv.bias)
        q, k, v = qkv.flatten(2, 3).chunk(3, dim=-1)  # (B, T, H W, C)
        y = F.scaled_dot_product_attention(q, k, v).view(x.shape)
        return x + _conv2d(y, self.proj.weight, self.proj.bias)


class Downsample(nn.Module):
    """Half the height and width, and half the frames after the first with `time`."""

    def __init__(self, dim: int, *, time: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(dim, dim, 3, stride=2))
        self.time_conv = CausalConv3d(dim, dim, (3, 1, 1), halve_time=True) if time else None

    def forward(self, x: Tensor) -> Tensor:
        conv = self.resample[1]
        assert isinstance(conv, nn.Conv2d)
        x = _conv2d(F.pad(x, (0, 0, 0, 1, 0, 1)), conv.weight, conv.bias, stride=2)
        if self.time_conv is None or x.shape[1] == 1:
            return x
        return torch.cat([x[:, :1], self.time_conv(x)], dim=1)


class Upsample(nn.Module):
    """Twice the height and width at half the channels, and twice the frames after the first with `time`."""

    def __init__(self, dim: int, *, time: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest-exact"), nn.Conv2d(dim, dim // 2, 3, padding=1)
        )
        self.time_conv = CausalConv3d(dim, 2 * dim, (3, 1, 1)) if time else None

    def forward(self, x: Tensor) -> Tensor:
        if self.time_conv is not None and x.shape[1] > 1:
            # The later frames do not see the first one here; each gives two, by its halves of the channels.
            pairs = rearrange(self.time_conv(x[:, 1:]), "b t h w (k c) -> b (t k) h w c", k=2)
            x = torch.cat([x[:, :1], pairs], dim=1)
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        conv = self.resample[1]
        assert isinstance(conv, nn.Conv2d)
        return _conv2d(x, conv.weight, conv.bias, padding=1)


class Encoder(nn.Module):
    """(B, F, H, W, 3) in [-1, 1] -> (B, T, h, w, 2 z_dim), means and log variances before the last mixing."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        widths = [config.dim * factor for factor in (1, *config.dim_mult)]
        self.conv1 = CausalConv3d(3, widths[0], 3)
        levels: list[nn.Module] = []
        for level, (in_dim, out_dim) in enumerate(pairwise(widths)):
            levels += _residual_blocks(in_dim, out_dim, config.num_res_blocks)
            if level < len(config.dim_mult) - 1:
                levels.append(Downsample(out_dim, time=config.temporal_downsample[level]))
        self.downsamples = nn.Sequential(*levels)
        self.middle = _middle(widths[-1])
        self.head = _head(widths[-1], 2 * config.z_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(self.downsamples(self.conv1(x))))


class Decoder(nn.Module):
    """(B, T, h, w, z_dim) -> (B, F, H, W, 3)."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        widths = [config.dim * factor for factor in (config.dim_mult[-1], *reversed(config.dim_mult))]
        self.conv1 = CausalConv3d(config.z_dim, widths[0], 3)
        self.middle = _middle(widths[0])
        levels: list[nn.Module] = []
        for level, (in_dim, out_dim) in enumerate(pairwise(widths)):
            levels += _residual_blocks(
                in_dim if level == 0 else in_dim // 2, out_dim, config.num_res_blocks + 1
            )
            if level < len(config.dim_mult) - 1:
                levels.append(Upsample(out_dim, time=config.temporal_downsample[-1 - level]))
        self.upsamples = nn.Sequential(*levels)
        self.head = _head(widths[-1], 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.upsamples(self.middle(self.conv1(x))))


def skip_levels(decoder: Decoder, num_active: int) -> list[ResidualBlock]:
    """Run the residual blocks of the first levels only, counted from the latents.

    Args:
        decoder: changed in place.
        num_active: levels whose blocks run; 4 for all.

    Returns:
        The blocks that are skipped.
    """
    level = 0
    skipped: list[ResidualBlock] = []
    for module in decoder.upsamples:
        if isinstance(module, Upsample):
            level += 1
        elif isinstance(module, ResidualBlock):
            module.is_skipped = level >= num_active
            skipped += [module] if module.is_skipped else []
    return skipped


def _residual_blocks(in_dim: int, out_dim: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(in_dim if index == 0 else out_dim, out_dim) for index in range(count)]


def _middle(dim: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(dim, dim), AttentionBlock(dim), ResidualBlock(dim, dim))


def _head(dim: int, out_dim: int) -> nn.Sequential:
    return nn.Sequential(RMSNorm(dim), nn.SiLU(), CausalConv3d(dim, out_dim, 3))
