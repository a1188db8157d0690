"""The mask channels, the conditioning video and `y`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from magref_core.canvas.compose import Canvas
from magref_core.canvas.guidance import assemble_guidance
from magref_core.canvas.masks import mask_channels, to_latent_mask
from magref_core.latents import canvas_video, encode_canvas
from magref_core.sizes import FRAME_STRIDE
from tests import pack

from . import canvas, host
from .report import Row, compare

FILE = "cond.safetensors"
PIPELINE = "pipeline.safetensors"
FILES = (FILE,)

Y_LIMIT = 3e-5


@torch.no_grad()
def check(folder: Path) -> Iterator[Row]:
    """Compare what the folder holds of `cond` and of the runs' `y`, the latter with a host."""
    if (folder / FILE).is_file():
        tensors = load_file(folder / FILE)
        yield from _check_mask_channels(tensors)
        yield from _check_videos(tensors)
    needed = (PIPELINE, host.VAE_WEIGHTS, *canvas.FILES)
    if all((folder / name).is_file() for name in needed):
        yield from _check_runs(folder)


def _check_mask_channels(tensors: dict[str, Tensor]) -> Iterator[Row]:
    """`fF.msk` is of F frames and the mask `small`; any other `NAME.msk` is of the mask `NAME`."""
    for key in sorted(name for name in tensors if name.endswith(".msk")):
        case, golden = key.removesuffix(".msk"), tensors[key]
        num_frames = (golden.shape[1] - 1) * FRAME_STRIDE + 1
        if length := re.fullmatch(r"f(\d+)", case):
            num_frames = int(length[1])
        mask = tensors.get(f"{case}.latent_mask", tensors["small.latent_mask"])
        yield compare(FILE, case, "mask channels", mask_channels(mask[None], num_frames)[0], golden, 0.0)


def _check_videos(tensors: dict[str, Tensor]) -> Iterator[Row]:
    for key in sorted(name for name in tensors if name.endswith(".canvas")):
        case = key.removesuffix(".canvas")
        pixels = _pixels(tensors[key])
        for quantity, ours in (("frame", pixels), ("clip_input", pixels[:, None])):
            if f"{case}.{quantity}" in tensors:
                yield compare(FILE, case, quantity, ours, tensors[f"{case}.{quantity}"], 0.0)
        if f"{case}.video_in" in tensors:
            golden = tensors[f"{case}.video_in"]
            ours = canvas_video(pixels, golden.shape[1])[0]
            yield compare(FILE, case, "conditioning video", ours, golden, 0.0)


def _pixels(image: Tensor) -> Tensor:
    return Canvas(image=image, mask=torch.zeros_like(image[..., 0]), references=(), placements=()).pixels()


def _check_runs(folder: Path) -> Iterator[Row]:
    """From the reference pictures of each run to its canvas, its latent mask and its `y`."""
    with safe_open(folder / PIPELINE, "pt") as opened:
        runs: dict[str, Any] = json.loads(opened.metadata()["runs"])
    pictures, runs_tensors = load_file(folder / canvas.FILE), load_file(folder / PIPELINE)
    table = json.loads((folder / canvas.TABLE).read_text("utf-8"))
    vae = host.load_vae(folder) if pack.is_host_at_hand() else None
    for name, run in runs.items():
        references = canvas.references_of(run["refs"], pictures, table)
        ours, _ = canvas.compose_as_officially(
            references, height=run["height"], width=run["width"], seed=run["shuffle_seed"]
        )
        latent_mask = to_latent_mask(ours.mask[None])
        yield compare(PIPELINE, name, "canvas", ours.image, runs_tensors[f"{name}.canvas"], 0.0)
        yield compare(PIPELINE, name, "latent mask", latent_mask[0], runs_tensors[f"{name}.latent_mask"], 0.0)
        if vae:
            latents = encode_canvas(ours.pixels(), run["frames"], vae.encode)
            y = assemble_guidance(mask_channels(latent_mask, run["frames"]), latents)[0]
            golden = runs_tensors[f"{name}.y"]
            yield compare(PIPELINE, name, "y, mask channels", y[:FRAME_STRIDE], golden[:FRAME_STRIDE], 0.0)
            yield compare(PIPELINE, name, "y", y, golden, Y_LIMIT)
