"""Guidance by text and references, each with a scale of its own, as the host's GUIDER."""

from __future__ import annotations

import math
from typing import Any, get_args

import comfy.samplers
import torch
from comfy_api.latest import io
from torch import Tensor

from ..magref_core.canvas.compose import Canvas, compose_canvas
from ..magref_core.canvas.masks import mask_channels, to_latent_mask
from ..magref_core.errors import MagrefError
from ..magref_core.latents import encode_canvas
from ..magref_core.sampling.guidance import MAX_SCALE, Form, ReferenceGuidance, add_reference_guidance
from ..magref_core.sizes import FRAME_STRIDE, PIXEL_STRIDE
from . import host
from .checks import check_conditioning
from .subject_controls import without_controls

ZEROS, BLANK = LEFT_OUT = ("zeros", "blank canvas")


class ReferenceGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefReferenceGuider",
            display_name="MAGREF Reference Guider",
            category="MAGREF/sampling",
            description="Guides by the text and by the references, each with a scale of its own, for "
            "SamplerCustomAdvanced and MAGREF Best Of. At a reference scale of 1 it is plain guidance by the "
            "text.",
            search_aliases=["magref", "guider", "dual cfg", "three-way guidance", "phantom", "identity"],
            inputs=[
                io.Model.Input("model", tooltip="A MAGREF model, from any loader."),
                io.Conditioning.Input("positive", tooltip="From MAGREF Apply Masked Guidance."),
                io.Conditioning.Input("negative", tooltip="From MAGREF Apply Masked Guidance."),
                _scale("guidance_scale", 5.0, "By the text, as in MAGREF Sampler: 1 adds nothing."),
                _scale(
                    "reference_scale",
                    1.0,
                    "By the references: 1 adds nothing, 2 to 3 drives the looks of the subjects further "
                    "towards the pictures for a third answer of the model per step; much more copies them.",
                ),
                io.Combo.Input(
                    "form",
                    options=list(get_args(Form)),
                    default="joint",
                    tooltip="joint measures what the references add beside the prompt (Video Alchemist), "
                    "chained what they add without it (Phantom). Both are plain guidance at scale 1.",
                ),
                *_schedule(),
                io.Combo.Input(
                    "left_out",
                    options=list(LEFT_OUT),
                    default=ZEROS,
                    advanced=True,
                    tooltip="What the model sees in place of the references: zeros as the demo model was "
                    "trained, or an empty white canvas, which needs vae and clip_vision.",
                ),
                io.Vae.Input("vae", optional=True, tooltip="For left_out blank canvas: the Wan 2.1 VAE."),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="For left_out blank canvas: the image encoder of MAGREF Apply Masked Guidance.",
                ),
            ],
            outputs=[io.Guider.Output(id="guider", display_name="guider")],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        guidance_scale,
        reference_scale,
        form,
        start_sigma,
        end_sigma,
        release_sigma,
        left_out,
        vae=None,
        clip_vision=None,
    ) -> io.NodeOutput:
        guidance = ReferenceGuidance(
            text_scale=guidance_scale,
            reference_scale=reference_scale,
            form=form,
            start_sigma=start_sigma,
            end_sigma=end_sigma,
            release_sigma=release_sigma,
        )
        conds = {"positive": positive, "negative": negative}
        _check(model, conds)
        if guidance.leaves_out:
            without = _without_references(model, conds, left_out, vae, clip_vision)
            conds |= {f"bare {name}": cond for name, cond in without.items()}
        return io.NodeOutput(MagrefGuider(model, conds, guidance))


def _scale(name: str, default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=0.0, max=MAX_SCALE, step=0.1, tooltip=tooltip)


def _schedule() -> list[io.Input]:
    """While which noise levels the references are scaled or given at all."""
    tips = {
        "start_sigma": (1.0, "The references are scaled from this noise level down; 1 is pure noise."),
        "end_sigma": (0.0, "The references are scaled down to this noise level; 0 is the finished video."),
        "release_sigma": (
            0.0,
            "Below this noise level the references are left out: details then come from the model and are "
            "not copied, but likeness may fade. 0 keeps them to the end.",
        ),
    }
    return [
        io.Float.Input(
            name, default=default, min=0.0, max=1.0, step=0.01, advanced=name != "release_sigma", tooltip=tip
        )
        for name, (default, tip) in tips.items()
    ]


class MagrefGuider(comfy.samplers.CFGGuider):
    """The host's guider with further answers, where the references are scaled or released."""

    def __init__(self, model: Any, conds: dict[str, Any], guidance: ReferenceGuidance):
        super().__init__(model)
        self.guidance = guidance
        self.set_cfg(guidance.text_scale)
        self.inner_set_conds(conds)

    @property
    def most_prompts(self) -> int:
        """How many prompts are asked for at once at any noise level; see `_guided_by_both`."""
        keeps_both = self.model_options.get("disable_cfg1_optimization", False)
        is_guided = keeps_both or not math.isclose(self.cfg, 1)
        if math.isclose(self.guidance.reference_scale, 1):
            return 2 if is_guided else 1
        return 3 if is_guided or self.guidance.form == "chained" else 2

    def predict_noise(
        self,
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any] | None = None,
        seed: int | None = None,
    ) -> Tensor:
        options = {} if model_options is None else model_options
        sigma = float(timestep.flatten()[0])
        prefix = "bare " if self.guidance.is_released_at(sigma) else ""
        scale = 1.0 if prefix else self.guidance.scale_at(sigma)
        positive, negative = (self.conds[prefix + name] for name in ("positive", "negative"))
        if scale == 1:  # to the bit what the host computes
            return comfy.samplers.sampling_function(
                self.inner_model, x, timestep, negative, positive, self.cfg, model_options=options, seed=seed
            )
        return self._guided_by_both(x, timestep, options, scale)

    def _guided_by_both(self, x: Tensor, timestep: Tensor, options: dict[str, Any], scale: float) -> Tensor:
        is_joint = self.guidance.form == "joint"
        has_text_guidance = not math.isclose(self.cfg, 1) or options.get("disable_cfg1_optimization", False)
        # The positive stays first and the negative second: patches count on it.
        positive = self.conds["positive"]
        negative = self.conds["negative"] if has_text_guidance or not is_joint else None
        bare = self.conds["bare positive" if is_joint else "bare negative"]
        conds = [positive, negative, bare]
        if function := options.get("sampler_calc_cond_batch_function"):
            args = {"conds": conds, "input": x, "sigma": timestep, "model": self.inner_model}
            answers = function(args | {"model_options": options})
        else:
            answers = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, options)
        given, left_out = answers[0 if is_joint else 1], answers[2]
        guided = self._guided_by_text(list(answers[:2]), [positive, negative], x, timestep, options)
        return add_reference_guidance(guided, given, left_out, scale)

    def _guided_by_text(
        self, answers: list[Tensor], conds: list[Any], x: Tensor, timestep: Tensor, options: dict[str, Any]
    ) -> Tensor:
        """As the host does it, so that nodes which change guidance still work."""
        for function in options.get("sampler_pre_cfg_function", []):
            args = {"conds": conds, "conds_out": answers, "cond_scale": self.cfg, "timestep": timestep}
            args |= {"input": x, "sigma": timestep, "model": self.inner_model, "model_options": options}
            answers = function(args)
        return comfy.samplers.cfg_function(
            self.inner_model,
            answers[0],
            answers[1],
            self.cfg,
            x,
            timestep,
            model_options=options,
            cond=conds[0],
            uncond=conds[1],
        )


def _check(model: Any, conds: dict[str, Any]) -> None:
    """Each conditioning against its own canvas: the size of the latent is not known yet."""
    for cond in conds.values():
        canvas = cond[0][1].get("concat_latent_image") if cond else None
        check_conditioning(model, cond, torch.zeros(1, 16, 1, 2, 2) if canvas is None else canvas)


def _without_references(
    model: Any, conds: dict[str, Any], left_out: str, vae: Any, clip_vision: Any
) -> dict[str, Any]:
    """The same prompts with zeros or an empty canvas, on which nothing is asked of any subject.

    Raises:
        MagrefError: the way is unknown, or the empty canvas cannot be encoded.
    """
    conds = {name: without_controls(cond) for name, cond in conds.items()}
    if left_out == ZEROS:
        return {
            name: host.leave_references_out(cond, model.model.latent_format) for name, cond in conds.items()
        }
    if left_out != BLANK:  # over a link, where the host does not look
        raise MagrefError(f"left_out is '{left_out}', which is unknown: choose one of {', '.join(LEFT_OUT)}")
    if vae is None or clip_vision is None:
        raise MagrefError(
            "an empty canvas is wanted in place of the references, but vae or clip_vision is not connected: "
            "connect both, or set left_out to zeros"
        )
    host.check_vae(vae)
    shape = conds["positive"][0][1]["concat_latent_image"].shape
    canvas = _blank_canvas(height=shape[3] * PIXEL_STRIDE, width=shape[4] * PIXEL_STRIDE)
    length = (shape[2] - 1) * FRAME_STRIDE + 1
    latents = encode_canvas(canvas.pixels(), length, lambda video: host.encode_with(vae, video))
    mask = mask_channels(to_latent_mask(canvas.mask[None].float()), length)
    seen = host.see_canvas(clip_vision, canvas)
    return {name: host.attach_guidance(cond, latents, mask, seen) for name, cond in conds.items()}


def _blank_canvas(*, height: int, width: int) -> Canvas:
    return compose_canvas((), (), height=height, width=width)
