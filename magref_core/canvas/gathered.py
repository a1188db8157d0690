"""Two layouts on official cells that gather pictures: photos of one subject, and all before a background."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise, product

from ..errors import ShapeError
from .layout import Box, Placement, cells_for, fit_in_cell, grid_for, shuffle_pairs
from .references import Reference


def arrange_grouped(
    references: Sequence[Reference], *, height: int, width: int, seed: int = 0
) -> tuple[Placement, ...]:
    """One official cell for each subject, which its photos share; cells are shuffled as officially.

    Where every subject has a single picture this is the official layout of that seed.

    Args:
        references: at least one; photos of one subject have its name as their `subject`.
        height: of the canvas, in pixels.
        width: of the canvas, in pixels.
        seed: of the shuffle.

    Returns:
        One placement for each reference, in the order of pasting.

    Raises:
        ShapeError: the canvas, a cell or a part of one is too small.

    Source: ours; the official program gives every picture a cell of its own.
    """
    photos: dict[str, list[int]] = {}
    for index, reference in enumerate(references):
        photos.setdefault(reference.subject or reference.name, []).append(index)
    subjects = list(photos.values())
    cells = cells_for(len(subjects), height=height, width=width)
    return tuple(
        _placement(references, index, part)
        for subject, cell in shuffle_pairs(len(subjects), cells, random.Random(seed))
        for index, part in zip(subjects[subject], parts_of(cell, len(subjects[subject])), strict=False)
    )


def arrange_behind(
    references: Sequence[Reference], *, height: int, width: int, seed: int = 0
) -> tuple[Placement, ...]:
    """The background behind all others, which lie as officially without it.

    The background is fitted into the whole canvas: one of another shape leaves a border on two sides.

    Args:
        references: at least one; with another number of backgrounds than one, or nothing else, the layout is
            the official one.
        height: of the canvas, in pixels.
        width: of the canvas, in pixels.
        seed: of the shuffle.

    Returns:
        One placement for each reference, in the order of pasting: the background comes first.

    Raises:
        ShapeError: the canvas or a cell is too small.

    Source: ours; officially a background has a cell like any other picture.
    """
    backgrounds = [index for index, given in enumerate(references) if given.kind == "background"]
    behind = backgrounds if len(backgrounds) == 1 < len(references) else []
    others = [index for index in range(len(references)) if index not in behind]
    cells = cells_for(len(others), height=height, width=width)
    whole = Box(x=0, y=0, width=width, height=height)
    pairs = shuffle_pairs(len(others), cells, random.Random(seed))
    return (
        *(_placement(references, index, whole) for index in behind),
        *(_placement(references, others[number], cell) for number, cell in pairs),
    )


def parts_of(cell: Box, count: int) -> tuple[Box, ...]:
    """Cut a cell into a grid for `count` pictures, with more columns than rows where it is wide.

    Args:
        cell: of one subject.
        count: pictures, at least one.

    Returns:
        The parts row by row, at least `count`; the last column and row take the pixels that are left over.

    Raises:
        ShapeError: the cell has fewer pixels than parts along a side.
    """
    columns, rows = grid_for(count)
    if cell.height > cell.width:
        columns, rows = rows, columns
    if cell.width < columns or cell.height < rows:
        raise ShapeError(
            f"{count} photos of one subject share a cell of {cell.width} x {cell.height} pixels, but need "
            f"{columns} x {rows} parts: use a larger canvas or fewer photos"
        )
    xs = [cell.x + column * (cell.width // columns) for column in range(columns)] + [cell.right]
    ys = [cell.y + row * (cell.height // rows) for row in range(rows)] + [cell.bottom]
    return tuple(
        Box(x=left, y=top, width=right - left, height=bottom - top)
        for (top, bottom), (left, right) in product(pairwise(ys), pairwise(xs))
    )


def _placement(references: Sequence[Reference], index: int, cell: Box) -> Placement:
    given = references[index]
    label = f"the picture '{given.name}'"
    return Placement(
        reference=index,
        box=fit_in_cell(cell, height=given.height, width=given.width, label=label),
        cell=cell,
    )
