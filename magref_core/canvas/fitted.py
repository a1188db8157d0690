"""A layout that follows the pictures: rows or columns, cut so that each is shown as large as can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ..sizes import PATCH_STRIDE
from .layout import Box, Placement, cells_for, fit_in_cell
from .references import Kind, Reference

WEIGHTS: dict[Kind, float] = {"person": 2.0, "object": 1.0, "background": 1.5}
"""How much of the canvas one picture should cover against another: a face needs pixels to be recognised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shape:
    height: int
    width: int
    weight: float

    @property
    def breadth(self) -> float:
        """Width that the picture claims in a row of height 1."""
        return self.width / self.height * self.weight**0.5

    @property
    def depth(self) -> float:
        """Height that the picture claims in a column of width 1."""
        return self.height / self.width * self.weight**0.5

    def area_in(self, cell: Box) -> float:
        """Pixels that the picture covers when it is fitted into a cell."""
        ratio = min(cell.width / self.width, cell.height / self.height)
        return ratio**2 * self.width * self.height


def arrange_fitted(references: Sequence[Reference], *, height: int, width: int) -> tuple[Placement, ...]:
    """Lay out references in cells that follow their shapes and kinds.

    Rows of cells, columns of cells and the official grid are compared, with the references in their order.
    Taken is the layout in which the smallest picture, for its weight, is largest. The cells tile the canvas
    and, where it is large enough, end on whole tokens, so that no latent cell belongs to two of them.

    A single background lies behind all others and has the whole canvas as its cell, if each of the others is
    a cut-out; a whole picture would hide it.

    Args:
        references: at least one.
        height: of the canvas, in pixels.
        width: of the canvas, in pixels.

    Returns:
        One placement for each reference, in the order of pasting: a background behind all comes first.

    Raises:
        ShapeError: the canvas or a cell is too small.

    Source: ours; the official program knows its grids alone.
    """
    behind = _background_behind(references)
    order = [index for index in range(len(references)) if index != behind]
    shapes = [_shape(references[index]) for index in order]
    cells = dict(zip(order, _best_cells(shapes, height=height, width=width), strict=True))
    if behind is not None:
        order = [behind, *order]
        cells[behind] = Box(x=0, y=0, width=width, height=height)
    return tuple(
        Placement(reference=index, box=_fit(references[index], cells[index]), cell=cells[index])
        for index in order
    )


def _background_behind(references: Sequence[Reference]) -> int | None:
    """The index of the one background over which all others can be laid."""
    backgrounds = [index for index, given in enumerate(references) if given.kind == "background"]
    if len(backgrounds) != 1 or len(references) == 1:
        return None
    others = [given for index, given in enumerate(references) if index != backgrounds[0]]
    return backgrounds[0] if all(given.alpha is not None for given in others) else None


def _shape(reference: Reference) -> _Shape:
    return _Shape(height=reference.height, width=reference.width, weight=WEIGHTS[reference.kind])


def _fit(reference: Reference, cell: Box) -> Box:
    label = f"the picture '{reference.name}'"
    return fit_in_cell(cell, height=reference.height, width=reference.width, label=label)


def _best_cells(shapes: Sequence[_Shape], *, height: int, width: int) -> tuple[Box, ...]:
    """One cell for each shape, in their order."""
    candidates = list(_candidates(shapes, height=height, width=width))
    if not candidates:  # too small a canvas for cells of whole tokens
        return cells_for(len(shapes), height=height, width=width)[: len(shapes)]
    return max(candidates, key=lambda cells: _score(shapes, cells))


def _score(shapes: Sequence[_Shape], cells: Sequence[Box]) -> tuple[float, float]:
    areas = [shape.area_in(cell) for shape, cell in zip(shapes, cells, strict=True)]
    return min(area / shape.weight for area, shape in zip(areas, shapes, strict=True)), sum(areas)


def _candidates(shapes: Sequence[_Shape], *, height: int, width: int) -> Iterator[tuple[Box, ...]]:
    """Ways to cut the canvas into one cell per shape, all on whole tokens."""
    official = _snapped_grid(len(shapes), height=height, width=width)
    if official is not None:
        yield official
    for count in range(1, len(shapes) + 1):
        rows = _strips([shape.breadth for shape in shapes], count, across=height, along=width)
        if rows is not None:
            yield tuple(Box(x=x, y=y, width=right - x, height=low - y) for (y, low), (x, right) in rows)
        columns = _strips([shape.depth for shape in shapes], count, across=width, along=height)
        if columns is not None:
            yield tuple(Box(x=x, y=y, width=right - x, height=low - y) for (x, right), (y, low) in columns)


def _snapped_grid(count: int, *, height: int, width: int) -> tuple[Box, ...] | None:
    """The official grid with its borders moved to whole tokens, where none of the cells vanishes by that."""
    if width < PATCH_STRIDE or height < PATCH_STRIDE:
        return None
    snapped: list[Box] = []
    for cell in cells_for(count, height=height, width=width)[:count]:
        x, y = _snap(cell.x, width), _snap(cell.y, height)
        right, bottom = _snap(cell.right, width), _snap(cell.bottom, height)
        if x == right or y == bottom:
            return None
        snapped.append(Box(x=x, y=y, width=right - x, height=bottom - y))
    return tuple(snapped)


Span = tuple[int, int]
"""Start and end in pixels; the end is not included."""


def _strips(claims: list[float], count: int, *, across: int, along: int) -> list[tuple[Span, Span]] | None:
    """Cut the canvas into strips, and each strip into cells as long as the pictures claim.

    Args:
        claims: length that each picture claims in a strip one pixel thick.
        count: strips.
        across: pixels over which the strips are stacked.
        along: pixels along each strip.

    Returns:
        For each picture the span of its strip and its own span along it; None if a strip or a cell would
        vanish.
    """
    strips = _split(claims, count)
    if len(strips) != count:
        return None
    borders = _borders([1 / sum(strip) for strip in strips], across)
    spans: list[tuple[Span, Span]] = []
    for span, strip in zip(pairwise(borders), strips, strict=True):
        spans += [(span, own) for own in pairwise(_borders(strip, along))]
    has_room = all(start < end for pair in spans for start, end in pair)
    return spans if has_room else None


def _split(claims: list[float], count: int) -> list[list[float]]:
    """Claims in their order, cut into runs of about the same sum; a run without members is left out."""
    total = sum(claims)
    runs: list[list[float]] = [[] for _ in range(count)]
    for claim, end in zip(claims, accumulate(claims), strict=True):
        runs[min(count - 1, int(count * (end - claim / 2) / total))].append(claim)
    return [run for run in runs if run]


def _borders(shares: list[float], length: int) -> list[int]:
    """Where a length is cut in proportion to the shares, on whole tokens."""
    total = sum(shares)
    return [0, *(_snap(length * end / total, length) for end in accumulate(shares))]


def _snap(place: float, length: int) -> int:
    """The nearest border of a token; the end of the canvas stays where it is."""
    if place > length - PATCH_STRIDE / 2:
        return length
    return round(place / PATCH_STRIDE) * PATCH_STRIDE
