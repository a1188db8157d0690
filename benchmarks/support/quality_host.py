"""From references to frames by the pack's own nodes in a host that lives in this process."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.support.dit_models import PACK, enter_host, import_pack
from magref_core.bundle import FOLDERS, Kind, kind_of
from magref_core.canvas.compose import Canvas
from magref_core.canvas.references import Reference
from magref_core.errors import CheckpointError

Bytes = npt.NDArray[np.uint8]
Guidance = dict[str, Any]
"""What Apply Masked Guidance adds to a conditioning."""

CANVAS_FRAMES = 1
"""Frames that are dropped at the start: the demo model was trained to show the canvas in frame 0 alone."""
CHECK_LIMIT = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingOptions:
    """How clips are sampled."""

    steps: int = 20
    guidance_scale: float = 1.0
    """1 does without the negative prompt."""
    shift: float = 3.0
    solver: str = "unipc"


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """What the loader nodes gave."""

    model: Any
    vae: Any
    clip: Any
    clip_vision: Any


def start_host(source: Path, device: str) -> None:
    """Import the host and, as the host does, the pack."""
    enter_host(source, device)
    importlib.import_module("nodes")
    import_pack()
    importlib.import_module("comfy.utils").set_progress_bar_enabled(False)


def load_models(folder: Path, precision: str) -> Models:
    """Load a bundle by the nodes that a workflow would use.

    Args:
        folder: laid out like the host's `models`, with one demo file of each kind.
        precision: of the DiT, a choice of MAGREF DiT Loader.

    Raises:
        CheckpointError: a file is missing or broken.
    """
    folder_paths = importlib.import_module("folder_paths")
    for name in FOLDERS:
        folder_paths.add_model_folder_path(name, str(folder / name), is_default=True)
    kinds: tuple[Kind, ...] = ("dit", "vae", "text_encoder", "clip_vision")
    dit, vae, text_encoder, clip_vision = (find_file(folder, kind).name for kind in kinds)
    (model,) = _node("loaders", "MagrefDiTLoader").execute(dit, precision).args
    (loaded_vae,) = importlib.import_module("nodes").VAELoader().load_vae(vae)
    clip, tower = _node("demo", "DemoEncoders").execute(text_encoder, clip_vision).args
    return Models(model=model, vae=loaded_vae, clip=clip, clip_vision=tower)


def find_file(folder: Path, kind: Kind) -> Path:
    """The demo file of a kind.

    Raises:
        CheckpointError: there is none.
    """
    for file in sorted(folder.glob("*/*.safetensors")):
        if kind_of(file) == kind:
            return file
    raise CheckpointError(
        f"{folder} holds no {kind} of the demo model: give --models the folder of a bundle, "
        "such as models/demo"
    )


def compose(
    references: Sequence[Reference], *, height: int, width: int, seed: int, order: str = "official"
) -> Canvas:
    """The canvas of Build Masked Canvas in one of its orders."""
    node = _node("canvas", "BuildMaskedCanvas")
    settings = (width, height, order, seed % 2**32, "rectangle", "#ffffff", "")
    return node.execute(list(references), *settings).args[0]


def empty_canvas(like: Canvas) -> Canvas:
    """A white canvas with nothing on it."""
    return replace(
        like,
        image=torch.full_like(like.image, 255),
        mask=torch.zeros_like(like.mask),
        references=(),
        placements=(),
    )


def guide(models: Models, canvas: Canvas, length: int) -> Guidance:
    """What Apply Masked Guidance makes of a canvas."""
    node = _node("guidance", "ApplyMaskedGuidance")
    blank = [[torch.zeros(1, 1, 1), {}]]
    ((_, guidance),) = node.execute(blank, blank, models.vae, models.clip_vision, canvas, length).args[0]
    return guidance


def with_full_mask(guidance: Guidance) -> Guidance:
    """All of the first latent frame is marked as given: what the host's own WanImageToVideo sends."""
    mask = torch.ones_like(guidance["concat_mask"])
    mask[:, :, 0] = 0  # the host's polarity: 0 is given
    return guidance | {"concat_mask": mask}


def with_no_mask(guidance: Guidance) -> Guidance:
    """Nothing is marked."""
    return guidance | {"concat_mask": torch.ones_like(guidance["concat_mask"])}


def with_cropped_view(models: Models, guidance: Guidance, canvas: Canvas) -> Guidance:
    """CLIP sees the middle square of the canvas only, as by the host's own node with its default."""
    node = importlib.import_module("nodes").CLIPVisionEncode()
    (seen,) = node.encode(models.clip_vision, canvas.image[None].float() / 255, "center")
    return guidance | {"clip_vision_output": seen}


def encode_prompt(models: Models, prompt: str) -> Any:
    """The CONDITIONING of CLIP Text Encode."""
    return importlib.import_module("nodes").CLIPTextEncode().encode(models.clip, prompt)[0]


def sample_one(
    models: Models, prompt: Any, canvas: Canvas, length: int, seed: int, options: SamplingOptions
) -> Tensor:
    """Latents (1, 16, T, h, w) of one clip by the nodes as a workflow has them."""
    guidance = _node("guidance", "ApplyMaskedGuidance")
    negative = encode_prompt(models, "")
    nodes_of = (models.vae, models.clip_vision, canvas, length)
    positive, negative, latent = guidance.execute(prompt, negative, *nodes_of).args
    settings = (options.steps, options.guidance_scale, options.shift, options.solver, 0, 1000, "cpu", True)
    sampler = _node("sampling", "MagrefSampler")
    return sampler.execute(models.model, positive, negative, latent, seed, *settings).args[0]["samples"]


def sample_batch(
    models: Models,
    prompts: Sequence[Any],
    guidances: Sequence[Guidance],
    seeds: Sequence[int],
    options: SamplingOptions,
) -> Tensor:
    """Latents (B, 16, T, h, w) of clips of one size: MAGREF Sampler with one noise per clip.

    The node draws the noise of a whole batch from one seed, so that a clip would depend on its place there.
    """
    samplers = importlib.import_module("comfy.samplers")
    negative = [encode_prompt(models, "")] * len(prompts)
    guider = samplers.CFGGuider(with_shift(models, options))
    guider.set_conds(stack(prompts, guidances), stack(negative, guidances))
    guider.set_cfg(options.guidance_scale)
    shape = torch.cat([guidance["concat_latent_image"] for guidance in guidances]).shape
    return sample_guided(guider, shape, seeds, options)


def with_shift(models: Models, options: SamplingOptions) -> Any:
    """The MODEL with the schedule of the options."""
    sampling = importlib.import_module(f"{PACK}.nodes.sampling")
    return sampling.ModelSamplingSD3().patch(models.model, options.shift)[0]


def sample_guided(
    guider: Any, shape: Sequence[int], seeds: Sequence[int], options: SamplingOptions
) -> Tensor:
    """Latents of a GUIDER over `with_shift`, (B, 16, T, h, w) as the shape says, with one noise per clip."""
    sampling = importlib.import_module(f"{PACK}.nodes.sampling")
    latent = torch.zeros(tuple(shape))
    noise = torch.cat([sampling.draw_noise("cpu", latent[:1], seed, None) for seed in seeds])
    sigmas = sampling.host_sigmas(options.solver, options.steps, options.shift)
    sampler = sampling.host_sampler(options.solver, True)
    return guider.sample(noise, latent, sampler, sigmas, disable_pbar=True, seed=seeds[0])


def stack(prompts: Sequence[Any], guidances: Sequence[Guidance]) -> Any:
    """One CONDITIONING for a batch."""
    text = torch.cat([prompt[0][0] for prompt in prompts])
    seen = importlib.import_module("comfy.clip_vision").Output()
    tokens = [guidance["clip_vision_output"].penultimate_hidden_states for guidance in guidances]
    seen["penultimate_hidden_states"] = torch.cat(tokens)
    names = ("concat_latent_image", "concat_mask")
    extras = {name: torch.cat([guidance[name] for guidance in guidances]) for name in names}
    return [[text, extras | {"clip_vision_output": seen}]]


def decode(models: Models, latents: Tensor) -> Bytes:
    """(B, F - 1, H, W, 3) in 0..255 by MAGREF Decode Video, without the canvas."""
    node = _node("decode", "DecodeVideo")
    images = node.execute({"samples": latents}, models.vae, 15.0, CANVAS_FRAMES, 0, 0).args[0]
    return _to_bytes(images.unflatten(0, (len(latents), -1)))


def round_trip(models: Models, canvases: Sequence[Canvas], clips: Sequence[Bytes]) -> Bytes:
    """True clips through the VAE and back.

    Args:
        models: for the VAE.
        canvases: the frame that goes before each clip.
        clips: (F - 1, H, W, 3) in 0..255 each.

    Returns:
        (B, F - 1, H, W, 3) in 0..255.
    """
    videos = [
        torch.cat([canvas.image[None], torch.as_tensor(clip)]).float() / 255
        for canvas, clip in zip(canvases, clips, strict=True)
    ]
    return decode(models, torch.cat([models.vae.encode(video) for video in videos]))


def _to_bytes(images: Tensor) -> Bytes:
    return (images.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def _node(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"{PACK}.nodes.{module}"), name)
