"""Between references and canvas: pictures that differ a little from the given ones."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io

from ..magref_core.canvas.decorrelate import MAX_BLUR, MAX_CROP, Decorrelation, Flip, decorrelate
from .preview import MAX_SEED
from .types import References


class DecorrelateReferences(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefDecorrelateReferences",
            display_name="MAGREF Decorrelate References",
            category="MAGREF/references",
            description="Mirrors, crops and blurs the pictures a little, so that the video cannot repeat "
            "their very pixels: against subjects that look pasted in. An experiment: likeness may fade.",
            search_aliases=["magref", "copy-paste", "augment", "flip", "crop", "blur"],
            inputs=[
                References.Input(
                    "references", tooltip="From MAGREF Load References or MAGREF Auto Mask Subject."
                ),
                io.Combo.Input(
                    "flip",
                    options=list(get_args(Flip)),
                    default="random",
                    tooltip="Mirrors left and right: no picture, each by a coin that the seed throws, or "
                    "all. Writing on a shirt turns round as well.",
                ),
                io.Float.Input(
                    "crop",
                    default=5.0,
                    min=0.0,
                    max=MAX_CROP,
                    step=1.0,
                    tooltip="At most so many per cent of each side are cut off, where by the seed.",
                ),
                io.Float.Input(
                    "blur",
                    default=0.5,
                    min=0.0,
                    max=MAX_BLUR,
                    step=0.1,
                    tooltip="Deviation of the blur in per cent of the longer side: 0.5 are 5 pixels of 1000.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Of what is mirrored and where is cut; the same seed gives the same pictures.",
                ),
            ],
            outputs=[References.Output(id="references", display_name="references")],
        )

    @classmethod
    def execute(cls, references, flip, crop, blur, seed) -> io.NodeOutput:
        change = Decorrelation(flip=flip, crop=crop, blur=blur, seed=seed)
        changed = (decorrelate(each, change, number=number) for number, each in enumerate(references))
        return io.NodeOutput(tuple(changed))
