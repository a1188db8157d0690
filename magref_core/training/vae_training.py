"""Training of the VAE, or of its decoder alone where the encoder is a fixed linear code."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MagrefError
from .config import differences, from_json, to_json
from .ema import WeightAverage
from .files import TrainingError, save_tensors
from .log import Log
from .rates import RateConfig, rate_at
from .state import optimiser_tensors, read_state, restore_optimiser
from .wan_vae import WanVAE, denormalise, skip_levels

DrawClips = Callable[[int], Tensor]
"""Number of a step -> its clips, (B, F, H, W, 3) uint8; equal numbers give equal clips."""

Encode = Callable[[Tensor], Tensor]
"""(B, F, H, W, 3) uint8 -> normalised latents (B, 16, T, h, w)."""

STATE_FILE = "state.safetensors"
WEIGHTS_FILE = "vae.safetensors"
LOG_FILE = "log.csv"
STATE_KIND = "magref_vae_run"


@dataclass(frozen=True, kw_only=True, slots=True)
class VAETrainingOptions:
    """How the VAE is trained.

    Raises:
        MagrefError: a value is outside its range.
    """

    num_steps: int
    active_levels: int = 4
    """Levels of the decoder, counted from the latents, whose residual blocks are trained. The blocks of the
    others are skipped and set to do nothing: a first run with 2 takes a third of the time per step."""
    rate: RateConfig = field(default_factory=lambda: RateConfig(peak=2e-3, warmup=100, constant=0.0))
    clip_gradient: float = 1.0
    """Largest norm of a step's gradient."""
    average: float = 0.998
    """Share of the old running average that a step keeps; the average is what is saved."""
    absolute: float = 1.0
    """Weight of the mean absolute difference, in [-1, 1]."""
    squared: float = 1.0
    """Weight of the mean squared difference."""
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
        encode: the latents that the encoder would give, for instance `LinearCodec.encode`.
    """

    def __init__(self, vae: WanVAE, options: VAETrainingOptions, encode: Encode) -> None:
        torch.set_flush_denormal(True)
        self.encode = encode
        self.vae = vae.train()
        self.options = options
        vae.requires_grad_(False)
        for part in (vae.conv2, vae.decoder):
            part.requires_grad_(True)
        for block in skip_levels(vae.decoder, options.active_levels):
            block.residual.requires_grad_(False)
            for parameter in block.residual[6].parameters():
                nn.init.zeros_(parameter)
        self.trained = {name: p for name, p in vae.named_parameters() if p.requires_grad}
        self.optimiser = torch.optim.Adam(self.trained.values(), betas=(0.9, 0.99))
        self.average = WeightAverage(self.trained, options.average)
        self.step = 0
        self.is_between_steps = True
        """False in the moment in which weights, average and step do not belong together."""

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

        Raises:
            TrainingError: loss or gradients are not finite; the weights are then as before the step.
        """
        options = self.options
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + self.step)
        clips = clips.to(self.device)
        video = (clips.float() / 127.5 - 1).permute(0, 4, 1, 2, 3)
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.step, options.num_steps, options.rate)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            with torch.no_grad():
                latents = self.encode(clips)
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            decoded = self.vae.decode(denormalise(latents + options.latent_noise * noise))
        loss, error = reconstruction_loss(decoded.float(), video, options)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        norm = nn.utils.clip_grad_norm_(self.trained.values(), options.clip_gradient)
        if not (loss.isfinite() and norm.isfinite()):
            raise TrainingError(
                f"step {self.step} of the VAE gave a loss of {loss.item():g} and gradients of norm "
                f"{norm.item():g}: look at its clips, or lower the learning rate, and go on from the state "
                "before it, which is kept"
            )
        self.is_between_steps = False
        self.optimiser.step()  # pyright: ignore[reportUnknownMemberType]
        self.average.update(self.trained, self.step)
        self.step += 1
        self.is_between_steps = True
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
        metadata = {"kind": STATE_KIND, "step": str(self.step), "options": to_json(self.options)}
        save_tensors(folder / STATE_FILE, tensors, metadata)
        save_tensors(folder / WEIGHTS_FILE, self.averaged_weights(), {"step": str(self.step)})

    def resume(self, folder: Path) -> None:
        """Go on from what `save` has written, if it is there.

        Raises:
            TrainingError: the state is cut off, of another VAE, or of a run with other options.
        """
        file = folder / STATE_FILE
        if not file.exists():
            return
        metadata, tensors = read_state(file)
        if metadata.get("kind") != STATE_KIND:
            raise TrainingError(f"{file} is not the state of a VAE's training: use another folder")
        saved = from_json(VAETrainingOptions, metadata["options"], label=f"the options in {file.name}")
        if changed := differences(saved, self.options):
            raise TrainingError(
                f"{file} was saved with other options ({', '.join(changed)} differ): use the same ones, or "
                "another folder"
            )
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "average": {}, "optimiser": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        own = {name: value.shape for name, value in self.vae.state_dict().items()}
        if own != {name: value.shape for name, value in parts["weights"].items()}:
            raise TrainingError(f"{file} is the state of another VAE: use the same one, or another folder")
        self.vae.load_state_dict(parts["weights"])
        self.average.values = {name: value.to(self.device) for name, value in parts["average"].items()}
        restore_optimiser(self.optimiser, self.trained, parts["optimiser"])
        self.step = int(metadata["step"])


def train_vae(
    vae: WanVAE,
    draw: DrawClips,
    options: VAETrainingOptions,
    folder: Path,
    *,
    encode: Encode,
    on_report: Callable[[Progress], object] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train, saving now and then and at the end, however it comes.

    Args:
        vae: trained in place.
        draw: gives the clips of a step.
        options: see there.
        folder: for the weights, the state and the log; if it holds a state, the training goes on from there.
        encode: see `VAETrainer`.
        on_report: told every `log_steps` steps.
        should_stop: asked before each step.

    Returns:
        Whether all steps are done.

    Raises:
        TrainingError: a loss is not finite, a file cannot be written, or the state in the folder does not
            fit.
    """
    trainer = VAETrainer(vae, options, encode)
    trainer.resume(folder)
    log = Log(folder / LOG_FILE, until=trainer.step)
    started = saved = time.monotonic()
    recent: list[tuple[float, float]] = []
    try:
        while trainer.step < options.num_steps and not should_stop():
            recent.append(trainer.take_step(draw(trainer.step)))
            now = time.monotonic()
            if trainer.step % options.log_steps == 0 or trainer.step == options.num_steps:
                progress = _summary(trainer, recent, now - started)
                log.add({field.name: float(getattr(progress, field.name)) for field in fields(Progress)})
                recent.clear()
                on_report(progress)
            if now - saved > options.save_seconds:
                trainer.save(folder)
                saved = now
    finally:
        if trainer.is_between_steps:
            trainer.save(folder)
    return trainer.step >= options.num_steps


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
    return loss, squared.detach()


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
