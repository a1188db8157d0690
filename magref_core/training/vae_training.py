"""Training of the VAE, or of its decoder alone where the encoder is a fixed linear code."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn

from ..errors import MagrefError
from ..sizes import FRAME_STRIDE, PATCH_STRIDE
from .ema import WeightAverage
from .files import TrainingError, save_tensors
from .rates import RateConfig, rate_at
from .state import optimiser_tensors, restore_optimiser
from .wan_vae import WanVAE, denormalise, normalise, skip_levels

DrawClips = Callable[[int], Tensor]
"""Number of a step -> its clips, (B, F, H, W, 3) uint8; equal numbers give equal clips."""

Encode = Callable[[Tensor], Tensor]
"""(B, F, H, W, 3) uint8 -> normalised latents (B, 16, T, h, w)."""

STATE_FILE = "state.safetensors"
WEIGHTS_FILE = "vae.safetensors"
LOG_FILE = "log.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class VAETrainingOptions:
    """How the VAE is trained.

    Raises:
        MagrefError: a value is outside its range.
    """

    num_steps: int
    train_encoder: bool = False
    """False: only what decodes is trained, on latents of the encoder as it is."""
    active_levels: int = 4
    """Levels of the decoder, counted from the latents, whose residual blocks are trained. The blocks of the
    others are skipped and set to do nothing: a first run with 2 takes a third of the time per step."""
    rate: RateConfig = field(default_factory=lambda: RateConfig(peak=2e-3, warmup=100, constant=0.0))
    clip_gradient: float = 1.0
    """Largest norm of a step's gradient."""
    average: float = 0.998
    """Share of the old running average that a step keeps; the average is what is saved."""
    crop: tuple[int, int, int] | None = None
    """Frames (4 n + 1), height and width (multiples of 16) of a piece of each clip; None: all of it."""
    absolute: float = 1.0
    """Weight of the mean absolute difference, in [-1, 1]."""
    squared: float = 1.0
    """Weight of the mean squared difference."""
    edges: float = 0.0
    """Weight of the mean absolute difference between neighbouring pixels' steps."""
    latent_noise: float = 0.05
    """Standard deviation of noise on the normalised latents, which makes the decoder forgive small errors."""
    save_seconds: float = 120.0
    """Between two saves."""
    log_steps: int = 20
    """Between two rows of the log; losses are means over them."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.log_steps < 1:
            raise MagrefError("a training of the VAE needs at least one step, and one step between log rows")
        if not 0 <= self.average < 1:
            raise MagrefError(f"the average keeps {self.average} of itself, but must keep from 0 to below 1")
        if self.crop is not None:
            frames, *sides = self.crop
            if frames % FRAME_STRIDE != 1 or any(side < 1 or side % PATCH_STRIDE for side in sides):
                raise MagrefError(
                    f"the crop is {self.crop}, but needs 4 n + 1 frames and sides that are multiples of "
                    f"{PATCH_STRIDE}, such as (9, 64, 64)"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Means over the last steps."""

    step: int
    """Steps done in all."""
    seconds: float
    """Since this process began to train."""
    loss: float
    psnr: float
    """dB, of the weights in training, on training clips with noise on the latents."""
    rate: float
    """Learning rate."""


class VAETrainer:
    """Takes steps, and keeps what is needed to go on after an interruption.

    Args:
        vae: trained in place, on its device.
        options: see there.
        encode: a faster way to the latents that the encoder would give, for instance `LinearCodec.encode`;
            not with `train_encoder`.
    """

    def __init__(self, vae: WanVAE, options: VAETrainingOptions, encode: Encode | None = None) -> None:
        torch.set_flush_denormal(True)
        self.encode = encode
        self.vae = vae.train()
        self.options = options
        parts = [vae] if options.train_encoder else [vae.conv2, vae.decoder]
        vae.requires_grad_(False)
        for part in parts:
            part.requires_grad_(True)
        for block in skip_levels(vae.decoder, options.active_levels):
            block.residual.requires_grad_(False)
            for parameter in block.residual[6].parameters():
                nn.init.zeros_(parameter)
        self.trained = {name: p for name, p in vae.named_parameters() if p.requires_grad}
        self.optimiser = torch.optim.Adam(self.trained.values(), betas=(0.9, 0.99))
        self.average = WeightAverage(self.trained, options.average)
        self.step = 0

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return self.vae.conv2.weight.device

    def take_step(self, clips: Tensor) -> tuple[float, float]:
        """Train on one batch.

        Args:
            clips: (B, F, H, W, 3) uint8.

        Returns:
            The loss and the mean squared error in [-1, 1].
        """
        options = self.options
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + self.step)
        if options.crop is not None:
            clips = random_crop(clips, options.crop, generator)
        clips = clips.to(self.device)
        video = (clips.float() / 127.5 - 1).permute(0, 4, 1, 2, 3)
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.step, options.num_steps, options.rate)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            with torch.set_grad_enabled(options.train_encoder):
                latents = self.encode(clips) if self.encode else normalise(self.vae.encode(video))
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            decoded = self.vae.decode(denormalise(latents + options.latent_noise * noise))
        loss, error = reconstruction_loss(decoded.float(), video, options)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        nn.utils.clip_grad_norm_(self.trained.values(), options.clip_gradient)
        self.optimiser.step()  # pyright: ignore[reportUnknownMemberType]
        self.average.update(self.trained, self.step)
        self.step += 1
        return loss.item(), error.item()

    def averaged_weights(self) -> dict[str, Tensor]:
        """All weights under the host's names, float16; the trained ones averaged over the last steps."""
        weights = {**self.vae.state_dict(), **self.average.values}
        return {name: value.detach().half().cpu() for name, value in weights.items()}

    def save(self, folder: Path) -> None:
        """Write the averaged weights, and everything that `resume` needs.

        Raises:
            TrainingError: a file cannot be written.
        """
        tensors = {f"weights.{name}": value for name, value in self.vae.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.values.items()}
        memory = optimiser_tensors(self.optimiser, self.trained)
        tensors |= {f"optimiser.{name}": value for name, value in memory.items()}
        save_tensors(folder / STATE_FILE, tensors, {"step": str(self.step)})
        save_tensors(folder / WEIGHTS_FILE, self.averaged_weights(), {"step": str(self.step)})

    def resume(self, folder: Path) -> None:
        """Go on from what `save` has written, if it is there.

        Raises:
            TrainingError: the state is of another VAE, or trains other parts of it.
        """
        file = folder / STATE_FILE
        if not file.exists():
            return
        tensors = load_file(file)
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "average": {}, "optimiser": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        if set(parts["average"]) != set(self.trained):
            raise TrainingError(
                f"{file} is the state of a training of other weights: use the same VAE and options as then, "
                "or another folder"
            )
        self.vae.load_state_dict(parts["weights"])
        self.average.values = {name: value.to(self.device) for name, value in parts["average"].items()}
        restore_optimiser(self.optimiser, self.trained, parts["optimiser"])
        self.step = int(parts["optimiser"][f"step.{next(iter(self.trained))}"])


def train_vae(
    vae: WanVAE,
    draw: DrawClips,
    options: VAETrainingOptions,
    folder: Path,
    *,
    encode: Encode | None = None,
) -> Iterator[Progress]:
    """Train, saving now and then and at the end, also when the caller stops or interrupts.

    Args:
        vae: trained in place.
        draw: gives the clips of a step.
        options: see there.
        folder: for the weights, the state and the log; if it holds a state, the training goes on from there.
        encode: see `VAETrainer`.

    Yields:
        Progress, every `log_steps` steps.

    Raises:
        TrainingError: a file cannot be written, or the state in the folder does not fit.
    """
    trainer = VAETrainer(vae, options, encode)
    trainer.resume(folder)
    started = saved = time.monotonic()
    recent: list[tuple[float, float]] = []
    try:
        while trainer.step < options.num_steps:
            recent.append(trainer.take_step(draw(trainer.step)))
            now = time.monotonic()
            if trainer.step % options.log_steps == 0 or trainer.step == options.num_steps:
                progress = _summary(trainer, recent, now - started)
                _append_row(folder / LOG_FILE, progress)
                recent.clear()
                yield progress
            if now - saved > options.save_seconds:
                trainer.save(folder)
                saved = now
    finally:
        trainer.save(folder)


def reconstruction_loss(decoded: Tensor, video: Tensor, options: VAETrainingOptions) -> tuple[Tensor, Tensor]:
    """Loss and mean squared error of clips.

    Args:
        decoded: (B, 3, F, H, W).
        video: the same shape, in [-1, 1].
        options: has the weights of the terms.
    """
    difference = decoded - video
    squared = difference.square().mean()
    loss = options.absolute * difference.abs().mean() + options.squared * squared
    if options.edges > 0:
        steps = difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
        loss = loss + options.edges * steps
    return loss, squared.detach()


def random_crop(clips: Tensor, crop: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """A piece of clips (B, F, H, W, 3); the same place for all, and any frame may become frame 0."""
    for axis, size in enumerate(crop, start=1):
        room = clips.shape[axis] - size
        start = int(torch.randint(room + 1, (), generator=generator)) if room > 0 else 0
        clips = clips.narrow(axis, start, min(size, clips.shape[axis]))
    return clips


@torch.no_grad()
def measure_psnr(vae: WanVAE, clips: Tensor) -> tuple[float, float]:
    """How well clips survive a round trip.

    Args:
        vae: with the weights to measure.
        clips: (B, F, H, W, 3) uint8.

    Returns:
        PSNR in dB of frame 0 and of the other frames, decoded values clamped.
    """
    errors: list[Tensor] = []
    for clip in clips:
        video = (clip[None].float() / 127.5 - 1).permute(0, 4, 1, 2, 3).to(vae.conv2.weight)
        decoded = vae.decode(vae.encode(video)).clamp(-1, 1)
        square = F.mse_loss(decoded, video, reduction="none").mean((0, 1, 3, 4))
        errors.append(torch.stack([square[0], square[1:].mean()]))
    first, later = torch.stack(errors).mean(0)
    return 10 * math.log10(4 / float(first)), 10 * math.log10(4 / float(later))


def _summary(trainer: VAETrainer, recent: list[tuple[float, float]], seconds: float) -> Progress:
    loss, error = (sum(values) / len(recent) for values in zip(*recent, strict=True))
    return Progress(
        step=trainer.step,
        seconds=seconds,
        loss=loss,
        psnr=10 * math.log10(4 / max(error, 1e-12)),
        rate=rate_at(trainer.step - 1, trainer.options.num_steps, trainer.options.rate),
    )


def _append_row(file: Path, progress: Progress) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    is_new = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        if is_new:
            rows.writerow(["step", "seconds", "loss", "psnr", "rate"])
        values = (f"{progress.loss:.5g}", f"{progress.psnr:.3f}", f"{progress.rate:.3g}")
        rows.writerow([progress.step, f"{progress.seconds:.1f}", *values])
