"""Draw the data set, with all processor cores."""

from __future__ import annotations

import multiprocessing
import time
from itertools import islice

import cv2
import torch

from magref_core.training.dataset import write_shard

from .files import RunFiles, load_encoders
from .presets import Preset
from .samples import draw_samples

SHARD = 1000
"""Samples in a file."""
SHORT_FRAMES = 5
"""Frames of short clips: two latent frames, the canvas and one more."""


def draw_dataset(files: RunFiles, preset: Preset, *, seed: int, workers: int) -> None:
    """Draw the shards that are missing, whole clips and short ones; every shard has a seed of its own.

    Args:
        files: of the run.
        preset: says how many samples of each.
        seed: the first shard's; below 1 000 000, from where on scenes are held out.
        workers: processes.
    """
    shards = _num_long(preset) + -(-preset.num_short_samples // SHARD)
    missing = [index for index in range(shards) if not _file(files, index).exists()]
    files.samples.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        jobs = [(files, preset, seed, index) for index in missing]
        for done, _ in enumerate(pool.imap_unordered(_draw_shard, jobs), start=1):
            speed = done * SHARD / (time.monotonic() - started)
            left = (len(missing) - done) * SHARD / speed / 60
            print(
                f"drawn {shards - len(missing) + done} of {shards} shards, {speed:.0f} samples/s, "
                f"{left:.0f} min left",
                flush=True,
            )


def _file(files: RunFiles, index: int):
    return files.samples / f"shard_{index:04d}.safetensors"


def _num_long(preset: Preset) -> int:
    return -(-preset.num_samples // SHARD)


def _draw_shard(job: tuple[RunFiles, Preset, int, int]) -> None:
    files, preset, seed, index = job
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    num_frames = None if index < _num_long(preset) else SHORT_FRAMES
    samples = draw_samples(
        preset.scenes, preset.staging, load_encoders(files), seed=seed + index, num_frames=num_frames
    )
    write_shard(_file(files, index), list(islice(samples, SHARD)))
