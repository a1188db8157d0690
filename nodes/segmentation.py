"""Step 2: references get cut-outs, so that what surrounds a subject in its picture stays out of the video."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
from comfy_api.latest import io, ui

from ..magref_core.canvas.compose import compose_canvas
from ..magref_core.canvas.layout import arrange, grid_for
from ..magref_core.canvas.references import Reference
from ..magref_core.errors import MagrefError
from ..magref_core.segmentation.cleanup import Cleanup
from ..magref_core.segmentation.cutout import cut_out
from ..magref_core.segmentation.faces import FACE_CROPS
from ..magref_core.segmentation.given import GivenMask
from ..magref_core.segmentation.prompts import POINTS_EXAMPLE, read_points
from . import host
from .notices import show_notices
from .segmenters import AUTO, Choice, sam_names, segmenter_for
from .types import References

METHODS = (AUTO, "transparency", "grabcut", "segment_anything", "mask")
PROMPTS = ("subject", "automatic")
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
                    tooltip="auto: the file's transparency where it has one, else segment_anything where it "
                    "is installed, else grabcut; the node says which. transparency: only that. grabcut: "
                    "edges and colours, guided by the kind. segment_anything: a model of models/sams. "
                    "mask: the MASK that is connected here.",
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
                *_cleanup_inputs(),
                *_prompt_inputs(),
                *_sockets(),
            ],
            outputs=[References.Output(id="references", display_name="references")],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls,
        references,
        method,
        subjects,
        grow,
        feather,
        fill_holes=False,
        largest_part=False,
        despill=False,
        sam_model=AUTO,
        sam_prompt="subject",
        points="",
        face_crop="whole",
        face_number=1,
        mask=None,
        box=None,
    ) -> io.NodeOutput:
        chosen = choose(references, subjects)
        choice = Choice(
            method=method,
            sam_model=sam_model,
            sam_prompt=sam_prompt,
            points=read_points(points),
            box=host.box_from(box),
            face_crop=face_crop,
            face_number=face_number,
        )
        segmenter, used = _segmenter(choice, mask, [r for r in references if r.name in chosen])
        cleanup = Cleanup(
            keep_largest=largest_part, fill_holes=fill_holes, grow=grow, feather=feather, despill=despill
        )
        bar = comfy.utils.ProgressBar(len(references))
        result, warnings = [], []
        for reference in references:
            comfy.model_management.throw_exception_if_processing_interrupted()
            if reference.name in chosen:
                reference, found = cut_out(reference, segmenter, cleanup=cleanup)
                warnings += found or _stays_whole(reference)
            result.append(reference)
            bar.update(1)
        kept = [r.name for r in references if r.name in chosen and r.alpha is not None]
        facts = [f"kept as transparent as its file is: {', '.join(kept)}"] if kept else []
        facts += [f"cut out by {each.name}: {', '.join(each.done)}" for each in used if each.done]
        show_notices(warnings, cls.hidden, facts=facts if method == AUTO else ())
        shown = ui.PreviewImage(host.image_from_picture(_overview(result)), cls=cls)
        return io.NodeOutput(tuple(result), ui=shown)


def _cleanup_inputs() -> list[io.Input]:
    """What is mended after cutting out."""
    return [
        io.Boolean.Input(
            "fill_holes",
            default=False,
            advanced=True,
            optional=True,
            tooltip="Keep what the subject encloses on all sides.",
        ),
        io.Boolean.Input(
            "largest_part",
            default=False,
            advanced=True,
            optional=True,
            tooltip="Keep only the largest connected part of each cut-out.",
        ),
        io.Boolean.Input(
            "despill",
            default=False,
            advanced=True,
            optional=True,
            tooltip="Take the colour of the former surroundings out of the edge.",
        ),
    ]


def _prompt_inputs() -> list[io.Input]:
    """Which thing is meant, for back-ends that ask."""
    return [
        io.Combo.Input(
            "sam_model",
            options=[AUTO, *sam_names()],
            default=AUTO,
            advanced=True,
            optional=True,
            tooltip="For segment_anything: a .pth file in models/sams; auto takes the largest sam_vit_ file.",
        ),
        io.Combo.Input(
            "sam_prompt",
            options=list(PROMPTS),
            default="subject",
            advanced=True,
            optional=True,
            tooltip="For segment_anything without points and box. subject: the face of a person, else what "
            "grabcut finds, tells where to look. automatic: all things are found and the best "
            "placed is taken.",
        ),
        io.String.Input(
            "points",
            default="",
            advanced=True,
            optional=True,
            placeholder=POINTS_EXAMPLE,
            tooltip="For segment_anything: x,y in pixels of the picture, semicolons between, an exclamation "
            "mark before a point beside the subject; name the one subject above.",
        ),
        io.Combo.Input(
            "face_crop",
            options=list(FACE_CROPS),
            default="whole",
            advanced=True,
            optional=True,
            tooltip="How much of a person to keep around the face, which insightface finds: face, head, "
            "person (as far as an arm reaches) or whole (all that is cut out; no face is looked for).",
        ),
        io.Int.Input(
            "face_number",
            default=1,
            min=1,
            max=16,
            advanced=True,
            optional=True,
            tooltip="Which face: 1 is the largest in its picture, 2 the next.",
        ),
    ]


def _sockets() -> list[io.Input]:
    """What other nodes say of the one subject that is named."""
    return [
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="For method mask: 1 on the subject, in the size of its picture; name the one "
            "subject above.",
        ),
        io.BoundingBox.Input(
            "box",
            optional=True,
            socketless=False,
            force_input=True,
            tooltip="For segment_anything: a box around the subject in pixels of its picture, such as the "
            "first one of a detector; name the one subject above.",
        ),
    ]


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


def _segmenter(choice: Choice, mask, wanted: list[Reference]):
    """The back-end and its parts, see `segmenter_for`."""
    chosen = sorted(reference.name for reference in wanted)
    for name, value, known in (
        ("method", choice.method, METHODS),
        ("sam_prompt", choice.sam_prompt, PROMPTS),
        ("face_crop", choice.face_crop, FACE_CROPS),
    ):
        if value not in known:  # over a link, where the host does not look
            raise MagrefError(f"the {name} is {value!r}, which is unknown: choose one of {', '.join(known)}")
    if (choice.points or choice.box) and len(chosen) > 1:
        raise MagrefError(
            f"points or a box are given, but they would be used for {', '.join(chosen)}: name one of "
            "them in subjects"
        )
    if choice.method == "mask":
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
                f"one mask is connected, but it would cut out {', '.join(chosen)}: name one of them "
                "in subjects"
            )
        return GivenMask(mask=host.flat_mask(mask)), []
    return segmenter_for(choice, wanted)


def _stays_whole(reference: Reference) -> tuple[str, ...]:
    """A warning for a background that was named and yet was not cut out."""
    if reference.kind != "background" or reference.alpha is not None:
        return ()
    return (
        f"'{reference.name}' is a background, so it stays whole: make it an object to have it cut out, or "
        "connect a mask",
    )


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
