"""Step 2: references get cut-outs, so that what surrounds a subject in its picture stays out of the video."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
from comfy_api.latest import io, ui

from ..magref_core.canvas.compose import compose_canvas
from ..magref_core.canvas.layout import arrange, grid_for
from ..magref_core.canvas.references import Reference
from ..magref_core.errors import MagrefError
from ..magref_core.segmentation.alpha import OwnAlpha
from ..magref_core.segmentation.cleanup import Cleanup
from ..magref_core.segmentation.cutout import Segmenter, cut_out
from ..magref_core.segmentation.given import GivenMask
from ..magref_core.segmentation.grabcut import GrabCut
from . import host
from .notices import show_notices
from .types import References

METHODS = ("auto", "transparency", "grabcut", "mask")
THUMBNAIL = 192
GREY = (96, 96, 96)


class AutoMaskSubject(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefAutoMaskSubject",
            display_name="MAGREF Auto Mask Subject",
            category="MAGREF/references",
            description="Cuts the subjects out of their pictures and shows the result. Needs no weights. "
            "Backgrounds stay whole.",
            search_aliases=["magref", "cut out", "background removal", "segmentation", "grabcut"],
            inputs=[
                References.Input(
                    "references", tooltip="From MAGREF Load References or another Auto Mask Subject."
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="auto",
                    tooltip="auto: the file's transparency where it has one, else grabcut. transparency: "
                    "only that. grabcut: separates colours, guided by the kind: head and shoulders of a "
                    "person, middle of an object. mask: the MASK that is connected here.",
                ),
                io.String.Input(
                    "subjects",
                    default="",
                    tooltip="Names of the references to cut out, with commas between; empty for all but "
                    "backgrounds and those kept whole. The others pass unchanged.",
                ),
                io.Int.Input(
                    "grow",
                    default=0,
                    min=-64,
                    max=64,
                    advanced=True,
                    tooltip="Pixels of the picture by which cut-outs grow; below 0 they shrink.",
                ),
                io.Int.Input(
                    "feather",
                    default=0,
                    min=0,
                    max=64,
                    advanced=True,
                    tooltip="Softness of the edge in pixels of the picture, 0 for as found.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="For method mask: 1 on the subject, in the size of its picture; name the one "
                    "subject above.",
                ),
            ],
            outputs=[References.Output(id="references", display_name="references")],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, references, method, subjects, grow, feather, mask=None) -> io.NodeOutput:
        chosen = choose(references, subjects)
        segmenter = _segmenter(method, mask, chosen)
        cleanup = Cleanup(grow=grow, feather=feather)
        bar = comfy.utils.ProgressBar(len(references))
        result, warnings = [], []
        for reference in references:
            comfy.model_management.throw_exception_if_processing_interrupted()
            if reference.name in chosen:
                reference, found = cut_out(reference, segmenter, cleanup=cleanup)
                warnings += found
            result.append(reference)
            bar.update(1)
        show_notices(warnings, cls.hidden)
        shown = ui.PreviewImage(host.image_from_picture(_overview(result)), cls=cls)
        return io.NodeOutput(tuple(result), ui=shown)


def choose(references: tuple[Reference, ...], subjects: str) -> set[str]:
    """The names to cut out.

    Raises:
        MagrefError: a name is not among the references.
    """
    wanted = [name.strip() for name in subjects.split(",") if name.strip()]
    names = [reference.name for reference in references]
    for name in wanted:
        if name not in names:
            raise MagrefError(f"there is no reference named {name!r}: choose among {', '.join(names)}")
    return set(wanted) or {r.name for r in references if r.kind != "background" and not r.keep_whole}


def _segmenter(method: str, mask, chosen: set[str]) -> Segmenter:
    if method == "mask":
        if mask is None:
            raise MagrefError(
                "the method is mask, but no mask is connected: connect a MASK or choose another method"
            )
        if not chosen:
            raise MagrefError(
                "one mask is connected, but all references are backgrounds or kept whole: name the one to "
                "cut out in subjects"
            )
        if len(chosen) != 1:
            raise MagrefError(
                f"one mask is connected, but it would cut out {', '.join(sorted(chosen))}: name one of them "
                "in subjects"
            )
        return GivenMask(mask=host.flat_mask(mask))
    segmenters = {"auto": OwnAlpha(fallback=GrabCut()), "transparency": OwnAlpha(), "grabcut": GrabCut()}
    if method not in segmenters:  # over a link, where the host does not look
        raise MagrefError(f"the method is {method!r}, which is unknown: choose one of {', '.join(METHODS)}")
    return segmenters[method]


def _overview(references: list[Reference]):
    """All pictures side by side on grey, (H, W, 3) uint8; grey shows what is cut away."""
    columns, rows = grid_for(len(references))
    height, width = rows * THUMBNAIL, columns * THUMBNAIL
    sizes = [_shown_size(reference) for reference in references]
    placements = arrange(
        sizes, height=height, width=width, order="reading", names=[r.name for r in references]
    )
    return compose_canvas(references, placements, height=height, width=width, background=GREY).image


def _shown_size(reference: Reference) -> tuple[int, int]:
    """Height and width, of a picture thinner than a pixel of its thumbnail as if it were wider."""
    height, width = reference.height, reference.width
    return max(height, -(-width // THUMBNAIL)), max(width, -(-height // THUMBNAIL))
