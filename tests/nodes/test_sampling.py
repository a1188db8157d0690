from __future__ import annotations

import comfy.model_management
import comfy.patcher_extension
import comfy.sample
import pytest
import torch
from comfy_extras.nodes_custom_sampler import SamplerCustom
from magref_pack.magref_core.errors import MagrefError, ShapeError
from magref_pack.nodes.sampling import MagrefSampler, MagrefSchedule, MagrefSolver, host_sigmas, step_range

from . import models

LATENT_SIZE = (1, 16, 2, 4, 6)


def prompts(seed=0):
    """Positive and negative with a canvas, as MAGREF Apply Masked Guidance makes them."""
    generator = torch.Generator().manual_seed(seed)
    extras = {
        "concat_latent_image": torch.randn(LATENT_SIZE, generator=generator),
        "concat_mask": torch.rand(1, 4, *LATENT_SIZE[2:], generator=generator).round(),
    }
    return [[[*pair[:1], dict(extras)] for pair in models.conditioning(n, seed=n)] for n in (5, 3)]


def empty():
    return {"samples": torch.zeros(LATENT_SIZE)}


def sample(model, **changes):
    positive, negative = prompts()
    values = {
        "model": model,
        "positive": positive,
        "negative": negative,
        "latent": empty(),
        "seed": 7,
        "steps": 3,
        "guidance_scale": 5.0,
        "shift": 3.0,
        "solver": "unipc",
        "start_at_step": 0,
        "end_at_step": 1000,
        "noise": "cpu",
        "whole_timesteps": True,
    }
    return MagrefSampler.execute(**{**values, **changes}).args[0]["samples"]


def watch(model):
    """A clone of the model, and the list of (x, timestep) that its DiT will have been called with."""
    calls, watched = [], model.clone()
    forward = model.get_model_object("diffusion_model.forward_orig")

    def note(x, t, *args, **kwargs):
        calls.append((x.clone(), t[0].item()))
        return forward(x, t, *args, **kwargs)

    watched.add_object_patch("diffusion_model.forward_orig", note)
    return watched, calls


@pytest.mark.parametrize("load", [models.our_model, models.native_model])
@pytest.mark.parametrize("solver", ["unipc", "dpm++", "euler"])
def test_one_node_equals_the_hosts_sampler_with_our_solver_and_schedule(load, solver):
    model = load()
    positive, negative = prompts()
    sigmas = MagrefSchedule.execute(solver, 3, 3.0).args[0]
    sampler = MagrefSolver.execute(solver, True).args[0]
    custom = SamplerCustom.execute(model, True, 7, 5.0, positive, negative, sampler, sigmas, empty()).args[0][
        "samples"
    ]
    assert torch.equal(sample(model, solver=solver), custom)


@pytest.mark.parametrize("load", [models.our_model, models.native_model])
def test_the_dit_gets_whole_timesteps_unless_they_are_switched_off(load):
    watched, calls = watch(load())
    sample(watched, solver="dpm++", steps=10, guidance_scale=1.0)
    official = [
        1000,
        964,
        923,
        874,
        818,
        750,
        666,
        562,
        428,
        249,
    ]  # not 875 and 250, where float64 falls just short
    assert [timestep for _, timestep in calls] == official
    calls.clear()
    sample(watched, solver="dpm++", steps=3, guidance_scale=1.0, whole_timesteps=False)
    assert any(timestep != int(timestep) for _, timestep in calls)


def test_an_empty_latent_starts_from_noise_that_no_sigma_scales():
    watched, calls = watch(models.our_model())
    sample(watched, steps=1)
    assert torch.equal(calls[0][0][:1, :16], comfy.sample.prepare_noise(empty()["samples"], 7))


def test_the_seed_decides_and_nothing_else():
    model = models.our_model()
    first = sample(model)
    assert torch.equal(sample(model), first)
    assert not torch.allclose(sample(model, seed=8), first)


def test_a_run_cut_in_two_ends_near_the_whole_one():
    model = models.our_model()
    whole = sample(model, steps=8, solver="euler")
    half = sample(model, steps=8, solver="euler", end_at_step=4)
    rest = sample(model, steps=8, solver="euler", start_at_step=4, noise="none", latent={"samples": half})
    torch.testing.assert_close(rest, whole, rtol=0, atol=2e-3)


def test_an_interrupted_run_leaves_the_model_ready_for_the_next():
    model = models.our_model()
    expected = sample(model)
    calls = []

    def stop(executor, *args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            comfy.model_management.interrupt_current_processing()
        return executor(*args, **kwargs)

    stopping = model.clone()
    stopping.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "stop", stop)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(stopping)
    assert len(calls) == 3
    assert torch.equal(sample(model), expected)


def test_noise_of_the_device_is_the_official_draw():
    generator = torch.Generator(comfy.model_management.get_torch_device()).manual_seed(7)
    official = torch.randn(LATENT_SIZE[1:], generator=generator, device=generator.device)
    watched, calls = watch(models.our_model())
    sample(watched, steps=1, noise="device")
    assert torch.equal(calls[0][0][0, :16], official.to(calls[0][0].device))


@pytest.mark.parametrize(("start", "end"), [(3, 1000), (2, 2), (2, 1)])
def test_a_range_without_a_step_is_refused(start, end):
    with pytest.raises(MagrefError, match=r"nothing is left to do: choose start_at_step below"):
        step_range(host_sigmas("unipc", 3, 3.0), start, end)


def test_a_negative_start_that_came_over_a_link_is_refused():
    with pytest.raises(MagrefError, match=r"start_at_step is -1, but the first step is 0: use 0 or more"):
        step_range(host_sigmas("unipc", 3, 3.0), -1, 1000)


def test_a_canvas_of_another_size_than_the_latent_is_refused():
    latent = {"samples": torch.zeros(1, 16, 3, 4, 6)}
    with pytest.raises(
        ShapeError, match=r"canvas is 48 x 32 pixels with 5 frames, but the latent is .* with 9 frames"
    ):
        sample(models.our_model(), latent=latent)


def test_a_prompt_without_a_canvas_is_refused():
    with pytest.raises(MagrefError, match=r"put MAGREF Apply Masked Guidance between"):
        sample(models.our_model(), positive=models.conditioning(5, seed=0))


def test_a_prompt_of_another_text_encoder_is_refused():
    positive, _ = prompts()
    positive[0][0] = torch.zeros(1, 77, 768)
    with pytest.raises(MagrefError, match=r"width 768, but the model needs 4096: choose umt5"):
        sample(models.our_model(), positive=positive)


@pytest.mark.parametrize(
    ("steps", "shift", "remedy"), [(0, 3.0, "set steps to 40"), (3, 0.0, "set shift to 3")]
)
def test_no_steps_and_no_shift_are_refused(steps, shift, remedy):
    with pytest.raises(MagrefError, match=remedy):
        sample(models.our_model(), steps=steps, shift=shift)


def test_a_latent_of_another_kind_is_refused():
    with pytest.raises(ShapeError, match=r"a video latent with 16 channels is needed"):
        sample(models.our_model(), latent={"samples": torch.ones(1, 4, 2, 4, 6)})


def test_a_choice_that_came_over_a_link_is_refused_if_there_is_none_such():
    with pytest.raises(
        MagrefError, match=r"the noise is 'gpu', which is unknown: choose one of cpu, device, none"
    ):
        sample(models.our_model(), noise="gpu")


def test_an_empty_latent_in_the_middle_of_a_schedule_is_mixed_as_the_host_does():
    watched, calls = watch(models.our_model())
    sample(watched, solver="euler", steps=4, start_at_step=2)
    sigma = host_sigmas("euler", 4, 3.0)[2]
    noise = comfy.sample.prepare_noise(empty()["samples"], 7)
    torch.testing.assert_close(calls[0][0][:1, :16], sigma * noise, rtol=0, atol=1e-6)
