"""What a conditioning says of its subjects: under which names, and where on the canvas they are."""

from __future__ import annotations

from typing import Any

from ..magref_core.canvas.compose import Canvas
from ..magref_core.subjects.mentions import subjects_of
from ..magref_core.subjects.regions import regions_of

BINDING = "magref_binding"
"""Under this name a conditioning carries its `Binding`."""

CANVAS = "magref_canvas"
"""Under this name it carries where on the canvas its subjects are; see `canvas_values`."""


def canvas_values(canvas: Canvas) -> dict[str, Any]:
    """What a conditioning carries of a canvas: names and shares, in types that any file can hold."""
    if not canvas.references:
        return {}
    subjects = subjects_of(canvas.references)
    regions = regions_of(canvas, subjects)
    names = [subject.name for subject in subjects]
    return {CANVAS: {"names": names, "boxes": regions.boxes, "shown": regions.shown}}
