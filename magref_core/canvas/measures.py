"""What of every reference shows on a canvas: measured, not yet judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ..sizes import PATCH_STRIDE, PIXEL_STRIDE
from .compose import OPAQUE, Bytes, Canvas, placed_alpha
from .layout import Box, Placement
from .references import Reference

FaceFinder = Callable[[Reference], "Box | None"]
"""The largest face in the picture of a reference, from forehead to chin, in pixels of that picture."""

VISIBLE = 26
"""Alpha from which on a pixel can be seen at all: a tenth."""

_UNCOVERED = -1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """One reference on the canvas. Its subject shows where it is at least half opaque and not covered."""

    reference: Reference
    placement: Placement
    pixels: int
    """Canvas pixels in which the subject shows."""
    latent_cells: frozenset[int]
    """Cells of 8 x 8 pixels in which it shows, numbered row by row."""
    tokens: int
    """Tokens of 16 x 16 pixels in which it shows."""
    covered: float
    """Share of the subject, 0 to 1, over which later pictures lie."""
    covered_by: str | None
    """Name of the reference that covers most of it."""
    alpha: Bytes
    """(h, w) uint8, of the box; 255 where nothing shines through."""
    face_height: float | None
    """Canvas pixels from forehead to chin; None where no face was found or none was looked for."""

    @property
    def scales(self) -> tuple[float, float]:
        """Canvas pixels per pixel of the picture: across and down."""
        box = self.placement.box
        return box.width / self.reference.width, box.height / self.reference.height

    @property
    def scale(self) -> float:
        """The larger of the two scales: above 1 the picture is enlarged."""
        return max(self.scales)

    @property
    def subject(self) -> str:
        """What the prompt calls it: shared by several pictures of one subject."""
        return self.reference.subject or self.reference.name


def measure(canvas: Canvas, find_face: FaceFinder | None = None) -> tuple[Measured, ...]:
    """Measure every reference of a canvas.

    Args:
        canvas: as composed.
        find_face: asked for the pictures of persons; None if faces cannot be found here.

    Returns:
        One measure for each reference, in the order of the references.
    """
    alphas = [
        placed_alpha(canvas.references[placed.reference], height=placed.box.height, width=placed.box.width)
        for placed in canvas.placements
    ]
    top = _topmost(canvas, alphas)
    measured = [
        _measure_one(canvas, placement, alpha, top, find_face)
        for placement, alpha in zip(canvas.placements, alphas, strict=True)
    ]
    return tuple(sorted(measured, key=lambda one: one.placement.reference))


def sharing_cells(measured: tuple[Measured, ...]) -> tuple[tuple[Measured, Measured, int], ...]:
    """Pairs of subjects that lie beside each other and yet show in the same latent cells, and how many."""
    return tuple(
        (one, other, len(one.latent_cells & other.latent_cells))
        for one, other in combinations(measured, 2)
        if one.latent_cells & other.latent_cells and not _overlap(one.placement.box, other.placement.box)
    )


def _overlap(one: Box, other: Box) -> bool:
    return one.x < other.right and other.x < one.right and one.y < other.bottom and other.y < one.bottom


def _topmost(canvas: Canvas, alphas: list[Bytes]) -> npt.NDArray[np.int32]:
    """(H, W): the index of the reference that shows in each pixel, or `_UNCOVERED`."""
    top: npt.NDArray[np.int32] = np.full((canvas.height, canvas.width), _UNCOVERED, np.int32)
    for placement, alpha in zip(canvas.placements, alphas, strict=True):
        _region(top, placement.box)[alpha >= OPAQUE] = placement.reference
    return top


def _region(values: npt.NDArray[np.int32], box: Box) -> npt.NDArray[np.int32]:
    return values[box.y : box.bottom, box.x : box.right]


def _measure_one(
    canvas: Canvas,
    placement: Placement,
    alpha: Bytes,
    top: npt.NDArray[np.int32],
    find_face: FaceFinder | None,
) -> Measured:
    reference, box = canvas.references[placement.reference], placement.box
    opaque = alpha >= OPAQUE
    owners = np.bincount(_region(top, box)[opaque], minlength=len(canvas.references))
    pixels = int(owners[placement.reference])
    owners[placement.reference] = 0
    hidden = int(owners.sum())
    shows = _region(top, box) == placement.reference
    return Measured(
        reference=reference,
        placement=placement,
        pixels=pixels,
        latent_cells=_squares(shows, box, canvas.width, PIXEL_STRIDE),
        tokens=len(_squares(shows, box, canvas.width, PATCH_STRIDE)),
        covered=hidden / max(1, pixels + hidden),
        covered_by=canvas.references[int(owners.argmax())].name if hidden else None,
        alpha=alpha,
        face_height=_face_height(reference, box, find_face),
    )


def _squares(shows: npt.NDArray[np.bool_], box: Box, width: int, stride: int) -> frozenset[int]:
    """The squares of `stride` pixels a side, numbered row by row, in which any pixel of a box shows."""
    left, top = box.x // stride, box.y // stride
    columns, rows = -(-box.right // stride) - left, -(-box.bottom // stride) - top
    whole = np.zeros((rows * stride, columns * stride), np.bool_)
    y, x = box.y - top * stride, box.x - left * stride
    whole[y : y + box.height, x : x + box.width] = shows
    squares: npt.NDArray[np.bool_] = np.any(np.reshape(whole, (rows, stride, columns, stride)), axis=(1, 3))
    ys, xs = np.nonzero(squares)
    return frozenset(((ys + top) * -(-width // stride) + xs + left).tolist())


def _face_height(reference: Reference, box: Box, find_face: FaceFinder | None) -> float | None:
    if find_face is None or reference.kind != "person":
        return None
    face = find_face(reference)
    return None if face is None else face.height * box.height / reference.height
