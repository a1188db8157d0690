from __future__ import annotations

import comfy.clip_vision
import pytest
import torch
from comfy_extras.nodes_custom_sampler import BasicGuider, CFGGuider, Noise_RandomNoise, SamplerCustomAdvanced
from magref_pack.magref_core.errors import MagrefError
from magref_pack.nodes import host
from magref_pack.nodes.guider import ReferenceGuider
from magref_pack.nodes.sampling import MagrefSchedule, MagrefSolver

from . import models, runs

BOTH = pytest.mark.parametrize("load", [models.our_model, models.native_model])
SIZE = {"frames": 2, "height": 8, "width": 12}
"""A canvas of 96 x 64 pixels: what the small VAE and tower can make an empty one of."""


def pair(**size):
    """Prompts whose image tokens are as many as the small tower makes."""
    return runs.prompts(**(SIZE | size))


def guider(model, prompts=None, **changes):
    positive, negative = pair() if prompts is None else prompts
    values = {
        "guidance_scale": 5.0,
        "reference_scale": 1.0,
        "form": "joint",
        "start_sigma": 1.0,
        "end_sigma": 0.0,
        "release_sigma": 0.0,
        "left_out": "zeros",
    }
    return ReferenceGuider.execute(model, positive, negative, **(values | changes)).args[0]


def run(guider, steps=3):
    sampler = MagrefSolver.execute("unipc", True).args[0]
    sigmas = MagrefSchedule.execute("unipc", steps, 3.0).args[0]
    noise = Noise_RandomNoise(7)
    return SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, runs.empty(**SIZE)).args[0][
        "samples"
    ]


def plain(model, positive, negative, scale=5.0):
    return run(CFGGuider.execute(model, positive, negative, scale).args[0])


@BOTH
@pytest.mark.parametrize("form", ["joint", "chained"])
def test_a_reference_scale_of_1_is_plain_guidance_to_the_bit_and_in_cost(load, form):
    model, calls = runs.watch(load())
    expected = plain(model, *pair())
    needed = len(calls)
    assert torch.equal(run(guider(model, form=form)), expected)
    assert len(calls) == 2 * needed


@BOTH
def test_both_scales_at_1_ask_for_the_positive_alone(load):
    model, calls = runs.watch(load())
    expected = run(BasicGuider.execute(model, pair()[0]).args[0])
    calls.clear()
    assert torch.equal(run(guider(model, guidance_scale=1.0)), expected)
    assert [len(call["x"]) for call in calls] == [1, 1, 1]


@BOTH
def test_references_alone_are_guidance_away_from_the_same_prompt_without_them(load):
    """w_T = 1: e(0, T) + w_I (e(I, T) - e(0, T)), the host's CFG with another negative."""
    model = load()
    positive, negative = pair()
    bare = host.leave_references_out(positive, model.model.latent_format)
    expected = plain(model, positive, bare, 2.5)
    got = run(guider(model, (positive, negative), guidance_scale=1.0, reference_scale=2.5))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


@BOTH
def test_the_chained_form_with_equal_scales_is_guidance_away_from_nothing(load):
    model = load()
    positive, negative = pair()
    expected = plain(model, positive, host.leave_references_out(negative, model.model.latent_format), 4.0)
    got = run(guider(model, (positive, negative), form="chained", guidance_scale=4.0, reference_scale=4.0))
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-4)


@BOTH
@pytest.mark.parametrize("form", ["joint", "chained"])
def test_both_scales_are_the_sum_of_three_answers(load, form):
    """One Euler step by hand from answers that the host gives one by one."""
    model = load()
    positive, negative = pair()
    bare = {
        name: host.leave_references_out(cond, model.model.latent_format)
        for name, cond in (("positive", positive), ("negative", negative))
    }
    answers = {
        name: step(BasicGuider.execute(model, cond).args[0])
        for name, cond in {
            "full": positive,
            "no text": negative,
            "no references": bare["positive"],
            "nothing": bare["negative"],
        }.items()
    }
    got = step(guider(model, (positive, negative), form=form, reference_scale=2.5))
    full, no_text = answers["full"], answers["no text"]
    if form == "joint":
        expected = full + 4 * (full - no_text) + 1.5 * (full - answers["no references"])
    else:
        nothing = answers["nothing"]
        expected = nothing + 2.5 * (no_text - nothing) + 5 * (full - no_text)
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-4)
    assert (got - (no_text + 5 * (full - no_text))).abs().max() > 1e-2, "the references count"


def step(guider):
    """The answer of a model from pure noise: one step of Euler to 0 ends there."""
    sampler = MagrefSolver.execute("euler", True).args[0]
    sigmas = MagrefSchedule.execute("euler", 1, 3.0).args[0]
    given = SamplerCustomAdvanced.execute(Noise_RandomNoise(7), guider, sampler, sigmas, runs.empty(**SIZE))
    return given.args[0]["samples"]


@BOTH
def test_what_is_left_out_reaches_the_dit_as_the_demo_model_learnt_it(load):
    model, calls = runs.watch(load())
    run(guider(model, guidance_scale=1.0, reference_scale=2.0), steps=1)
    fed = torch.cat([call["x"] for call in calls])
    bare = [x for x in fed if not x[16:].any()]
    assert len(fed) == 2 and len(bare) == 1, "mask and canvas latents are 0 to the bit in one of the two"


@BOTH
def test_below_the_release_the_references_are_gone_and_above_it_all_is_as_before(load):
    model, calls = runs.watch(load())
    run(guider(model, guidance_scale=1.0, release_sigma=0.5), steps=4)
    sigmas = MagrefSchedule.execute("unipc", 4, 3.0).args[0][:-1]
    given = [bool(call["x"][:, 16:].any()) for call in calls]
    assert given == [float(sigma) >= 0.5 for sigma in sigmas]
    assert True in given and False in given
    assert torch.equal(run(guider(model, release_sigma=0.0)), plain(model, *pair()))


def test_outside_their_range_the_references_cost_no_third_answer():
    model, calls = runs.watch(models.our_model())
    run(guider(model, reference_scale=2.0, start_sigma=0.9, end_sigma=0.6), steps=4)
    sigmas = MagrefSchedule.execute("unipc", 4, 3.0).args[0][:-1]
    rows: dict[float, int] = {}
    for call in calls:
        rows[float(call["t"][0])] = rows.get(float(call["t"][0]), 0) + len(call["x"])
    assert list(rows.values()) == [3 if 0.6 <= float(sigma) <= 0.9 else 2 for sigma in sigmas]


def test_an_empty_canvas_can_stand_for_what_is_left_out():
    model, calls = runs.watch(models.our_model())
    values = {"left_out": "blank canvas", "vae": models.vae(), "clip_vision": models.clip_vision()}
    run(guider(model, guidance_scale=1.0, reference_scale=2.0, **values), steps=1)
    fed = torch.cat([call["x"] for call in calls])
    unmarked = [x for x in fed if not x[16:20].any()]
    assert len(unmarked) == 1 and unmarked[0][20:].any(), "nothing is marked, and the canvas is not zeros"
    white = torch.full((5, 64, 96, 3), 0.5)
    white[0] = 1
    expected = model.model.latent_format.process_in(models.vae().encode(white))
    torch.testing.assert_close(unmarked[0][20:], expected[0], rtol=0, atol=1e-4)


def test_an_empty_canvas_without_its_encoders_is_refused():
    with pytest.raises(
        MagrefError, match=r"vae or clip_vision is not connected: connect both, or set left_out"
    ):
        guider(models.our_model(), reference_scale=2.0, left_out="blank canvas")
    with pytest.raises(
        MagrefError, match=r"left_out is 'noise', which is unknown: choose one of zeros, blank"
    ):
        guider(models.our_model(), reference_scale=2.0, left_out="noise")


@pytest.mark.parametrize("value", [-1.0, 1000.0, float("nan")])
def test_scales_over_a_link_are_looked_at(value):
    with pytest.raises(MagrefError, match=r"must be from 0 to 30"):
        guider(models.our_model(), reference_scale=value)
    with pytest.raises(MagrefError, match=r"must be from 0 to 30"):
        guider(models.our_model(), guidance_scale=value)


def test_a_reference_scale_of_0_takes_the_references_away():
    """w_T = 1, w_I = 0: the answer for the prompt alone."""
    model = models.our_model()
    positive, negative = pair()
    bare = host.leave_references_out(positive, model.model.latent_format)
    expected = run(BasicGuider.execute(model, bare).args[0])
    got = run(guider(model, (positive, negative), guidance_scale=1.0, reference_scale=0.0))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


def test_a_prompt_without_a_canvas_is_refused():
    bare = models.conditioning(5, seed=1)
    with pytest.raises(MagrefError, match=r"put MAGREF Apply Masked Guidance between prompt and sampler"):
        guider(models.our_model(), (bare, bare))


def test_what_the_prompts_carry_stays_as_it_was():
    positive, negative = pair()
    before = {key: value for key, value in positive[0][1].items() if isinstance(value, torch.Tensor)}
    copies = {key: value.clone() for key, value in before.items()}
    seen = positive[0][1]["clip_vision_output"]
    assert isinstance(seen, comfy.clip_vision.Output)
    tokens = seen.penultimate_hidden_states.clone()
    run(guider(models.our_model(), (positive, negative), reference_scale=2.0, release_sigma=0.5))
    for key, value in copies.items():
        assert torch.equal(positive[0][1][key], value)
    assert torch.equal(seen.penultimate_hidden_states, tokens)
