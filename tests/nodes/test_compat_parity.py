"""Our MODEL against the host's own Wan on the same weights, through the host's sampling and its nodes."""

from __future__ import annotations

import comfy.ldm.wan.model
import pytest
import torch
from comfy_extras.nodes_apg import APG
from comfy_extras.nodes_cfg import CFGNorm, CFGZeroStar
from comfy_extras.nodes_mahiro import Mahiro
from comfy_extras.nodes_model_advanced import ModelComputeDtype, ModelSamplingSD3, RescaleCFG
from comfy_extras.nodes_rope import ScaleROPE
from comfy_extras.nodes_tcfg import TCFG
from comfy_extras.nodes_video_model import VideoLinearCFGGuidance

from . import models, runs

pytestmark = pytest.mark.usefixtures("one_attention")

LIMIT = 1e-5

GUIDANCE = {
    "APG": lambda model: APG.execute(model, 0.5, 5.0, 0.2).args[0],
    "CFGNorm": lambda model: CFGNorm.execute(model, 1.0).args[0],
    "CFGZeroStar": lambda model: CFGZeroStar.execute(model).args[0],
    "Mahiro": lambda model: Mahiro.execute(model).args[0],
    "RescaleCFG": lambda model: RescaleCFG().patch(model, 0.7)[0],
    "ScaleROPE": lambda model: ScaleROPE.execute(model, 1.5, 2.0, 0.5, 1.0, 2.0, -1.0).args[0],
    "TCFG": lambda model: TCFG.execute(model).args[0],
    "VideoLinearCFGGuidance": lambda model: VideoLinearCFGGuidance().patch(model, 1.0)[0],
}


@pytest.fixture
def float64_sinusoid(monkeypatch):
    """Lend native Wan the official float64 timestep features; in float32 they are off by up to 5e-5."""

    def features(dim, positions):
        rates = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
        angles = torch.outer(positions.double(), rates)
        return torch.cat([angles.cos(), angles.sin()], dim=1).float()

    monkeypatch.setattr(comfy.ldm.wan.model, "sinusoidal_embedding_1d", features)


def assert_same(ours, native, limit=LIMIT):
    assert torch.isfinite(ours).all()
    assert runs.largest_difference(ours, native) <= limit


@pytest.mark.parametrize(("cfg", "limit"), [(1.0, 1e-4), (5.0, 5e-4)])
def test_sampling_is_as_near_to_native_wan_as_its_float32_sinusoid_lets_it(cfg, limit):
    # Guidance of 5 multiplies an error by up to 9.
    assert_same(runs.sample(runs.our_model(), cfg=cfg), runs.sample(runs.native_model(), cfg=cfg), limit)


@pytest.mark.parametrize("sampler", ["euler", "uni_pc", "euler_ancestral"])
def test_sampling_equals_native_wan_with_the_official_sinusoid(float64_sinusoid, sampler):
    ours = runs.sample(runs.our_model(), sampler_name=sampler)
    assert_same(ours, runs.sample(runs.native_model(), sampler_name=sampler))


@pytest.mark.parametrize("name", GUIDANCE)
def test_a_guidance_node_works_as_on_native_wan(float64_sinusoid, name):
    our_model, native_model = runs.our_model(), runs.native_model()
    ours = runs.sample(GUIDANCE[name](our_model))
    assert_same(ours, runs.sample(GUIDANCE[name](native_model)))
    assert runs.largest_difference(ours, runs.sample(our_model)) > 1e-3


@pytest.mark.parametrize(("height", "width", "frames", "batch"), [(5, 7, 2, 1), (4, 6, 1, 1), (4, 6, 3, 2)])
def test_other_sizes_and_batches_work_as_on_native_wan(float64_sinusoid, height, width, frames, batch):
    size = {"frames": frames, "height": height, "width": width}
    run = {"pair": runs.prompts(**size), "latent": runs.empty(**size, batch=batch)}
    ours = runs.sample(runs.our_model(), **run)
    assert ours.shape == (batch, 16, frames, height, width)
    assert_same(ours, runs.sample(runs.native_model(), **run))


def test_image_to_image_with_a_noise_mask_works_as_on_native_wan(float64_sinusoid):
    generator = torch.Generator().manual_seed(1)
    samples = torch.randn(1, 16, 2, 4, 6, generator=generator)
    mask = torch.zeros(1, 1, 2, 4, 6)
    mask[..., 3:] = 1
    run = {"latent": {"samples": samples, "noise_mask": mask}, "denoise": 0.6}
    ours = runs.sample(runs.our_model(), **run)
    assert_same(ours, runs.sample(runs.native_model(), **run))
    torch.testing.assert_close(ours[..., :3], samples[..., :3], rtol=0, atol=1e-5)


def test_positive_and_negative_are_one_forward():
    watched, calls = runs.watch(runs.our_model())
    runs.sample(watched)
    assert [len(call["x"]) for call in calls] == [2, 2]
    assert calls[0]["options"]["cond_or_uncond"] == [1, 0]


def test_prompts_of_unequal_length_are_one_forward_with_the_numbers_of_padded_ones():
    positive, negative = runs.prompts()
    expected = runs.sample(runs.our_model())
    watched, calls = runs.watch(runs.our_model())
    pair = ([[positive[0][0][:, :5], positive[0][1]]], [[negative[0][0][:, :3], negative[0][1]]])
    assert torch.equal(runs.sample(watched, pair=pair), expected)
    assert [len(call["x"]) for call in calls] == [2, 2]


def test_two_prompts_with_strengths_work_as_on_native_wan(float64_sinusoid):
    positive, negative = runs.prompts()
    second = [[models.conditioning(9, seed=9)[0][0], {**positive[0][1], "strength": 0.4}]]
    pair = (positive + second, negative)
    watched, calls = runs.watch(runs.our_model())
    assert_same(runs.sample(watched, pair=pair), runs.sample(runs.native_model(), pair=pair))
    assert [len(call["x"]) for call in calls] == [3, 3]


@pytest.mark.parametrize(
    "absent", [["concat_latent_image"], ["concat_mask"], ["concat_latent_image", "concat_mask"]]
)
def test_a_negative_without_canvas_works_as_on_native_wan(float64_sinusoid, absent):
    positive, negative = runs.prompts()
    bare = {name: value for name, value in negative[0][1].items() if name not in absent}
    pair = (positive, [[negative[0][0], bare]])
    assert_same(runs.sample(runs.our_model(), pair=pair), runs.sample(runs.native_model(), pair=pair))


def test_a_prompt_without_image_tokens_runs_on_the_text_alone():
    positive, negative = runs.prompts()
    del negative[0][1]["clip_vision_output"]
    watched, calls = runs.watch(runs.our_model())
    result = runs.sample(watched, pair=(positive, negative))
    assert torch.isfinite(result).all()
    assert runs.largest_difference(result, runs.sample(runs.our_model())) > 1e-3
    assert [len(call["x"]) for call in calls] == [1, 1, 1, 1]


@pytest.mark.parametrize("percent", [0.1, 0.5, 0.9])
def test_modelsamplingsd3_sets_the_shift(percent):
    model = runs.our_model()
    start = model.get_model_object("model_sampling").percent_to_sigma(percent)
    (patched,) = ModelSamplingSD3().patch(model, 8.0)
    moved = patched.get_model_object("model_sampling").percent_to_sigma(percent)
    for sigma, shift in ((start, 3.0), (moved, 8.0)):
        assert sigma == pytest.approx(shift * (1 - percent) / (1 + (shift - 1) * (1 - percent)), abs=1e-6)


def test_another_shift_gives_the_numbers_of_native_wan(float64_sinusoid):
    model = runs.our_model()
    ours = runs.sample(runs.shifted(model, 8.0))
    assert_same(ours, runs.sample(runs.shifted(runs.native_model(), 8.0)))
    assert runs.largest_difference(ours, runs.sample(model)) > 1e-2


def test_a_part_of_the_schedule_can_be_given_to_another_prompt(float64_sinusoid):
    positive, negative = runs.prompts()
    early = [[positive[0][0], {**positive[0][1], "start_percent": 0.0, "end_percent": 0.4}]]
    late = [
        [models.conditioning(9, seed=9)[0][0], {**positive[0][1], "start_percent": 0.4, "end_percent": 1.0}]
    ]
    pair = (early + late, negative)
    ours = runs.sample(runs.our_model(), pair=pair, steps=3)
    assert_same(ours, runs.sample(runs.native_model(), pair=pair, steps=3))


@pytest.mark.parametrize(("dtype", "limit"), [("bf16", 0.02), ("fp16", 0.003)])
def test_modelcomputedtype_stays_as_near_as_native_wan(dtype, limit):
    exact = runs.sample(runs.our_model(), cfg=1.0)
    ours, native = (
        runs.relative_difference(runs.sample(ModelComputeDtype().patch(model, dtype)[0], cfg=1.0), exact)
        for model in (runs.our_model(), runs.native_model())
    )
    assert 0 < ours <= limit
    assert ours <= 1.1 * native


def test_modelcomputedtype_fp32_changes_nothing():
    (patched,) = ModelComputeDtype().patch(runs.our_model(), "fp32")
    assert torch.equal(runs.sample(patched), runs.sample(runs.our_model()))
