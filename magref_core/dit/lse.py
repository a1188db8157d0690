"""Attention that also tells its log-sum-exp, and a bias on the keys of subjects made from it.

With (o, l) the attention over all keys and its log-sum-exp, and (o_S, l_S) over the keys S of one subject, a
bias b on the logits of S gives exactly (e^l o + (e^b - 1) e^{l_S} o_S) / (e^l + (e^b - 1) e^{l_S}). Subjects
without common keys add up. So the fused kernels stay in use, and the cost is that of the few keys in S.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .subjects import Boost

AttentionLse = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""q (B, heads, L, d) over k and v (B, heads, M, d): the result, and the log-sum-exp (B, heads, L) float32."""

QUERIES_AT_ONCE = 4096
"""Rows of queries whose results are put together at a time; bounds the memory."""

LOGITS_AT_ONCE = 1 << 24
"""Values of the matrix of logits that the slow way holds at a time, for each batch and head."""


def attend_with_lse(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """PyTorch's fused attention where its kernel for the device tells the log-sum-exp; see `AttentionLse`.

    The CPU has one kernel; on CUDA flash, cuDNN and the memory-efficient one are asked in this order. On
    other devices, and where a gradient is wanted, the logits are computed in parts: exact, and slow.
    """
    wants_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    if not wants_gradient and q.device.type == "cpu":
        return _first_two(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v), q)
    if not wants_gradient and q.device.type == "cuda":
        return _attend_on_cuda(q, k, v)
    return attend_in_parts(q, k, v)


def attend_in_parts(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The same by plain operations in float32, which any device has and autograd knows."""
    scale = q.shape[-1] ** -0.5
    rows = max(1, LOGITS_AT_ONCE // k.shape[-2])
    results: list[Tensor] = []
    sums: list[Tensor] = []
    for begin in range(0, q.shape[-2], rows):
        part = q[..., begin : begin + rows, :]
        logits = (part.float() * scale) @ k.float().transpose(-1, -2)  # (B, heads, rows, M)
        lse = logits.logsumexp(-1)
        sums.append(lse)
        results.append(((logits - lse[..., None]).exp() @ v.float()).to(q.dtype))
    return torch.cat(results, dim=-2), torch.cat(sums, dim=-1)


def boosted_attention(
    q: Tensor, k: Tensor, v: Tensor, *, heads: int, boost: Boost, attend: AttentionLse
) -> Tensor:
    """Attention in which the logits of subjects' keys are biased.

    Args:
        q: (B, L, D).
        k: (B, M, D).
        v: (B, M, D).
        heads: of q, k and v.
        boost: which keys, how much, and for which queries.
        attend: attention with its log-sum-exp.

    Returns:
        (B, L, D).
    """
    q, k, v = (torch.unflatten(x, -1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    out, lse = attend(q, k, v)
    subjects = [(k[:, :, keys], v[:, :, keys]) for keys in boost.keys]
    parts: list[Tensor] = []
    for begin in range(0, q.shape[2], QUERIES_AT_ONCE):
        rows, whole, whole_lse = (x[:, :, begin : begin + QUERIES_AT_ONCE] for x in (q, out, lse))
        found = [attend(rows, keys, values) for keys, values in subjects]
        shares = [(own_lse - whole_lse).exp() for _, own_lse in found]  # of all attention, (B, heads, rows)
        gates = _gates(shares, boost, num_keys=k.shape[2])
        weights = [
            factor * share if gate is None else factor * share * gate[:, None]
            for factor, share, gate in zip(boost.factors, shares, gates, strict=True)
        ]
        total = sum(weights, start=torch.ones_like(whole_lse))
        result = whole.float()
        for weight, (own, _) in zip(weights, found, strict=True):
            result = torch.addcmul(result, own.float(), weight[..., None])
        parts.append((result / total[..., None]).to(whole.dtype))
    return torch.cat(parts, dim=2).transpose(1, 2).flatten(2)


def _gates(shares: list[Tensor], boost: Boost, *, num_keys: int) -> list[Tensor | None]:
    """For each subject 1 on the queries that it may have, (B, rows); None for all of them.

    A query is near a subject if, over all heads, it looks at a key of the subject more than at a key on
    average, and at a key of no other subject more.
    """
    if not boost.near:
        return [None] * len(shares)
    looks = torch.stack(
        [share.mean(1) * (num_keys / len(keys)) for share, keys in zip(shares, boost.keys, strict=True)]
    )  # (K, B, rows), 1 is the average
    near = (looks > 1) & (looks == looks.amax(0))
    return list(near.to(looks.dtype).unbind(0))


def _attend_on_cuda(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    cuda, aten = torch.backends.cuda, torch.ops.aten
    asked = cuda.SDPAParams(q, k, v, None, 0.0, False, False)
    if q.shape[-1] % 8 == 0 and cuda.can_use_flash_attention(asked):
        return _first_two(aten._scaled_dot_product_flash_attention(q, k, v), q)
    if cuda.can_use_cudnn_attention(asked):
        return _first_two(aten._scaled_dot_product_cudnn_attention(q, k, v, None, True), q)
    if q.shape[-1] % 8 == 0 and cuda.can_use_efficient_attention(asked):
        return _first_two(aten._scaled_dot_product_efficient_attention(q, k, v, None, True), q)
    return attend_in_parts(q, k, v)


def _first_two(answer: Any, q: Tensor) -> tuple[Tensor, Tensor]:
    """Result and log-sum-exp of a kernel: some fill the rows up to a multiple of 32, some add an axis."""
    out, lse = answer[0], answer[1]
    return out, lse.flatten(2)[..., : q.shape[2]]
