"""From pictures to a LoRA by the commands that users have, and clips with and without it."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from magref_core.bundle import Kind
from magref_core.world.film import film
from magref_core.world.scene import SceneOptions
from scripts import ROOT
from scripts.host_install import HostError

from . import lora_scores
from . import quality_host as host
from .quality_run import stage_case
from .quality_sets import Case

Clips = list[npt.NDArray[np.uint8]]
"""Frames (F - 1, H, W, 3) of each scene, without the canvas."""
ENCODERS: tuple[Kind, ...] = ("vae", "text_encoder", "clip_vision")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraOptions:
    """How the LoRA is made."""

    rank: int
    train_steps: int
    rate: float
    targets: str
    drop_references: float
    batch: int
    variants: int
    """Canvases per picture."""
    device: str


def make_lora(
    bundle: Path, pictures: Path, work: Path, scenes: SceneOptions, options: LoraOptions
) -> dict[str, float]:
    """Encode pictures and train on them.

    Args:
        bundle: with the models.
        pictures: of one subject.
        work: gets the folders `samples` and `run`; earlier ones are removed.
        scenes: of the training, for the size.
        options: of the LoRA.

    Returns:
        The seconds of each command.

    Raises:
        HostError: a command failed.
    """
    samples, run = work / "samples", work / "run"
    for folder in (samples, run):
        shutil.rmtree(folder, ignore_errors=True)
    size = {"width": scenes.width, "height": scenes.height, "length": scenes.length}
    encoders = {name: host.find_file(bundle, name) for name in ENCODERS}
    encoding = [*_words(encoders), *_words(size), "--variants", options.variants]
    encoding += ["--cpu"] if options.device == "cpu" else []
    training = {"rank": options.rank, "steps": options.train_steps, "rate": options.rate}
    training |= {"targets": options.targets, "drop_references": options.drop_references}
    training |= {"batch": options.batch, "device": options.device}
    dit = host.find_file(bundle, "dit")
    return {
        "encode_samples": _run("encode_samples", [pictures, "--out", samples, "--cross", *encoding]),
        "train": _run("train", ["--dit", dit, "--samples", samples, "--out", run, *_words(training)]),
    }


def load_lora(models: host.Models, folder: Path, strength: float) -> host.Models:
    """The models with the LoRA in a folder, by ComfyUI's own loader."""
    folder_paths: Any = importlib.import_module("folder_paths")
    folder_paths.add_model_folder_path("loras", str(folder), is_default=True)
    loader = importlib.import_module("nodes").LoraLoaderModelOnly()
    (model,) = loader.load_lora_model_only(models.model, "lora.safetensors", strength)
    return replace(models, model=model)


def generate(models: host.Models, cases: Sequence[Case], *, steps: int, batch: int, label: str) -> Clips:
    """Clips of all scenes, a few at a time; the label begins the lines that tell how far it is."""
    clips: Clips = []
    options = host.SamplingOptions(steps=steps)
    for start in range(0, len(cases), batch):
        part = cases[start : start + batch]
        staged = [stage_case(case) for case in part]
        prompts = [host.encode_prompt(models, each.prompt) for each in staged]
        guidances = [host.guide(models, each.canvas, each.scene.length) for each in staged]
        latents = host.sample_batch(models, prompts, guidances, [case.seed for case in part], options)
        clips += list(host.decode(models, latents))
        print(f"{label}: {len(clips)} of {len(cases)} clips", flush=True)
    return clips


def round_trips(models: host.Models, cases: Sequence[Case]) -> Clips:
    """The true clips, through the VAE and back."""
    clips: Clips = []
    for case in cases:
        true = film(case.scene).frames[1:]
        clips += list(host.round_trip(models, [stage_case(case).canvas], [true]))
    return clips


def records_of(cases: Sequence[Case], clips: Mapping[str, Clips]) -> list[dict[str, Any]]:
    """The scores of each scene under each condition."""
    records: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        staged = stage_case(case)
        scores = {
            condition: lora_scores.score(staged, frames[number], seed=case.seed)
            for condition, frames in clips.items()
        }
        records.append({"seed": case.seed, "prompt": staged.prompt, "scores": scores})
    return records


def _words(values: Mapping[Any, object]) -> list[object]:
    """Names and values as a command line has them."""
    return [word for name, value in values.items() for word in (f"--{str(name).replace('_', '-')}", value)]


def _run(script: str, words: Sequence[object]) -> float:
    started = time.monotonic()
    command = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), *map(str, words)]
    if subprocess.run(command, check=False).returncode:
        raise HostError(f"{script}.py failed; its lines above say why")
    return time.monotonic() - started
