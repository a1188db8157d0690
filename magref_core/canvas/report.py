"""The report on a canvas: what of each subject the model will see, and what a user should know of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from ..sizes import PIXEL_STRIDE
from .compose import Canvas
from .findings import Finding, find_all
from .layout import Box
from .measures import FaceFinder, Measured, measure

VERSION = 1
"""Of the JSON object; a field that is added leaves it as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All numbers and findings on one canvas."""

    width: int
    """Of the canvas, in pixels."""
    height: int
    """Of the canvas, in pixels."""
    subjects: tuple[Measured, ...]
    """One for each reference, in their order."""
    findings: tuple[Finding, ...]
    """The gravest first."""

    def as_object(self) -> dict[str, Any]:
        """The report in types that JSON knows; docs/preview.md describes every field."""
        return {
            "version": VERSION,
            "width": self.width,
            "height": self.height,
            "latent": {"width": self.width // PIXEL_STRIDE, "height": self.height // PIXEL_STRIDE},
            "subjects": [_subject(one) for one in self.subjects],
            "findings": [asdict(finding) for finding in self.findings],
        }

    def as_json(self) -> str:
        """The same as text."""
        return json.dumps(self.as_object(), ensure_ascii=False)


def make_report(canvas: Canvas, *, prompt: str = "", find_face: FaceFinder | None = None) -> Report:
    """Measure a canvas and judge it.

    Args:
        canvas: as composed.
        prompt: what the text encoder will be given; empty: not known, and names are not looked for.
        find_face: asked for the pictures of persons; None if faces cannot be found here.

    Returns:
        The report.
    """
    measured = measure(canvas, find_face)
    return Report(
        width=canvas.width,
        height=canvas.height,
        subjects=measured,
        findings=find_all(measured, height=canvas.height, width=canvas.width, prompt=prompt),
    )


def _subject(one: Measured) -> dict[str, Any]:
    cell = one.placement.cell
    return {
        "reference": one.reference.name,
        "subject": one.subject,
        "kind": one.reference.kind,
        "box": _box(one.placement.box),
        "cell": None if cell is None else _box(cell),
        "picture": {"width": one.reference.width, "height": one.reference.height},
        "scale": round(one.scale, 3),
        "pixels": one.pixels,
        "latent_cells": len(one.latent_cells),
        "tokens": one.tokens,
        "face_height": None if one.face_height is None else round(one.face_height, 1),
    }


def _box(box: Box) -> dict[str, int]:
    return {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
