"""Carry the mask of a small picture over to the large one, along its edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_RADIUS = 4
"""Of the windows in which alpha is taken as linear in colour, in pixels of the small picture."""

_SMOOTHNESS = 0.003
"""Added to the variance of the colours, which are in 0..1: the larger, the softer the edge."""

_CONTRAST = 1.6
"""Applied around the middle, since the filter washes out what it cannot tell apart."""


def refine_edges(mask: Tensor, small: Tensor, large: Tensor) -> Tensor:
    """Upsample a mask so that its edge follows the edges of the large picture.

    Within every window of the small picture alpha is fitted as a linear function of the colour; these
    functions are then applied to the colours of the large picture. Away from the edge the mask stays.

    Args:
        mask: (h, w) uint8 in {0, 255}.
        small: (h, w, 3) uint8, RGB.
        large: (H, W, 3) uint8, RGB; the same picture.

    Returns:
        (H, W) uint8.

    Source: He and Sun, Fast Guided Filter (2015), with a colour guide.
    """
    size = large.shape[:2]
    rough = mask[None, None].float()  # (1, 1, h, w)
    slope, offset = _fit(rough / 255, _planes(small))
    alpha = _resize(((offset - 0.5) * _CONTRAST + 0.5) * 255, size)
    for channel in range(3):  # one by one, since a large picture has many pixels
        alpha.addcmul_(
            _resize(slope[:, channel : channel + 1] * _CONTRAST, size), large[..., channel].float()
        )
    lowest, highest = -_widest(-rough), _widest(rough)
    alpha = alpha.clamp(min=_resize(lowest, size), max=_resize(highest, size))
    return alpha[0, 0].round().to(torch.uint8)


def _fit(alpha: Tensor, colours: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares alpha = slope . colour + offset around every pixel; (1, 3, h, w) and (1, 1, h, w)."""
    mean_colour, mean_alpha = _mean(colours), _mean(alpha)
    products = torch.einsum("bihw,bjhw->bijhw", colours, colours).flatten(1, 2)  # (1, 9, h, w)
    spread = _mean(products) - torch.einsum("bihw,bjhw->bijhw", mean_colour, mean_colour).flatten(1, 2)
    common = _mean(colours * alpha) - mean_colour * mean_alpha  # (1, 3, h, w)
    matrices = spread[0].permute(1, 2, 0).reshape(-1, 3, 3) + torch.eye(3) * _SMOOTHNESS
    slope = torch.inverse(matrices) @ common[0].permute(1, 2, 0).reshape(-1, 3, 1)
    slope = slope[..., 0].T.reshape(colours.shape)
    offset = mean_alpha - (slope * mean_colour).sum(dim=1, keepdim=True)
    return _mean(slope), _mean(offset)


def _planes(picture: Tensor) -> Tensor:
    """(h, w, 3) uint8 -> (1, 3, h, w) in [0, 1]."""
    return picture.permute(2, 0, 1)[None].float() / 255


def _mean(planes: Tensor) -> Tensor:
    """Over the windows, of which only what lies inside the picture counts."""
    return F.avg_pool2d(planes, 2 * _RADIUS + 1, stride=1, padding=_RADIUS, count_include_pad=False)


def _widest(planes: Tensor) -> Tensor:
    return F.max_pool2d(planes, 2 * _RADIUS + 1, stride=1, padding=_RADIUS)


def _resize(planes: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(planes, size=tuple(size), mode="bilinear", align_corners=False)
