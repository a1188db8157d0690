"""Runs that answer fewer questions: what is left out, and in which words that is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..errors import MagrefError

FEW_STEPS = 8
"""Runs of so few steps, as those with a distilled LoRA, are not thinned out further."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What a run leaves out; the defaults leave out nothing."""

    step_share: float = 1.0
    """Of the steps asked for, in (0, 1]."""
    reuse_threshold: float = 0.0
    """EasyCache's: an answer is reused while the change that has added up is below; 0 reuses none."""
    reuse_start: float = 0.15
    """Part of the run in [0, 1] from which answers may be reused ..."""
    reuse_end: float = 0.95
    """... and up to which; both are EasyCache's own."""
    guidance_start: float = 1.0
    """Guided are the noise levels from this sigma ..."""
    guidance_end: float = 0.0
    """... down to this one; elsewhere the negative prompt is not asked for."""


EXACT, BALANCED, DRAFT = "exact", "balanced", "draft"

PROFILES: dict[str, Profile] = {
    EXACT: Profile(),
    BALANCED: Profile(step_share=0.75, reuse_threshold=0.1),
    DRAFT: Profile(step_share=0.5, reuse_threshold=0.2, guidance_end=0.5),
}
"""By name, from dear to cheap; docs/profiles.md has what each costs.

Source: the interval of guidance is that of Kynkaanniemi et al. (arXiv 2404.07724), whose upper end is not
used: early steps decide who stands where. Reuse is EasyCache (arXiv 2507.02860).
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """A profile applied to one run."""

    name: str
    steps: int
    profile: Profile
    """Without what this run has no use for."""

    @property
    def reuses(self) -> bool:
        """Whether answers may be reused."""
        return self.profile.reuse_threshold > 0

    @property
    def has_interval(self) -> bool:
        """Whether some steps are not guided, in a run that is."""
        return self.profile.guidance_end > 0 or self.profile.guidance_start < 1

    def is_guided_at(self, sigma: float) -> bool:
        """Whether the negative prompt is asked for at a noise level in [0, 1]."""
        return self.profile.guidance_end <= sigma <= self.profile.guidance_start


def plan_run(name: str, steps: int, guidance_scale: float) -> RunPlan:
    """What a profile does to a run; see `plan_with`.

    Raises:
        MagrefError: there is no such profile, or no step.
    """
    if name not in PROFILES:
        raise MagrefError(f"the profile is {name!r}, which is unknown: choose one of {', '.join(PROFILES)}")
    return plan_with(name, PROFILES[name], steps, guidance_scale)


def plan_with(name: str, wanted: Profile, steps: int, guidance_scale: float) -> RunPlan:
    """What leaving something out does to a run.

    Args:
        name: for the sentences.
        wanted: what is to be left out.
        steps: that were asked for; 8 or fewer stay as they are, and all their answers are computed.
        guidance_scale: 1 is a run without guidance, which has no interval.

    Raises:
        MagrefError: there is no step.
    """
    if steps < 1:
        raise MagrefError(f"the profile is given {steps} steps, but a run has at least 1: set steps to 40")
    is_guided = not math.isclose(guidance_scale, 1)
    profile = wanted
    if steps <= FEW_STEPS:
        profile = replace(profile, step_share=1.0, reuse_threshold=0.0)
    if not is_guided:
        profile = replace(profile, guidance_start=1.0, guidance_end=0.0)
    left = max(min(steps, FEW_STEPS), math.ceil(steps * profile.step_share))
    return RunPlan(name=name, steps=left, profile=profile)


def plan_sentence(plan: RunPlan, steps: int, guidance_scale: float) -> str:
    """What will be left out, before the run.

    Args:
        plan: of the run.
        steps: that were asked for.
        guidance_scale: of the run.
    """
    parts: list[str] = []
    if plan.steps != steps:
        parts.append(f"{plan.steps} steps in place of {steps}")
    if plan.has_interval:
        parts.append(
            f"guidance {guidance_scale:g} from sigma {plan.profile.guidance_start:g} down to "
            f"{plan.profile.guidance_end:g} and none elsewhere"
        )
    if plan.reuses:
        parts.append(
            f"EasyCache reuses answers below a change of {plan.profile.reuse_threshold:g}, from "
            f"{plan.profile.reuse_start:.0%} to {plan.profile.reuse_end:.0%} of the run"
        )
    return f"{plan.name}: {'; '.join(parts) if parts else 'changes nothing in this run'}"


@dataclass(kw_only=True, slots=True)
class Tally:
    """Counts what a run really did; one answer is that of the model to one prompt at one step."""

    steps: int = 0
    guided_steps: int = 0
    asked: int = 0
    """Answers asked for, reused ones among them."""
    computed: int = 0
    was_guided: bool | None = None
    """The last step; None before the first."""

    def begin_step(self, is_guided: bool) -> bool:
        """Count a step, and tell whether guidance begins or ends with it."""
        has_changed = self.was_guided is not None and self.was_guided != is_guided
        self.steps += 1
        self.guided_steps += is_guided
        self.was_guided = is_guided
        return has_changed

    def sentence(self, name: str) -> str:
        """What was left out, after the run."""
        reused = self.asked - self.computed
        guided = f", {self.guided_steps} of them guided" if self.guided_steps < self.steps else ""
        return (
            f"{name}: {self.steps} steps{guided}; {self.computed} answers of the model computed, "
            f"{reused} reused"
        )
