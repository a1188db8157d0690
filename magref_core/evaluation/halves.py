"""Does the upper and the lower half of a place show a subject: a small network that was trained on it.

It sees a place of a frame beside the picture of a subject, both in one size and under one light, and says for
either half how likely that is the same subject. It was trained on drawn puppets in other views than those of
their pictures (`scripts/train_halves.py`), and knows nothing of photographs.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def pair_of(frame: Bytes, picture: Floats, box: Box) -> Floats:
    """A place of a frame beside a picture.

    Args:
        frame: (H, W, 3) in 0..255.
        picture: (h, w, 4) in 0..1, colours multiplied by alpha, turned to the side that the place shows.
        box: where in the frame the picture would lie.

    Returns:
        (7, 48, 48): the frame in 0..1, black outside of it; the picture under the light of the frame; alpha.
    """
    top, left, height, width = box
    there = _crop(frame, top + height / 2, left + width / 2, max(height, width) * SIDE / FILLED)
    small = thumbnail(picture)
    rows, columns = small.shape[:2]
    laid = np.zeros((SIDE, SIDE, 4), np.float32)
    down, across = (SIDE - rows) // 2, (SIDE - columns) // 2
    laid[down : down + rows, across : across + columns] = small
    colours, alpha = laid[..., :3], laid[..., 3:]
    square = float((colours**2 / np.maximum(alpha, 1e-3)).sum())
    gain = min(max(float((there * colours).sum()) / max(square, 1e-3), GAINS[0]), GAINS[1])
    return np.moveaxis(np.concatenate([there, np.minimum(colours * gain, 1), alpha], 2), 2, 0)


def thumbnail(picture: Floats) -> Floats:
    """A picture (h, w, 4) as small as `pair_of` lays it beside a frame."""
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
