"""From settings to canvas and report: the same for the node and for the route."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..magref_core.canvas.compose import Canvas, MaskShape, compose_canvas
from ..magref_core.canvas.findings import Finding
from ..magref_core.canvas.layout import check_placements_text
from ..magref_core.canvas.placing import LayoutOrder, place_references
from ..magref_core.canvas.references import Reference
from ..magref_core.canvas.report import Report, make_report
from ..magref_core.canvas.views import draw_views
from ..magref_core.errors import MagrefError, ShapeError
from ..magref_core.segmentation.cascade_faces import cascade_finder
from ..magref_core.sizes import check_video_size
from .pictures import save_reference, save_temp

MAX_SIDE = 4096
MAX_SEED = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True, slots=True)
class CanvasSettings:
    """What MAGREF Build Masked Canvas is given beside the references."""

    width: int = 832
    height: int = 480
    order: LayoutOrder = "official"
    layout_seed: int = 0
    mask_shape: MaskShape = "rectangle"
    background: str = "#ffffff"
    """As #rrggbb."""
    placements: str = ""
    """JSON; empty for the layout of the order."""


def build_canvas(
    references: Sequence[Reference],
    settings: CanvasSettings,
    on_progress: Callable[[], None] = lambda: None,
) -> Canvas:
    """Place the references and paste them.

    Args:
        references: in their order.
        settings: of the canvas.
        on_progress: called after every reference; what it raises ends the work.

    Raises:
        MagrefError: a setting cannot be used, or does not fit the references.
        ShapeError: the size is off the grid, or something does not fit into it.
    """
    height, width = settings.height, settings.width
    check_size(width, height)  # a value that came over a link has not been seen before
    placed = place_references(
        references,
        height=height,
        width=width,
        order=settings.order,
        seed=settings.layout_seed,
        placements=settings.placements,
    )
    return compose_canvas(
        references,
        placed,
        height=height,
        width=width,
        background=parse_colour(settings.background),
        mask_shape=settings.mask_shape,
        on_progress=on_progress,
    )


def report_on(canvas: Canvas, prompt: str = "") -> Report:
    """The report, with the heights of faces where this machine can find any."""
    return make_report(canvas, prompt=prompt, find_face=cascade_finder())


def shown_on_page(
    canvas: Canvas, report: Report, on_progress: Callable[[], None] = lambda: None
) -> dict[str, list[Any]]:
    """What the page is told after a run, beside the ordinary preview.

    Args:
        canvas: as composed.
        report: on it.
        on_progress: called after every reference; what it raises ends the work.
    """
    pictures: list[dict[str, Any]] = []
    for reference in canvas.references:
        pictures.append(save_reference(reference))
        on_progress()
    return {
        "magref_report": [report.as_object()],
        "magref_views": [
            {"kind": kind, **save_temp(picture)} for kind, picture in draw_views(canvas).items()
        ],
        "magref_references": pictures,
    }


def grave_sentences(findings: Sequence[Finding]) -> list[str]:
    """The findings that are more than information, as sentences for the user."""
    return [finding.sentence for finding in findings if finding.severity != "info"]


def check_constants(
    *, width: int | None, height: int | None, background: str | None, placements: str | None
) -> None:
    """Refuse what can be refused before anything runs; None: the value comes over a link.

    Raises:
        MagrefError: the colour is none, or the placements are no such JSON.
        ShapeError: the size is off the grid, or a box is empty or reaches over the edge of the canvas.
    """
    if width is not None and height is not None:
        check_size(width, height)
        if placements is not None and placements.strip():
            check_placements_text(placements, height=height, width=width)
    if background is not None:
        parse_colour(background)


def check_size(width: int, height: int) -> None:
    """Refuse a size that the model or the machine cannot take.

    Raises:
        ShapeError: a side is no multiple of 16, or longer than 4096.
    """
    if max(width, height) > MAX_SIDE:
        raise ShapeError(
            f"the video is {width} x {height} pixels, but no side may be over {MAX_SIDE}: use a smaller size"
        )
    check_video_size(height=height, width=width)


def parse_colour(text: str) -> tuple[int, int, int]:
    """ "#rrggbb" -> red, green and blue in 0..255.

    Raises:
        MagrefError: the text is not of that form.
    """
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text.strip()):
        raise MagrefError(
            f"the background is {text!r}, but a colour as #rrggbb is needed: use #ffffff for white"
        )
    red, green, blue = bytes.fromhex(text.strip()[1:])
    return red, green, blue
