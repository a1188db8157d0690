"""The stages of the recipe before and beside the DiT: tokenizer, linear code, VAE."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from magref_core.training.codec_embedding import embed_encoder, init_decoder
from magref_core.training.codec_fitting import BlockStatistics, fit_codec, report
from magref_core.training.config import to_json
from magref_core.training.files import TrainingError, save_tensors, save_text, write_whole
from magref_core.training.linear_codec import LinearCodec
from magref_core.training.tokenizer import train_tokenizer
from magref_core.training.vae_training import WEIGHTS_FILE, Progress, train_vae
from magref_core.training.wan_vae import WanVAE, WanVAEConfig
from magref_core.world.captions import VOCABULARY, caption
from magref_core.world.film import film
from magref_core.world.scene import SceneOptions, draw_scene

from .bundle import CODEC, PARTS
from .files import RunFiles
from .presets import Preset
from .staging import stage
from .stopping import stop_on_signals

PRESET_FILE = "preset.json"
SEEDS = {"captions": 900_000, "codec": 910_000, "vae": 930_000}
"""Of the draws of each stage; training keeps below 1 000 000."""
FILMED = 0.8
"""Rate of VAE clips that begin with a canvas, as those of the DiT do; the others are films as they are."""


def check_preset(files: RunFiles, preset: Preset) -> None:
    """Remember what the drawings of a run are made by, and refuse to mix others in.

    Raises:
        TrainingError: the folder holds a run of another preset.
    """
    parts = ("scenes", "staging", "dit")
    drawn_by: dict[str, Any] = {name: json.loads(to_json(getattr(preset, name))) for name in parts}
    drawn_by |= {"num_captions": preset.num_captions, "num_clips": preset.num_clips}
    file = files.folder / PRESET_FILE
    if not file.exists():
        save_text(file, json.dumps(drawn_by, indent=2) + "\n")
        return
    earlier = json.loads(file.read_text(encoding="utf-8"))
    if changed := [name for name, value in drawn_by.items() if earlier.get(name) != value]:
        raise TrainingError(
            f"{files.folder} holds a run of another preset ({', '.join(changed)} differ): choose another "
            "--folder, or remove it"
        )


def make_tokenizer(files: RunFiles, *, num_captions: int) -> None:
    """Learn the pieces from captions of all scenes that the world knows."""
    rng = np.random.default_rng(SEEDS["captions"])
    options = SceneOptions()
    captions = (caption(draw_scene(rng, options)) for _ in range(num_captions))
    model = train_tokenizer(chain([" ".join(VOCABULARY)], captions))  # rare words come up at least once
    write_whole(files.tokenizer, lambda path: _write_bytes(path, model))


def make_codec(files: RunFiles, preset: Preset, *, num_clips: int) -> None:
    """Fit the linear code of the encoder."""
    rng = np.random.default_rng(SEEDS["codec"])
    statistics = BlockStatistics()
    clips = (draw_clip(preset, rng) for _ in range(num_clips))
    while batch := list(islice(clips, 50)):
        statistics.add_clips(torch.stack(batch))
    codec = fit_codec(statistics)
    codec.save(files.codec)
    print(f"linear code: {report(codec, statistics)}", flush=True)


def make_vae(files: RunFiles, preset: Preset, *, deadline: float = float("inf")) -> bool:
    """Write the linear code into a Wan VAE and train its decoder, or go on where that was stopped.

    Returns:
        Whether all steps are done.
    """
    codec = LinearCodec.load(files.codec)
    vae = WanVAE(WanVAEConfig(dim=16))
    init_decoder(codec, vae, torch.Generator().manual_seed(0))
    embed_encoder(codec, vae)
    with stop_on_signals() as stopped:

        def should_stop() -> bool:
            return bool(stopped) or time.monotonic() > deadline

        numbers = range(1, len(preset.vae) + 1)
        return all(_train_phase(vae, codec, files, preset, number, should_stop) for number in numbers)


def take_vae(files: RunFiles, bundle: Path) -> None:
    """Start from the linear code and the VAE of a bundle instead of training them.

    Raises:
        TrainingError: the bundle lacks one of them, or the run has begun with another code.
    """
    if files.codec.exists() and (bundle / CODEC).is_file() and not _same(files.codec, bundle / CODEC):
        raise TrainingError(
            f"the samples in {files.folder} are encoded by another linear code than that of {bundle}, whose "
            "VAE would not understand them: leave --vae-of out, or choose another --folder"
        )
    for source, target in ((bundle / CODEC, files.codec), (bundle / PARTS["vae"], files.vae / WEIGHTS_FILE)):
        if not source.is_file():
            raise TrainingError(
                f"{bundle} holds no {source.name}: give the folder of a bundle, or train a VAE"
            )
        write_whole(target, lambda path, source=source: _write_bytes(path, source.read_bytes()))


def _train_phase(
    vae: WanVAE,
    codec: LinearCodec,
    files: RunFiles,
    preset: Preset,
    number: int,
    should_stop: Callable[[], bool],
) -> bool:
    """One phase, from the average of the one before; whether it was finished."""
    folder, options = files.vae / f"phase_{number}", preset.vae[number - 1]

    def draw(step: int) -> Tensor:
        return draw_clip(preset, np.random.default_rng([SEEDS["vae"], number, step]))[None]

    def report(progress: Progress) -> None:
        print(
            f"VAE phase {number} step {progress.step} of {options.num_steps}, {progress.psnr:.2f} dB, "
            f"{progress.seconds / 60:.1f} min",
            flush=True,
        )

    vae.to("cuda" if torch.cuda.is_available() else "cpu")
    encode = LinearCodec.load(files.codec).to(vae.conv2.weight.device).encode
    is_done = train_vae(vae, draw, options, folder, encode=encode, on_report=report, should_stop=should_stop)
    if not is_done:
        return False
    vae.to("cpu")
    weights = load_file(folder / WEIGHTS_FILE)
    vae.load_state_dict({name: value.float() for name, value in weights.items()})
    embed_encoder(codec, vae)  # stored in half precision, the encoder stays exact
    save_tensors(files.vae / WEIGHTS_FILE, weights, {})
    return True


def draw_clip(preset: Preset, rng: np.random.Generator) -> Tensor:
    """A clip (F, H, W, 3) uint8, mostly with its canvas in the place of the first frame."""
    staged = stage(draw_scene(rng, preset.scenes), preset.staging, rng)
    frames = torch.from_numpy(film(staged.scene).frames)
    if rng.random() < FILMED:
        frames = torch.cat([staged.canvas.image[None], frames[1:]])
    return frames


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
