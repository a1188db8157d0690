"""Short runs through the host's own KSampler, and a look at what reaches the DiT."""

from __future__ import annotations

from pathlib import Path

import comfy.clip_vision
import comfy.sd
import torch
from comfy_extras.nodes_custom_sampler import SamplerCustom
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from magref_pack.nodes.model import load_magref_dit
from magref_pack.nodes.sampling import MagrefSchedule, MagrefSolver
from torch import Tensor

import nodes

from . import models

IMAGE_TOKENS = 17


def prompts(*, frames: int = 2, height: int = 4, width: int = 6, seed: int = 0) -> tuple[list, list]:
    """Positive and negative of equal length, each with the same random canvas, mask and CLIP tokens."""
    generator = torch.Generator().manual_seed(seed)
    size = (frames, height, width)
    clip = comfy.clip_vision.Output()
    clip["penultimate_hidden_states"] = torch.randn(1, IMAGE_TOKENS, 1280, generator=generator)
    extras = {
        "concat_latent_image": torch.randn(1, 16, *size, generator=generator),
        "concat_mask": torch.rand(1, 4, *size, generator=generator).round(),
        "clip_vision_output": clip,
    }
    positive, negative = (models.conditioning(tokens, seed=tokens) for tokens in (5, 3))
    return [[positive[0][0], dict(extras)]], [[negative[0][0], dict(extras)]]


def empty(*, frames: int = 2, height: int = 4, width: int = 6, batch: int = 1) -> dict:
    """A LATENT of zeros."""
    return {"samples": torch.zeros(batch, 16, frames, height, width)}


def sample(model, *, pair=None, latent=None, **changes) -> Tensor:
    """Latents of the host's KSampler: 2 steps of Euler at CFG 5, unless told otherwise."""
    positive, negative = prompts() if pair is None else pair
    values = {
        "seed": 7,
        "steps": 2,
        "cfg": 5.0,
        "sampler_name": "euler",
        "scheduler": "simple",
        "denoise": 1.0,
    }
    (result,) = nodes.KSampler().sample(
        model=model,
        positive=positive,
        negative=negative,
        latent_image=empty() if latent is None else latent,
        **{**values, **changes},
    )
    return result["samples"]


def magref_sample(
    model, *, steps: int = 3, cfg: float = 5.0, seed: int = 7, pair=None, latent=None
) -> Tensor:
    """Latents of the host's SamplerCustom with our SAMPLER, SIGMAS and whole timesteps."""
    pair = prompts() if pair is None else pair
    latent = empty() if latent is None else latent
    sampler = MagrefSolver.execute("unipc", True).args[0]
    sigmas = MagrefSchedule.execute("unipc", steps, 3.0).args[0]
    return SamplerCustom.execute(model, True, seed, cfg, *pair, sampler, sigmas, latent).args[0]["samples"]


def shifted(model, shift: float = 3.0):
    """The model with the shift of MAGREF, which the host's own Wan lacks."""
    return ModelSamplingSD3().patch(model, shift)[0]


def our_model(file: Path = models.DIT_FILE, dtype: torch.dtype | None = torch.float32):
    """A DiT as our MODEL; on the CPU, where a machine with a GPU must give the same numbers."""
    return load_magref_dit(str(file), options(dtype))


def native_model(file: Path = models.DIT_FILE, dtype: torch.dtype | None = torch.float32):
    """The same as the host's own Wan, with MAGREF's shift."""
    return shifted(comfy.sd.load_diffusion_model(str(file), model_options=options(dtype)))


def options(dtype: torch.dtype | None) -> dict:
    cpu = torch.device("cpu")
    return {"load_device": cpu, "offload_device": cpu} | ({} if dtype is None else {"dtype": dtype})


def watch(model):
    """A clone of the model, and the list of what its DiT will have been called with, one dict a call."""
    calls, watched = [], model.clone()
    forward = model.get_model_object("diffusion_model.forward_orig")

    def note(x, t, context, *args, **kwargs):
        options = kwargs["transformer_options"]
        calls.append({"x": x.clone(), "t": t.clone(), "context": context, "options": dict(options)})
        return forward(x, t, context, *args, **kwargs)

    watched.add_object_patch("diffusion_model.forward_orig", note)
    return watched, calls


def largest_difference(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()


def relative_difference(one: Tensor, reference: Tensor) -> float:
    """Norm of the difference over the norm of the reference."""
    return ((one - reference).norm() / reference.norm()).item()
