"""Step 3: references are laid out on the canvas that the model sees as the first frame."""

from __future__ import annotations

import re
from typing import get_args

from comfy_api.latest import io, ui

from ..magref_core.canvas.compose import MaskShape, compose_canvas
from ..magref_core.canvas.layout import Order, arrange, placements_from_json
from ..magref_core.errors import MagrefError, ShapeError
from ..magref_core.sizes import check_video_size
from . import host
from .types import MagrefCanvas, References

MAX_SIDE = 4096


class BuildMaskedCanvas(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefBuildMaskedCanvas",
            display_name="MAGREF Build Masked Canvas",
            category="MAGREF/canvas",
            description="Pastes the references side by side on a blank canvas in the size of the video, "
            "and marks where they are. The layout is the official one, repeatable by its seed, or your "
            "own boxes.",
            search_aliases=["magref", "composite", "collage", "layout", "canvas"],
            inputs=[
                References.Input(
                    "references", tooltip="From MAGREF Load References or MAGREF Auto Mask Subject."
                ),
                *_size(),
                io.Combo.Input(
                    "order",
                    options=list(get_args(Order)),
                    default="official",
                    tooltip="official shuffles references and cells by layout_seed, as MAGREF was trained; "
                    "reading fills the cells row by row in the order of the list.",
                ),
                io.Int.Input(
                    "layout_seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFF,
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
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, width: int | None, height: int | None, background: str | None) -> bool | str:
        try:
            if width is not None and height is not None:  # None: the value comes over a link
                check_size(width, height)
            if background is not None:
                parse_colour(background)
        except MagrefError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, references, width, height, order, layout_seed, mask_shape, background, placements
    ) -> io.NodeOutput:
        check_size(width, height)  # a value that came over a link has not been seen before
        names = [reference.name for reference in references]
        if placements.strip():
            placed = placements_from_json(placements, names, height=height, width=width)
        else:
            sizes = [(reference.height, reference.width) for reference in references]
            placed = arrange(sizes, height=height, width=width, seed=layout_seed, order=order, names=names)
        canvas = compose_canvas(
            references,
            placed,
            height=height,
            width=width,
            background=parse_colour(background),
            mask_shape=mask_shape,
        )
        image, mask = host.canvas_to_host(canvas)
        return io.NodeOutput(canvas, image, mask, ui=ui.PreviewImage(image, cls=cls))


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
            advanced=True,
            placeholder='{"version": 1, "placements": [{"reference": "alice", "x": 0, "y": 0, '
            '"width": 416, "height": 480}]}',
            tooltip="Boxes of your own in pixels, one per reference, pasted in this order; "
            "empty for the layout above.",
        ),
    ]


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
