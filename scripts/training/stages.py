"""The stages of the recipe before and beside the DiT: tokenizer, linear code, VAE."""

from __future__ import annotations

import time
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from magref_core.training.codec_embedding import embed_encoder, init_decoder
from magref_core.training.codec_fitting import BlockStatistics, fit_codec, report
from magref_core.training.files import save_tensors, write_whole
from magref_core.training.linear_codec import LinearCodec
from magref_core.training.tokenizer import train_tokenizer
from magref_core.training.vae_training import WEIGHTS_FILE, train_vae
from magref_core.training.wan_vae import WanVAE, WanVAEConfig
from magref_core.world.captions import VOCABULARY, caption
from magref_core.world.film import film
from magref_core.world.scene import SceneOptions, draw_scene

from .files import RunFiles
from .presets import Preset
from .staging import stage

SEEDS = {"captions": 900_000, "codec": 910_000, "vae": 930_000}
"""Of the draws of each stage; training keeps below 1 000 000."""
FILMED = 0.8
"""Rate of VAE clips that begin with a canvas, as those of the DiT do; the others are films as they are."""


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


def make_vae(files: RunFiles, preset: Preset, *, deadline: float = float("inf")) -> None:
    """Write the linear code into a Wan VAE and train its decoder, or go on where that was stopped."""
    codec = LinearCodec.load(files.codec)
    vae = WanVAE(WanVAEConfig(dim=16))
    init_decoder(codec, vae, torch.Generator().manual_seed(0))
    embed_encoder(codec, vae)
    for number, options in enumerate(preset.vae, start=1):
        folder = files.vae / f"phase_{number}"

        def draw(step: int, phase: int = number) -> Tensor:
            return draw_clip(preset, np.random.default_rng([SEEDS["vae"], phase, step]))[None]

        for progress in train_vae(vae, draw, options, folder, encode=codec.encode):
            print(
                f"VAE phase {number} step {progress.step} of {options.num_steps}, {progress.psnr:.2f} dB, "
                f"{progress.seconds / 60:.1f} min",
                flush=True,
            )
            if time.monotonic() > deadline:
                return
        weights = load_file(folder / WEIGHTS_FILE)
        vae.load_state_dict({name: value.float() for name, value in weights.items()})
        embed_encoder(codec, vae)  # stored in half precision, the encoder stays exact
        save_tensors(files.vae / WEIGHTS_FILE, weights, {})


def draw_clip(preset: Preset, rng: np.random.Generator) -> Tensor:
    """A clip (F, H, W, 3) uint8, mostly with its canvas in the place of the first frame."""
    staged = stage(draw_scene(rng, preset.scenes), preset.staging, rng)
    frames = torch.from_numpy(film(staged.scene).frames)
    if rng.random() < FILMED:
        frames = torch.cat([staged.canvas.image[None], frames[1:]])
    return frames


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
