"""Step 5: a run that may cost less, and says what it leaves out."""

from __future__ import annotations

from typing import Any

import comfy.ldm.modules.attention
import comfy.patcher_extension
from comfy_api.latest import io
from comfy_extras.nodes_easycache import EasyCacheHolder, EasyCacheNode

from ..magref_core.errors import MagrefError
from ..magref_core.sampling.profiles import EXACT, PROFILES, RunPlan, Tally, plan_run, plan_sentence
from .notices import logger, show_notices, show_on_running_node

KEY = "magref_profile"
"""Of our wrappers, and of the run's tally in its options."""
HOST, SAGE = ATTENTIONS = ("as ComfyUI", "sage")
_KINDS = comfy.patcher_extension.WrappersMP


class SpeedProfile(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefSpeedProfile",
            display_name="MAGREF Speed Profile",
            category="MAGREF/sampling",
            description="Trades time for likeness in one choice: exact changes nothing, balanced and draft "
            "leave out steps, guidance and repeated answers. It says what it does to the run.",
            search_aliases=["magref", "easycache", "teacache", "fast", "cfg interval", "draft", "turbo"],
            inputs=[
                io.Model.Input("model", tooltip="A MAGREF model, LoRAs included; from any loader."),
                io.Combo.Input(
                    "profile",
                    options=list(PROFILES),
                    default=EXACT,
                    tooltip="exact changes nothing. balanced takes three quarters of the steps and reuses "
                    "answers that hardly change. draft takes half the steps, reuses more, and guides by the "
                    "prompt only while the picture is composed: for looking at a scene before it is made.",
                ),
                io.Int.Input("steps", default=40, min=1, max=1000, tooltip="Steps of the exact run."),
                io.Float.Input(
                    "shift", default=3.0, min=0.01, max=100.0, step=0.1, tooltip="Handed on as it is."
                ),
                io.Float.Input(
                    "guidance_scale",
                    default=5.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="Handed on as it is; at 1 a run has no guidance that could be left out.",
                ),
                io.Combo.Input(
                    "attention",
                    options=list(ATTENTIONS),
                    default=HOST,
                    advanced=True,
                    tooltip="sage computes attention in 8 bits on an NVIDIA card, where the package "
                    "sageattention is installed, in any profile; without it the log says so and nothing "
                    "changes.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    id="model", display_name="model", tooltip="For MAGREF Sampler, KSampler or a guider."
                ),
                io.Int.Output(id="steps", display_name="steps", tooltip="For the sampler or schedule."),
                io.Float.Output(id="shift", display_name="shift", tooltip="For the sampler or schedule."),
                io.Float.Output(
                    id="guidance_scale", display_name="guidance_scale", tooltip="For the sampler."
                ),
                io.String.Output(
                    id="report", display_name="report", tooltip="What the profile leaves out, in words."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, profile, steps, shift, guidance_scale, attention) -> io.NodeOutput:
        plan = plan_run(profile, steps, guidance_scale)
        facts = [plan_sentence(plan, steps, guidance_scale)]
        quick, warnings = apply_plan(model, plan)
        quick, told = with_attention(quick, attention)
        show_notices([*warnings, *told], cls.hidden, facts=facts)
        report = "\n".join([*facts, *warnings, *told])
        return io.NodeOutput(quick, plan.steps, shift, guidance_scale, report)


def apply_plan(model: Any, plan: RunPlan) -> tuple[Any, list[str]]:
    """A clone that leaves out what the plan says, and what could not be; the model itself if nothing is.

    Raises:
        MagrefError: another profile has left something out before.
    """
    if model.get_wrappers(_KINDS.OUTER_SAMPLE, KEY):
        raise MagrefError(
            "the model comes from a MAGREF Speed Profile already, and two would count twice what they leave "
            "out: keep one of them"
        )
    if not plan.reuses and not plan.has_interval:
        return model, []
    quick, warnings = model.clone(), list[str]()
    # Around the cache what is asked for is counted, inside it what is computed.
    quick.add_wrapper_with_key(_KINDS.DIFFUSION_MODEL, f"{KEY}_asked", _count_asked)
    if plan.reuses:
        if "easycache" in quick.model_options["transformer_options"]:
            warnings.append(
                f"the model brings its own EasyCache or LazyCache, which stays: the reuse of {plan.name} is "
                "left out"
            )
        else:
            part = plan.profile
            quick = EasyCacheNode.execute(
                quick, part.reuse_threshold, part.reuse_start, part.reuse_end, False
            ).args[0]
    quick.add_wrapper_with_key(_KINDS.DIFFUSION_MODEL, KEY, _count_computed)
    quick.add_wrapper_with_key(_KINDS.PREDICT_NOISE, KEY, _guide_within(plan))
    quick.add_wrapper_with_key(_KINDS.OUTER_SAMPLE, KEY, _tell(plan))
    return quick, warnings


def with_attention(model: Any, attention: str) -> tuple[Any, list[str]]:
    """A clone with the attention that was asked for, where there is one; the model itself otherwise.

    Raises:
        MagrefError: the attention is unknown.
    """
    if attention not in ATTENTIONS:  # over a link, where the host does not look
        raise MagrefError(
            f"the attention is {attention!r}, which is unknown: choose one of {', '.join(ATTENTIONS)}"
        )
    if attention == HOST:
        return model, []
    sage = comfy.ldm.modules.attention.get_attention_function(SAGE, None)
    if sage is None:
        return model, [
            "SageAttention is not installed, so attention stays ComfyUI's own: install the packages "
            "sageattention and triton into ComfyUI's Python"
        ]
    if "optimized_attention_override" in model.model_options["transformer_options"]:
        return model, ["the model brings an attention of its own, which stays: sage is left out"]
    quick = model.clone()
    quick.model_options["transformer_options"]["optimized_attention_override"] = lambda _, *args, **kwargs: (
        sage(*args, **kwargs)
    )
    return quick, []


def _tell(plan: RunPlan):
    """Around a whole run: it gets a tally of its own, and says at its end what was left out."""

    def wrap(executor: Any, *args: Any, **kwargs: Any) -> Any:
        tally = Tally()
        # Options of this run alone: the host has made them for it.
        options = executor.class_obj.model_options["transformer_options"]
        options[KEY] = tally
        if plan.reuses:
            _check_cache(options)
        result = executor(*args, **kwargs)
        logger.info(tally.sentence(plan.name))
        show_on_running_node(tally.sentence(plan.name))
        return result

    return wrap


def _check_cache(options: dict[str, Any]) -> None:
    """Refuse a cache behind the profile: its wrappers would share what was computed with those in front.

    Raises:
        MagrefError: there is one.
    """
    wrappers = comfy.patcher_extension.get_wrappers_with_key(_KINDS.DIFFUSION_MODEL, "easycache", options)
    if wrappers and (len(wrappers) > 1 or not isinstance(options["easycache"], EasyCacheHolder)):
        raise MagrefError(
            "an EasyCache or LazyCache stands behind MAGREF Speed Profile, which reuses answers itself: take "
            "it out, or put it in front of the profile"
        )


def _guide_within(plan: RunPlan):
    """Around a step: outside the interval the guider's scale is 1, at which no host asks the negative."""

    def wrap(executor: Any, x: Any, timestep: Any, options: Any = None, *args: Any, **kwargs: Any) -> Any:
        shared = (options or {}).get("transformer_options", {})
        tally: Tally = shared.get(KEY) or Tally()
        is_guided = plan.is_guided_at(float(timestep.flatten()[0]))
        if tally.begin_step(is_guided):
            _begin_again(shared.get("easycache"))
        if is_guided:
            return executor(x, timestep, options, *args, **kwargs)
        guider = executor.class_obj
        scale, guider.cfg = guider.cfg, 1.0
        try:
            return executor(x, timestep, options, *args, **kwargs)
        finally:
            guider.cfg = scale

    return wrap


def _begin_again(cache: Any) -> None:
    """Let EasyCache choose anew by which prompt it measures change: the negative comes or goes.

    What it compared belongs to the other prompt; the differences that it reuses stay, as they are kept by
    prompt.
    """
    if isinstance(cache, EasyCacheHolder):
        cache.initial_step = True
        for name in ("x_prev_subsampled", "output_prev_subsampled", "output_prev_norm"):
            setattr(cache, name, None)


def _count_asked(executor: Any, *args: Any, **kwargs: Any) -> Any:
    options = _options_of(args, kwargs)
    if tally := options.get(KEY):
        tally.asked += len(options["cond_or_uncond"])
    return executor(*args, **kwargs)


def _count_computed(executor: Any, *args: Any, **kwargs: Any) -> Any:
    options = _options_of(args, kwargs)
    if tally := options.get(KEY):
        tally.computed += len(options["cond_or_uncond"])
    return executor(*args, **kwargs)


def _options_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The transformer options of a call of a DiT, ours or native, wherever they stand."""
    return kwargs.get("transformer_options") or next(
        (value for value in reversed(args) if isinstance(value, dict)), {}
    )
