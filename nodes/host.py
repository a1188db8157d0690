"""Between the host's types and the core's tensors: the only place that knows ranges, layouts and polarity.

The host: IMAGE is (B, H, W, C) in [0, 1], MASK is (B, H, W) with 1 on what is selected, LATENT is a dict of
(B, 16, T, h, w), `concat_mask` is 0 where something is given, the VAE takes and gives frames in [0, 1].
The core: pictures are uint8, the canvas video is (1, 3, F, H, W) in [-1, 1], masks are 1 on a reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.clip_vision
import comfy.ldm.wan.vae
import comfy.model_management
import comfy.utils
import node_helpers
import torch
from torch import Tensor

from ..magref_core.canvas.clip_view import clip_pixels
from ..magref_core.canvas.compose import Canvas
from ..magref_core.errors import MagrefError
from ..magref_core.segmentation.prompts import Box
from ..magref_core.sizes import LATENT_CHANNELS

CLIP_WIDTH = 1280
"""Channels of the image tokens that the DiT was trained with: CLIP ViT-H/14."""

DEMO_MARK = "magref_demo"
"""In the config of the small demo model's image encoder, which is narrower."""


def progress(total: int) -> Callable[[], None]:
    """A call for each of `total` steps: it moves the node's bar, and raises where the user has cancelled."""
    bar = comfy.utils.ProgressBar(total)

    def step() -> None:
        bar.update(1)
        comfy.model_management.throw_exception_if_processing_interrupted()

    return step


def picture_from_image(image: Tensor) -> tuple[Tensor, Tensor | None]:
    """IMAGE (1, H, W, 3 or 4) -> picture (H, W, 3) uint8 and alpha (H, W) uint8, 255 on the subject, or None.

    The inverse of what Load Image does to an 8-bit file.
    """
    levels = (image[0].float().cpu() * 255).round().clamp(0, 255).to(torch.uint8)
    alpha = levels[..., 3].contiguous() if levels.shape[-1] == 4 else None
    return levels[..., :3].contiguous(), alpha


def flat_mask(mask: Tensor) -> Tensor:
    """MASK (1, H, W) or (H, W) -> (H, W) float on the CPU; a batch stays one and is refused later."""
    return (mask[0] if mask.ndim == 3 and len(mask) == 1 else mask).float().cpu()


def box_from(value: Any) -> Box | None:
    """BOUNDING_BOX -> the first box of the first picture; None if there is none.

    Raises:
        MagrefError: it holds anything but boxes, or a box without width and height.
    """
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    if value is None or value == []:
        return None
    try:
        x, y, width, height = (float(dict(value)[key]) for key in ("x", "y", "width", "height"))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise MagrefError(
            "what is connected to box is no bounding box: connect the boxes of a detector, or leave it"
        ) from error
    return Box(x=x, y=y, width=width, height=height)


def image_from_picture(picture: Tensor) -> Tensor:
    """(H, W, 3) uint8 -> IMAGE (1, H, W, 3)."""
    return picture[None].float() / 255


def canvas_to_host(canvas: Canvas) -> tuple[Tensor, Tensor]:
    """The canvas as IMAGE (1, H, W, 3) and its mask as MASK (1, H, W), 1 on a reference."""
    return image_from_picture(canvas.image), canvas.mask[None].float()


def encode_with(vae: Any, video: Tensor) -> Tensor:
    """Run the host's VAE on one video.

    Args:
        vae: the host's VAE object.
        video: (1, 3, F, H, W) in [-1, 1].

    Returns:
        (1, 16, T, h, w), raw: without the latent statistics, which the model applies itself.
    """
    # 4-D on purpose: with a batch axis the host crops the frames to a multiple of 8.
    frames = (video[0].permute(1, 2, 3, 0) + 1).div_(2)  # (F, H, W, 3)
    return vae.encode(frames)


def decode_with(vae: Any, latents: Tensor) -> Tensor:
    """Run the host's VAE on raw latents (B, 16, T, h, w); gives (B, 3, F, H, W) in [0, 1]."""
    return vae.decode(latents).permute(0, 4, 1, 2, 3)


def image_from_video(video: Tensor) -> Tensor:
    """(B, 3, F, H, W) in [0, 1] -> IMAGE (B F, H, W, 3)."""
    return video.permute(0, 2, 3, 4, 1).flatten(0, 1)


def check_vae(vae: Any) -> None:
    """Refuse a VAE whose latents the DiT does not know.

    Raises:
        MagrefError: it is not the Wan 2.1 VAE.
    """
    model = getattr(vae, "first_stage_model", None)
    if isinstance(model, comfy.ldm.wan.vae.WanVAE) and vae.latent_channels == LATENT_CHANNELS:
        return
    raise MagrefError(
        f"the VAE given is {type(model).__name__} with {getattr(vae, 'latent_channels', '?')} latent "
        f"channels, but MAGREF needs the Wan 2.1 VAE with {LATENT_CHANNELS}: choose wan_2.1_vae.safetensors "
        "in Load VAE"
    )


def see_canvas(clip_vision: comfy.clip_vision.ClipVisionModel, canvas: Canvas) -> comfy.clip_vision.Output:
    """What CLIP vision tells the DiT of the canvas, preprocessed as officially.

    The host's own preprocessing antialiases, rounds to 8 bits and crops by default; here the whole canvas is
    stretched to the square, so no subject is cut off.

    Raises:
        MagrefError: the encoder is not the one that MAGREF, or its small demo model, was trained with.
    """
    width = clip_vision.config.get("hidden_size")
    fits = width == CLIP_WIDTH or DEMO_MARK in clip_vision.config
    if not fits or clip_vision.model_type != "clip_vision_model":
        raise MagrefError(
            f"the CLIP vision model given is {clip_vision.model_type} with {width} channels, but MAGREF "
            f"needs ViT-H with {CLIP_WIDTH}: choose clip_vision_h.safetensors in Load CLIP Vision"
        )
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    pixels = clip_pixels(canvas.pixels()[None], size=clip_vision.image_size).to(clip_vision.load_device)
    # The last block is left out, as officially; nothing else of the encoder's answer reaches a Wan model.
    hidden = clip_vision.model(pixel_values=pixels, intermediate_output=-2)[1]
    seen = comfy.clip_vision.Output()
    seen["penultimate_hidden_states"] = hidden.to(comfy.model_management.intermediate_device())
    return seen


def attach_guidance(
    conditioning: Any,
    canvas_latents: Tensor,
    mask_channels: Tensor,
    seen: comfy.clip_vision.Output,
    places: dict[str, Any] | None = None,
) -> Any:
    """A copy of the CONDITIONING that carries the masked guidance.

    Args:
        conditioning: the host's list of pairs; left as it is.
        canvas_latents: (1, 16, T, h, w), raw.
        mask_channels: (1, 4, T, h, w) in {0, 1}; 1 on a reference. The host inverts what it is given.
        seen: what CLIP vision says of the canvas.
        places: where on the canvas the subjects are, for their controls.
    """
    values = {
        "concat_latent_image": canvas_latents,
        "concat_mask": 1 - mask_channels,
        "clip_vision_output": seen,
        **(places or {}),
    }
    return node_helpers.conditioning_set_values(conditioning, values)


def leave_references_out(conditioning: Any, latent_format: Any) -> Any:
    """A copy of the CONDITIONING without its references: what a model learns that is trained without them.

    Canvas latents are 0 once normalised, nothing is marked, image tokens are 0; the text stays.

    Args:
        conditioning: the host's list of pairs, each with a canvas; left as it is.
        latent_format: of the model, which knows the raw latents that are normalised to 0.
    """
    left: list[Any] = []
    for text, extras in conditioning:
        canvas_latents = extras["concat_latent_image"]
        nothing = latent_format.process_out(torch.zeros_like(canvas_latents))
        values = {"concat_latent_image": nothing}
        if (mask := extras.get("concat_mask")) is not None:
            values["concat_mask"] = torch.ones_like(mask)  # the host's polarity: 0 is given
        if (seen := extras.get("clip_vision_output")) is not None:
            unseen = comfy.clip_vision.Output()
            unseen["penultimate_hidden_states"] = torch.zeros_like(seen.penultimate_hidden_states)
            values["clip_vision_output"] = unseen
        left += node_helpers.conditioning_set_values([[text, extras]], values)
    return left
