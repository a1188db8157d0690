"""A linear code of clips that the encoder of a Wan 2.1 VAE computes as well, see `codec_embedding`.

Each 8 x 8 block of frame 0, and of each group of four further frames, is a vector of pixels; 16 weighted
sums of it are the latent. A trainer gets the latents of a clip by one matrix product, not by a deep network.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from einops import rearrange
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn

from ..errors import CheckpointError, ShapeError
from ..sizes import FRAME_STRIDE, LATENT_CHANNELS, PIXEL_STRIDE, check_num_frames
from .files import save_tensors
from .wan_vae import LATENT_MEAN, LATENT_STD

FIRST_PIXELS = PIXEL_STRIDE * PIXEL_STRIDE * 3
"""Values in a block of frame 0, ordered row, column, colour."""
GROUP_PIXELS = FRAME_STRIDE * FIRST_PIXELS
"""Values in a block of a group, ordered frame, row, column, colour."""

COLUMN_CHANNEL, ROW_CHANNEL = 14, 15
"""Latent channels to which the border is added: about +1 in the leftmost column or top row, -1 in the
rightmost column or bottom row. A DiT with relative positions could not know of the border otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stages:
    """The code as a chain of small matrices, in the sizes that an encoder of dim 16 has room for.

    Values are what float16 and bfloat16 both hold, so that a host may run the encoder in either.
    """

    quarter: Tensor
    """(31, 48): a 4 x 4 block of one frame, ordered row, column of 2 x 2 cells, then row, column, colour
    within the cell."""
    pair: Tensor
    """(31, 62): two frames of such blocks. Frame 0 has no partner and skips this."""
    block: Tensor
    """(47, 124): 2 x 2 neighbours of those. The first 16 rows are the code of frame 0."""
    group: Tensor
    """(16, 94): two of those, hence four frames. Frame 0 skips this."""
    bias: Tensor
    """(16,): added to both codes."""
    border: Tensor
    """(2,): size of the border marks in channels 14 and 15."""


STAGE_SHAPES = {
    "quarter": (31, 48),
    "pair": (31, 62),
    "block": (47, 124),
    "group": (LATENT_CHANNELS, 94),
    "bias": (LATENT_CHANNELS,),
    "border": (2,),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Inverse:
    """The best linear guess of the pixels: latents @ weight + bias, in [-1, 1]."""

    first_weight: Tensor
    """(16, 192)."""
    first_bias: Tensor
    """(192,)."""
    group_weight: Tensor
    """(16, 768)."""
    group_bias: Tensor
    """(768,)."""


class LinearCodec(nn.Module):
    """Clips to normalised latents by one matrix product per kind of block, and roughly back.

    "Normalised" is as the DiT sees latents: the stages give the encoder's raw latents, which are shifted and
    scaled here by the constants of Wan 2.1.
    """

    first_weight: Tensor
    group_weight: Tensor
    bias: Tensor

    def __init__(self, stages: Stages, inverse: Inverse) -> None:
        super().__init__()
        for part in (stages, inverse):
            for field in fields(part):
                self.register_buffer(_stored_name(part, field.name), getattr(part, field.name).float())
        mean, std = torch.tensor(LATENT_MEAN).double(), torch.tensor(LATENT_STD).double()
        first, group = pixel_weights(stages)
        self.register_buffer("first_weight", (first.T / std).float(), persistent=False)
        self.register_buffer("group_weight", (group.T / std).float(), persistent=False)
        self.register_buffer("bias", ((stages.bias.double() - mean) / std).float(), persistent=False)

    @property
    def stages(self) -> Stages:
        """The chain of matrices, raw latents."""
        return Stages(**{name: self.get_buffer(f"stages_{name}") for name in STAGE_SHAPES})

    @property
    def inverse(self) -> Inverse:
        """The linear guess of the pixels."""
        names = [field.name for field in fields(Inverse)]
        return Inverse(**{name: self.get_buffer(f"inverse_{name}") for name in names})

    def encode(self, frames: Tensor) -> Tensor:
        """Latents of clips.

        Args:
            frames: (B, F, H, W, 3) with F = 4 n + 1, H and W multiples of 8; uint8 in 0..255, or float in
                [-1, 1], where 0 is mid-grey.

        Returns:
            (B, 16, n + 1, H / 8, W / 8) float32, normalised, border marks included; equal to what the
            embedded encoder gives.

        Raises:
            ShapeError: a size does not fit.
        """
        _check_frames(frames)
        first = rearrange(frames[:, 0], "b (h y) (w x) c -> b h w (y x c)", y=PIXEL_STRIDE, x=PIXEL_STRIDE)
        latents = self._project(first, self.first_weight)[:, None]
        if frames.shape[1] > 1:
            pattern = "b (t k) (h y) (w x) c -> b t h w (k y x c)"
            groups = rearrange(frames[:, 1:], pattern, k=FRAME_STRIDE, y=PIXEL_STRIDE, x=PIXEL_STRIDE)
            latents = torch.cat([latents, self._project(groups, self.group_weight)], dim=1)
        latents = latents.permute(0, 4, 1, 2, 3).contiguous()
        return latents + self.border(*latents.shape[-2:])

    def encode_canvas(self, canvas: Tensor, num_latent_frames: int) -> Tensor:
        """Latents of a canvas and mid-grey frames after it, which is what guides the DiT.

        Args:
            canvas: (B, H, W, 3) as `encode` takes frames.
            num_latent_frames: T, the canvas included.

        Returns:
            (B, 16, T, H / 8, W / 8) float32, normalised.

        Raises:
            ShapeError: H or W does not fit.
        """
        latents = self.encode(canvas[:, None])
        grey = self.bias[:, None, None, None] + self.border(*latents.shape[-2:])  # (16, 1, h, w)
        later = grey[None].expand(len(canvas), -1, num_latent_frames - 1, -1, -1)
        return torch.cat([latents, later], dim=2)

    def decode(self, latents: Tensor) -> Tensor:
        """The best linear guess of the clips: blocky, good for measuring and quick looks.

        Args:
            latents: (B, 16, T, h, w), normalised, with the border marks.

        Returns:
            (B, 4 T - 3, 8 h, 8 w, 3) float32, about [-1, 1].
        """
        inverse = self.inverse
        codes = (latents - self.border(*latents.shape[-2:])).permute(0, 2, 3, 4, 1)  # (B, T, h, w, 16)
        first = codes[:, :1] @ inverse.first_weight + inverse.first_bias
        groups = codes[:, 1:] @ inverse.group_weight + inverse.group_bias
        sizes = {"y": PIXEL_STRIDE, "x": PIXEL_STRIDE}
        pattern = "b t h w (k y x c) -> b (t k) (h y) (w x) c"
        return torch.cat(
            [
                rearrange(first, pattern, k=1, **sizes),
                rearrange(groups, pattern, k=FRAME_STRIDE, **sizes),
            ],
            dim=1,
        )

    def border(self, height: int, width: int) -> Tensor:
        """The border marks of a latent frame.

        Args:
            height: in latent cells.
            width: in latent cells.

        Returns:
            (16, 1, h, w), normalised; a side of one cell gets both marks, which add up to 0.
        """
        column, row = self.get_buffer("stages_border")
        marks = self.bias.new_zeros(LATENT_CHANNELS, 1, height, width)
        marks[COLUMN_CHANNEL, :, :, 0] += column
        marks[COLUMN_CHANNEL, :, :, -1] -= column
        marks[ROW_CHANNEL, :, 0] += row
        marks[ROW_CHANNEL, :, -1] -= row
        return marks

    def save(self, file: Path) -> None:
        """Write the codec as one safetensors file.

        Raises:
            TrainingError: the file cannot be written.
        """
        save_tensors(file, self.state_dict(), {})

    @classmethod
    def load(cls, file: Path) -> LinearCodec:
        """Read what `save` has written.

        Raises:
            CheckpointError: the file is not a codec.
        """
        tensors = load_file(file)
        names = {kind: [field.name for field in fields(kind)] for kind in (Stages, Inverse)}
        expected = {_stored_name(kind, name) for kind in names for name in names[kind]}
        if set(tensors) != expected:
            raise CheckpointError(
                f"{file.name} holds {len(tensors)} tensors that are not those of a linear codec: give a file "
                "that LinearCodec.save has written"
            )
        return cls(
            Stages(**{name: tensors[_stored_name(Stages, name)] for name in names[Stages]}),
            Inverse(**{name: tensors[_stored_name(Inverse, name)] for name in names[Inverse]}),
        )

    def _project(self, blocks: Tensor, weight: Tensor) -> Tensor:
        """(..., pixels) -> (..., 16)."""
        if blocks.dtype == torch.uint8:
            # Grey levels u stand for u / 127.5 - 1.
            return blocks.to(weight.dtype) @ (weight / 127.5) + (self.bias - weight.sum(0))
        return blocks.to(weight.dtype) @ weight + self.bias


def pixel_weights(stages: Stages) -> tuple[Tensor, Tensor]:
    """The chain multiplied out.

    Args:
        stages: of any float dtype.

    Returns:
        (16, 192) and (16, 768) float64: raw latents of a first frame's block and of a group's, without bias.
    """
    of_first, of_group = feature_maps(stages.quarter.double(), stages.pair.double(), stages.block.double())
    return of_first[:LATENT_CHANNELS], stages.group.double() @ of_group


def feature_maps(quarter: Tensor, pair: Tensor, block: Tensor) -> tuple[Tensor, Tensor]:
    """What the stages before the last one make of a first frame, (47, 192), and of a group, (94, 768).

    Args:
        quarter: see `Stages`, as are the others; float64.
        pair: see there.
        block: see there.
    """
    of_first = block_features(quarter_features(single_pixels(1), quarter), block)
    of_group = block_features(pair_features(quarter_features(single_pixels(4), quarter), pair), block)
    return of_first.flatten(1).T, of_group.flatten(1).T


def single_pixels(num_frames: int) -> Tensor:
    """Blocks with one value 1 and all others 0, in order: (192 num_frames, num_frames, 8, 8, 3) float64."""
    size = num_frames * FIRST_PIXELS
    return torch.eye(size, dtype=torch.float64).view(size, num_frames, PIXEL_STRIDE, PIXEL_STRIDE, 3)


def quarter_features(pixels: Tensor, quarter: Tensor) -> Tensor:
    """(N, K, 8, 8, 3) -> (N, K, 2, 2, 31)."""
    pattern = "n k (h i y) (w j x) c -> n k h w (i j y x c)"
    return rearrange(pixels, pattern, h=2, w=2, i=2, j=2, y=2, x=2) @ quarter.T


def pair_features(features: Tensor, pair: Tensor) -> Tensor:
    """(N, K, 2, 2, 31) -> (N, K / 2, 2, 2, 31)."""
    return rearrange(features, "n (t k) h w c -> n t h w (k c)", k=2) @ pair.T


def block_features(features: Tensor, block: Tensor) -> Tensor:
    """(N, K, 2, 2, 31) -> (N, K, 47)."""
    return rearrange(features, "n k h w c -> n k (h w c)") @ block.T


def _stored_name(part: object, name: str) -> str:
    kind = part if isinstance(part, type) else type(part)
    return f"{kind.__name__.lower()}_{name}"


def _check_frames(frames: Tensor) -> None:
    if frames.ndim != 5 or frames.shape[-1] != 3:
        raise ShapeError(
            f"the frames are {tuple(frames.shape)}, but (batch, frames, height, width, 3) is needed"
        )
    check_num_frames(frames.shape[1])
    height, width = frames.shape[2:4]
    if height % PIXEL_STRIDE or width % PIXEL_STRIDE:
        raise ShapeError(
            f"the clip is {width} x {height} pixels, but both sides must be multiples of {PIXEL_STRIDE}: "
            "crop or enlarge it"
        )
