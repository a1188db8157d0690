"""The identity strength is exact: fused attention and a few keys more equal attention with biased logits."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from magref_core.dit.lse import attend_in_parts, attend_with_lse, boosted_attention
from magref_core.dit.subjects import Boost

HEADS, WIDTH, LENGTH = 3, 16, 70
EVERY_WAY = pytest.mark.parametrize("attend", [attend_with_lse, attend_in_parts])


def inputs(dtype=torch.float32, *, batch=2, scale=1.0, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    shape = (batch, LENGTH, HEADS * WIDTH)
    return [
        (torch.randn(shape, generator=generator) * size).to(device, dtype) for size in (scale, scale, 1.0)
    ]


def boost_of(keys, biases, **fields):
    factors = tuple(math.expm1(bias) for bias in biases)
    return Boost(rows=(0, 2), blocks=(0, 1), keys=tuple(map(torch.tensor, keys)), factors=factors, **fields)


def masked(q, k, v, bias):
    """SDPA with the bias (B, L, M) as its mask, in float64."""
    q, k, v = (x.double().unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias[:, None]).transpose(1, 2).flatten(2)


def key_bias(keys, biases):
    bias = torch.zeros(2, LENGTH, LENGTH, dtype=torch.float64)
    for own, value in zip(keys, biases, strict=True):
        bias[:, :, own] = value
    return bias


@EVERY_WAY
@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("biases", [(1.0, 0.0), (4.0, 0.5), (-2.0, 3.0), (-2.0, -2.0), (1e-3, -1e-3)])
def test_a_boost_equals_masked_attention(attend, biases, scale):
    keys = [[0, 3, 5, 69], list(range(10, 30))]
    q, k, v = inputs(scale=scale)
    found = boosted_attention(q, k, v, heads=HEADS, boost=boost_of(keys, biases), attend=attend)
    expected = masked(q, k, v, key_bias(keys, biases))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_every_key_may_belong_to_a_subject():
    keys = [list(range(40)), list(range(40, LENGTH))]
    q, k, v = inputs()
    found = boosted_attention(q, k, v, heads=HEADS, boost=boost_of(keys, (-2.0, 4.0)), attend=attend_with_lse)
    torch.testing.assert_close(
        found.double(), masked(q, k, v, key_bias(keys, (-2.0, 4.0))), rtol=0, atol=1e-5
    )


def test_in_16_bits_a_boost_is_as_near_as_attention_itself():
    keys, biases = [list(range(20))], [1.5]
    q, k, v = inputs(torch.bfloat16)
    found = boosted_attention(q, k, v, heads=HEADS, boost=boost_of(keys, biases), attend=attend_with_lse)
    assert found.dtype == torch.bfloat16
    expected = masked(q, k, v, key_bias(keys, biases))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-2)


def test_queries_are_put_together_in_parts(monkeypatch):
    keys, biases = [[1, 2], [8]], (2.0, -1.0)
    q, k, v = inputs()
    whole = boosted_attention(q, k, v, heads=HEADS, boost=boost_of(keys, biases), attend=attend_with_lse)
    monkeypatch.setattr("magref_core.dit.lse.QUERIES_AT_ONCE", 16)
    monkeypatch.setattr("magref_core.dit.lse.LOGITS_AT_ONCE", 1000)
    for attend in (attend_with_lse, attend_in_parts):
        parts = boosted_attention(q, k, v, heads=HEADS, boost=boost_of(keys, biases), attend=attend)
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)


def near_queries(q, k, keys):
    """The oracle, (K, B, L): who looks at a key of a subject more than on average, and than at another's."""
    q, k = (x.unflatten(-1, (HEADS, -1)).transpose(1, 2).double() for x in (q, k))
    weights = (q @ k.transpose(-1, -2) / math.sqrt(WIDTH)).softmax(-1).mean(1)  # (B, L, M)
    looks = torch.stack([weights[..., own].sum(-1) * LENGTH / len(own) for own in keys])
    return (looks > 1) & (looks == looks.amax(0))


def test_near_queries_alone_are_changed_and_exactly():
    keys, biases = [list(range(6)), list(range(30, 40))], (2.0, 1.0)
    q, k, v = inputs(scale=2.0)
    boost = boost_of(keys, biases, near=True)
    found = boosted_attention(q, k, v, heads=HEADS, boost=boost, attend=attend_with_lse)
    near = near_queries(q, k, keys)
    assert all(0.05 < share < 0.95 for share in near.double().mean((1, 2)))
    bias = torch.zeros(2, LENGTH, LENGTH, dtype=torch.float64)
    for own, value, who in zip(keys, biases, near, strict=True):
        bias[:, :, own] += value * who[..., None].double()
    torch.testing.assert_close(found.double(), masked(q, k, v, bias), rtol=0, atol=1e-5)


def test_where_a_gradient_is_wanted_there_is_one():
    keys, biases = [[1, 2, 3]], [1.0]
    q, k, v = (x.requires_grad_() for x in inputs())
    found = boosted_attention(q, k, v, heads=HEADS, boost=boost_of(keys, biases), attend=attend_with_lse)
    gradients = torch.autograd.grad(found.square().sum(), (q, k, v))
    expected = torch.autograd.grad(masked(q, k, v, key_bias(keys, biases)).square().sum(), (q, k, v))
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_kernels_of_a_gpu_tell_their_log_sum_exp(dtype):
    q, k, v = (x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in inputs(dtype, device="cuda"))
    for found, expected in zip(attend_with_lse(q, k, v), attend_in_parts(q, k, v), strict=True):
        torch.testing.assert_close(found.float(), expected.float(), rtol=0, atol=2e-2)
