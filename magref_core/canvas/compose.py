"""Draw the references on the canvas, and mark where they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ..errors import MagrefError, ShapeError
from .layout import Placement, check_each_placed_once, check_inside
from .references import Reference

MaskShape = Literal["rectangle", "cutout"]
"""rectangle: the whole box of a picture is marked, as officially; cutout: only its opaque pixels."""

OPAQUE = 128
"""Alpha from which on a pixel counts as part of the subject."""

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Canvas:
    """The composed picture that becomes latent frame 0, and what is where on it."""

    image: Tensor
    """(H, W, 3) uint8."""
    mask: Tensor
    """(H, W) uint8 in {0, 1}; 1 on a reference, 0 on the background."""
    references: tuple[Reference, ...]
    placements: tuple[Placement, ...]
    """One for each reference, in the order of pasting."""

    @property
    def height(self) -> int:
        """In pixels."""
        return self.image.shape[0]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.image.shape[1]

    def pixels(self) -> Tensor:
        """(3, H, W) float32 in [-1, 1]: what VAE and CLIP are given."""
        return (self.image.permute(2, 0, 1).float() / 255 - 0.5) / 0.5


def compose_canvas(
    references: Sequence[Reference],
    placements: Sequence[Placement],
    *,
    height: int,
    width: int,
    background: tuple[int, int, int] = (255, 255, 255),
    mask_shape: MaskShape = "rectangle",
    on_progress: Callable[[], None] = lambda: None,
) -> Canvas:
    """Paste every reference into its box.

    Transparent parts show the background colour, or whatever an earlier placement drew there.

    Args:
        references: none gives an empty canvas.
        placements: one for each reference, in the order of pasting.
        height: of the canvas, in pixels; a video needs a multiple of 16.
        width: of the canvas, in pixels; a video needs a multiple of 16.
        background: red, green and blue in 0..255; the model was trained on white.
        mask_shape: see `MaskShape`.
        on_progress: called after every reference; what it raises ends the work.

    Returns:
        The canvas.

    Raises:
        MagrefError: a reference is left out or placed twice, the background is no colour, the mask shape is
            unknown, or a cut-out is nowhere opaque.
        ShapeError: the canvas has no pixels, or a box reaches over its edge.

    Source: MAGREF, magref/subject2video.py, `process_refimg` and `resize_and_pad`. The official mask is
    always the rectangle.
    """
    _check_canvas(height=height, width=width, background=background)
    if mask_shape not in get_args(MaskShape):
        raise MagrefError(
            f"the mask shape is '{mask_shape}', which is unknown: choose one of "
            f"{', '.join(get_args(MaskShape))}"
        )
    check_each_placed_once(placements, [reference.name for reference in references])
    image: Bytes = np.empty((height, width, 3), np.uint8)
    image[:] = background
    mask: Bytes = np.zeros((height, width), np.uint8)
    for placement in placements:
        box, reference = placement.box, references[placement.reference]
        check_inside(box, reference.name, height=height, width=width)
        region = np.s_[box.y : box.bottom, box.x : box.right]
        drawn, alpha = _draw(reference, height=box.height, width=box.width, background=background)
        is_opaque = reference.alpha is None
        image[region] = drawn if is_opaque else _lay_over(drawn, alpha, image[region], background)
        mask[region] |= _cutout_mask(alpha, reference.name) if mask_shape == "cutout" else np.uint8(1)
        on_progress()
    return Canvas(
        image=torch.as_tensor(image),
        mask=torch.as_tensor(mask),
        references=tuple(references),
        placements=tuple(placements),
    )


def _draw(
    reference: Reference, *, height: int, width: int, background: tuple[int, int, int]
) -> tuple[Bytes, Bytes]:
    """The picture over the background colour, (h, w, 3), and its alpha, (h, w), both resized.

    The order, first over the colour and then resized, is the official one.
    """
    picture = Image.fromarray(reference.image.numpy())
    if reference.alpha is not None:
        flat = Image.new("RGB", picture.size, background)
        flat.paste(picture, mask=Image.fromarray(reference.alpha.numpy()))
        picture = flat
    drawn = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))
    return drawn, placed_alpha(reference, height=height, width=width)


def placed_alpha(reference: Reference, *, height: int, width: int) -> Bytes:
    """The alpha of a reference as it lies on the canvas.

    Args:
        reference: with or without a cut-out.
        height: of its box, in pixels.
        width: of its box, in pixels.

    Returns:
        (height, width) uint8; 255 where nothing shines through, which is everywhere without a cut-out.
    """
    if reference.alpha is None:
        return np.full((height, width), 255, np.uint8)
    alpha = Image.fromarray(reference.alpha.numpy())
    return np.asarray(alpha.resize((width, height), Image.Resampling.LANCZOS))


def _cutout_mask(alpha: Bytes, name: str) -> Bytes:
    """(h, w) in {0, 1}, of a resized alpha."""
    mask = (alpha >= OPAQUE).astype(np.uint8)
    if not mask.any():
        height, width = alpha.shape
        raise MagrefError(
            f"the cut-out of '{name}' is less than half opaque all over its {width} x {height} pixels, but "
            "the mask needs an opaque one: make it larger or more opaque, or choose the mask shape rectangle"
        )
    return mask


def _lay_over(drawn: Bytes, alpha: Bytes, below: Bytes, background: tuple[int, int, int]) -> Bytes:
    """Replace the background colour that shines through `drawn` by what is below.

    Where the canvas is still blank nothing changes, not even by rounding.
    """
    through = 1 - alpha[..., None] / 255  # (h, w, 1)
    difference = below - np.asarray(background, np.float64)  # (h, w, 3)
    return np.minimum(np.maximum(np.rint(drawn + through * difference), 0), 255).astype(np.uint8)


def _check_canvas(*, height: int, width: int, background: tuple[int, int, int]) -> None:
    if height < 1 or width < 1:
        raise ShapeError(f"the canvas is {width} x {height} pixels: use at least 16 x 16")
    if len(background) != 3 or not all(0 <= level <= 255 for level in background):
        raise MagrefError(
            f"the background colour is {background}, but three levels from 0 to 255 are needed: "
            "white is (255, 255, 255)"
        )
