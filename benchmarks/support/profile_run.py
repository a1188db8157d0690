"""Clips under every profile: one by one, in turns, timed, counted and scored."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.support.dit_models import PACK
from magref_core.sampling.profiles import BALANCED, DRAFT, EXACT, PROFILES, Profile, plan_with

from . import machine
from . import quality_host as host
from .quality_run import Clock, Record, stage_case
from .quality_scores import score_clip
from .quality_sets import MAIN_SETS, Case

SETS = (*MAIN_SETS, "walks", "pairs")
"""Of the quality measurement; the backgrounds are left out."""
GUIDED = 2.5
"""Guidance at which the interval matters; the demo model is made for 1."""
SHORT = "fp8_e4m3fn"


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """A way to run the same scene from the same noise."""

    label: str
    guidance_scale: float
    profile: Profile = PROFILES[EXACT]
    precision: str = "default"
    reference: str = ""
    """The condition that it is compared with; empty for that itself."""


def _conditions() -> Iterator[Condition]:
    balanced, draft = PROFILES[BALANCED], PROFILES[DRAFT]
    for scale in (GUIDED, 1.0):
        exact = f"exact, guidance {scale:g}"
        yield Condition(label=exact, guidance_scale=scale)
        ways: dict[str, Profile] = {BALANCED: balanced, DRAFT: draft}
        if scale == GUIDED:
            ways |= {
                f"only EasyCache {balanced.reuse_threshold:g}": replace(balanced, step_share=1.0),
                f"only EasyCache {draft.reuse_threshold:g}": replace(draft, guidance_end=0.0, step_share=1.0),
                f"only guidance down to {draft.guidance_end:g}": Profile(guidance_end=draft.guidance_end),
                f"only {balanced.step_share:g} of the steps": Profile(step_share=balanced.step_share),
                f"only {draft.step_share:g} of the steps": Profile(step_share=draft.step_share),
            }
        for name, profile in ways.items():
            label = f"{name}, guidance {scale:g}"
            yield Condition(label=label, guidance_scale=scale, profile=profile, reference=exact)
        if scale == GUIDED:
            yield Condition(
                label=f"exact, {SHORT} weights, guidance {scale:g}",
                guidance_scale=scale,
                precision=SHORT,
                reference=exact,
            )


CONDITIONS: Mapping[str, Condition] = {condition.label: condition for condition in _conditions()}


class Sampler:
    """MAGREF Sampler under a condition, and how many answers its model computes."""

    def __init__(self, models: host.Models, condition: Condition, options: host.SamplingOptions):
        speed = importlib.import_module(f"{PACK}.nodes.speed_profile")
        plan = plan_with(condition.label, condition.profile, options.steps, condition.guidance_scale)
        self.model = speed.apply_plan(models.model, plan)[0].clone()
        kinds = importlib.import_module("comfy.patcher_extension").WrappersMP
        self.model.add_wrapper_with_key(kinds.DIFFUSION_MODEL, "counted", self._count)
        self.models, self.steps, self.condition, self.options = models, plan.steps, condition, options
        self.answers = 0

    def _count(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self.answers += len(args[-1]["cond_or_uncond"])
        return executor(*args, **kwargs)

    def __call__(self, prompts: tuple[Any, Any], guidance: host.Guidance, seed: int) -> Tensor:
        """Latents (1, 16, T, h, w) of a clip."""
        positive, negative = ([[prompt[0][0], dict(guidance)]] for prompt in prompts)
        latent = {"samples": torch.zeros_like(guidance["concat_latent_image"])}
        settings = (self.steps, self.condition.guidance_scale, self.options.shift, self.options.solver)
        node = importlib.import_module(f"{PACK}.nodes.sampling").MagrefSampler
        self.answers = 0
        answer = node.execute(
            self.model, positive, negative, latent, seed, *settings, 0, 1000, "cpu", True
        ).args[0]
        return answer["samples"]


def samplers_of(models: host.Models, options: host.SamplingOptions) -> dict[str, Sampler]:
    """One for each condition; those of one precision share its weights."""
    loader = importlib.import_module(f"{PACK}.nodes.loaders").MagrefDiTLoader
    file = models.model.get_attachment("magref_contents").label
    loaded = {"default": models.model, SHORT: loader.execute(file, SHORT).args[0]}
    return {
        label: Sampler(replace(models, model=loaded[condition.precision]), condition, options)
        for label, condition in CONDITIONS.items()
    }


def run_share(
    models: host.Models,
    cases: Sequence[Case],
    options: host.SamplingOptions,
    *,
    device: str,
    done: Callable[[Record], None],
    label: str,
) -> None:
    """Run every case under all conditions, which take turns in changing order.

    Args:
        models: of the bundle.
        cases: to be run.
        options: of the run; its guidance is that of each condition.
        device: whose time and memory are measured.
        done: is handed each record: set, number, seed, and by condition scores, seconds, answers and
            differences.
        label: begins the lines that tell how far it is.
    """
    samplers = samplers_of(models, options)
    empty = host.encode_prompt(models, "")
    clock = Clock(label=label, total=len(cases) * len(samplers))
    for turn, case in enumerate(cases):
        staged = stage_case(case)
        prompts = host.encode_prompt(models, staged.prompt), empty
        guidance = host.guide(models, staged.canvas, case.scene.length)
        record: Record = {"set": case.set_name, "number": case.number, "seed": case.seed}
        scores, seconds, answers, peaks, found = {}, {}, {}, {}, {}
        names = list(samplers)[turn % len(samplers) :] + list(samplers)[: turn % len(samplers)]
        for name in names:
            sampler = samplers[name]
            if turn == 0:  # the first call of each sets the libraries up, so its time does not count
                peak = machine.peak_bytes(lambda: sampler(prompts, guidance, case.seed), device)  # noqa: B023
                peaks[name] = peak if device == "cuda" else None  # so little drowns in that of the process
            started = _clock(device)
            found[name] = latents = sampler(prompts, guidance, case.seed)
            seconds[name] = _clock(device) - started
            answers[name] = sampler.answers
            (frames,) = host.decode(models, latents)
            scores[name] = score_clip(staged, frames, seed=case.seed)
            clock.add(1)
        counted = {"scores": scores, "seconds": seconds, "answers": answers, "peaks": peaks}
        done(record | counted | {"differences": differences(found)})


def differences(latents: Mapping[str, Tensor]) -> dict[str, float]:
    """Norm of the difference of each condition's latents to those of its exact run, over their norm."""
    pairs = {
        name: (latents[name], latents[condition.reference])
        for name, condition in CONDITIONS.items()
        if condition.reference
    }
    return {name: ((one - exact).norm() / exact.norm()).item() for name, (one, exact) in pairs.items()}


def _clock(device: str) -> float:
    """Seconds: of the processor on a CPU, so that other programs do not count."""
    machine.synchronize(device)
    return time.perf_counter() if device == "cuda" else time.process_time()
