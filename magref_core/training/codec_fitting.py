"""Choose the linear code that keeps most of the pixels of given clips, as far as the encoder has room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ..errors import MagrefError
from ..sizes import FRAME_STRIDE, LATENT_CHANNELS, PIXEL_STRIDE
from .linear_codec import (
    FIRST_PIXELS,
    GROUP_PIXELS,
    STAGE_SHAPES,
    Inverse,
    LinearCodec,
    Stages,
    block_features,
    feature_maps,
    pair_features,
    pixel_weights,
    quarter_features,
    single_pixels,
)
from .wan_vae import LATENT_MEAN, LATENT_STD

linalg: Any = torch.linalg
"""Without types in PyTorch."""

STATIC_SHARE = 0.5
"""A channel whose variance stems by more than this from what does not move means the same in frame 0."""


class Moments:
    """Mean and covariance of vectors, gathered batch by batch in float64."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self.total = torch.zeros(size, dtype=torch.float64)
        self.products = torch.zeros(size, size, dtype=torch.float64)

    def add(self, vectors: Tensor) -> None:
        """Take in (N, size) vectors."""
        vectors = vectors.float()
        self.count += len(vectors)
        self.total += vectors.sum(0, dtype=torch.float64)
        self.products += (vectors.T @ vectors).double()

    @property
    def mean(self) -> Tensor:
        """(size,) float64."""
        return self.total / self.count

    @property
    def second(self) -> Tensor:
        """(size, size) float64; mean of the products, not centred."""
        return self.products / self.count

    @property
    def covariance(self) -> Tensor:
        """(size, size) float64, with a little noise added that keeps it invertible for flat pictures."""
        centred = self.second - self.mean.outer(self.mean)
        return centred + 1e-6 * torch.eye(len(centred), dtype=torch.float64)


class BlockStatistics:
    """What a code is fitted to: blocks of first frames, and blocks of groups of four frames."""

    def __init__(self) -> None:
        self.first = Moments(FIRST_PIXELS)
        self.group = Moments(GROUP_PIXELS)

    def add_clips(self, frames: Tensor) -> None:
        """Take in clips.

        Args:
            frames: (B, F, H, W, 3) uint8, F = 4 n + 1; frame 0 counts as a first frame, the others as groups.
        """
        self.add_first(frames[:, 0])
        pattern = "b (t k) (h y) (w x) c -> (b t h w) (k y x c)"
        sizes = {"k": FRAME_STRIDE, "y": PIXEL_STRIDE, "x": PIXEL_STRIDE}
        self.group.add(rearrange(_signed(frames[:, 1:]), pattern, **sizes))

    def add_first(self, images: Tensor) -> None:
        """Take in (B, H, W, 3) uint8 images as first frames."""
        pattern = "b (h y) (w x) c -> (b h w) (y x c)"
        self.first.add(rearrange(_signed(images), pattern, y=PIXEL_STRIDE, x=PIXEL_STRIDE))


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecReport:
    """How well a code keeps the pixels it is measured on, by the best linear guess."""

    first_psnr: float
    """dB, frame 0."""
    group_psnr: float
    first_bound: float
    """dB that principal components without any restriction reach."""
    group_bound: float
    first_std: tuple[float, ...]
    """Per latent channel, without border marks."""
    group_std: tuple[float, ...]


def fit_codec(statistics: BlockStatistics) -> LinearCodec:
    """Fit the code.

    Each stage keeps the principal components that fit into its width; the last one keeps those that are best
    for the pixels. The channels of a group are in the order of the energy they carry, a standard deviation
    grows with the root of that of the component (so fine detail counts for less than colour, but more than by
    its energy), and the mean variance is 1. In frame 0 the channels mean the same for a picture that stands
    still, as far as 16 channels for one frame allow.

    Args:
        statistics: of a few hundred clips.

    Returns:
        The code, with its best linear inverse.

    Raises:
        MagrefError: the statistics are empty.
    """
    if not (statistics.first.count and statistics.group.count):
        raise MagrefError("the codec has no clips to be fitted to: add some to the statistics")
    first, group = statistics.first.covariance, statistics.group.covariance
    quarter, pair, block = _narrowing_stages(first, group)
    of_first, of_group = feature_maps(quarter, pair, block)  # (47, 192), (94, 768)
    group_code, group_energy = _best_readout(group, of_group)
    scale = (len(group_energy) / group_energy.sum()).sqrt()
    group_code = group_code * (scale * group_energy.sqrt())[:, None]  # (16, 94)
    static = rearrange(group_code @ of_group, "z (k p) -> z k p", k=FRAME_STRIDE)
    is_still = _still_share(group, static) > STATIC_SHARE
    first_code = _aligned_readout(statistics.first, of_first, static.sum(1), is_still, scale)
    bias = -(group_code @ of_group @ statistics.group.mean)
    return _assemble((quarter, pair, block), first_code, group_code, bias, statistics)


def report(codec: LinearCodec, statistics: BlockStatistics) -> CodecReport:
    """Measure a code on statistics, be they those it was fitted to or others."""
    values: dict[str, Any] = {}
    parts = {
        "first": (statistics.first, codec.first_weight, codec.inverse.first_weight, codec.inverse.first_bias),
        "group": (statistics.group, codec.group_weight, codec.inverse.group_weight, codec.inverse.group_bias),
    }
    for name, (moments, encode, decode, bias) in parts.items():
        residual = encode.double() @ decode.double() - torch.eye(len(encode), dtype=torch.float64)
        offset = codec.bias.double() @ decode.double() + bias.double()
        error = (residual.T @ moments.second @ residual).trace()
        error += 2 * (moments.mean @ residual) @ offset + offset @ offset
        values[f"{name}_psnr"] = _psnr(error / len(encode))
        lost: Tensor = linalg.eigvalsh(moments.covariance)[:-LATENT_CHANNELS].sum()
        values[f"{name}_bound"] = _psnr(lost / len(encode))
        variance = (encode.double().T @ moments.covariance @ encode.double()).diagonal()
        values[f"{name}_std"] = tuple(float(value) for value in variance.sqrt())
    return CodecReport(**values)


def _signed(frames: Tensor) -> Tensor:
    return frames.float() / 127.5 - 1


def _psnr(mean_square: Tensor) -> float:
    """Of values in [-1, 1]."""
    return float(10 * torch.log10(4 / mean_square))


def _narrowing_stages(first: Tensor, group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Principal components, stage after stage: (31, 48), (31, 62), (47, 124), rows orthonormal."""
    first_pixels, group_pixels = single_pixels(1), single_pixels(FRAME_STRIDE)

    def principal(name: str, *parts: tuple[Tensor, Tensor]) -> Tensor:
        """Of the vectors (pixels, positions, size) that linear maps make of pixels with given covariance."""
        total = sum(
            torch.einsum("pni,pq,qnj->ij", of, covariance, of) / of.shape[1] for of, covariance in parts
        )
        assert isinstance(total, Tensor)
        axes: Tensor = linalg.eigh(total)[1]
        return axes.T.flip(0)[: STAGE_SHAPES[name][0]]

    everything = torch.eye(48, dtype=torch.float64)
    cells = [quarter_features(pixels, everything).flatten(1, 3) for pixels in (first_pixels, group_pixels)]
    quarter = principal("quarter", (cells[0], first), (cells[1], group))
    of_first = quarter_features(first_pixels, quarter)
    of_group = quarter_features(group_pixels, quarter)
    pairs = pair_features(of_group, torch.eye(62, dtype=torch.float64))
    pair = principal("pair", (pairs.flatten(1, 3), group))
    everything = torch.eye(124, dtype=torch.float64)
    blocks = block_features(of_first, everything), block_features(pair_features(of_group, pair), everything)
    return quarter, pair, principal("block", (blocks[0], first), (blocks[1], group))


def _best_readout(covariance: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """The 16 sums of features from which pixels are guessed best (reduced-rank regression).

    Returns:
        (16, F) whose sums are uncorrelated and have variance 1, and (16,) the roots of the pixel energy that
        each of them explains, falling.
    """
    energies: Tensor
    axes: Tensor
    energies, axes = linalg.eigh(features @ covariance @ features.T)
    whiten = axes @ energies.clamp(min=1e-9).rsqrt().diag() @ axes.T
    strengths: Tensor
    rows: Tensor
    _, strengths, rows = linalg.svd(covariance @ features.T @ whiten, full_matrices=False)
    readout = rows[:LATENT_CHANNELS] @ whiten
    signs = (readout @ features).sum(1).sign()
    return readout * signs[:, None], strengths[:LATENT_CHANNELS]


def _still_share(covariance: Tensor, weights: Tensor) -> Tensor:
    """(16,): share of each channel's variance that is left when a group's frames are all their mean."""
    mean = weights.mean(1, keepdim=True).expand_as(weights).flatten(1)
    weights = weights.flatten(1)
    return (mean @ covariance * mean).sum(1) / (weights @ covariance * weights).sum(1)


def _aligned_readout(
    moments: Moments, features: Tensor, wanted: Tensor, is_wanted: Tensor, scale: Tensor
) -> Tensor:
    """(16, 47): a code of first frames in the best space, turned towards `wanted` sums of pixels.

    Args:
        moments: of first frames.
        features: (47, 192).
        wanted: (16, 192); the channels that are wanted come as close to these as the space allows.
        is_wanted: (16,) bool.
        scale: of the other channels, as in a group.
    """
    readout, strengths = _best_readout(moments.covariance, features)
    basis = readout @ features  # (16, 192)
    second = moments.second
    gram = basis @ second @ basis.T
    aligned: Tensor = linalg.solve(gram, basis @ second @ wanted[is_wanted].T).T  # (m, 16)
    rest: Tensor = linalg.svd(aligned)[2][len(aligned) :]  # an orthonormal complement
    energies: Tensor
    axes: Tensor
    energies, axes = linalg.eigh((rest * strengths.square()) @ rest.T)
    roots = energies.flip(0).clamp(min=0).sqrt().sqrt()
    code = torch.empty_like(readout[:, :LATENT_CHANNELS])
    code[is_wanted] = aligned
    code[~is_wanted] = axes.T.flip(0) @ rest * (scale * roots)[:, None]
    return code @ readout


def _assemble(
    chain: tuple[Tensor, Tensor, Tensor],
    first_code: Tensor,
    group_code: Tensor,
    bias: Tensor,
    statistics: BlockStatistics,
) -> LinearCodec:
    """Put the codes into the last stages, in raw latents and storable numbers, and find the inverse."""
    quarter, pair, block = chain
    mean, std = torch.tensor(LATENT_MEAN).double(), torch.tensor(LATENT_STD).double()
    # The code of frame 0 is part of the features that a group's code is made of: turn these, and turn back.
    others: Tensor = linalg.svd(first_code)[2][LATENT_CHANNELS:]
    turn = torch.cat([std[:, None] * first_code, others])  # (47, 47)
    back: Tensor = torch.kron(torch.eye(2, dtype=turn.dtype), linalg.inv(turn).contiguous())
    stages = Stages(
        quarter=_storable(quarter),
        pair=_storable(pair),
        block=_storable(turn @ block),
        group=_storable(std[:, None] * group_code @ back),
        bias=_storable(std * bias + mean),
        border=_storable(std[-2:]) / std[-2:],
    )
    blank = Inverse(
        first_weight=torch.zeros(LATENT_CHANNELS, FIRST_PIXELS),
        first_bias=torch.zeros(FIRST_PIXELS),
        group_weight=torch.zeros(LATENT_CHANNELS, GROUP_PIXELS),
        group_bias=torch.zeros(GROUP_PIXELS),
    )
    return LinearCodec(stages, _inverse(LinearCodec(stages, blank), stages, statistics))


def _inverse(codec: LinearCodec, stages: Stages, statistics: BlockStatistics) -> Inverse:
    mean, std = torch.tensor(LATENT_MEAN).double(), torch.tensor(LATENT_STD).double()
    weights: list[Tensor] = []
    for moments, raw in zip((statistics.first, statistics.group), pixel_weights(stages), strict=True):
        encode = raw.T / std  # (pixels, 16)
        covariance = moments.covariance
        decode: Tensor = linalg.solve(encode.T @ covariance @ encode, encode.T @ covariance)
        code_mean = moments.mean @ encode + (stages.bias - mean) / std
        weights += [decode.float(), (moments.mean - code_mean @ decode).float()]
    return Inverse(
        first_weight=weights[0], first_bias=weights[1], group_weight=weights[2], group_bias=weights[3]
    )


def _storable(values: Tensor) -> Tensor:
    """Rounded to what bfloat16 and float16 both hold, float64."""
    return values.to(torch.bfloat16).to(torch.float16).double()
