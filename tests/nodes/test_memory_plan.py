"""Memory that runs out, and a card that is lost, in the middle of sampling and of decoding."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import comfy.model_management
import comfy.patcher_extension
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Guider_DualCFG
from comfy_extras.nodes_easycache import EasyCacheNode
from magref_pack.magref_core.errors import MagrefError
from magref_pack.nodes import memory_plan
from magref_pack.nodes.decode import DecodeVideo
from magref_pack.nodes.guider import ReferenceGuider
from magref_pack.nodes.memory_plan import GpuLostError, MemoryNeed, sample_within_memory, with_smaller_plan
from magref_pack.nodes.sampling import MagrefSampler, draw_noise, host_sampler, host_sigmas

from . import models, runs
from .test_compat_windows import WINDOW, with_windows

KINDS = comfy.patcher_extension.WrappersMP
STEPS = 3
BOTH = pytest.mark.parametrize("load", [models.our_model, models.native_model])
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]
LOST = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors ..."),
    RuntimeError("CUDA error: unspecified launch failure"),
]
REFUSED = [
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasLtMatmul`"),
    torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device\nCUDA ..."),
    torch.AcceleratorError("CUDA error: invalid configuration argument"),
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
@pytest.mark.parametrize("error", FULL, ids=["cuda", "accelerator", "cpu", "cublas"])
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


@pytest.mark.parametrize("error", [KeyError("block"), *REFUSED])
def test_other_errors_pass_as_they_are(error):
    broken, calls = failing(models.our_model(), error, 2)
    with pytest.raises(type(error)) as raised:
        sample(broken)
    assert raised.value is error
    assert len(calls) == 2


def test_a_run_that_would_be_the_same_is_not_tried_again():
    """One prompt, and weights that cannot be moved: as here on a CPU, and under dynamic video memory."""
    broken, calls = failing(models.our_model(), FULL[0], 2)
    with pytest.raises(MagrefError, match=r"48 x 32 ran out of memory: .* or close other programs$"):
        sample(broken, guidance_scale=1.0)
    assert len(calls) == 2


def test_a_run_that_would_be_the_same_is_tried_again_where_other_models_make_room(monkeypatch, caplog):
    monkeypatch.setattr(memory_plan, "_has_others", lambda _: True)
    broken, calls = failing(models.our_model(), FULL[0], 2)
    sample(broken, guidance_scale=1.0)
    assert len(calls) == 2 + STEPS
    assert any(record.message.endswith("start, without the other models") for record in caplog.records)


@pytest.mark.parametrize(
    ("device", "is_dynamic", "moves"), [("cuda", False, True), ("cuda", True, False), ("cpu", False, False)]
)
def test_weights_are_moved_by_hand_on_a_card_without_dynamic_memory(device, is_dynamic, moves):
    patcher = SimpleNamespace(load_device=torch.device(device), is_dynamic=lambda: is_dynamic)
    assert memory_plan._weights_move(patcher) is moves


def test_other_models_are_those_on_the_same_card(monkeypatch):
    ours = SimpleNamespace(load_device=torch.device("cuda:0"))
    clone, other = (SimpleNamespace(is_clone=lambda _, same=same: same) for same in (True, False))

    def loaded(*models):
        entries = [SimpleNamespace(model=model, device=torch.device(device)) for model, device in models]
        monkeypatch.setattr(comfy.model_management, "current_loaded_models", entries)
        return memory_plan._has_others(ours)

    assert not loaded()
    assert not loaded((clone, "cuda:0"), (other, "cuda:1"), (None, "cuda:0"))
    assert loaded((clone, "cuda:0"), (other, "cuda:0"))


def test_a_run_without_guidance_is_tried_again_with_more_room(monkeypatch):
    """Asked of the host: its estimate is that of twice the batch."""
    monkeypatch.setattr(memory_plan, "_weights_move", lambda _: True)
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
    monkeypatch.setattr(guider.model_patcher, "memory_required", lambda _: 10**15)  # padded if dynamic
    need = memory_plan.need_of(guider, latent)
    assert need == MemoryNeed(
        weights=model.model_size(), one_pass=int(model.model.memory_required(list(latent.shape))), prompts=2
    )
    guider.set_cfg(1.0)
    assert memory_plan.need_of(guider, latent).prompts == 1


def test_what_is_needed_is_that_of_a_window(monkeypatch):
    monkeypatch.setattr(comfy.model_management, "is_device_cpu", lambda _: False)
    latent = runs.empty(frames=7)["samples"]
    plain, windowed = models.our_model(), with_windows(models.our_model(), retain=True)
    needs = [memory_plan.need_of(comfy_guider(model), latent).one_pass for model in (plain, windowed)]
    assert needs[1] == needs[0] * WINDOW // 7
    windowed.model_options["context_handler"] = object()
    assert memory_plan.need_of(comfy_guider(windowed), latent) is None


def comfy_guider(model, cfg=5.0):
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*runs.prompts())
    guider.set_cfg(cfg)
    return guider


def reference_guider(scale, reference_scale, form):
    model, pair = models.our_model(), runs.prompts()
    return ReferenceGuider.execute(model, *pair, scale, reference_scale, form, 1.0, 0.0, 0.0, "zeros").args[0]


def dual_guider():
    guider = Guider_DualCFG(models.our_model())
    positive, negative = runs.prompts()
    guider.set_conds(positive, positive, negative)
    guider.set_cfg(5.0, 2.0)
    return guider


@pytest.mark.parametrize(
    ("make", "prompts"),
    [
        (lambda: comfy_guider(models.our_model()), 2),
        (lambda: comfy_guider(models.our_model(), 1.0), 1),
        (lambda: reference_guider(5.0, 1.0, "joint"), 2),
        (lambda: reference_guider(1.0, 1.0, "joint"), 1),
        (lambda: reference_guider(5.0, 2.0, "joint"), 3),
        (lambda: reference_guider(1.0, 2.0, "joint"), 2),
        (lambda: reference_guider(1.0, 2.0, "chained"), 3),
        (dual_guider, 3),
    ],
)
def test_prompts_are_counted_as_they_are_asked(monkeypatch, make, prompts):
    guider, asked = make(), []
    monkeypatch.setattr(
        comfy.samplers, "_calc_cond_batch", count_conds(asked, comfy.samplers._calc_cond_batch)
    )
    latent = runs.empty()["samples"]
    sigmas = host_sigmas("unipc", 1, 3.0)
    guider.sample(draw_noise("cpu", latent, 7, None), latent, host_sampler("euler", True), sigmas)
    assert memory_plan.prompts_of(guider) == prompts == max(asked)


def count_conds(asked, answer):
    def counted(model, conds, *args):
        asked.append(sum(cond is not None for cond in conds))
        return answer(model, conds, *args)

    return counted


def test_a_guider_of_another_kind_is_sampled_without_a_plan(monkeypatch):
    monkeypatch.setattr(comfy.model_management, "is_device_cpu", lambda _: False)
    guider = SimpleNamespace(model_patcher=models.our_model(), model_options={})
    latent = runs.empty()["samples"]
    assert memory_plan.need_of(guider, latent) is None
    assert sample_within_memory(guider, latent, lambda: latent) is latent


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
