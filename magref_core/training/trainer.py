"""The training loop of the DiT, whole, with its encoders, or as a LoRA."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..dit.model import MagrefDiT
from ..dit.subjects import SubjectPlan
from .clip_vision import ClipVision, quick_clip_pixels
from .conditions import Conditions, drop_conditions, guidance_channels
from .config import TrainConfig, to_json
from .dataset import Batch, Dataset
from .disentangling import subject_plan
from .ema import WeightAverage
from .files import TrainingError, save_text
from .flow import cell_weights, draw_sigmas, flow_loss, noised
from .grounding import Grounding, Parts, Reader
from .log import Log
from .lora import add_lora
from .precision import matrix_precision
from .rates import rate_at
from .state import RunState, load_state, optimiser_tensors, restore_optimiser, save_state

STATE_FILE, CONFIG_FILE, LOG_FILE, CURVES_FILE = "state.safetensors", "config.json", "log.csv", "curves.png"
TRAINED_ALONG = ("text_encoder", "image_encoder", "reader")
"""Fields of `Models` that are trained along with the DiT."""
CURVES = ("loss", "gradient_norm", "learning_rate", "samples_per_second")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Models:
    """What is trained."""

    dit: MagrefDiT
    text_encoder: nn.Module | None = None
    """Token ids (B, L) -> features (B, L, C), trained along; None where samples hold features."""
    empty_text: Tensor | None = None
    """(L,) token ids of an empty prompt, needed with a text encoder, or its features (L, C)."""
    image_encoder: ClipVision | None = None
    """Trained along; None where samples hold image tokens."""
    reader: Reader | None = None
    """Trained along, for grounding; of no use later."""

    def look(self, canvas: Tensor) -> Tensor:
        """Image tokens (B, N, C) of canvases (B, H, W, 3) uint8."""
        assert self.image_encoder is not None
        pixels = canvas.permute(0, 3, 1, 2).float() / 127.5 - 1
        return self.image_encoder.tokens(quick_clip_pixels(pixels, size=self.image_encoder.config.image_size))


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run stands."""

    step: int
    num_steps: int
    loss: float
    """Mean since the last report."""
    seconds_left: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Hooks:
    """Who is told what, and who may stop the run; all are called between steps."""

    should_stop: Callable[[], bool] = lambda: False
    on_report: Callable[[Progress], None] = lambda _: None
    on_save: Callable[[int], None] = lambda _: None
    """Told the steps done, after a state was saved."""
    on_preview: Callable[[int], None] = lambda _: None
    """As well, every `preview_steps` steps."""
    preview_steps: int = 0
    """0 for no previews."""
    report_seconds: float = 30.0
    save_seconds: float = 300.0


class Trainer:
    """One run in one folder: state, configuration, log and curves.

    Args:
        models: on the device they are to be trained on; changed in place.
        dataset: samples.
        config: how.
        folder: of the run; made where it is missing.

    Raises:
        MagrefError: the LoRA fits no layer.
        TrainingError: every weight is frozen, or the adapter stage would train none.
    """

    def __init__(self, models: Models, dataset: Dataset, config: TrainConfig, folder: Path) -> None:
        self.models, self.dataset, self.config, self.folder = models, dataset, config, folder
        if config.lora is not None:
            add_lora(models.dit, config.lora, torch.Generator().manual_seed(config.seed))
            for name in TRAINED_ALONG:
                if (part := getattr(models, name)) is not None:
                    part.requires_grad_(False)  # a LoRA file has no room for it
        models.dit.gradient_checkpointing = config.gradient_checkpointing
        self.device = next(models.dit.parameters()).device
        self.weights = _trained(models)
        self._check_trained()
        groups = list(self.weights.values())
        self.optimiser = torch.optim.AdamW(
            groups, lr=config.rate.peak, betas=config.betas, weight_decay=config.weight_decay, fused=True
        )
        self.average = WeightAverage(self.weights, config.average)
        self.step = 0
        self.log = Log(folder / LOG_FILE, until=0)

    def resume(self, *, new_schedule: bool = False) -> None:
        """Go on where the folder's state was saved; the next loss is the same as without the stop.

        Raises:
            TrainingError: see `load_state`, or the state is of another model.
        """
        state = load_state(self.folder / STATE_FILE, self.config, new_schedule=new_schedule)
        self.restore_weights(state.weights, average=state.average)
        restore_optimiser(self.optimiser, self.weights, state.optimiser)
        self.step = state.step
        self.log = Log(self.folder / LOG_FILE, until=state.step)

    def restore_weights(
        self, weights: Mapping[str, Tensor], *, average: Mapping[str, Tensor] | None = None
    ) -> None:
        """Start from the weights alone, or from weights and their average.

        Raises:
            TrainingError: names or shapes are not those of the model.
        """
        shapes, given = _shapes(self.weights), _shapes(weights)
        if wrong := sorted({name for name, _ in shapes ^ given}):
            raise TrainingError(
                f"the saved weights are of another model ({len(wrong)} differ, such as {wrong[0]}): use the "
                "configuration and the checkpoint that the run began with"
            )
        for name, value in self.weights.items():
            value.data.copy_(weights[name])
            self.average.values[name].copy_((weights if average is None else average)[name])

    def train(self, hooks: Hooks | None = None) -> None:
        """Train to the end of the run, or until told to stop; the state is saved either way.

        Raises:
            TrainingError: a loss or gradient is not finite; the state before that step is saved.
        """
        hooks = Hooks() if hooks is None else hooks
        torch.set_flush_denormal(True)  # arithmetic with denormals is many times slower on a CPU
        save_text(self.folder / CONFIG_FILE, to_json(self.config))
        started = reported = saved = time.monotonic()
        first = reported_step = self.step
        losses: list[float] = []
        norms: list[float] = []
        while self.step < self.config.steps and not hooks.should_stop():
            try:
                loss, norm = self.train_step()
            except TrainingError:
                self.save()
                raise
            losses.append(loss)
            norms.append(norm)
            now = time.monotonic()
            if now - reported >= hooks.report_seconds or self.step == self.config.steps:
                speed = (self.step - reported_step) / max(now - reported, 1e-9)
                self._report(hooks, losses, norms, speed, left=(now - started) / (self.step - first))
                reported, reported_step, losses, norms = now, self.step, [], []
            is_preview = hooks.preview_steps > 0 and self.step % hooks.preview_steps == 0
            if is_preview or now - saved >= hooks.save_seconds:
                self.save()
                hooks.on_save(self.step)
                saved = time.monotonic()
            if is_preview:
                hooks.on_preview(self.step)
        self.save()

    def train_step(self) -> tuple[float, float]:
        """One optimiser step; gives its loss and the norm of the gradients before clipping.

        Raises:
            TrainingError: either is not finite; the weights are then as before the step.
        """
        config = self.config
        self._choose_trained()
        generator = torch.Generator().manual_seed(_seed_of_step(config.seed, self.step))
        length = config.latent_frames_at(self.step)
        batch = self.dataset.batch(config.batch_size, generator, num_latent_frames=length)
        self.optimiser.zero_grad(set_to_none=True)
        with matrix_precision(self.device, config.precision):
            loss = self.loss(batch, generator)
            loss.backward()  # pyright: ignore[reportUnknownMemberType]
        loss = loss.detach()
        parameters = [weight for weight in self.weights.values() if weight.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        if not (loss.isfinite() and norm.isfinite()):
            raise TrainingError(
                f"step {self.step} gave a loss of {loss.item():g} and gradients of norm {norm.item():g} on "
                f"{', '.join(batch.names)}: look at these samples, or lower the learning rate, and resume "
                "from the last saved state"
            )
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.step, config.steps, config.rate)
        self.optimiser.step()  # pyright: ignore[reportUnknownMemberType]
        self.average.update(self.weights, self.step)
        self.step += 1
        return loss.item(), norm.item()

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Loss of a batch at noise and noise levels that the generator, on the CPU, draws."""
        config, dit = self.config, self.models.dit
        conditions = batch.conditions
        if self.models.image_encoder is not None:
            conditions = replace(conditions, image_tokens=self._look(batch))
        conditions = drop_conditions(conditions, config.drops, generator, empty_text=self.models.empty_text)
        sigmas, sample_weights = draw_sigmas(len(batch.latents), config.flow, generator)
        noise = torch.randn(batch.latents.shape, generator=generator)
        weights = cell_weights(batch.subject, config.flow)
        channels = guidance_channels(conditions)
        state = torch.cat([noised(batch.latents, noise, sigmas), channels], dim=1)
        text, tokens = conditions.text.to(self.device), conditions.image_tokens
        grounding = self._ground(batch, conditions)
        subjects = self._disentangle(batch, conditions, generator)
        context = text if self.models.text_encoder is None else self.models.text_encoder(text)
        dtype = dit.dtype or torch.float32
        velocity = dit(
            state.to(self.device, dtype),
            1000 * sigmas.to(self.device),
            context.to(dtype),
            None if tokens is None else tokens.to(self.device, dtype),
            transformer_options=None if grounding is None else grounding.options(),
            subjects=subjects,
        )
        losses = flow_loss(velocity, *(value.to(self.device) for value in (batch.latents, noise, weights)))
        loss = (losses * sample_weights.to(self.device)).mean()
        return loss if grounding is None else loss + config.grounding.weight * grounding.loss()

    def save(self) -> None:
        """Write the state; see `save_state`."""
        state = RunState(
            step=self.step,
            weights={name: value.detach() for name, value in self.weights.items()},
            average=self.average.values,
            optimiser=optimiser_tensors(self.optimiser, self.weights),
        )
        save_state(self.folder / STATE_FILE, state, self.config)

    def _ground(self, batch: Batch, conditions: Conditions) -> Grounding | None:
        config = self.config.grounding
        if config.weight == 0:
            return None
        parts = _parts_told(batch, conditions, otherwise="set the weight of grounding to 0")
        return Grounding(parts.to(self.device), config, self.models.reader)

    def _disentangle(
        self, batch: Batch, conditions: Conditions, generator: torch.Generator
    ) -> SubjectPlan | None:
        config, dit = self.config.disentangling, self.models.dit
        if config.rate == 0:
            return None
        parts = _parts_told(batch, conditions, otherwise="set the rate of disentangling to 0")
        if conditions.text.ndim != 2:
            raise TrainingError(
                f"the samples {', '.join(batch.names)} hold prompts as features, in which no word is found: "
                "make the data set with token ids, or set the rate of disentangling to 0"
            )
        if parts.regions is None:
            raise TrainingError(
                f"the samples {', '.join(batch.names)} do not tell where on the canvas the boxes of each "
                "subject lie: make the data set again, or set the rate of disentangling to 0"
            )
        return subject_plan(
            parts.regions.to(self.device),
            parts.words,
            conditions.text,
            config,
            generator,
            num_blocks=len(dit.blocks),
            text_len=dit.config.text_len,
        )

    def _look(self, batch: Batch) -> Tensor:
        if batch.canvas is None:
            raise TrainingError(
                f"the samples {', '.join(batch.names)} hold no canvas for the image encoder: make the data "
                "set again, or train without an image encoder"
            )
        return self.models.look(batch.canvas.to(self.device))

    def _check_trained(self) -> None:
        if not self.weights:
            raise TrainingError("every weight is frozen: call requires_grad_() on what is to be trained")
        pattern = re.compile(self.config.adapter_names)
        if self.config.adapter_steps and not any(pattern.fullmatch(name) for name in self.weights):
            raise TrainingError(
                f"no weight is called '{self.config.adapter_names}': correct adapter_names, or set "
                "adapter_steps to 0"
            )

    def _choose_trained(self) -> None:
        """In the adapter stage all but the adapter is frozen."""
        pattern = re.compile(self.config.adapter_names)
        in_stage = self.step < self.config.adapter_steps
        for name, weight in self.weights.items():
            weight.requires_grad_(not in_stage or pattern.fullmatch(name) is not None)

    def _report(
        self, hooks: Hooks, losses: list[float], norms: list[float], speed: float, *, left: float
    ) -> None:
        loss = sum(losses) / len(losses)
        rate = rate_at(self.step - 1, self.config.steps, self.config.rate)
        samples = speed * self.config.batch_size
        numbers = (float(self.step), loss, sum(norms) / len(norms), rate, samples)
        self.log.add(dict(zip(("step", *CURVES), numbers, strict=True)))
        self.log.draw(self.folder / CURVES_FILE, CURVES)
        seconds_left = left * (self.config.steps - self.step)
        hooks.on_report(
            Progress(step=self.step, num_steps=self.config.steps, loss=loss, seconds_left=seconds_left)
        )


def _trained(models: Models) -> dict[str, Tensor]:
    """Parameters that are trained: of the DiT by their names, of an encoder behind the name of its field."""
    parts = [models.dit.named_parameters()]
    for name in TRAINED_ALONG:
        if (encoder := getattr(models, name)) is not None:
            parts.append(encoder.named_parameters(prefix=name))
    return {name: value for name, value in itertools.chain(*parts) if value.requires_grad}


def _parts_told(batch: Batch, conditions: Conditions, *, otherwise: str) -> Parts:
    """What shows whom, as far as a batch with some conditions left out tells.

    Raises:
        TrainingError: the samples do not tell; the sentence ends in "or " and `otherwise`.
    """
    if batch.parts is None:
        raise TrainingError(
            f"the samples {', '.join(batch.names)} do not tell what shows whom: make the data set again, or "
            f"{otherwise}"
        )
    given = batch.conditions
    return batch.parts.told_by(
        text=(conditions.text == given.text).flatten(1).all(1),
        references=(conditions.latent_mask == given.latent_mask).flatten(1).all(1),
    )


def _seed_of_step(seed: int, step: int) -> int:
    """32 bits, all that PyTorch's CPU generator looks at; runs of different seeds start far apart."""
    return (seed * 0x9E3779B1 + step) % 2**32


def _shapes(weights: Mapping[str, Tensor]) -> set[tuple[str, torch.Size]]:
    return {(name, value.shape) for name, value in weights.items()}
