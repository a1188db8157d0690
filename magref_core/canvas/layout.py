"""Where on the canvas each reference lies: cells, their order, fitting, and placements as JSON."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, Literal, cast, get_args

from ..errors import MagrefError, ShapeError

Order = Literal["official", "reading"]
"""official: references and cells are shuffled by a seed; reading: row by row, in the order given."""

_OFFICIAL_GRIDS = {1: (1, 1), 2: (2, 1), 3: (3, 1), 4: (2, 2), 6: (3, 2), 8: (4, 2)}
"""Cells -> (columns, rows)."""

_JSON_VERSION = 1
_MAX_SHOWN = 80
"""Characters of a wrong value that a message repeats."""
_FARTHEST = 1_000_000
"""Pixels; beyond it a number is a slip, and too long for a sentence."""
_SIDES = ("x", "y", "width", "height")
_JSON_EXAMPLE = (
    '{"version": 1, "placements": [{"reference": "alice", "x": 0, "y": 0, "width": 100, "height": 200}]}'
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A rectangle of canvas pixels; x grows to the right, y downwards, from the upper left corner."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """First column to the right of the box."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """First row below the box."""
        return self.y + self.height


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where one resized reference lies."""

    reference: int
    """Index into the references."""
    box: Box
    """The pixels that the resized picture covers."""
    cell: Box | None = None
    """The cell that the picture was fitted into; None for a box given by hand."""


def grid_for(count: int) -> tuple[int, int]:
    """The grid for `count` references.

    Up to 8 the official grids are used, which may leave a cell empty (5 and 7 references). Above, where the
    official code drops references, the grid grows.

    Args:
        count: references; 0 counts as 1.

    Returns:
        (columns, rows).

    Source: MAGREF, magref/subject2video.py, `process_refimg`; ours above 8.
    """
    for cells, grid in _OFFICIAL_GRIDS.items():
        if count <= cells:
            return grid
    columns = math.ceil(math.sqrt(count))
    return columns, math.ceil(count / columns)


def cells_for(count: int, *, height: int, width: int) -> tuple[Box, ...]:
    """Cut the canvas into the cells of `grid_for`.

    Args:
        count: references.
        height: of the canvas, in pixels.
        width: of the canvas, in pixels.

    Returns:
        The cells row by row; the last column and the last row take the pixels that are left over.

    Raises:
        ShapeError: the canvas has fewer pixels than cells along a side.

    Source: MAGREF, magref/subject2video.py, `process_refimg`.
    """
    columns, rows = grid_for(count)
    if width < columns or height < rows:
        raise ShapeError(
            f"the canvas is {width} x {height} pixels, but {count} references need {columns} x {rows} cells: "
            "use a larger canvas or fewer references"
        )
    xs = [column * (width // columns) for column in range(columns)] + [width]
    ys = [row * (height // rows) for row in range(rows)] + [height]
    return tuple(
        Box(x=left, y=top, width=right - left, height=bottom - top)
        for (top, bottom), (left, right) in product(pairwise(ys), pairwise(xs))
    )


def shuffle_pairs(
    num_references: int, cells: Sequence[Box], rng: random.Random
) -> tuple[tuple[int, Box], ...]:
    """Pair references with cells in the official random order.

    The indices of the references are shuffled first, then the cells; pairs are made until either runs out.

    Args:
        num_references: how many.
        cells: in reading order.
        rng: advanced by both shuffles.

    Returns:
        (reference index, cell), in the order of pasting.

    Source: MAGREF, magref/subject2video.py, `process_refimg`, which uses the unseeded global generator.
    """
    indices = list(range(num_references))
    shuffled_cells = list(cells)
    rng.shuffle(indices)
    rng.shuffle(shuffled_cells)
    return tuple(zip(indices, shuffled_cells, strict=False))


def fit_in_cell(cell: Box, *, height: int, width: int, label: str = "a picture") -> Box:
    """Scale a picture to the largest size that keeps its shape and fits into the cell, centred.

    Sides are truncated, which can lose a pixel where the quotient falls just below a whole number, and an
    odd pixel of padding goes right or to the bottom; both as officially.

    Args:
        cell: where the picture must lie.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        label: what the error message calls the picture.

    Returns:
        The box of the scaled picture, in canvas pixels.

    Raises:
        ShapeError: a side of the scaled picture would have no pixel.

    Source: MAGREF, magref/subject2video.py, `resize_and_pad`.
    """
    ratio = width / height
    if ratio > cell.width / cell.height:
        new_width, new_height = cell.width, int(cell.width / ratio)
    else:
        new_width, new_height = int(cell.height * ratio), cell.height
    if new_width == 0 or new_height == 0:
        raise ShapeError(
            f"{label} of {width} x {height} pixels is too thin for a cell of {cell.width} x {cell.height}, "
            f"it would be scaled to {new_width} x {new_height}: crop it, or use a larger canvas or fewer "
            "references"
        )
    left, top = (cell.width - new_width) // 2, (cell.height - new_height) // 2
    return Box(x=cell.x + left, y=cell.y + top, width=new_width, height=new_height)


def arrange(
    sizes: Sequence[tuple[int, int]],
    *,
    height: int,
    width: int,
    seed: int = 0,
    order: Order = "official",
    names: Sequence[str] | None = None,
) -> tuple[Placement, ...]:
    """Lay out references on a canvas, one in each cell.

    Args:
        sizes: (height, width) of each reference, in pixels.
        height: of the canvas, in pixels.
        width: of the canvas, in pixels.
        seed: of the official shuffle; gives what the official code does after `random.seed(seed)`. The
            reading order does not use it.
        order: see `Order`.
        names: of the references, for error messages; without them a picture is called by its number.

    Returns:
        One placement for each reference, in the order of pasting.

    Raises:
        MagrefError: the order is unknown.
        ShapeError: the canvas or a cell is too small.
    """
    if order not in get_args(Order):
        raise MagrefError(
            f"the order is '{order}', which is unknown: choose one of {', '.join(get_args(Order))}"
        )
    cells = cells_for(len(sizes), height=height, width=width)
    if order == "official":
        pairs = shuffle_pairs(len(sizes), cells, random.Random(seed))
    else:
        pairs = tuple(zip(range(len(sizes)), cells, strict=False))
    labels = [
        f"picture {index + 1}" if names is None else f"the picture '{names[index]}'"
        for index in range(len(sizes))
    ]
    return tuple(
        Placement(
            reference=index,
            box=fit_in_cell(cell, height=sizes[index][0], width=sizes[index][1], label=labels[index]),
            cell=cell,
        )
        for index, cell in pairs
    )


def placements_to_json(placements: Sequence[Placement], names: Sequence[str]) -> str:
    """Write placements by the names of their references.

    Args:
        placements: in the order of pasting; their cells are not kept.
        names: of the references.

    Returns:
        JSON text that `placements_from_json` reads.
    """
    entries = [
        {"reference": names[placement.reference], **{side: getattr(placement.box, side) for side in _SIDES}}
        for placement in placements
    ]
    return json.dumps({"version": _JSON_VERSION, "placements": entries}, ensure_ascii=False)


def placements_from_json(
    text: str, names: Sequence[str], *, height: int, width: int
) -> tuple[Placement, ...]:
    """Read placements: every reference exactly once, each box inside the canvas.

    Args:
        text: JSON as `placements_to_json` writes it, boxes in canvas pixels; further keys are ignored.
        names: of the references, in their order.
        height: of the canvas, in pixels.
        width: of the canvas, in pixels.

    Returns:
        Placements in the order of the text, which is the order of pasting.

    Raises:
        MagrefError: the text is not such JSON, or a reference is unknown, missing or placed twice.
        ShapeError: a box has no pixels or reaches over the edge of the canvas.
    """
    placements: list[Placement] = []
    for number, entry in enumerate(_json_entries(text), start=1):
        placement = _read_placement(entry, number, names)
        check_inside(placement.box, names[placement.reference], height=height, width=width)
        placements.append(placement)
    check_each_placed_once(placements, names)
    return tuple(placements)


def check_placements_text(text: str, *, height: int, width: int) -> None:
    """Refuse placements that cannot be used whatever the references are called.

    Args:
        text: see `placements_from_json`.
        height: of the canvas, in pixels.
        width: of the canvas, in pixels.

    Raises:
        MagrefError: the text is not such JSON.
        ShapeError: a box has no pixels or reaches over the edge of the canvas.
    """
    for number, entry in enumerate(_json_entries(text), start=1):
        name, box = _read_entry(entry, number)
        check_inside(box, name, height=height, width=width)


def check_inside(box: Box, name: str, *, height: int, width: int) -> None:
    """Refuse a box without pixels, or one that reaches over the edge of the canvas.

    Args:
        box: of one reference.
        name: of that reference.
        height: of the canvas, in pixels.
        width: of the canvas, in pixels.

    Raises:
        ShapeError: see above.
    """
    if box.width < 1 or box.height < 1:
        raise ShapeError(
            f"the box of '{name}' is {box.width} x {box.height} pixels, but needs at least 1 x 1: enlarge it"
        )
    if box.x < 0 or box.y < 0 or box.right > width or box.bottom > height:
        raise ShapeError(
            f"the box of '{name}' spans x {box.x} to {box.right} and y {box.y} to {box.bottom}, but the "
            f"canvas is {width} x {height} pixels: move or shrink the box"
        )


def check_each_placed_once(placements: Sequence[Placement], names: Sequence[str]) -> None:
    """Refuse placements that leave a reference out or show it twice.

    Args:
        placements: of all references, in any order.
        names: of the references.

    Raises:
        MagrefError: see above.
    """
    placed = [placement.reference for placement in placements]
    for index, name in enumerate(names):
        times = placed.count(index)
        if times != 1:
            raise MagrefError(
                f"reference '{name}' is placed {times} times, but every reference needs exactly one "
                f"placement: {'remove the others' if times else 'add one for it'}"
            )


def _json_entries(text: str) -> list[Any]:
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise MagrefError(f"the placements are nested too deeply: write them like {_JSON_EXAMPLE}") from error
    except ValueError as error:
        raise MagrefError(
            f"the placements are not JSON ({error}): write them like {_JSON_EXAMPLE}"
        ) from error
    entries = cast("dict[str, Any]", document).get("placements") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise MagrefError(f"the placements hold no list 'placements': write them like {_JSON_EXAMPLE}")
    version: Any = cast("dict[str, Any]", document).get("version")
    if type(version) is not int or version != _JSON_VERSION:
        raise MagrefError(
            f"the placements are of version {_shown(version)}, but only version {_JSON_VERSION} can be read: "
            f"write them like {_JSON_EXAMPLE}"
        )
    return cast("list[Any]", entries)


def _read_placement(entry: Any, number: int, names: Sequence[str]) -> Placement:
    """One entry of the JSON list; `number` counts from 1, for messages."""
    name, box = _read_entry(entry, number)
    if name not in names:
        raise MagrefError(
            f"placement {number} is for the reference {_shown(name)}, which does not exist: "
            f"use one of {', '.join(repr(known) for known in names)}"
        )
    return Placement(reference=list(names).index(name), box=box)


def _read_entry(entry: Any, number: int) -> tuple[str, Box]:
    """The name and the box of one entry, wherever the box lies."""
    fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    name = fields.get("reference")
    if not isinstance(name, str):
        raise MagrefError(
            f"placement {number} is for the reference {_shown(name)}, but its name as a text is needed: "
            f"write it like {_JSON_EXAMPLE}"
        )
    sides = [fields.get(side) for side in _SIDES]
    if not all(type(side) is int for side in sides):
        given = ", ".join(f"{key} {_shown(value)}" for key, value in zip(_SIDES, sides, strict=True))
        raise MagrefError(
            f"placement {number} of {_shown(name)} has {given}, but whole numbers of pixels are needed: "
            "correct it"
        )
    x, y, width, height = cast("list[int]", sides)
    if max(abs(x), abs(y), abs(width), abs(height)) > _FARTHEST:
        raise ShapeError(
            f"the box of {_shown(name)} lies more than {_FARTHEST} pixels away or is as large: move or "
            "shrink the box"
        )
    return name, Box(x=x, y=y, width=width, height=height)


def _shown(value: object) -> str:
    """What was given, cut where it is too long for a sentence."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
