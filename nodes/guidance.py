"""Step 4: the canvas and its mask become the 20 channels beside the noise, and what CLIP vision sees."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io

from ..magref_core.canvas.findings import names_missing
from ..magref_core.canvas.masks import mask_channels, to_latent_mask
from ..magref_core.errors import ShapeError
from ..magref_core.latents import encode_canvas
from ..magref_core.sizes import check_num_frames
from . import host
from .notices import show_notices
from .preview import grave_sentences
from .subject_places import canvas_values
from .types import MagrefCanvas

MAX_LENGTH = 1025


class ApplyMaskedGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefApplyMaskedGuidance",
            display_name="MAGREF Apply Masked Guidance",
            category="MAGREF/guidance",
            description="Gives the prompt its canvas: the subjects' latents, the mask of where they are, "
            "and the image encoder's view of the whole canvas. Serves MAGREF models loaded by any loader.",
            search_aliases=["magref", "masked guidance", "subject to video", "reference video"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The prompt: what the subjects do, and where."),
                io.Conditioning.Input(
                    "negative", tooltip="What should not be seen. It gets the same canvas."
                ),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE: wan_2.1_vae.safetensors."),
                io.ClipVision.Input(
                    "clip_vision", tooltip="CLIP ViT-H, 1280 wide: clip_vision_h.safetensors."
                ),
                MagrefCanvas.Input(
                    "canvas", tooltip="From MAGREF Build Masked Canvas; its size is the video's."
                ),
                io.Int.Input(
                    "length",
                    default=81,
                    min=1,
                    max=MAX_LENGTH,
                    step=4,
                    tooltip="Frames that are generated: a multiple of 4 plus 1. MAGREF was trained on 81. "
                    "The first 4 belong to the canvas and are dropped by MAGREF Decode Video: 81 become 77.",
                ),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    optional=True,
                    advanced=True,
                    tooltip="The text of the prompt once more, to be told which subjects it does not name; "
                    "empty for no such check. It changes nothing else.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(id="positive", display_name="positive"),
                io.Conditioning.Output(id="negative", display_name="negative"),
                io.Latent.Output(
                    id="latent", display_name="latent", tooltip="Empty, in the size of the video."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, length: int | None) -> bool | str:
        try:
            if length is not None:  # None: the value comes over a link
                check_length(length)
        except ShapeError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, positive, negative, vae, clip_vision, canvas, length, prompt="") -> io.NodeOutput:
        check_length(length)  # a value that came over a link has not been seen before
        show_notices(grave_sentences(names_missing(canvas.references, prompt)), cls.hidden)
        host.check_vae(vae)
        bar = comfy.utils.ProgressBar(2)
        seen = host.see_canvas(clip_vision, canvas)
        bar.update(1)
        canvas_latents = encode_canvas(canvas.pixels(), length, lambda video: host.encode_with(vae, video))
        bar.update(1)
        mask = mask_channels(to_latent_mask(canvas.mask[None].float()), length)
        latent = torch.zeros_like(canvas_latents, device=comfy.model_management.intermediate_device())
        places = canvas_values(canvas)
        return io.NodeOutput(
            host.attach_guidance(positive, canvas_latents, mask, seen, places),
            host.attach_guidance(negative, canvas_latents, mask, seen, places),
            {"samples": latent},
        )


def check_length(length: int) -> None:
    """Refuse a number of frames that the VAE or the machine cannot take.

    Raises:
        ShapeError: it is not 4 n + 1, or above 1025.
    """
    if length > MAX_LENGTH:
        raise ShapeError(
            f"length is {length} frames, but at most {MAX_LENGTH} can be generated at once: use fewer"
        )
    check_num_frames(length)
