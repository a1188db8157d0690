"""The subjects' controls inside the DiT: where they reach, what they add, and that nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from magref_core.dit.attention import Backend, CrossAttention
from magref_core.dit.blocks import Block
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT
from magref_core.dit.rope import RopeEmbedder, axis_dims, grid_positions
from magref_core.dit.subjects import Boost, Injection, SubjectPlan, averages_of

CONFIG = DiTConfig(
    dim=24, ffn_dim=48, num_heads=2, num_layers=3, text_dim=16, text_len=8, clip_dim=12, freq_dim=16
)
FRAME = 6
"""Tokens of a latent frame: 2 x 3."""
LENGTH = 2 * FRAME
SPANS = ((1, 2, 4), (5,))


def seeded(module):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.ndim == 1))
    return module


def injection(amounts, *, rows=(0, 1), blocks=(0, 40), **fields):
    averages = averages_of(SPANS, CONFIG.text_len)
    return Injection(rows=rows, blocks=blocks, averages=averages, amounts=amounts, **fields)


def amounts(first=(0, 1), second=(4,), alpha=0.5):
    values = torch.zeros(FRAME, 2)
    values[list(first), 0] = alpha
    values[list(second), 1] = alpha
    return values


def deaf_cross_attention():
    """Wv and Wo are the identity without bias, and nothing is heard of the text."""
    cross = CrossAttention(CONFIG, Backend(attention=lambda q, k, v, **_: torch.zeros_like(q)))
    with torch.no_grad():
        for layer in (cross.v, cross.o):
            nn.init.eye_(layer.weight)
            nn.init.zeros_(layer.bias)
    return cross


@torch.no_grad()
@pytest.mark.parametrize("projection", ["value_out", "value"])
@pytest.mark.parametrize("num_image_tokens", [0, 3])
def test_a_region_gets_alpha_times_the_mean_of_its_words(projection, num_image_tokens):
    torch.manual_seed(1)
    context = torch.randn(1, num_image_tokens + CONFIG.text_len, 24)
    text = context[0, num_image_tokens:]
    plan = SubjectPlan(injections=(injection(amounts(), projection=projection),))
    out = deaf_cross_attention()(torch.randn(1, LENGTH, 24), context, num_image_tokens, subjects=plan)
    torch.testing.assert_close(out[0, :2], (0.5 * text[[1, 2, 4]].mean(0)).expand(2, -1))
    torch.testing.assert_close(out[0, 4], 0.5 * text[5])
    assert not out[0, [2, 3, *range(5, LENGTH)]].any()


@torch.no_grad()
def test_two_subjects_of_one_place_add_up():
    torch.manual_seed(1)
    context = torch.randn(1, CONFIG.text_len, 24)
    plan = SubjectPlan(injections=(injection(amounts(first=(4,))),))
    out = deaf_cross_attention()(torch.randn(1, LENGTH, 24), context, subjects=plan)
    torch.testing.assert_close(out[0, 4], 0.5 * (context[0, [1, 2, 4]].mean(0) + context[0, 5]))


@torch.no_grad()
def test_the_projection_says_whether_the_words_pass_the_output_layer():
    cross = seeded(CrossAttention(CONFIG, Backend()))
    torch.manual_seed(1)
    x, context = torch.randn(1, LENGTH, 24), torch.randn(1, CONFIG.text_len, 24)
    plain = cross(x, context)
    word = cross.v(context[0, [1, 2, 4]]).mean(0)
    for projection, step in (("value", word), ("value_out", cross.o(word) - cross.o.bias)):
        plan = SubjectPlan(injections=(injection(amounts(), projection=projection),))
        moved = cross(x, context, subjects=plan) - plain
        torch.testing.assert_close(moved[0, 0], 0.5 * step, rtol=1e-4, atol=1e-5)


def block_inputs(batch=2):
    torch.manual_seed(1)
    freqs = RopeEmbedder(12, 10000.0, axis_dims(12))(grid_positions((2, 2, 3))).movedim(1, 2)
    return {
        "x": torch.randn(batch, LENGTH, 24),
        "e": torch.randn(batch, 6, 24),
        "freqs": freqs,
        "context": torch.randn(batch, 3 + CONFIG.text_len, 24),
        "context_img_len": 3,
    }


@torch.no_grad()
def test_one_block_changes_the_region_of_its_row_and_nothing_else():
    block, inputs = seeded(Block(CONFIG, Backend())), block_inputs()
    plain = block(**inputs)
    plan = SubjectPlan(injections=(injection(amounts(), rows=(1, 2)),))
    changed = block(**inputs, subjects=plan)
    same = torch.ones(2, LENGTH, dtype=torch.bool)
    same[1, [0, 1, 4]] = False
    assert torch.equal(changed[same], plain[same])
    assert (changed[~same] != plain[~same]).any(-1).all()


@pytest.fixture
def model():
    return seeded(MagrefDiT(CONFIG))


def model_inputs(dtype=torch.float32, batch=2):
    torch.manual_seed(1)
    return {
        "x": torch.randn(batch, 36, 2, 4, 6).to(dtype),
        "timestep": torch.full((batch,), 900.0),
        "context": torch.randn(batch, 8, 16).to(dtype),
        "clip_fea": torch.randn(batch, 4, 12).to(dtype),
    }


def boost(*, rows=(0, 1), blocks=(0, 40), factors=(1.0,), **fields):
    return Boost(rows=rows, blocks=blocks, keys=(torch.tensor([0, 1]),), factors=factors, **fields)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_empty_plan_is_the_plain_model(dtype):
    model = seeded(MagrefDiT(CONFIG, Backend(dtype=dtype)))
    inputs = model_inputs(dtype)
    plain = model(**inputs)
    beyond = SubjectPlan(injections=(injection(amounts(), blocks=(3, 40)),), boosts=(boost(blocks=(2, 2)),))
    for plan in (SubjectPlan(), beyond):
        assert torch.equal(model(**inputs, subjects=plan), plain)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["injections", "boosts"])
def test_each_row_of_a_batch_gets_its_own(model, kind):
    inputs = model_inputs()
    make = boost if kind == "boosts" else (lambda **fields: injection(amounts(), **fields))
    plain = model(**inputs)
    first = model(**inputs, subjects=SubjectPlan(**{kind: (make(rows=(0, 1)),)}))
    second = model(**inputs, subjects=SubjectPlan(**{kind: (make(rows=(1, 2)),)}))
    both = model(**inputs, subjects=SubjectPlan(**{kind: (make(rows=(0, 2)),)}))
    torch.testing.assert_close(first[1], plain[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(second[0], plain[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(both[0], first[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(both[1], second[1], rtol=0, atol=1e-5)
    assert (first[0] - plain[0]).abs().max() > 1e-3
    assert (second[1] - plain[1]).abs().max() > 1e-3


@torch.no_grad()
def test_blocks_out_of_range_are_left_alone(model):
    seen = []
    for index, block in enumerate(model.blocks):
        block.register_forward_hook(
            lambda _m, _a, kwargs, _o, index=index: seen.append((index, "subjects" in kwargs)),
            with_kwargs=True,
        )
    plan = SubjectPlan(injections=(injection(amounts(), blocks=(1, 2)),))
    model(**model_inputs(), subjects=plan)
    assert seen == [(0, False), (1, True), (2, False)]


def test_the_controls_carry_gradients(model):
    inputs = model_inputs()
    plan = SubjectPlan(injections=(injection(amounts()),), boosts=(boost(),))
    results = []
    for checkpointing in (False, True):
        model.gradient_checkpointing = checkpointing
        model.zero_grad()
        model(**inputs, subjects=plan).square().mean().backward()
        results.append([parameter.grad.clone() for parameter in model.parameters()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        assert torch.isfinite(one).all()


def test_averages_are_means_over_all_words_of_a_subject():
    averages = averages_of(SPANS, 8)
    text = torch.randn(8, 24)
    torch.testing.assert_close(averages @ text, torch.stack([text[[1, 2, 4]].mean(0), text[5]]))
