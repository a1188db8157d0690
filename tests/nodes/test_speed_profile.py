"""What profiles leave out of a run, with our sampler and the host's, on our DiT and on native Wan."""

from __future__ import annotations

import logging

import comfy.ldm.modules.attention as host_attention
import pytest
import torch
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
from magref_pack.magref_core.errors import MagrefError
from magref_pack.magref_core.sampling.profiles import Profile, RunPlan
from magref_pack.nodes import speed_profile
from magref_pack.nodes.guider import ReferenceGuider
from magref_pack.nodes.sampling import MagrefSampler, draw_noise, host_sampler, host_sigmas
from magref_pack.nodes.speed_profile import SpeedProfile, apply_plan

from . import models, runs

BOTH = pytest.mark.parametrize("load", [models.our_model, models.native_model])
STEPS = 6
HIGH = 0.9
"""A threshold at which the answers of random weights, which change fast, are reused."""


def profile(model, name, *, steps=9, guidance_scale=5.0, attention="as ComfyUI"):
    return SpeedProfile.execute(model, name, steps, 3.0, guidance_scale, attention).args


def magref_sample(model, steps=STEPS, guidance_scale=5.0, **changes):
    positive, negative = runs.prompts()
    settings = {
        "latent": runs.empty(),
        "seed": 7,
        "shift": 3.0,
        "solver": "unipc",
        "start_at_step": 0,
        "end_at_step": 1000,
        "noise": "cpu",
        "whole_timesteps": True,
    } | changes
    return MagrefSampler.execute(
        model=model,
        positive=positive,
        negative=negative,
        steps=steps,
        guidance_scale=guidance_scale,
        **settings,
    ).args[0]["samples"]


def batches(calls):
    """How many answers each call of the DiT gave, with the noise level."""
    return [(call["options"]["sigmas"][0].item(), len(call["options"]["cond_or_uncond"])) for call in calls]


def plan_of(**profile):
    return RunPlan(name="tried", steps=STEPS, profile=Profile(**profile))


@BOTH
def test_exact_hands_on_the_very_model_and_values(load):
    model = load()
    quick, steps, shift, scale, report = profile(model, "exact")
    assert quick is model
    assert (steps, shift, scale) == (9, 3.0, 5.0)
    assert report == "exact: changes nothing in this run"


@BOTH
@pytest.mark.parametrize("sample", [magref_sample, runs.sample])
def test_guidance_outside_its_interval_costs_one_answer_and_is_that_of_the_prompt(load, sample):
    model, calls = runs.watch(load())
    quick, _ = apply_plan(model, plan_of(guidance_end=0.7))
    result = sample(quick, steps=STEPS)
    got = batches(calls)
    assert {count for sigma, count in got if sigma >= 0.7} == {2}
    assert {count for sigma, count in got if sigma < 0.7} == {1}
    assert not torch.equal(result, sample(model, steps=STEPS))


@BOTH
def test_an_interval_over_all_levels_is_plain_guidance_and_one_over_none_is_the_prompt_alone(load):
    model = load()
    always, _ = apply_plan(model, plan_of(guidance_end=1e-9))
    assert torch.equal(magref_sample(always), magref_sample(model))
    never, _ = apply_plan(model, plan_of(guidance_start=0.0, guidance_end=0.0))
    assert torch.equal(magref_sample(never), magref_sample(model, guidance_scale=1.0))


@BOTH
def test_reuse_is_the_hosts_easycache_to_the_bit(load):
    model, calls = runs.watch(load())
    plan = plan_of(reuse_threshold=HIGH, reuse_start=0.0, reuse_end=1.0)
    quick, _ = apply_plan(model, plan)
    result = magref_sample(quick)
    computed = len(calls)
    native = EasyCacheNode.execute(model, HIGH, 0.0, 1.0, False).args[0]
    assert torch.equal(result, magref_sample(native))
    assert computed == len(calls) - computed < STEPS


@BOTH
def test_answers_are_reused_after_guidance_has_ended(load):
    model, calls = runs.watch(load())
    plan = plan_of(reuse_threshold=HIGH, reuse_start=0.0, reuse_end=1.0, guidance_end=0.8)
    quick, _ = apply_plan(model, plan)
    result = magref_sample(quick, steps=10)
    alone = [sigma for sigma, count in batches(calls) if count == 1]
    asked = [sigma for sigma in speed_sigmas(10) if sigma < 0.8]
    assert len(alone) < len(asked)
    assert alone[0] == max(asked), "the first answer after the change is computed"
    full = magref_sample(apply_plan(model, plan_of(guidance_end=0.8))[0], steps=10)
    other = magref_sample(model, steps=10, seed=8)
    assert runs.relative_difference(result, full) <= runs.relative_difference(other, full) / 3


def speed_sigmas(steps):
    return [sigma.item() for sigma in host_sigmas("unipc", steps, 3.0)[:-1]]


@BOTH
def test_a_run_says_what_it_left_out_and_the_next_one_counts_anew(load, monkeypatch, caplog):
    shown = []
    monkeypatch.setattr(speed_profile, "show_on_running_node", shown.append)
    model, calls = runs.watch(load())
    plan = plan_of(reuse_threshold=HIGH, reuse_start=0.0, reuse_end=1.0, guidance_end=0.8)
    quick, _ = apply_plan(model, plan)
    with caplog.at_level(logging.INFO):
        magref_sample(quick)
    computed = sum(count for _, count in batches(calls))
    guided = sum(sigma >= 0.8 for sigma in speed_sigmas(STEPS))
    reused = STEPS + guided - computed
    assert reused > 0
    assert shown == [
        f"tried: {STEPS} steps, {guided} of them guided; {computed} answers of the model computed, "
        f"{reused} reused"
    ]
    assert [record.message for record in caplog.records].count(shown[0]) == 1
    magref_sample(quick)
    assert shown[1] == shown[0]


def test_the_model_given_stays_as_it_was():
    model = models.our_model()
    before, wrappers = magref_sample(model), str(model.wrappers)
    magref_sample(profile(model, "draft")[0])
    assert torch.equal(magref_sample(model), before)
    assert str(model.wrappers) == wrappers
    assert "easycache" not in model.model_options["transformer_options"]


@pytest.mark.parametrize("name", ["balanced", "draft"])
def test_profiles_hand_on_what_is_to_be_linked(name):
    quick, steps, shift, scale, report = profile(models.our_model(), name, steps=10)
    assert steps == 8
    assert (shift, scale) == (3.0, 5.0)
    assert report.startswith(f"{name}: ")
    assert magref_sample(quick, steps=steps).isfinite().all()


@pytest.mark.parametrize("node", [EasyCacheNode, LazyCacheNode])
def test_a_cache_that_the_model_brings_is_left_alone(node):
    model = node.execute(models.our_model(), 0.3, 0.1, 0.9, False).args[0]
    quick, *_, report = profile(model, "balanced")
    options = quick.model_options["transformer_options"]
    assert options["easycache"].reuse_threshold == 0.3
    assert "brings its own EasyCache or LazyCache, which stays" in report
    assert magref_sample(quick).isfinite().all()


@pytest.mark.parametrize("node", [EasyCacheNode, LazyCacheNode])
def test_a_cache_behind_the_profile_is_refused(node):
    model = models.our_model()
    quick = node.execute(profile(model, "balanced")[0], 0.3, 0.1, 0.9, False).args[0]
    with pytest.raises(MagrefError, match=r"EasyCache or LazyCache stands behind .* take it out"):
        magref_sample(quick)
    without_reuse, _ = apply_plan(model, plan_of(guidance_end=0.7))
    assert magref_sample(node.execute(without_reuse, 0.3, 0.1, 0.9, False).args[0]).isfinite().all()


@pytest.mark.parametrize("second", ["exact", "draft"])
def test_a_second_profile_is_refused(second):
    quick = profile(models.our_model(), "balanced")[0]
    with pytest.raises(MagrefError, match="comes from a MAGREF Speed Profile already"):
        profile(quick, second)
    assert profile(profile(models.our_model(), "exact")[0], second)[1] > 0


def test_the_reference_guider_keeps_its_references_where_the_prompt_is_not_guided():
    model, calls = runs.watch(models.our_model())
    quick, _ = apply_plan(model, plan_of(guidance_end=0.8))
    settings = (5.0, 2.0, "joint", 1.0, 0.0, 0.0, "zeros")
    guider = ReferenceGuider.execute(quick, *runs.prompts(), *settings).args[0]
    latent = runs.empty()["samples"]
    guider.sample(
        draw_noise("cpu", latent, 7, None),
        latent,
        host_sampler("unipc", True),
        host_sigmas("unipc", STEPS, 3.0),
        disable_pbar=True,
    )
    asked: dict[float, int] = {}
    for sigma, count in batches(calls):
        asked[sigma] = asked.get(sigma, 0) + count
    assert {count for sigma, count in asked.items() if sigma >= 0.8} == {3}
    assert {count for sigma, count in asked.items() if sigma < 0.8} == {2}


def test_sage_that_is_not_installed_is_said_and_changes_nothing(monkeypatch, caplog):
    monkeypatch.delitem(host_attention.REGISTERED_ATTENTION_FUNCTIONS, "sage", raising=False)
    model = models.our_model()
    quick, *_, report = profile(model, "exact", attention="sage")
    assert quick is model
    assert "SageAttention is not installed, so attention stays ComfyUI's own" in report
    assert sum("SageAttention is not installed" in record.message for record in caplog.records) == 1


@BOTH
def test_sage_computes_every_attention_where_it_is_installed(load, monkeypatch):
    calls = []

    def sage(*args, **kwargs):
        calls.append(1)
        return host_attention.attention_pytorch(*args, **kwargs)

    monkeypatch.setitem(host_attention.REGISTERED_ATTENTION_FUNCTIONS, "sage", sage)
    model = load()
    quick = profile(model, "exact", attention="sage")[0]
    result = magref_sample(quick, steps=2)
    blocks = len(model.model.diffusion_model.blocks)
    assert len(calls) == 2 * 3 * blocks, "self-attention, text and image, at each of two steps"
    assert runs.relative_difference(result, magref_sample(model, steps=2)) <= 1e-4


def test_what_came_over_a_link_is_refused_if_there_is_none_such():
    with pytest.raises(MagrefError, match="the profile is 'turbo', which is unknown"):
        profile(models.our_model(), "turbo")
    with pytest.raises(MagrefError, match="the attention is 'flash', which is unknown"):
        profile(models.our_model(), "exact", attention="flash")
