"""Small canvases for the tests of reports: plain pictures in boxes of one's choice."""

from __future__ import annotations

import torch
from torch import Tensor

from magref_core.canvas.compose import Canvas, MaskShape, compose_canvas
from magref_core.canvas.layout import Box, Placement
from magref_core.canvas.references import Kind, Reference

HEIGHT, WIDTH = 480, 832


def reference(
    name: str = "alice",
    *,
    height: int = 100,
    width: int = 100,
    kind: Kind = "object",
    alpha: Tensor | None = None,
    subject: str | None = None,
    word: str | None = None,
) -> Reference:
    """A grey picture."""
    image = torch.full((height, width, 3), 90, dtype=torch.uint8)
    return Reference(name=name, kind=kind, image=image, alpha=alpha, subject=subject, word=word)


def opaque_in(
    box: tuple[int, int, int, int], *, height: int = 100, width: int = 100, level: int = 255
) -> Tensor:
    """(height, width) uint8: an alpha that is `level` inside of x, y, right, bottom and else 0."""
    x, y, right, bottom = box
    alpha = torch.zeros(height, width, dtype=torch.uint8)
    alpha[y:bottom, x:right] = level
    return alpha


def canvas_of(
    *placed: tuple[Reference, tuple[int, int, int, int]],
    height: int = HEIGHT,
    width: int = WIDTH,
    mask_shape: MaskShape = "rectangle",
) -> Canvas:
    """A canvas of references, each with its x, y, width and height."""
    placements = [
        Placement(reference=index, box=Box(x=x, y=y, width=across, height=down))
        for index, (_, (x, y, across, down)) in enumerate(placed)
    ]
    return compose_canvas(
        [given for given, _ in placed], placements, height=height, width=width, mask_shape=mask_shape
    )
