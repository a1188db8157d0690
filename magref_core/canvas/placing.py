"""The one way from references and settings to placements: boxes of one's own, or one of the layouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from ..errors import MagrefError
from .fitted import arrange_fitted
from .gathered import arrange_behind, arrange_grouped
from .layout import Placement, arrange, placements_from_json
from .references import Reference

LayoutOrder = Literal["official", "reading", "fitted", "grouped", "behind"]
"""official: references and cells are shuffled by a seed; reading: row by row, in the order given; fitted:
cells that follow the shapes and kinds of the pictures; grouped: as official, but the photos of one subject
share its cell; behind: as official, but the background lies behind all others."""


def place_references(
    references: Sequence[Reference],
    *,
    height: int,
    width: int,
    order: LayoutOrder = "official",
    seed: int = 0,
    placements: str = "",
) -> tuple[Placement, ...]:
    """Say where each reference lies.

    Args:
        references: in their order.
        height: of the canvas, in pixels.
        width: of the canvas, in pixels.
        order: see `LayoutOrder`.
        seed: of the shuffle; gives what the official code does after `random.seed(seed)`.
        placements: JSON as of `placements_to_json`, which wins over the order; empty for none.

    Returns:
        One placement for each reference, in the order of pasting.

    Raises:
        MagrefError: the order is unknown, or the placements cannot be used.
        ShapeError: the canvas or a cell is too small, or a box of the placements lies outside the canvas.
    """
    names = [reference.name for reference in references]
    if placements.strip():
        return placements_from_json(placements, names, height=height, width=width)
    if order not in get_args(LayoutOrder):
        raise MagrefError(
            f"the order is '{order}', which is unknown: choose one of {', '.join(get_args(LayoutOrder))}"
        )
    if order == "fitted":
        return arrange_fitted(references, height=height, width=width)
    if order == "grouped":
        return arrange_grouped(references, height=height, width=width, seed=seed)
    if order == "behind":
        return arrange_behind(references, height=height, width=width, seed=seed)
    sizes = [(reference.height, reference.width) for reference in references]
    return arrange(sizes, height=height, width=width, seed=seed, order=order, names=names)
