"""Train the DiT with its text encoder, and look at what it makes on the way."""

from __future__ import annotations

import time

import numpy as np
import torch

from magref_core.training.dataset import Dataset
from magref_core.training.linear_codec import LinearCodec
from magref_core.training.trainer import STATE_FILE, Hooks, Progress, Trainer
from magref_core.world.scene import draw_scene

from .files import RunFiles, averaged_models, load_encoders, new_models
from .presets import Preset
from .preview import conditions_of, draw_sheet, generate, to_frames
from .staging import stage
from .stopping import stop_on_signals

PREVIEW_SEED = 1_000_000
"""Of the scenes that previews show: held out, as all from here on."""
NUM_PREVIEWS = 8
PREVIEW_STEPS = 1000
"""Between two sheets of previews."""


def train_dit(
    files: RunFiles,
    preset: Preset,
    *,
    new_schedule: bool = False,
    save_seconds: float = 300.0,
    report_seconds: float = 30.0,
    deadline: float = float("inf"),
) -> bool:
    """Train, or go on where the run was stopped; Ctrl-C stops it after the step with its state saved.

    Args:
        files: encoders and samples must be there.
        preset: of the run.
        new_schedule: go on with other steps, rates or noise levels than the run began with.
        save_seconds: between states.
        report_seconds: between rows of the log.
        deadline: stop at this `time.monotonic`.

    Returns:
        Whether all steps are done.
    """
    torch.set_flush_denormal(True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = Dataset(files.samples)
    trainer = Trainer(new_models(files, preset, device), dataset, preset.training, files.dit)
    if (files.dit / STATE_FILE).exists():
        trainer.resume(new_schedule=new_schedule)
    print(f"training on {device} with {len(dataset)} samples from step {trainer.step}", flush=True)
    with stop_on_signals() as stopped:
        trainer.train(
            Hooks(
                should_stop=lambda: bool(stopped) or time.monotonic() > deadline,
                on_report=_print_progress,
                on_preview=lambda step: save_preview(files, preset, step),
                preview_steps=PREVIEW_STEPS,
                save_seconds=save_seconds,
                report_seconds=report_seconds,
            )
        )
    print(f"stopped after step {trainer.step} of {preset.training.steps}", flush=True)
    return trainer.step >= preset.training.steps


def save_preview(files: RunFiles, preset: Preset, step: int) -> None:
    """Draw a sheet of held-out scenes with the averaged weights of the saved state."""
    rng = np.random.default_rng(PREVIEW_SEED)
    staged = [stage(draw_scene(rng, preset.scenes), preset.staging, rng) for _ in range(NUM_PREVIEWS)]
    models = averaged_models(files, preset, files.dit / STATE_FILE)
    latents = generate(models, conditions_of(staged, load_encoders(files), models), seed=1)
    sheet = files.dit / "previews" / f"step_{step:06d}.png"
    sheet.parent.mkdir(exist_ok=True)
    draw_sheet(staged, to_frames(LinearCodec.load(files.codec), latents), sheet)


def _print_progress(progress: Progress) -> None:
    print(
        f"step {progress.step} of {progress.num_steps}, loss {progress.loss:.4f}, "
        f"{progress.seconds_left / 60:.0f} min left",
        flush=True,
    )
