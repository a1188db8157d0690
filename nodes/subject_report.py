"""After the video: who is in it, and is everybody who they should be?"""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..magref_core.evaluation.sheet import draw_sheet
from ..magref_core.evaluation.sightings import subjects_of
from . import host
from .looking import METHODS, Look, look_at, pixels_of
from .notices import show_notices
from .types import MagrefCanvas, References


def look_inputs() -> list[io.Input]:
    """How a video is looked at."""
    return [
        io.Combo.Input(
            "method",
            options=list(METHODS),
            default="auto",
            tooltip="How subjects are told. faces: insightface, for people. encoder: the image encoder that "
            "is connected, best DINO. colours: the pictures themselves, for drawings; needs no model. auto: "
            "the encoder if connected, else faces of people where insightface is installed, else colours.",
        ),
        io.String.Input(
            "order",
            default="",
            tooltip="Names of the subjects from left to right as the video should begin, with commas "
            "between. Without it a swap of places cannot be seen.",
        ),
        io.Int.Input(
            "num_frames",
            default=9,
            min=1,
            max=1000,
            advanced=True,
            tooltip="Frames that are looked at, spread over the video.",
        ),
        io.ClipVision.Input(
            "encoder",
            optional=True,
            tooltip="For the method encoder: DINO or CLIP from Load CLIP Vision.",
        ),
    ]


class SubjectReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefSubjectReport",
            display_name="MAGREF Subject Report",
            category="MAGREF/evaluation",
            description="Looks for each subject in the video and says whether it is there, mixed "
            "with another, in the place of another or missing; with its likeness over time as a sheet and "
            "as JSON.",
            search_aliases=["magref", "identity", "similarity", "score", "evaluate", "face similarity"],
            inputs=[
                io.Image.Input("images", tooltip="The frames, from MAGREF Decode Video."),
                MagrefCanvas.Input("canvas", tooltip="From MAGREF Build Masked Canvas: whom to look for."),
                *look_inputs(),
                References.Input(
                    "references",
                    optional=True,
                    tooltip="Other pictures of the same subjects in place of those on the canvas.",
                ),
            ],
            outputs=[
                io.Image.Output(id="sheet", display_name="sheet", tooltip="The report as a picture."),
                io.String.Output(id="report", display_name="report", tooltip="The report as JSON."),
                io.Float.Output(
                    id="score", display_name="score", tooltip="0 to 1, for comparing takes of one scene."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, images, canvas, method, order, num_frames, encoder=None, references=None
    ) -> io.NodeOutput:
        look = Look(method=method, order=order, num_frames=num_frames, encoder=encoder)
        given = canvas.references if references is None else references
        report = look_at(images, given, look, canvas)
        sheet = draw_sheet(report, pixels_of(images), subjects_of(given))
        picture = host.image_from_picture(torch.as_tensor(sheet))
        show_notices(report.findings, cls.hidden)
        shown = ui.PreviewImage(picture, cls=cls)
        return io.NodeOutput(picture, report.as_json(), report.score, ui=shown)
