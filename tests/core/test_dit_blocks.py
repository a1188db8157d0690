from __future__ import annotations

import pytest
import torch

from magref_core.dit.attention import Backend
from magref_core.dit.blocks import Block, Head, TanhGelu, gated_sum, modulated_norm, per_token
from magref_core.dit.config import DiTConfig
from magref_core.dit.rope import RopeEmbedder, axis_dims, grid_positions

CONFIG = DiTConfig(dim=24, ffn_dim=48, num_heads=2, num_layers=1, text_dim=16, text_len=8, clip_dim=12)
GRID = (2, 2, 3)
LENGTH = 12


def seeded(module, dtype=None):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.ndim == 1))
    return module


def block_inputs(dtype=torch.float32, batch=2):
    torch.manual_seed(1)
    freqs = RopeEmbedder(12, 10000.0, axis_dims(12))(grid_positions(GRID)).movedim(1, 2)
    return {
        "x": torch.randn(batch, LENGTH, 24),
        "e": torch.randn(batch, 6, 24),
        "freqs": freqs,
        "context": torch.randn(batch, 7, 24).to(dtype),
        "context_img_len": 3,
    }


def slow_norm(x, eps=CONFIG.eps):
    x = x.double()
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


def slow_block(block, x, e, freqs, context, context_img_len):
    """The oracle: the formula of the block in float64 around the modules' own branches."""
    parts = (block.modulation + e).double()[:, :, None].unbind(1)
    y = block.self_attn((slow_norm(x) * (1 + parts[1]) + parts[0]).float(), freqs)
    x = x.double() + y * parts[2]
    normed = slow_norm(x) * block.norm3.weight + block.norm3.bias
    x = x + block.cross_attn(normed.float(), context, context_img_len)
    y = block.ffn((slow_norm(x) * (1 + parts[4]) + parts[3]).float())
    return x + y * parts[5]


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2])
def test_a_block_equals_its_formula(batch):
    block, inputs = seeded(Block(CONFIG, Backend())), block_inputs(batch=batch)
    expected = slow_block(block, **inputs)
    torch.testing.assert_close(block(**inputs).double(), expected, atol=5e-5, rtol=1e-5)


@torch.no_grad()
def test_one_timestep_for_all_frames_equals_the_same_one_for_each_frame():
    block, inputs = seeded(Block(CONFIG, Backend())), block_inputs()
    plain = block(**inputs)
    for num_frames in (1, 2, LENGTH):
        per_frame = inputs | {"e": inputs["e"][:, None].expand(-1, num_frames, -1, -1)}
        torch.testing.assert_close(block(**per_frame), plain, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_a_frame_is_modulated_by_its_own_timestep():
    torch.manual_seed(0)
    x, shift, scale = torch.randn(1, LENGTH, 24), torch.randn(1, 2, 24), torch.randn(1, 2, 24)
    out = modulated_norm(x, shift, scale, 1e-6, torch.float32)
    for frame, tokens in enumerate((slice(0, 6), slice(6, 12))):
        expected = slow_norm(x[:, tokens]) * (1 + scale[:, frame]) + shift[:, frame]
        torch.testing.assert_close(out[:, tokens].double(), expected, atol=1e-5, rtol=1e-5)


def test_frames_that_do_not_divide_the_tokens_share_them_from_the_front():
    e = torch.arange(3.0).reshape(1, 3, 1)
    assert per_token(e, 8).flatten().tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert per_token(e[:, :1], 8).shape == (1, 1, 1)


@torch.no_grad()
def test_with_bf16_context_the_branches_run_in_bf16_and_the_residual_in_float32():
    dtypes = []
    block = seeded(Block(CONFIG, Backend(dtype=torch.bfloat16)))
    for name in ("self_attn", "cross_attn", "ffn"):
        getattr(block, name).register_forward_pre_hook(lambda _, args: dtypes.append(args[0].dtype))
    out = block(**block_inputs(torch.bfloat16))
    assert dtypes == [torch.bfloat16] * 3
    assert out.dtype == block.modulation.dtype == block.norm3.weight.dtype == torch.float32


@torch.no_grad()
def test_a_residual_below_the_resolution_of_bf16_survives():
    x, gate = torch.full((1, 4, 24), 256.0), torch.full((1, 1, 24), 1 / 64)
    assert torch.equal(gated_sum(x, torch.ones(1, 4, 24).bfloat16(), gate), x + 1 / 64)


@torch.no_grad()
def test_a_block_takes_residual_and_modulation_in_bf16_too():
    block, inputs = seeded(Block(CONFIG, Backend())), block_inputs()
    low = inputs | {"x": inputs["x"].bfloat16(), "e": inputs["e"].bfloat16()}
    widened = inputs | {"x": low["x"].float(), "e": low["e"].float()}
    assert torch.equal(block(**low), block(**widened))


def test_a_block_overwrites_none_of_its_inputs():
    block, inputs = seeded(Block(CONFIG, Backend())), block_inputs()
    before = {name: value.clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)}
    with torch.no_grad():
        block(**inputs)
    block(**inputs).sum().backward()
    assert all(torch.equal(inputs[name], value) for name, value in before.items())


def test_a_block_gives_every_weight_a_gradient():
    block = seeded(Block(CONFIG, Backend()))
    block(**block_inputs()).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in block.parameters())


@torch.no_grad()
def test_an_attn2_patch_acts_after_the_cross_attention():
    block, inputs, seen = seeded(Block(CONFIG, Backend())), block_inputs(), []

    def patch(args):
        seen.append(args["x"])
        return torch.zeros_like(args["x"])

    zeroed = block(**inputs, transformer_options={"patches": {"attn2_patch": [patch]}})
    parts = (block.modulation + inputs["e"])[:, :, None].unbind(1)
    expected = block.ffn(parts[3].expand(-1, LENGTH, -1).contiguous()) * parts[5]
    torch.testing.assert_close(zeroed, expected, atol=1e-5, rtol=1e-5)
    assert len(seen) == 1


@torch.no_grad()
def test_gelu_overwrites_its_input_only_where_no_gradient_is_asked_for():
    hidden = torch.linspace(-3, 3, 7)
    expected = torch.nn.functional.gelu(hidden, approximate="tanh")
    given = hidden.clone()
    assert TanhGelu()(given).data_ptr() == given.data_ptr()
    assert torch.equal(given, expected)
    with torch.enable_grad():
        tracked = hidden.clone().requires_grad_()
        assert torch.equal(TanhGelu()(tracked).detach(), expected)
        assert torch.equal(tracked.detach(), hidden)


@torch.no_grad()
def test_the_head_runs_in_float32_and_takes_one_timestep_per_sample_or_per_frame():
    head = seeded(Head(CONFIG, Backend(dtype=torch.bfloat16)))
    x, e = torch.randn(2, LENGTH, 24), torch.randn(2, 24)
    shift, scale = (head.modulation + e[:, None]).unbind(1)
    expected = head.head((slow_norm(x) * (1 + scale[:, None]) + shift[:, None]).float())
    out = head(x, e)
    assert out.shape == (2, LENGTH, 64)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(head(x, e[:, None].expand(-1, 2, -1)), expected, atol=1e-5, rtol=1e-5)
