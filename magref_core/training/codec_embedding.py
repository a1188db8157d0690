"""Write the linear code into the encoder of a Wan 2.1 VAE, exactly, and start its decoder from it.

How an encoder full of norms and SiLUs computes sums of pixels:
- Residual blocks and attention are switched off by zeros in their last convolution. A 1 x 1 shortcut widens.
- Convolutions of stride 2 use the taps inside their 2 x 2 cell, so blocks never mix; those over time skip the
  frame before the pair, so groups never mix.
- One channel carries a constant so large that it alone decides the length which the head's norm divides by.
- SiLU is undone by pairs: silu(x) - silu(-x) = x.
- The taps of the head's convolution on the neighbours of a cell look at the constant alone. It is missing
  beyond the border, where there is padding: that gives the border marks.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from ..errors import CheckpointError
from ..sizes import LATENT_CHANNELS
from .linear_codec import COLUMN_CHANNEL, ROW_CHANNEL, LinearCodec
from .wan_vae import (
    LATENT_MEAN,
    LATENT_STD,
    Downsample,
    ResidualBlock,
    Upsample,
    WanVAE,
    init_weights,
)

CONSTANT = 2.0**14
"""Features stay below 30: their squares change the length by 1e-6 of it. float16 ends at 2^16."""
HEAD_CONSTANT = 32.0
"""The constant after the head's norm; silu(32) is 32."""
MIN_DIM = 16

NUM_FEATURES = 47
"""After the last level: the 16 of the code and 31 more, then the 16 negated."""

DECODER_CONSTANT = 4.0
"""Beside colours of about 1, this keeps the norms of a new decoder from erasing their size."""


@torch.no_grad()
def embed_encoder(codec: LinearCodec, vae: WanVAE) -> None:
    """Make the encoder compute the code: `normalise(vae.encode(video))` equals `codec.encode`.

    Args:
        codec: what to compute; on the CPU, as is the VAE.
        vae: its encoder and `conv1` are overwritten.

    Raises:
        CheckpointError: the VAE is too narrow, or not built as Wan 2.1's.
    """
    config = vae.config
    if config.dim < MIN_DIM or config.dim_mult != (1, 2, 4, 4) or config.z_dim != LATENT_CHANNELS:
        raise CheckpointError(
            f"the VAE has dim {config.dim}, dim_mult {config.dim_mult} and {config.z_dim} latent channels, "
            f"but the code needs dim {MIN_DIM} or more, (1, 2, 4, 4) and {LATENT_CHANNELS}: build another VAE"
        )
    for name, parameter in vae.encoder.named_parameters():
        parameter.fill_(1.0 if name.endswith("gamma") else 0.0)
    conv1 = vae.encoder.conv1
    conv1.weight[:3, :, -1, 1, 1] = torch.eye(3)
    _bias(conv1)[-1] = CONSTANT
    stages = codec.stages
    blocks = [m for m in vae.encoder.modules() if isinstance(m, ResidualBlock)]
    for block in blocks:
        block.residual[2].get_parameter("bias")[-1] = 1  # float16 cannot normalise a zero
    shortcuts = [block.shortcut for block in blocks]
    for shortcut, width in zip([m for m in shortcuts if isinstance(m, nn.Conv3d)], (12, 31), strict=True):
        _pass_on(shortcut.weight[:, :, 0, 0, 0], width)
    cell = torch.eye(12)
    downsamples = [m for m in vae.encoder.modules() if isinstance(m, Downsample)]
    _write_cells(downsamples[0], cell)
    _write_cells(downsamples[1], stages.quarter)
    _write_pairs(downsamples[1], stages.pair)
    _write_cells(downsamples[2], _with_negatives(stages.block))
    _write_pairs(downsamples[2], _with_negatives(stages.group), width=NUM_FEATURES)
    _write_head(codec, vae)
    mixing = vae.conv1
    mixing.weight.zero_()
    mixing.weight[:, :, 0, 0, 0] = torch.eye(2 * LATENT_CHANNELS)
    _bias(mixing).zero_()


@torch.no_grad()
def init_decoder(codec: LinearCodec, vae: WanVAE, generator: torch.Generator) -> None:
    """Start the decoder as a smooth enlargement of the mean colours of blocks.

    Three channels carry the colours and one a constant, from the first convolution to the last; the others
    start as random features, see `wan_vae.init_weights`. Residual branches start at 0, so that they can be
    left out of the first part of a training.

    Args:
        codec: what the latents mean.
        vae: all of it is overwritten; embed the encoder afterwards. On the CPU.
        generator: of the CPU.
    """
    init_weights(vae, generator)
    for module in vae.decoder.modules():
        if isinstance(module, ResidualBlock):
            last = module.residual[6]
            assert isinstance(last, nn.Conv3d)
            last.weight.zero_()
            if isinstance(module.shortcut, nn.Conv3d):
                # The features go on as they are, beside new mixtures of them.
                _pass_on(module.shortcut.weight[:, :, 0, 0, 0], module.shortcut.in_channels - 1)
        elif isinstance(module, Upsample):
            _smooth(module)
    std = torch.tensor(LATENT_STD)
    vae.conv2.weight[:, :, 0, 0, 0] = (1 / std).diag()
    _bias(vae.conv2).copy_(-torch.tensor(LATENT_MEAN) / std)
    inverse = codec.inverse
    conv1 = vae.decoder.conv1
    conv1.weight[[0, 1, 2, -1]] = 0
    conv1.weight[:3, :, -1, 1, 1] = rearrange(inverse.group_weight, "z (p c) -> c z p", c=3).mean(-1)
    _bias(conv1)[:3] = rearrange(inverse.group_bias, "(p c) -> c p", c=3).mean(-1)
    _bias(conv1)[-1] = DECODER_CONSTANT
    _start_decoder_head(vae)


def _write_head(codec: LinearCodec, vae: WanVAE) -> None:
    norm, _, conv = vae.encoder.head
    assert isinstance(conv, nn.Conv3d)
    gamma = norm.get_parameter("gamma")
    root = len(gamma) ** 0.5
    gamma.fill_(CONSTANT / root)
    gamma[-1] = HEAD_CONSTANT / root
    now = conv.weight[:, :, -1]  # (2 z, C, 3, 3)
    for channel in range(LATENT_CHANNELS):
        now[channel, channel, 1, 1] = 1
        now[channel, NUM_FEATURES + channel, 1, 1] = -1
    _bias(conv)[:LATENT_CHANNELS] = codec.stages.bias
    marks = codec.stages.border * torch.tensor(LATENT_STD)[-2:] / HEAD_CONSTANT
    now[COLUMN_CHANNEL, -1, 1, 0], now[COLUMN_CHANNEL, -1, 1, 2] = -marks[0], marks[0]
    now[ROW_CHANNEL, -1, 0, 1], now[ROW_CHANNEL, -1, 2, 1] = -marks[1], marks[1]


def _write_cells(layer: Downsample, matrix: Tensor) -> None:
    """Let the spatial convolution multiply each 2 x 2 cell (row, column, channel) by `matrix` (out, 4 n)."""
    conv = layer.resample[1]
    assert isinstance(conv, nn.Conv2d)
    taps = rearrange(matrix, "o (y x n) -> o n y x", y=2, x=2)
    conv.weight[: taps.shape[0], : taps.shape[1], :2, :2] = taps
    conv.weight[-1, -1, 0, 0] = 1


def _write_pairs(layer: Downsample, matrix: Tensor, *, width: int | None = None) -> None:
    """Let the convolution over time multiply each pair of frames (frame, channel) by `matrix` (out, 2 n)."""
    conv = layer.time_conv
    assert conv is not None
    taps = rearrange(matrix, "o (k n) -> o n k", k=2)
    width = width or taps.shape[1]
    conv.weight[: taps.shape[0], :width, 1:, 0, 0] = taps
    conv.weight[-1, -1, 1, 0, 0] = 1


def _with_negatives(matrix: Tensor) -> Tensor:
    """Rows of the code first, then the other features up to `NUM_FEATURES`, then the code negated."""
    rows = matrix.new_zeros(NUM_FEATURES + LATENT_CHANNELS, matrix.shape[1])
    rows[: len(matrix)] = matrix
    rows[NUM_FEATURES:] = -matrix[:LATENT_CHANNELS]
    return rows


def _pass_on(weight: Tensor, width: int) -> None:
    """Let a 1 x 1 convolution (out, in) keep its first `width` channels in place and its last one last."""
    weight[:width], weight[-1] = 0, 0
    weight[:width, :width] = torch.eye(width)
    weight[-1, -1] = 1


def _smooth(layer: Upsample) -> None:
    """Let an enlargement keep its first channels and the constant; copies with a 1 2 1 blur are bilinear."""
    conv = layer.resample[1]
    assert isinstance(conv, nn.Conv2d)
    kept = min(conv.out_channels - 1, 16)
    blur = torch.tensor([0.25, 0.5, 0.25])
    conv.weight[:kept], conv.weight[-1] = 0, 0
    conv.weight[range(kept), range(kept)] = blur.outer(blur)
    conv.weight[-1, -1, 1, 1] = 1


def _start_decoder_head(vae: WanVAE) -> None:
    """Read the colours, carried twice with both signs, through norm and SiLU."""
    upsamples = [m for m in vae.decoder.modules() if isinstance(m, Upsample)]
    conv = upsamples[-1].resample[1]
    assert isinstance(conv, nn.Conv2d)
    conv.weight[3:6] = -conv.weight[:3]
    _bias(conv)[3:6] = -_bias(conv)[:3]
    last = vae.decoder.head[2]
    assert isinstance(last, nn.Conv3d)
    last.weight.zero_()
    gain = (DECODER_CONSTANT**2 + len(conv.weight) / 2) ** 0.5 / len(conv.weight) ** 0.5
    for colour in range(3):
        last.weight[colour, colour, -1, 1, 1] = gain
        last.weight[colour, colour + 3, -1, 1, 1] = -gain


def _bias(conv: nn.Conv2d | nn.Conv3d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
