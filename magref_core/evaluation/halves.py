"""Does the upper and the lower half of a place show a subject: a small network that was trained on it.

It sees a place of a frame beside the picture of a subject, both in one size, under one light and turned
alike, and says for either half how likely that is the same subject. It was trained on drawn puppets in other
views than those of their pictures (`scripts/train_halves.py`), and knows nothing of photographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn

from .matching import Bytes, Floats

SIDE = 48
"""Of the pictures that are compared, in pixels."""
FILLED = 40
"""Longer side of a subject in them."""
GAINS = (0.45, 1.5)
"""By how much a subject may be darker or lighter than in its picture."""
TURNS = 8
"""Steps of a whole turn in which a picture is laid beside a frame."""
UPRIGHT = 1.2
"""How many times less a turned picture must leave unexplained to be taken in place of an upright one."""
WEIGHTS = Path(__file__).with_name("halves.safetensors")

Box = tuple[float, float, float, float]
"""Top, left, height and width in pixels of the frame; may reach outside."""


class HalfComparer(nn.Module):
    """(B, 7, 48, 48) of `pair_of` -> (B, 2) logits: the upper and the lower half are the same subject."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 24, 5, stride=3, padding=1)
        self.second = nn.Conv2d(24, 32, 3, stride=2, padding=1)
        self.merge = nn.Conv2d(96, width, 3, padding=1)
        self.deeper = nn.Conv2d(width, width, 3, padding=1)
        self.deepest = nn.Conv2d(width, width, 3, padding=1)
        self.rows = nn.Linear(8 * width, width)
        self.last = nn.Linear(width, 2)

    def forward(self, pairs: Tensor) -> Tensor:
        """Compare; see the class."""
        seen = F.pad(pairs[:, :3], (0, 0, 0, 0, 0, 1), value=1.0)
        frame, picture = self._features(seen), self._features(pairs[:, 3:])
        merged = F.silu(self.merge(torch.cat([frame, picture, (frame - picture).abs()], 1)))
        merged = merged + F.silu(self.deeper(merged))
        merged = merged + F.silu(self.deepest(merged))
        return self.last(F.silu(self.rows(merged.mean(3).flatten(1))))

    def _features(self, pictures: Tensor) -> Tensor:
        return F.silu(self.second(F.silu(self.first(pictures))))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Views:
    """A picture as it is laid beside frames: as it is, mirrored, and either of them turned."""

    pictures: Floats
    """(2 `TURNS`, 48, 48, 4) in 0..1, colours multiplied by alpha; the first two are upright."""
    squares: Floats
    """(2 `TURNS`,): the sum of the squared colours of each."""
    areas: Floats
    """(2 `TURNS`,): the sum of alpha of each."""


def views_of(picture: Floats) -> Views:
    """Lay out a picture (h, w, 4) in 0..1, colours multiplied by alpha."""
    small = thumbnail(picture)
    rows, columns = small.shape[:2]
    laid = np.zeros((SIDE, SIDE, 4), np.float32)
    down, across = (SIDE - rows) // 2, (SIDE - columns) // 2
    laid[down : down + rows, across : across + columns] = small
    pictures = [laid, laid[:, ::-1]]
    for turn in range(1, TURNS):
        matrix = cv2.getRotationMatrix2D((SIDE / 2 - 0.5, SIDE / 2 - 0.5), 360 * turn / TURNS, 1.0)
        pictures += [
            np.asarray(cv2.warpAffine(np.ascontiguousarray(side), matrix, (SIDE, SIDE)), np.float32)
            for side in pictures[:2]
        ]
    stack = np.stack(pictures)
    squares = (stack[..., :3] ** 2 / np.maximum(stack[..., 3:], 1e-3)).sum((1, 2, 3))
    return Views(pictures=stack, squares=np.maximum(squares, 1e-3), areas=stack[..., 3].sum((1, 2)))


def pair_of(frame: Bytes, views: Views, box: Box) -> Floats:
    """A place of a frame beside the view of a picture that explains it best.

    Args:
        frame: (H, W, 3) in 0..255.
        views: of the picture.
        box: where in the frame the picture would lie, upright.

    Returns:
        (7, 48, 48): the frame in 0..1, black outside of it; the picture under the light of the frame; alpha.
    """
    top, left, height, width = box
    there = _crop(frame, top + height / 2, left + width / 2, max(height, width) * SIDE / FILLED)
    laid = np.concatenate([there, (there**2).sum(2, keepdims=True)], 2)
    sums = np.einsum("vyxc,yxc->vc", views.pictures, laid)
    product, light = sums[:, :3].sum(1), sums[:, 3]
    gains = np.minimum(np.maximum(product / views.squares, GAINS[0]), GAINS[1])
    missed = (light - 2 * gains * product + gains**2 * views.squares) / np.maximum(views.areas, 1)
    missed[2:] *= UPRIGHT
    chosen = int(missed.argmin())
    colours, alpha = views.pictures[chosen][..., :3], views.pictures[chosen][..., 3:]
    lit = np.minimum(colours * gains[chosen], 1)
    return np.moveaxis(np.concatenate([there, lit, alpha], 2), 2, 0)


def thumbnail(picture: Floats) -> Floats:
    """A picture (h, w, 4) as small as `views_of` lays it out."""
    tall, wide = picture.shape[:2]
    factor = FILLED / max(tall, wide)
    if factor == 1:
        return picture
    size = (max(1, round(wide * factor)), max(1, round(tall * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)


def _crop(frame: Bytes, row: float, column: float, side: float) -> Floats:
    """(48, 48, 3) in 0..1: the square about a point, black where it is outside of the frame."""
    whole = max(2, round(side))
    top, left = round(row - whole / 2), round(column - whole / 2)
    square = np.zeros((whole, whole, 3), np.uint8)
    start, begin = max(0, top), max(0, left)
    part = frame[start : max(start, top + whole), begin : max(begin, left + whole)]
    square[start - top : start - top + part.shape[0], begin - left : begin - left + part.shape[1]] = part
    small = np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)
    return np.divide(small, 255, dtype=np.float32)


@lru_cache(maxsize=1)
def load_comparer() -> HalfComparer:
    """The trained network, in single precision on the CPU."""
    network = HalfComparer()
    network.load_state_dict(load_file(WEIGHTS))
    return network.float().eval()


def compare(pairs: Sequence[Floats], network: HalfComparer | None = None) -> Floats:
    """(P, 2) in 0..1: how likely either half of each pair is the same subject."""
    if not pairs:
        return np.zeros((0, 2), np.float32)
    with torch.inference_mode():
        told = (network or load_comparer())(torch.as_tensor(np.stack(pairs)))
        return torch.sigmoid(told).numpy()
