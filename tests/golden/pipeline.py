"""Whole runs: noise, schedule, solver, DiT with guidance, decoded video and written frames."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from magref_core.canvas.compose import Canvas
from magref_core.canvas.guidance import assemble_guidance
from magref_core.canvas.masks import mask_channels
from magref_core.dit.model import MagrefDiT
from magref_core.latents import decode_video, encode_canvas
from magref_core.sampling.guidance import guide
from magref_core.sampling.noise import gaussian_noise
from magref_core.sampling.schedule import flow_schedule
from magref_core.sampling.solvers import SOLVERS, Denoise
from tests import pack

from . import dit, host
from .report import Row, compare
from .schedulers import check_schedule

FILE = "pipeline.safetensors"
FILES = (FILE,)

SOLVER_LIMIT = 2e-5
LATENT_LIMIT = 2e-3
VIDEO_LIMIT = 5e-4
LEVEL_LIMIT = 1.0
FEW_PIXELS = 0.01
"""Mean difference of written pixels, in levels."""

PROMPT_TOKENS, NEGATIVE_TOKENS = 23, 7


@torch.no_grad()
def check(folder: Path) -> Iterator[Row]:
    """Repeat every run; yields nothing if the file is absent.

    The DiT needs `dit` and its weights; `y` of our own and the video need the VAE weights and a host. What
    cannot be run is left out.
    """
    if not (folder / FILE).is_file():
        return
    with safe_open(folder / FILE, "pt") as opened:
        runs: dict[str, Any] = json.loads(opened.metadata()["runs"])
    tensors = load_file(folder / FILE)
    model = dit.load_model(folder) if all((folder / name).is_file() for name in dit.FILES) else None
    has_vae = (folder / host.VAE_WEIGHTS).is_file() and pack.is_host_at_hand()
    vae = host.load_vae(folder) if has_vae else None
    inputs = load_file(folder / dit.FILE) if model else {}
    for name, run in runs.items():
        golden = {key.split(".", 1)[1]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
        yield from _check_start(name, run, golden)
        yield from _check_solver(name, run, golden)
        if model:
            yield from _check_run(name, run, golden, model, inputs, vae)


def _check_start(name: str, run: dict[str, Any], golden: dict[str, Tensor]) -> Iterator[Row]:
    yield from check_schedule(FILE, name, run["solver"], run["steps"], run["shift"], golden)
    noise = golden["latents"][0]
    yield compare(FILE, name, "noise", gaussian_noise(noise.shape, run["noise_seed"]), noise, 0.0)


def _check_solver(name: str, run: dict[str, Any], golden: dict[str, Tensor]) -> Iterator[Row]:
    """Let the solver work on the stored predictions, so that the DiT's rounding plays no part."""
    sigmas = golden["sigmas"]

    def denoise(x: Tensor, step: int) -> Tensor:
        return x - sigmas[step] * guide(
            golden["pred_prompt"][step], golden["pred_negative"][step], run["cfg"]
        )

    states = _states(run, denoise, golden["latents"][0])
    yield compare(FILE, name, "solver on stored predictions", states, golden["latents"], SOLVER_LIMIT)


def _states(run: dict[str, Any], denoise: Denoise, noise: Tensor) -> Tensor:
    """All states of a run, (steps + 1, *noise.shape)."""
    sigmas = flow_schedule(run["solver"], run["steps"], run["shift"]).sigmas
    states: list[Tensor] = []
    final = SOLVERS[run["solver"]](denoise, noise, sigmas, on_step=lambda step, x, answer: states.append(x))
    return torch.stack([*states, final])


def _check_run(
    name: str,
    run: dict[str, Any],
    golden: dict[str, Tensor],
    model: MagrefDiT,
    inputs: dict[str, Tensor],
    vae: host.HostVAE | None,
) -> Iterator[Row]:
    """From the stored canvas and the seed to the written frames; `y` is our own where there is a host."""
    y = _our_y(run, golden, vae) if vae else golden["y"][None]
    schedule = flow_schedule(run["solver"], run["steps"], run["shift"])
    answer = partial(model, clip_fea=inputs["clip_fea"].float())
    texts = [dit.prompt(num_tokens, inputs)[None] for num_tokens in (PROMPT_TOKENS, NEGATIVE_TOKENS)]

    def denoise(x: Tensor, step: int) -> Tensor:
        network_input, timestep = torch.cat([x, y], dim=1), schedule.timesteps[step : step + 1]
        cond, uncond = (answer(network_input, timestep, text) for text in texts)
        return x - schedule.sigmas[step] * guide(cond, uncond, run["cfg"])

    noise = gaussian_noise((1, *golden["latents"].shape[1:]), run["noise_seed"])
    final = _states(run, denoise, noise)[-1]
    yield compare(FILE, name, "final latents", final[0], golden["latents"][-1], LATENT_LIMIT)
    if "final64" in golden:
        yield compare(FILE, name, "final latents, float64", final[0], golden["final64"], LATENT_LIMIT)
    if vae:
        yield from _check_video(name, final, golden, vae)


def _our_y(run: dict[str, Any], golden: dict[str, Tensor], vae: host.HostVAE) -> Tensor:
    """(1, 20, T, h, w) of the stored canvas and latent mask."""
    image = golden["canvas"]
    canvas = Canvas(image=image, mask=torch.zeros_like(image[..., 0]), references=(), placements=())
    latents = encode_canvas(canvas.pixels(), run["frames"], vae.encode)
    return assemble_guidance(mask_channels(golden["latent_mask"][None], run["frames"]), latents)


def _check_video(name: str, final: Tensor, golden: dict[str, Tensor], vae: host.HostVAE) -> Iterator[Row]:
    if "video" in golden:
        whole = decode_video(final, vae.decode, drop_frames=0)[0]
        yield compare(FILE, name, "decoded video", whole, golden["video"], VIDEO_LIMIT)
    video = decode_video(final, vae.decode)[0]
    written = ((video + 1) / 2 * 255).floor().movedim(0, -1)  # (F, H, W, 3)
    yield compare(FILE, name, "written frames", written, golden["frames_uint8"], LEVEL_LIMIT, FEW_PIXELS)
