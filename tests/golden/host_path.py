"""The same numbers on the host's side: our nodes and our MODEL, as a workflow runs them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from tests import pack

from . import canvas, dit, host, pipeline, schedulers
from .report import Row, compare, equal

PIPELINE = pipeline.FILE
DIT = dit.FILE
RUN_FILES = (PIPELINE, *dit.FILES, host.VAE_WEIGHTS, *canvas.FILES)
FILES = (*RUN_FILES, *schedulers.FILES)

DIT_LIMITS = (1e-4, 1e-5)
Y_LIMIT = 3e-5
LATENT_LIMIT = 2e-3
TRAJECTORY_LIMIT = 2e-5
FRAME_LEVELS = 1.0


def check(folder: Path) -> Iterator[Row]:
    """Run what the folder holds through the nodes; yields nothing without a host."""
    if not pack.is_host_at_hand():
        return
    pack.load_pack()
    with torch.inference_mode():
        if all((folder / name).is_file() for name in dit.FILES):
            yield from _check_dit(folder)
        if all((folder / name).is_file() for name in schedulers.FILES):
            yield from _check_solvers(folder)
        if all((folder / name).is_file() for name in RUN_FILES):
            yield from _check_runs(folder)


def _nodes(name: str) -> Any:
    return importlib.import_module(f"{pack.NAME}.nodes.{name}")


def _metadata(path: Path, key: str) -> Any:
    with safe_open(path, "pt") as opened:
        return json.loads(opened.metadata()[key])


def _model(folder: Path) -> Any:
    patcher = _nodes("model").load_magref_dit(str(folder / dit.WEIGHTS))
    importlib.import_module("comfy.model_management").load_model_gpu(patcher)
    return patcher


def _check_dit(folder: Path) -> Iterator[Row]:
    """Every sample of even size through the MODEL's diffusion model, one by one."""
    tensors = load_file(folder / DIT)
    diffusion_model = _model(folder).model.diffusion_model
    for case in dit.cases_of(folder):
        name = case["name"]
        for i, (_, height, width) in enumerate(case["sizes"]):
            if height % 2 or width % 2:
                continue  # the host pads what the official model cuts off
            x = torch.cat([tensors[f"{name}.x.{i}"].float(), tensors[f"{name}.y.{i}"].float()])[None]
            clip = tensors["clip_fea"].float()
            answer = diffusion_model(
                x,
                tensors[f"{name}.t"][i : i + 1].float(),
                context=dit.prompt(case["prompt_tokens"][i], tensors)[None],
                clip_fea=clip.flip(1) if i else clip,
                transformer_options={},
            )
            yield compare(DIT, f"{name} {i}", "MODEL", answer[0], tensors[f"{name}.out.{i}"], *DIT_LIMITS)


def _check_solvers(folder: Path) -> Iterator[Row]:
    """The SAMPLER with the SIGMAS of our nodes on the toy network."""
    sampling = _nodes("sampling")
    noise = load_file(folder / schedulers.FILE)["noise"]
    trajectories = load_file(folder / schedulers.FILE)
    for case in json.loads((folder / schedulers.TABLE).read_text("utf-8")):
        if f"{case}.trajectory" not in trajectories:
            continue
        solver, shift, steps = case.split(".shift")[0], *case.split(".shift")[1].split(".steps")
        sigmas = sampling.MagrefSchedule.execute(solver, int(steps), float(shift)).args[0]
        sampler = sampling.MagrefSolver.execute(solver, True).args[0]
        final = sampler.sampler_function(
            _toy_model(noise), sigmas[0] * noise, sigmas, **sampler.extra_options
        )
        yield compare(
            schedulers.FILE, case, "SAMPLER", final, trajectories[f"{case}.trajectory"][-1], TRAJECTORY_LIMIT
        )


def _toy_model(noise: Tensor) -> Any:
    """What the host hands to a sampler, around the toy network."""

    class Toy(SimpleNamespace):
        def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
            timestep = int((sigma * 1000).floor())
            return x - sigma * schedulers.toy_velocity(x, timestep)

    return Toy(noise=noise, latent_image=torch.zeros_like(noise))


def _check_runs(folder: Path) -> Iterator[Row]:
    """Pictures and a prompt in, frames out, node by node."""
    pictures, prompts, golden = (load_file(folder / name) for name in (canvas.FILE, DIT, PIPELINE))
    table = json.loads((folder / canvas.TABLE).read_text("utf-8"))
    vae, patcher = host.load_vae(folder).vae, _model(folder)
    for name, run in _metadata(folder / PIPELINE, "runs").items():
        references = canvas.references_of(run["refs"], pictures, table)
        size = (run["width"], run["height"])
        options = ("official", run["shuffle_seed"], "rectangle", "#ffffff", "")
        built = (
            _nodes("canvas").BuildMaskedCanvas.execute(_as_pack_references(references), *size, *options).args
        )
        yield equal(
            PIPELINE,
            name,
            "canvas of the node",
            _levels(built[1][0]),
            golden[f"{name}.canvas"].flatten().tolist(),
        )
        positive, negative, latent = _guided(built[0], run, vae, prompts)
        y = patcher.model.concat_cond(noise=latent["samples"], device=patcher.load_device, **positive[0][1])
        yield compare(PIPELINE, name, "y in the MODEL", y[0], golden[f"{name}.y"], Y_LIMIT)
        sampled = _nodes("sampling").MagrefSampler.execute(
            patcher, positive, negative, latent, run["noise_seed"], run["steps"], run["cfg"], run["shift"],
            run["solver"], 0, 1000, "cpu", True,
        ).args[0]  # fmt: skip
        final = patcher.model.process_latent_in(sampled["samples"])[0]
        yield compare(
            PIPELINE, name, "latent of the sampler node", final, golden[f"{name}.latents"][-1], LATENT_LIMIT
        )
        images = _nodes("decode").DecodeVideo.execute(sampled, vae, 15.0, 4, 0, 0).args[0]
        frames, official = (images * 255).floor(), golden[f"{name}.frames_uint8"].float()
        yield compare(PIPELINE, name, "frames of the node", frames, official, FRAME_LEVELS, 1e-2)


def _as_pack_references(references: list[Any]) -> tuple[Any, ...]:
    """The pack inside the host has its own copy of the core, and so of the class."""
    reference = importlib.import_module(f"{pack.NAME}.magref_core.canvas.references").Reference
    return tuple(reference(name=given.name, image=given.image, alpha=given.alpha) for given in references)


def _levels(image: Tensor) -> list[int]:
    return (image * 255).round().int().flatten().tolist()


def _guided(built: Any, run: dict[str, Any], vae: Any, prompts: dict[str, Tensor]) -> Any:
    """ApplyMaskedGuidance with the golden image features in place of an encoder's."""
    guidance, output = _nodes("guidance"), importlib.import_module("comfy.clip_vision").Output()
    output["penultimate_hidden_states"] = prompts["clip_fea"].float()
    see = guidance.host.see_canvas
    guidance.host.see_canvas = lambda *_: output
    try:
        texts = [
            [[torch.nn.functional.pad(dit.prompt(n, prompts)[None], (0, 0, 0, 512 - n)), {}]]
            for n in (pipeline.PROMPT_TOKENS, pipeline.NEGATIVE_TOKENS)
        ]
        return guidance.ApplyMaskedGuidance.execute(*texts, vae, None, built, run["frames"]).args
    finally:
        guidance.host.see_canvas = see
