from __future__ import annotations

import math

import torch

from magref_core.dit.attention import Backend, CrossAttention, SelfAttention, attend
from magref_core.dit.config import DiTConfig
from magref_core.dit.rope import RopeEmbedder, axis_dims, grid_positions, rotate

CONFIG = DiTConfig(dim=24, ffn_dim=48, num_heads=2, num_layers=1, text_dim=16, text_len=8, clip_dim=12)


def slow_attention(q, k, v, heads):
    """The oracle: weighted sums, query by query."""
    out = torch.empty_like(q)
    width = q.shape[-1] // heads
    for b in range(q.shape[0]):
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            for i in range(q.shape[1]):
                logits = [float(q[b, i, part] @ k[b, j, part]) / math.sqrt(width) for j in range(k.shape[1])]
                weights = [math.exp(logit - max(logits)) for logit in logits]
                rows = [w / sum(weights) * v[b, j, part] for j, w in enumerate(weights)]
                out[b, i, part] = torch.stack(rows).sum(0)
    return out


def slow_rms_norm(x, weight, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def seeded(module):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.ndim == 1))
    return module


def turns(grid):
    return RopeEmbedder(12, 10000.0, axis_dims(12))(grid_positions(grid)).movedim(1, 2)


def test_attention_equals_weighted_sums():
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 5, 24), torch.randn(2, 7, 24), torch.randn(2, 7, 24)
    torch.testing.assert_close(attend(q, k, v, heads=2, transformer_options={}), slow_attention(q, k, v, 2))


@torch.no_grad()
def test_self_attention_normalises_over_all_heads_then_turns_queries_and_keys():
    module, x, freqs = seeded(SelfAttention(CONFIG, Backend())), torch.randn(2, 6, 24), turns((1, 2, 3))

    def prepared(linear, norm):
        normed = slow_rms_norm(linear(x), norm.weight, CONFIG.eps)
        return rotate(normed.reshape(2, 6, 2, 12), freqs).reshape(2, 6, 24)

    q, k = prepared(module.q, module.norm_q), prepared(module.k, module.norm_k)
    expected = module.o(slow_attention(q, k, module.v(x), 2))
    torch.testing.assert_close(module(x, freqs), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_cross_attention_adds_the_two_branches_before_the_projection():
    module, x, context = (
        seeded(CrossAttention(CONFIG, Backend())),
        torch.randn(2, 5, 24),
        torch.randn(2, 9, 24),
    )
    image, text = context[:, :3], context[:, 3:]
    q = slow_rms_norm(module.q(x), module.norm_q.weight, CONFIG.eps)
    k_img = slow_rms_norm(module.k_img(image), module.norm_k_img.weight, CONFIG.eps)
    k = slow_rms_norm(module.k(text), module.norm_k.weight, CONFIG.eps)
    seen = slow_attention(q, k_img, module.v_img(image), 2)
    expected = module.o(seen + slow_attention(q, k, module.v(text), 2))
    torch.testing.assert_close(module(x, context, 3), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_image_tokens_only_the_text_is_attended_to():
    calls = []

    def counting(q, k, v, **options):
        calls.append(k.shape[1])
        return attend(q, k, v, **options)

    module = seeded(CrossAttention(CONFIG, Backend(attention=counting)))
    x, text = torch.randn(1, 5, 24), torch.randn(1, 6, 24)
    assert torch.equal(module(x, text, None), module(x, text, 0))
    assert calls == [6, 6]


@torch.no_grad()
def test_an_attn1_patch_sees_turned_queries_and_may_change_the_result():
    module, x, freqs = seeded(SelfAttention(CONFIG, Backend())), torch.randn(1, 6, 24), turns((1, 2, 3))
    seen = {}

    def patch(args):
        seen.update(args)
        return torch.zeros_like(args["x"])

    options = {"patches": {"attn1_patch": [patch]}}
    out = module(x, freqs, transformer_options=options)
    assert torch.equal(out, module.o.bias.expand_as(out))
    assert seen["q"].shape == seen["k"].shape == (1, 6, 2, 12)
    assert seen["transformer_options"] is options
