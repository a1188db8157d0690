"""Anti-copy-paste augmentation: change everything about a reference but who it is.

Applied to references and never to targets, before the picture goes onto the canvas.

Source: Video Alchemist (arXiv 2501.06187), table 4 and appendix A.3, for operations and ranges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import MagrefError, ShapeError

Fill = Literal["white", "reflect"]
"""What comes in from outside: white with alpha 0, for cut-outs, or the mirrored picture, for scenes."""

SHARPEST = 112
"""Pixels of the longer side down to which a picture may be shrunk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """How far references are changed; the defaults are those of the paper; `OFF` has what switches each off.

    Raises:
        MagrefError: a value is outside its range.
    """

    downscale: bool = True
    """Shrink to U[112 / longer side, 1] and restore the size."""
    blur: float = 1 / 50
    """Widest kernel as a share of the longer side."""
    colour: float = 0.05
    """Largest change of each channel's gain."""
    brightness: float = 0.1
    """Largest change of the common gain."""
    flip: float = 0.5
    """Rate of mirroring left and right."""
    shear: float = 0.05
    """Largest shift of an edge as a share of the side."""
    rotation: float = 20.0
    """Largest turn, in degrees."""
    crop: float = 0.67
    """Smallest share of each side that is kept, in (0, 1]."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise MagrefError(f"{field.name} of the augmentation is {value}, but must be at least 0")
        if self.flip > 1 or self.shear >= 1 or not 0 < self.crop <= 1:
            raise MagrefError(
                f"flip is {self.flip}, shear {self.shear} and crop {self.crop}: flip must be 0 to 1, shear "
                "below 1, crop above 0 to 1"
            )


OFF = AugmentConfig(downscale=False, blur=0, colour=0, brightness=0, flip=0, shear=0, rotation=0, crop=1.0)
"""Changes nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Drawn values of one change; `dataclasses.asdict` makes them JSON."""

    downscale: float
    """Factor in (0, 1]."""
    blur: float
    """Kernel in pixels, at least 1; 1 changes nothing."""
    gains: tuple[float, float, float]
    """Of red, green and blue, brightness included."""
    flipped: bool
    shear: tuple[float, float]
    """Shift of the right edge downwards and of the lower edge to the right, as shares of the sides."""
    rotation: float
    """Degrees, clockwise."""
    crop: tuple[float, float, float, float]
    """Left, top, width and height of what is kept, as shares of the sides."""


def draw_augmentation(
    height: int, width: int, config: AugmentConfig, generator: torch.Generator
) -> Augmentation:
    """Draw one change for a picture of height x width pixels; `generator` is advanced alike by any config."""
    draws = [float(draw) for draw in torch.rand(14, generator=generator, dtype=torch.float64)]

    def between(index: int, low: float, high: float) -> float:
        return low + (high - low) * draws[index]

    longer = max(height, width)
    sharpest = min(1.0, SHARPEST / longer) if config.downscale else 1.0
    brightness = between(2, 1 - config.brightness, 1 + config.brightness)
    red, green, blue = (between(3 + index, 1 - config.colour, 1 + config.colour) for index in range(3))
    kept = (between(9, config.crop, 1), between(10, config.crop, 1))
    return Augmentation(
        downscale=between(0, sharpest, 1),
        blur=between(1, 1, max(1.0, longer * config.blur)),
        gains=(brightness * red, brightness * green, brightness * blue),
        flipped=draws[6] < config.flip,
        shear=(between(7, -config.shear, config.shear), between(8, -config.shear, config.shear)),
        rotation=between(12, -config.rotation, config.rotation),
        crop=(between(11, 0, 1 - kept[0]), between(13, 0, 1 - kept[1]), *kept),
    )


def augment(picture: Tensor, change: Augmentation, *, fill: Fill = "white") -> Tensor:
    """Change one reference.

    Args:
        picture: (4, H, W) float32 in [0, 1]: red, green, blue, and alpha that is 1 on the subject.
        change: from `draw_augmentation`.
        fill: what comes in from outside.

    Returns:
        As `picture`; image and alpha stay registered.

    Raises:
        ShapeError: the picture has no four channels.
        MagrefError: the fill is unknown.
    """
    if fill not in get_args(Fill):
        raise MagrefError(f"the fill is '{fill}', which is unknown: use one of {', '.join(get_args(Fill))}")
    if picture.ndim != 3 or picture.shape[0] != 4:
        raise ShapeError(f"the reference is {tuple(picture.shape)}, but (4, height, width) is needed")
    height, width = picture.shape[1:]
    out = picture[None]
    if change.downscale < 1:
        small = (max(1, round(height * change.downscale)), max(1, round(width * change.downscale)))
        out = F.interpolate(out, size=small, mode="bilinear", antialias=True)
        out = F.interpolate(out, size=(height, width), mode="bilinear", align_corners=False)
    if change.blur > 1:
        out = _blurred(out, change.blur)
    out = _moved(out, change, fill)
    image = out[:, :3] * torch.tensor(change.gains).view(1, 3, 1, 1).to(out)
    return torch.cat([image, out[:, 3:]], dim=1)[0].clamp(0, 1)


def _blurred(picture: Tensor, kernel: float) -> Tensor:
    """Gaussian blur of (1, C, H, W) whose deviation is a sixth of `kernel` pixels, so that it spans it."""
    radius = max(1, math.ceil(kernel / 2))
    place = torch.arange(-radius, radius + 1, dtype=picture.dtype, device=picture.device)
    weights = torch.exp(-0.5 * (place / (kernel / 6)) ** 2)
    weights = weights / weights.sum()
    channels = picture.shape[1]
    padded = F.pad(picture, (radius,) * 4, mode="replicate")
    across = weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    down = weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    return F.conv2d(F.conv2d(padded, across, groups=channels), down, groups=channels)


def _moved(picture: Tensor, change: Augmentation, fill: Fill) -> Tensor:
    """Crop, turn, shear and mirror (1, 4, H, W) in one resampling; nothing to move changes no pixel."""
    still = change.shear == (0.0, 0.0) and change.rotation == 0 and change.crop == (0.0, 0.0, 1.0, 1.0)
    if still:
        return picture.flip(-1) if change.flipped else picture
    height, width = picture.shape[2:]
    angle = math.radians(change.rotation)
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    square = torch.diag(torch.tensor([float(width), float(height)]))
    turn = square.inverse() @ turn @ square  # turned in pixels, told in shares of the sides
    shear = torch.tensor([[1.0, change.shear[1]], [change.shear[0], 1.0]]).inverse()
    mirror = torch.diag(torch.tensor([-1.0 if change.flipped else 1.0, 1.0]))
    left, top, kept_width, kept_height = change.crop
    kept = torch.diag(torch.tensor([kept_width, kept_height]))
    centre = torch.tensor([[2 * left + kept_width - 1], [2 * top + kept_height - 1]])
    matrix = torch.cat([kept @ shear @ turn @ mirror, centre], dim=1)[None].to(picture)
    grid = F.affine_grid(matrix, list(picture.shape), align_corners=False)
    if fill == "reflect":
        return F.grid_sample(picture, grid, padding_mode="reflection", align_corners=False)
    image = 1 - F.grid_sample(1 - picture[:, :3], grid, align_corners=False)  # zeros outside become white
    return torch.cat([image, F.grid_sample(picture[:, 3:], grid, align_corners=False)], dim=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which pictures go onto one training canvas."""

    pictures: tuple[tuple[int, int], ...]
    """(subject, picture of that subject) for each reference."""
    has_background: bool


def choose_references(pictures_of: Sequence[int], generator: torch.Generator) -> Choice:
    """Draw how many and which references a training sample gets, so that their number tells nothing.

    Subjects n of U{1, 2, 3}, drawn with replacement; pictures m of U{1, 2, 3} for each, likewise; the
    background half of the time.

    Args:
        pictures_of: number of pictures of each subject, at least 1 each.
        generator: advanced.

    Raises:
        MagrefError: there is no subject, or one without a picture.

    Source: Video Alchemist (arXiv 2501.06187), appendix A.3.
    """
    if not pictures_of or min(pictures_of) < 1:
        raise MagrefError(
            f"subjects have {list(pictures_of)} pictures, but at least one subject and one picture of each "
            "are needed"
        )

    def draw(high: int) -> int:
        return int(torch.randint(high, (), generator=generator))

    pictures: list[tuple[int, int]] = []
    for _ in range(1 + draw(3)):
        subject = draw(len(pictures_of))
        pictures += [(subject, draw(pictures_of[subject])) for _ in range(1 + draw(3))]
    return Choice(pictures=tuple(pictures), has_background=bool(draw(2)))
