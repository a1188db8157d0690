"""Step 3: references are laid out on the canvas that the model sees as the first frame."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io, ui

from ..magref_core.canvas.compose import MaskShape
from ..magref_core.canvas.placing import LayoutOrder
from ..magref_core.errors import MagrefError
from . import host
from .notices import log_warnings
from .preview import (
    MAX_SEED,
    MAX_SIDE,
    CanvasSettings,
    build_canvas,
    check_constants,
    grave_sentences,
    report_on,
    shown_on_page,
)
from .types import MagrefCanvas, References


class BuildMaskedCanvas(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefBuildMaskedCanvas",
            display_name="MAGREF Build Masked Canvas",
            category="MAGREF/canvas",
            description="Pastes the references side by side on a blank canvas in the size of the video, "
            "and marks where they are. The layout is the official one, repeatable by its seed, one that "
            "fits the pictures, or your own boxes. The report says what the model will see of each subject.",
            search_aliases=["magref", "composite", "collage", "layout", "canvas", "preview"],
            inputs=[
                References.Input(
                    "references", tooltip="From MAGREF Load References or MAGREF Auto Mask Subject."
                ),
                *_size(),
                io.Combo.Input(
                    "order",
                    options=list(get_args(LayoutOrder)),
                    default="official",
                    tooltip="official shuffles references and cells by layout_seed, as MAGREF was trained; "
                    "reading fills the cells row by row in the order of the list; fitted cuts cells by the "
                    "shapes and kinds of the pictures, so that each is as large as can be; grouped is "
                    "official, with the photos of one subject in one cell; behind is official, with the "
                    "background behind the others, as large as the canvas allows.",
                ),
                io.Int.Input(
                    "layout_seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Seed of the shuffle. The same seed gives the same canvas; the value equals "
                    "the one that is given to Python's random.seed before the official program.",
                ),
                io.Combo.Input(
                    "mask_shape",
                    options=list(get_args(MaskShape)),
                    default="rectangle",
                    tooltip="What the mask marks: the whole rectangle of each picture (official), or only "
                    "its cut-out, where one is known.",
                ),
                *_own_layout(),
            ],
            outputs=[
                MagrefCanvas.Output(id="canvas", display_name="canvas"),
                io.Image.Output(id="image", display_name="image", tooltip="The canvas as the model sees it."),
                io.Mask.Output(id="mask", display_name="mask", tooltip="1 on a reference, 0 on the blank."),
                io.String.Output(
                    id="report",
                    display_name="report",
                    tooltip="JSON: what of each subject shows, in pixels, latent cells and tokens, and what "
                    "should be known before sampling.",
                ),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(
        cls, width: int | None, height: int | None, background: str | None, placements: str | None = None
    ) -> bool | str:
        try:
            check_constants(width=width, height=height, background=background, placements=placements)
        except MagrefError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, references, width, height, order, layout_seed, mask_shape, background, placements=""
    ) -> io.NodeOutput:
        settings = CanvasSettings(
            width=width,
            height=height,
            order=order,
            layout_seed=layout_seed,
            mask_shape=mask_shape,
            background=background,
            placements=placements,
        )
        on_progress = host.progress(2 * len(references))
        canvas = build_canvas(references, settings, on_progress)
        report = report_on(canvas)
        image, mask = host.canvas_to_host(canvas)
        log_warnings(grave_sentences(report.findings))  # the editor's panel shows them on the node
        shown = ui.PreviewImage(image, cls=cls).as_dict() | shown_on_page(canvas, report, on_progress)
        return io.NodeOutput(canvas, image, mask, report.as_json(), ui=shown)


def _size() -> list[io.Input]:
    """The size of the video."""
    return [
        io.Int.Input(
            "width",
            default=832,
            min=16,
            max=MAX_SIDE,
            step=16,
            tooltip="Width of the video in pixels, a multiple of 16. MAGREF was trained on 832 x 480.",
        ),
        io.Int.Input(
            "height",
            default=480,
            min=16,
            max=MAX_SIDE,
            step=16,
            tooltip="Height of the video in pixels, a multiple of 16.",
        ),
    ]


def _own_layout() -> list[io.Input]:
    """What departs from the trained canvas."""
    return [
        io.String.Input(
            "background",
            default="#ffffff",
            advanced=True,
            tooltip="Colour of the blank canvas as #rrggbb. MAGREF was trained on white.",
        ),
        io.String.Input(
            "placements",
            default="",
            multiline=True,
            # Where the page cannot load the editor there is only a socket, and the layout must do without.
            optional=True,
            advanced=True,
            placeholder='{"version": 1, "placements": [{"reference": "alice", "x": 0, "y": 0, '
            '"width": 416, "height": 480}]}',
            tooltip="Boxes of your own in pixels, one per reference, pasted in this order; "
            "empty for the layout above.",
            extra_dict={"widgetType": "MAGREF_CANVAS_EDITOR"},
        ),
    ]
