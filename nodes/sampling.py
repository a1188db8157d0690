"""Step 6: noise becomes latents, sigma by sigma as in the official program."""

from __future__ import annotations

from typing import Any, cast, get_args

import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy_api.latest import io
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from torch import Tensor

from ..magref_core.errors import MagrefError
from ..magref_core.sampling.noise import gaussian_noise
from ..magref_core.sampling.schedule import Solver, carry_timesteps, flow_schedule
from ..magref_core.sampling.solvers import SOLVERS
from .checks import check_conditioning
from .finite import refuse_not_finite
from .memory_plan import sample_within_memory

FIRST_SIGMA = 0.98
"""Above it a run counts as one from nothing but noise; unipc's first sigma is 0.99967 at shift 3."""

NOISES = ("cpu", "device", "none")
SOLVER_TIP = "unipc is MAGREF's default; dpm++ is its other one; euler is plain and robust."


def _solver(tooltip: str) -> io.Combo.Input:
    return io.Combo.Input("solver", options=list(get_args(Solver)), default="unipc", tooltip=tooltip)


def _steps() -> io.Int.Input:
    return io.Int.Input("steps", default=40, min=1, max=1000, tooltip="Denoising steps. MAGREF uses 40.")


def _shift() -> io.Float.Input:
    tooltip = "Holds the noise high for longer as it grows. MAGREF uses 3; 1 spaces the steps evenly."
    return io.Float.Input("shift", default=3.0, min=0.01, max=100.0, step=0.1, tooltip=tooltip)


def _part_of_a_run() -> list[io.Input]:
    """For runs in several parts, and for how exact a run is."""
    return [
        io.Int.Input(
            "start_at_step",
            default=0,
            min=0,
            max=1000,
            advanced=True,
            tooltip="Steps to skip at the start; above 0 the latent given is partly kept.",
        ),
        io.Int.Input(
            "end_at_step",
            default=1000,
            min=1,
            max=1000,
            advanced=True,
            tooltip="Step to stop at; below steps the result still holds noise for a second sampler.",
        ),
        io.Combo.Input(
            "noise",
            options=list(NOISES),
            default="cpu",
            advanced=True,
            tooltip="Where the noise is drawn: cpu as all of ComfyUI (same seed, same video everywhere), "
            "device as the official program on a GPU, none if the latent already holds its noise.",
        ),
        _whole_timesteps(),
    ]


def _whole_timesteps() -> io.Boolean.Input:
    tooltip = (
        "Hands the model whole timesteps (999, 989, ...) as the official program does; "
        "off hands it 1000 sigma as ComfyUI does."
    )
    return io.Boolean.Input("whole_timesteps", default=True, advanced=True, tooltip=tooltip)


class MagrefSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefSampler",
            display_name="MAGREF Sampler",
            category="MAGREF/sampling",
            description="Samples the video as the official program does: same sigmas, same solvers, same "
            "timesteps.",
            search_aliases=["magref", "ksampler", "unipc", "dpm++"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="A MAGREF model, from MAGREF DiT Loader or any other loader."
                ),
                io.Conditioning.Input("positive", tooltip="From MAGREF Apply Masked Guidance."),
                io.Conditioning.Input("negative", tooltip="From MAGREF Apply Masked Guidance."),
                io.Latent.Input(
                    "latent", tooltip="From MAGREF Apply Masked Guidance, or frames to start from."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Seed of the noise. It does not move the layout; that has its own seed.",
                ),
                _steps(),
                io.Float.Input(
                    "guidance_scale",
                    default=5.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="How far the answer is driven from the negative prompt. MAGREF uses 5; "
                    "1 skips the negative prompt and halves the time.",
                ),
                _shift(),
                _solver(SOLVER_TIP),
                *_part_of_a_run(),
            ],
            outputs=[io.Latent.Output(id="latent", display_name="latent")],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        latent,
        seed,
        steps,
        guidance_scale,
        shift,
        solver,
        start_at_step,
        end_at_step,
        noise,
        whole_timesteps,
    ) -> io.NodeOutput:
        samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
        check_conditioning(model, [*positive, *negative], samples)
        sigmas = step_range(host_sigmas(solver, steps, shift), start_at_step, end_at_step)
        (shifted,) = ModelSamplingSD3().patch(model, shift)
        guider = comfy.samplers.CFGGuider(shifted)
        guider.set_conds(positive, negative)
        guider.set_cfg(guidance_scale)
        drawn = draw_noise(noise, samples, seed, latent.get("batch_index"))
        denoised = sample_within_memory(
            guider,
            samples,
            lambda: guider.sample(
                drawn,
                samples,
                host_sampler(solver, whole_timesteps),
                sigmas,
                denoise_mask=latent.get("noise_mask"),
                callback=latent_preview.prepare_callback(shifted, len(sigmas) - 1),
                disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
                seed=seed,
            ),
        )
        result = {**latent, "samples": denoised.to(comfy.model_management.intermediate_device())}
        return io.NodeOutput(result)


class MagrefSolver(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefSolver",
            display_name="MAGREF Solver",
            category="MAGREF/sampling",
            description="One of MAGREF's solvers as a SAMPLER, for SamplerCustom and its kin. "
            "Use it with the sigmas of MAGREF Schedule.",
            search_aliases=["magref", "unipc", "dpm++"],
            inputs=[
                _solver(SOLVER_TIP),
                _whole_timesteps(),
            ],
            outputs=[io.Sampler.Output(id="sampler", display_name="sampler")],
        )

    @classmethod
    def execute(cls, solver, whole_timesteps) -> io.NodeOutput:
        return io.NodeOutput(host_sampler(solver, whole_timesteps))


class MagrefSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefSchedule",
            display_name="MAGREF Schedule",
            category="MAGREF/sampling",
            description="MAGREF's noise levels as SIGMAS, for SamplerCustom and its kin.",
            search_aliases=["magref", "sigmas", "scheduler"],
            inputs=[
                _solver("The solver that will walk them: unipc starts a hair below 1, the others at 1."),
                _steps(),
                _shift(),
            ],
            outputs=[io.Sigmas.Output(id="sigmas", display_name="sigmas")],
        )

    @classmethod
    def execute(cls, solver, steps, shift) -> io.NodeOutput:
        return io.NodeOutput(host_sigmas(solver, steps, shift))


def host_sigmas(solver: Solver, steps: int, shift: float) -> Tensor:
    """The official sigmas as the host carries them, (steps + 1,) float32.

    A timestep is then `floor(1000 sigma)`: where float32 would lose the official one, sigma moves by one ulp.
    """
    return carry_timesteps(flow_schedule(solver, steps, shift))


def step_range(sigmas: Tensor, start: int, end: int) -> Tensor:
    """The sigmas of steps `start` up to, but without, `end`.

    Raises:
        MagrefError: no step is left, or the start is negative.
    """
    steps = len(sigmas) - 1
    if start < 0:  # over a link, where the host does not look
        raise MagrefError(f"start_at_step is {start}, but the first step is 0: use 0 or more")
    if start >= min(end, steps):
        raise MagrefError(
            f"sampling would start at step {start} and end at step {min(end, steps)} of {steps}, so nothing "
            f"is left to do: choose start_at_step below {min(end, steps)}"
        )
    return sigmas[start : min(end, steps) + 1]


def draw_noise(source: str, latent: Tensor, seed: int, batch_index: list[int] | None) -> Tensor:
    """Noise of the latent's shape (B, 16, T, h, w), drawn on the CPU, on the device, or none."""
    if source == "none":
        return torch.zeros_like(latent, device="cpu")
    if source == "device":
        device = comfy.model_management.get_torch_device()
        return gaussian_noise(latent.shape, seed, device=device).cpu()
    if source != "cpu":  # over a link, where the host does not look
        raise MagrefError(f"the noise is {source!r}, which is unknown: choose one of {', '.join(NOISES)}")
    return cast(Tensor, comfy.sample.prepare_noise(latent, seed, batch_index))  # nested for other models only


def host_sampler(solver: Solver, whole_timesteps: bool) -> comfy.samplers.KSAMPLER:
    """A solver of the core as the host's SAMPLER."""
    if solver not in SOLVERS:  # over a link, where the host does not look
        raise MagrefError(f"the solver is {solver!r}, which is unknown: choose one of {', '.join(SOLVERS)}")
    options = {"solver": solver, "whole_timesteps": whole_timesteps}
    return comfy.samplers.KSAMPLER(_sample, extra_options=options)


def _sample(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    *,
    solver: Solver,
    whole_timesteps: bool,
) -> Tensor:
    """The host's form of a sampler: `model(x, sigma)` answers with the denoised latent."""
    extra_args = dict(extra_args or {})
    if whole_timesteps:
        extra_args["model_options"] = _with_whole_timesteps(extra_args.get("model_options", {}))
    if sigmas[0] > FIRST_SIGMA and not torch.count_nonzero(model.latent_image):
        x = model.noise.clone()  # from nothing but noise: officially the first sigma does not scale it
    batch = x.new_ones(len(x))

    def denoise(latent: Tensor, step: int) -> Tensor:
        denoised = model(latent, sigmas[step] * batch, **extra_args)
        return denoised if step else refuse_not_finite(denoised, model)

    def report(step: int, latent: Tensor, denoised: Tensor) -> None:
        if callback is not None:
            sigma = sigmas[step]
            callback({"x": latent, "i": step, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})

    return refuse_not_finite(SOLVERS[solver](denoise, x, sigmas, on_step=report), model)


def _with_whole_timesteps(model_options: dict[str, Any]) -> dict[str, Any]:
    """A copy of the options under which the DiT gets its timesteps truncated, whichever DiT it is."""
    options = comfy.model_patcher.create_model_options_clone(model_options)
    kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    comfy.patcher_extension.add_wrapper_with_key(kind, "magref", _truncate, options, is_model_options=True)
    return options


def _truncate(executor: Any, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return executor(x, timestep.floor(), *args, **kwargs)
