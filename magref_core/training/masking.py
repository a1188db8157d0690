"""Region-aware dynamic masking: where references lie on the canvas while training.

The paper says only that locations are shuffled; the preset `PAPER` does that and nothing else. The rest is
ours: other grids, free splits, and room to move and shrink inside the cell.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..canvas.layout import Box, Placement, cells_for, fit_in_cell
from ..errors import MagrefError, ShapeError

GRID_COUNTS = (1, 2, 3, 4, 6, 8)
"""References that fill one official grid each."""

SHORTEST_SHARE = 0.3
"""Of a side, the least that a free split leaves on either side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayoutConfig:
    """How freely references are laid out.

    Raises:
        MagrefError: a rate is outside [0, 1], or the scale is no range within (0, 1].
    """

    larger_grids: float = 0.3
    """Rate of canvases with a larger grid than needed, which leaves cells empty."""
    splits: float = 0.1
    """Rate of canvases that are split freely instead of by a grid."""
    jitter: float = 1.0
    """Share of the free room in a cell over which a picture may move from the centre, 0 to 1."""
    scale: tuple[float, float] = (0.6, 1.0)
    """Range of the picture's size beside the largest that fits its cell."""

    def __post_init__(self) -> None:
        for name in ("larger_grids", "splits", "jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise MagrefError(f"{name} of the layout is {getattr(self, name)}, but must be from 0 to 1")
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise MagrefError(f"the scale of the layout is {low} to {high}, but must rise within 0 to 1")


PAPER = LayoutConfig(larger_grids=0.0, splits=0.0, jitter=0.0, scale=(1.0, 1.0))
"""Shuffled locations on the smallest official grid, as the paper and the released code have it."""


def random_layout(
    sizes: Sequence[tuple[int, int]], *, height: int, width: int, config: LayoutConfig, rng: random.Random
) -> tuple[Placement, ...]:
    """Lay out references on a training canvas.

    Args:
        sizes: (height, width) of each reference, in pixels.
        height: of the canvas, in pixels.
        width: of the canvas, in pixels.
        config: how freely.
        rng: advanced.

    Returns:
        One placement per reference, in random order of pasting; boxes of different cells never overlap.

    Raises:
        ShapeError: a picture is too thin for its cell, or the canvas for its cells.
    """
    cells = list(_cells(len(sizes), height=height, width=width, config=config, rng=rng))
    order = list(range(len(sizes)))
    rng.shuffle(order)
    rng.shuffle(cells)
    return tuple(
        Placement(reference=index, box=_place(sizes[index], cell, config, rng), cell=cell)
        for index, cell in zip(order, cells, strict=False)
    )


def split_cells(count: int, box: Box, rng: random.Random) -> tuple[Box, ...]:
    """Cut a box by straight cuts from edge to edge, the largest part first, until there are `count` parts.

    Raises:
        ShapeError: the box has fewer pixels than that.
    """
    if count > box.width * box.height:
        raise ShapeError(
            f"a canvas of {box.width} x {box.height} pixels cannot be cut into {count} cells: "
            "use a larger one"
        )
    parts = [box]
    while len(parts) < count:
        parts.sort(key=lambda part: part.width * part.height)
        part = parts.pop()
        share = rng.uniform(SHORTEST_SHARE, 1 - SHORTEST_SHARE)
        if part.width >= part.height:
            cut = max(1, round(part.width * share))
            parts.append(Box(x=part.x, y=part.y, width=cut, height=part.height))
            parts.append(Box(x=part.x + cut, y=part.y, width=part.width - cut, height=part.height))
        else:
            cut = max(1, round(part.height * share))
            parts.append(Box(x=part.x, y=part.y, width=part.width, height=cut))
            parts.append(Box(x=part.x, y=part.y + cut, width=part.width, height=part.height - cut))
    return tuple(parts)


def _cells(
    count: int, *, height: int, width: int, config: LayoutConfig, rng: random.Random
) -> tuple[Box, ...]:
    """At least `count` cells of a random family."""
    if rng.random() < config.splits:
        return split_cells(count, Box(x=0, y=0, width=width, height=height), rng)
    if rng.random() < config.larger_grids and (larger := [cells for cells in GRID_COUNTS if cells > count]):
        count = rng.choice(larger)
    return cells_for(count, height=height, width=width)


def _place(size: tuple[int, int], cell: Box, config: LayoutConfig, rng: random.Random) -> Box:
    """The box of a picture of (height, width) inside its cell."""
    full = fit_in_cell(cell, height=size[0], width=size[1])
    scale = rng.uniform(*config.scale)
    width, height = max(1, round(full.width * scale)), max(1, round(full.height * scale))
    room = (cell.width - width, cell.height - height)
    x, y = (round(free / 2 * (1 + config.jitter * rng.uniform(-1, 1))) for free in room)
    if config.jitter == 0 and scale == 1:
        return full  # the official centre, which rounds down
    return Box(x=cell.x + x, y=cell.y + y, width=width, height=height)
