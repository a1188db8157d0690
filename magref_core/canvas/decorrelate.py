"""Change a reference a little before it goes onto the canvas, so that its very pixels cannot be copied."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import MagrefError
from .references import Reference

Flip = Literal["none", "random", "all"]
MAX_CROP = 30.0
MAX_BLUR = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Decorrelation:
    """What is changed; all off is no change.

    Raises:
        MagrefError: a value is out of range, or the flip unknown.
    """

    flip: Flip = "none"
    """random mirrors left and right in half of the pictures, by the seed."""
    crop: float = 0.0
    """Most that is cut off, in per cent of a side, both edges together."""
    blur: float = 0.0
    """Deviation of the Gauss filter, in per cent of the longer side."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.flip not in get_args(Flip):
            raise MagrefError(
                f"the flip is '{self.flip}', which is unknown: choose one of {', '.join(get_args(Flip))}"
            )
        for name, most in (("crop", MAX_CROP), ("blur", MAX_BLUR)):
            value = getattr(self, name)
            if not 0 <= value <= most:  # also false for what is no number
                raise MagrefError(
                    f"the {name} is {value:g} per cent, but must be from 0 to {most:g}: 0 leaves it out"
                )


def decorrelate(reference: Reference, change: Decorrelation, *, number: int = 0) -> Reference:
    """Mirror, crop and blur one reference by the seed and its place in the list.

    Args:
        reference: left as it is.
        change: how far.
        number: of the reference in its list: others get other draws, and the same draws stay with it.

    Returns:
        The reference with its picture and alpha changed alike; the very same object where all is off. A crop
        that would leave nothing of the cut-out is left out.
    """
    if change.flip == "none" and change.crop == change.blur == 0:
        return reference
    rng = random.Random(change.seed * 1_000_003 + number)
    is_flipped = (rng.random() < 0.5 and change.flip == "random") or change.flip == "all"
    shares = [rng.random() * change.crop / 100, rng.random() * change.crop / 100]
    offsets = [rng.random(), rng.random()]
    rows, columns = (
        _kept(side, share, offset)
        for side, share, offset in zip((reference.height, reference.width), shares, offsets, strict=True)
    )
    image, alpha = reference.image, reference.alpha
    if alpha is None or bool(alpha[rows, columns].any()):
        image, alpha = image[rows, columns], None if alpha is None else alpha[rows, columns]
    if is_flipped:
        image, alpha = image.flip(1), None if alpha is None else alpha.flip(1)
    if change.blur > 0:
        image = _blurred(image, alpha, change.blur / 100 * max(image.shape[:2]))
    alpha = None if alpha is None else alpha.contiguous()
    return replace(reference, image=image.contiguous(), alpha=alpha)


def _kept(side: int, share: float, offset: float) -> slice:
    """What is left of a side; at least one pixel."""
    cut = min(round(side * share), side - 1)
    start = round(cut * offset)
    return slice(start, side - cut + start)


def _blurred(image: Tensor, alpha: Tensor | None, deviation: float) -> Tensor:
    """Blur (H, W, 3) uint8; what lies beside the cut-out does not run into it."""
    pixels = image.numpy().astype(np.float32)
    whole = np.full(image.shape[:2], 255, np.uint8)
    weight = np.divide(whole if alpha is None else alpha.numpy(), 255, dtype=np.float32)
    colours = _gauss(pixels * weight[..., None], deviation)
    seen = _gauss(weight, deviation)[..., None]
    blurred = np.where(seen > 1e-4, colours / np.maximum(seen, 1e-4), pixels)
    return torch.as_tensor(np.rint(np.minimum(np.maximum(blurred, 0), 255)).astype(np.uint8))


def _gauss(values: npt.NDArray[np.float32], deviation: float) -> npt.NDArray[np.float32]:
    out = cv2.GaussianBlur(values, (0, 0), max(deviation, 1e-3), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.float32)
