"""Memory that runs out, and a card that is lost, in the middle of sampling and of decoding."""

from __future__ import annotations

import logging

import comfy.model_management
import comfy.patcher_extension
import pytest
import torch
from comfy_extras.nodes_easycache import EasyCacheNode
from magref_pack.magref_core.errors import MagrefError
from magref_pack.nodes import memory_plan
from magref_pack.nodes.decode import DecodeVideo
from magref_pack.nodes.guider import ReferenceGuider
from magref_pack.nodes.memory_plan import GpuLostError, MemoryNeed, sample_within_memory, with_smaller_plan
from magref_pack.nodes.sampling import MagrefSampler, draw_noise, host_sampler, host_sigmas

from . import models, runs

KINDS = comfy.patcher_extension.WrappersMP
STEPS = 3
BOTH = pytest.mark.parametrize("load", [models.our_model, models.native_model])
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
]
LOST = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors ..."),
    RuntimeError("CUDA error: unspecified launch failure"),
]


def sample(model, **changes):
    positive, negative = runs.prompts()
    settings = {
        "latent": runs.empty(),
        "seed": 7,
        "steps": STEPS,
        "guidance_scale": 5.0,
        "shift": 3.0,
        "solver": "unipc",
        "start_at_step": 0,
        "end_at_step": 1000,
        "noise": "cpu",
        "whole_timesteps": True,
    } | changes
    return MagrefSampler.execute(model=model, positive=positive, negative=negative, **settings).args[0][
        "samples"
    ]


def failing(model, error, *calls):
    """A clone whose DiT fails in those of its calls, counted from 1; and the prompts of every call."""
    broken, seen = model.clone(), []

    def wrap(executor, *args, **kwargs):
        seen.append(list(args[-1]["cond_or_uncond"]))
        if len(seen) in calls:
            raise error
        return executor(*args, **kwargs)

    broken.add_wrapper_with_key(KINDS.DIFFUSION_MODEL, "failing", wrap)
    return broken, seen


def split(model):
    """A clone that answers prompts one by one from the first step on."""
    smaller = model.clone()
    smaller.model_options = with_smaller_plan(smaller.model_options)
    return smaller


@BOTH
@pytest.mark.parametrize("error", FULL, ids=["cuda", "accelerator", "cpu"])
def test_a_run_that_does_not_fit_is_made_once_more_with_the_prompts_one_by_one(load, error, caplog):
    model = load()
    before = sample(model)
    broken, calls = failing(model, error, 2)
    result = sample(broken)
    assert calls == [[1, 0], [1, 0], *([[1], [0]] * STEPS)]
    assert torch.equal(result, sample(split(model)))
    assert sum("once more from the start" in record.message for record in caplog.records) == 1
    assert torch.equal(sample(model), before), "the next run is as if nothing had happened"
    assert runs.largest_difference(result, before) <= 1e-4, "batches of two round in another order"


@BOTH
def test_a_run_that_never_fits_ends_with_a_sentence_and_leaves_a_clean_state(load):
    model = load()
    before = sample(model)
    broken, calls = failing(model, FULL[0], 2, 5)
    with pytest.raises(
        MagrefError, match=r"sampling 5 frames at 48 x 32 ran out of memory twice.*fewer frames"
    ):
        sample(broken)
    assert len(calls) == 5
    assert not comfy.model_management.loaded_models()
    assert torch.equal(sample(model), before)
    again, _ = failing(model, FULL[0], 1000)
    assert torch.equal(sample(again), before)


@pytest.mark.parametrize("error", LOST, ids=["accelerator", "runtime"])
def test_a_lost_card_is_not_asked_again(error):
    model = models.our_model()
    before = sample(model)
    broken, calls = failing(model, error, 2)
    with pytest.raises(
        GpuLostError, match=r"stopped answering while sampling \(CUDA error: .*\): restart ComfyUI"
    ):
        sample(broken)
    assert len(calls) == 2
    assert torch.equal(sample(model), before)


def test_other_errors_pass_as_they_are():
    broken, calls = failing(models.our_model(), KeyError("block"), 2)
    with pytest.raises(KeyError, match="block"):
        sample(broken)
    assert len(calls) == 2


def test_a_run_without_guidance_is_tried_again_with_more_room(monkeypatch):
    """Asked of the host: its estimate is that of twice the batch."""
    model, shapes = models.our_model(), []
    estimate = type(model.model).memory_required
    monkeypatch.setattr(
        type(model.model),
        "memory_required",
        lambda self, shape, **kwargs: shapes.append(shape[0]) or estimate(self, shape, **kwargs),
    )
    expected = sample(model, guidance_scale=1.0)
    assert max(shapes) == 2, "the host reckons with a prompt and a negative one"
    broken, _ = failing(model, FULL[0], 2)
    assert torch.equal(sample(broken, guidance_scale=1.0), expected)
    assert max(shapes) == 4


@BOTH
def test_easycache_skips_both_prompts_of_a_step_one_by_one_as_in_one_pass(load):
    cached = EasyCacheNode.execute(load(), 0.9, 0.0, 1.0, False).args[0]
    together, _ = failing(cached, FULL[0])
    one_by_one, calls = failing(split(cached), FULL[0])
    expected, result = sample(together, steps=8), sample(one_by_one, steps=8)
    assert len(calls) < 16 and calls == [[1], [0]] * (len(calls) // 2)
    assert runs.largest_difference(result, expected) <= 1e-3


def test_three_answers_of_the_reference_guider_keep_their_places():
    model = models.our_model()
    settings = (5.0, 2.0, "joint", 1.0, 0.0, 0.0, "zeros")

    def run(model):
        guider = ReferenceGuider.execute(model, *runs.prompts(), *settings).args[0]
        latent = runs.empty()["samples"]
        sigmas = host_sigmas("unipc", STEPS, 3.0)
        noise = draw_noise("cpu", latent, 7, None)
        return sample_within_memory(
            guider,
            latent,
            lambda: guider.sample(noise, latent, host_sampler("unipc", True), sigmas, disable_pbar=True),
        )

    expected = run(model)
    broken, calls = failing(model, FULL[0], 1)
    result = run(broken)
    assert calls[1:] == [[2], [1], [0]] * STEPS
    assert runs.largest_difference(result, expected) <= 1e-3


def test_a_plan_is_said_before_the_run_where_the_host_can_reckon(monkeypatch, caplog):
    shown = []
    monkeypatch.setattr(memory_plan, "show_on_running_node", shown.append)
    model = models.our_model()
    with caplog.at_level(logging.INFO):
        sample(model)
        assert not shown, "not on a CPU"
        need = MemoryNeed(weights=21 * 10**9, one_pass=5 * 10**9)
        monkeypatch.setattr(memory_plan, "need_of", lambda *_: need)
        monkeypatch.setattr(memory_plan, "free_for", lambda _: 16 * 10**9)
        sample(model)
    assert len(shown) == 1 and "16.0 GB free: will stream 10.0 GB" in shown[0]
    assert [record.message for record in caplog.records].count(f"sampling {shown[0]}") == 1


def test_needs_are_the_hosts_numbers(monkeypatch):
    model = models.our_model()
    monkeypatch.setattr(comfy.model_management, "is_device_cpu", lambda _: False)
    guider = ReferenceGuider.execute(model, *runs.prompts(), 5.0, 1.0, "joint", 1.0, 0.0, 0.0, "zeros").args[
        0
    ]
    latent = runs.empty()["samples"]
    need = memory_plan.need_of(guider, latent)
    assert need == MemoryNeed(
        weights=model.model_size(), one_pass=int(model.memory_required(latent.shape)), prompts=2
    )
    guider.set_cfg(1.0)
    assert memory_plan.need_of(guider, latent).prompts == 1


def latent():
    return {"samples": torch.randn(1, 16, 3, 8, 12, generator=torch.Generator().manual_seed(0))}


def decode(vae, tile_size=0):
    return DecodeVideo.execute(latent(), vae, 15.0, 4, tile_size, 0).args[0]


def break_decoder(monkeypatch, vae, error, *calls):
    made, forward = [], vae.first_stage_model.decode

    def broken(*args, **kwargs):
        made.append(1)
        if len(made) in calls:
            raise error
        return forward(*args, **kwargs)

    monkeypatch.setattr(vae.first_stage_model, "decode", broken)
    return made


def test_a_decoding_that_does_not_fit_is_the_hosts_in_tiles(monkeypatch):
    vae = models.vae()
    before, tiled = decode(vae), vae.decode_tiled(latent()["samples"], tile_x=32, tile_y=32, overlap=8)
    with monkeypatch.context() as patch:
        break_decoder(patch, vae, FULL[0], 1)
        assert torch.equal(decode(vae), tiled[0][4:])
    assert torch.equal(decode(vae), before)


def test_a_decoding_that_fits_in_no_way_ends_with_a_sentence_and_a_clean_state(monkeypatch):
    vae = models.vae()
    before = decode(vae)
    with monkeypatch.context() as patch:
        made = break_decoder(patch, vae, FULL[0], 1, 2)
        with pytest.raises(
            MagrefError, match=r"decoding 96 x 64 .* in whole frames and in tiles .* tile_size to 128"
        ):
            decode(vae)
        assert len(made) == 2
    assert not comfy.model_management.loaded_models()
    assert torch.equal(decode(vae), before)


def test_an_error_in_the_middle_of_the_decoder_leaves_nothing_in_it():
    """Its memory of earlier frames is that of one call."""
    vae = models.vae()
    before = decode(vae)
    layer = vae.first_stage_model.decoder.conv1
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) in (2, 3):
            raise FULL[0]

    hook = layer.register_forward_pre_hook(fail)
    with pytest.raises(MagrefError, match="ran out of memory"):
        decode(vae)
    hook.remove()
    assert torch.equal(decode(vae), before)


@pytest.mark.parametrize("error", LOST, ids=["accelerator", "runtime"])
def test_a_card_lost_while_decoding_is_said_in_a_sentence(monkeypatch, error):
    vae = models.vae()
    before = decode(vae)
    with monkeypatch.context() as patch:
        made = break_decoder(patch, vae, error, 1)
        with pytest.raises(GpuLostError, match="stopped answering while decoding"):
            decode(vae)
        assert len(made) == 1
    assert torch.equal(decode(vae), before)
