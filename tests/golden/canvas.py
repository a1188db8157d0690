"""Canvases: layout, placements, pixels and latent masks, all exact."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from magref_core.canvas.compose import Canvas, compose_canvas
from magref_core.canvas.layout import Box, Placement, arrange, cells_for, fit_in_cell, shuffle_pairs
from magref_core.canvas.masks import to_latent_mask
from magref_core.canvas.references import Reference
from magref_core.errors import ShapeError

from .report import Row, compare, equal, verdict

FILE = "canvas.safetensors"
TABLE = "canvas.json"
FILES = (FILE, TABLE)

OFFICIAL_MAX_REFERENCES = 8
"""Above this the official code drops references, and we enlarge the grid."""


def check(folder: Path) -> Iterator[Row]:
    """Compose every case of the folder and compare; yields nothing if the files are absent."""
    if not all((folder / name).is_file() for name in FILES):
        return
    tensors = load_file(folder / FILE)
    table: dict[str, Any] = json.loads((folder / TABLE).read_text("utf-8"))
    for case in table["cases"]:
        yield from _check_case(case, references_of(case["references"], tensors, table), tensors)
    for failure in table.get("failures", []):
        yield _check_failure(failure)


def references_of(
    names: list[str], tensors: Mapping[str, Tensor], table: Mapping[str, Any]
) -> list[Reference]:
    """The golden pictures as the official code sees them.

    It lays RGBA over white. Every other mode it converts to RGB, by which grey with alpha loses its alpha.
    """
    return [
        _reference(f"reference {number}", tensors[f"image.{name}"], table["images"][name]["mode"])
        for number, name in enumerate(names)
    ]


def _reference(name: str, values: Tensor, mode: str) -> Reference:
    if mode == "RGBA":
        return Reference(name=name, image=values[..., :3].contiguous(), alpha=values[..., 3].contiguous())
    picture = Image.fromarray(values.numpy()).convert("RGB")
    return Reference(name=name, image=torch.from_numpy(np.array(picture)))


def compose_as_officially(
    references: list[Reference], *, height: int, width: int, seed: int
) -> tuple[Canvas, random.Random]:
    """The canvas of the official program, and the generator as its draws have left it.

    Beyond 8 references this cuts 8 cells and leaves the rest out, as only the official code does.
    """
    cells = cells_for(min(len(references), OFFICIAL_MAX_REFERENCES), height=height, width=width)
    rng = random.Random(seed)
    kept: list[Reference] = []
    placements: list[Placement] = []
    for index, cell in shuffle_pairs(len(references), cells, rng):
        reference = references[index]
        box = fit_in_cell(cell, height=reference.height, width=reference.width)
        placements.append(Placement(reference=len(kept), box=box, cell=cell))
        kept.append(reference)
    return compose_canvas(kept, placements, height=height, width=width), rng


def _check_case(
    case: dict[str, Any], references: list[Reference], tensors: Mapping[str, Tensor]
) -> Iterator[Row]:
    name, height, width, seed = (case[key] for key in ("name", "height", "width", "seed"))
    canvas, rng = compose_as_officially(references, height=height, width=width, seed=seed)
    golden = Image.open(io.BytesIO(tensors[f"{name}.canvas_png"].numpy().tobytes()))
    yield compare(FILE, name, "canvas", canvas.image, torch.from_numpy(np.array(golden)), 0.0)
    latent_mask = to_latent_mask(canvas.mask[None])[0]
    yield compare(FILE, name, "latent mask", latent_mask, tensors[f"{name}.latent_mask"], 0.0)
    yield _check_placements(case, canvas, references)
    yield verdict(TABLE, name, "random draws", holds=rng.random() == case["next_random_float"])
    if len(references) <= OFFICIAL_MAX_REFERENCES:
        sizes = [(reference.height, reference.width) for reference in references]
        ours = arrange(sizes, height=height, width=width, seed=seed)
        boxes = [(placement.box, placement.cell) for placement in ours]
        same = boxes == [(placement.box, placement.cell) for placement in canvas.placements]
        yield verdict(TABLE, name, "arrange", holds=same)


def _check_placements(case: dict[str, Any], canvas: Canvas, references: list[Reference]) -> Row:
    ours: list[int] = []
    for placement in canvas.placements:
        index = references.index(canvas.references[placement.reference])
        ours += [index, *_corners(placement.cell), *_sides(placement.box)]
    golden: list[int] = []
    for entry in case["placements"]:
        (left, top, *_), (dx, dy) = entry["block"], entry["offset"]
        golden += [entry["reference"], *entry["block"], left + dx, top + dy, *entry["new_size"]]
    return equal(TABLE, case["name"], "placements", ours, golden)


def _corners(box: Box | None) -> tuple[int, int, int, int]:
    assert box is not None
    return box.x, box.y, box.right, box.bottom


def _sides(box: Box) -> tuple[int, int, int, int]:
    return box.x, box.y, box.width, box.height


def _check_failure(failure: dict[str, Any]) -> Row:
    """What the official code cannot resize must be refused by ours, too."""
    width, height = failure["image_size"]
    try:
        arrange([(height, width)], height=failure["height"], width=failure["width"])
    except ShapeError:
        return verdict(TABLE, failure["what"], "is refused", holds=True)
    return verdict(TABLE, failure["what"], "is refused", holds=False)
