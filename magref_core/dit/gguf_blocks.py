"""The block formats of GGUF: how weights are packed, and how they are unpacked on any device.

A row of weights is cut into blocks of 32 or 256; a block holds small whole numbers and the scales that turn
them into weights. Every function here gives the float32 numbers of the `gguf` package, bit by bit.

Source: ggml-org/llama.cpp, gguf-py/gguf/quants.py, the classes of the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 2**22
"""Weights that are unpacked at a time: what is needed beside the result is bounded by it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockFormat:
    """How one kind of block is laid out."""

    elements: int
    """Weights of a block."""
    size: int
    """Bytes of a block."""
    unpack: Callable[[Tensor], Tensor]
    """(N, size) uint8 -> (N, elements) float32."""


def dequantise(packed: Tensor, kind: str, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Unpack rows of blocks.

    Args:
        packed: (rows, bytes of a row) uint8, contiguous; whole blocks in each row.
        kind: a key of `BLOCK_FORMATS`.
        dtype: of the result; the arithmetic is float32 all the same.

    Returns:
        (rows, weights of a row), on the device of `packed`.
    """
    form = BLOCK_FORMATS[kind]
    rows, row_size = packed.shape
    columns = row_size // form.size * form.elements
    out = torch.empty(rows, columns, dtype=dtype, device=packed.device)
    step = max(1, CHUNK // max(1, columns))
    for start in range(0, rows, step):
        part = packed[start : start + step]
        out[start : start + step] = form.unpack(part.reshape(-1, form.size)).view(len(part), columns)
    return out


def _half(blocks: Tensor, at: int) -> Tensor:
    """(N, 1) float32: the float16 at a byte of each block."""
    return blocks[:, at : at + 2].view(torch.float16).float()


def _runs(numbers: Tensor, run: int) -> Tensor:
    """(N, K) -> (N, K / run, run)."""
    return numbers.view(len(numbers), -1, run)


def _nibbles(packed: Tensor, run: int) -> Tensor:
    """Of each `run` bytes first the low halves, then the high ones: (N, K) -> (N, 2 K)."""
    runs = _runs(packed, run)
    return torch.stack((runs & 15, runs >> 4), dim=2).flatten(1)


def _pairs(packed: Tensor, run: int) -> Tensor:
    """Of each `run` bytes the pairs of bits, lowest first: (N, K) -> (N, 4 K)."""
    runs = _runs(packed, run)
    return torch.stack([(runs >> shift) & 3 for shift in (0, 2, 4, 6)], dim=2).flatten(1)


def _bits_by_place(packed: Tensor) -> Tensor:
    """All lowest bits, then all second ones, and so on: (N, K) -> (N, 8 K)."""
    return torch.stack([(packed >> shift) & 1 for shift in range(8)], dim=1).flatten(1)


def _bits_in_turn(packed: Tensor) -> Tensor:
    """The bits of one byte after the other, lowest first: (N, K) -> (N, 8 K)."""
    return torch.stack([(packed >> shift) & 1 for shift in range(8)], dim=2).flatten(1)


def _q4_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:], 16).float() - 8)


def _q4_1(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:], 16).float() + _half(blocks, 2)


def _q5_0(blocks: Tensor) -> Tensor:
    numbers = _nibbles(blocks[:, 6:], 16) | (_bits_in_turn(blocks[:, 2:6]) << 4)
    return _half(blocks, 0) * (numbers.float() - 16)


def _q5_1(blocks: Tensor) -> Tensor:
    numbers = _nibbles(blocks[:, 8:], 16) | (_bits_in_turn(blocks[:, 4:8]) << 4)
    return _half(blocks, 0) * numbers.float() + _half(blocks, 2)


def _q8_0(blocks: Tensor) -> Tensor:
    return blocks[:, 2:].view(torch.int8).float() * _half(blocks, 0)


def _q2_k(blocks: Tensor) -> Tensor:
    scales = blocks[:, :16]
    scale = (_half(blocks, 80) * (scales & 15).float()).unsqueeze(2)
    least = (_half(blocks, 82) * (scales >> 4).float()).unsqueeze(2)
    numbers = _runs(_pairs(blocks[:, 16:80], 32), 16).float()
    return (scale * numbers - least).flatten(1)


def _q3_k(blocks: Tensor) -> Tensor:
    packed = blocks[:, 96:108]
    scales = _nibbles(packed[:, :8], 8) | (_pairs(packed[:, 8:], 4) << 4)
    scale = (_half(blocks, 108) * (scales.float() - 32)).unsqueeze(2)
    # The third bit says where 4 is not taken off.
    numbers = _pairs(blocks[:, 32:96], 32) | (_bits_by_place(blocks[:, :32]) << 2)
    return (scale * _runs(numbers.float() - 4, 16)).flatten(1)


def _scales_and_minima(packed: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 12) -> two of (N, 8), 6 bits each: bytes 8 to 11 hold the low halves of the last four of both."""
    first, second, mixed = packed.view(len(packed), 3, 4).unbind(1)
    scales = torch.cat((first & 63, (mixed & 15) | ((first >> 2) & 48)), dim=1)
    minima = torch.cat((second & 63, (mixed >> 4) | ((second >> 2) & 48)), dim=1)
    return scales, minima


def _scaled_runs(blocks: Tensor, numbers: Tensor) -> Tensor:
    """Q4_K and Q5_K: eight runs of 32 numbers, each with a scale and a minimum."""
    scales, minima = _scales_and_minima(blocks[:, 4:16])
    scale = (_half(blocks, 0) * scales.float()).unsqueeze(2)
    least = (_half(blocks, 2) * minima.float()).unsqueeze(2)
    return (scale * _runs(numbers, 32).float() - least).flatten(1)


def _q4_k(blocks: Tensor) -> Tensor:
    return _scaled_runs(blocks, _nibbles(blocks[:, 16:], 32))


def _q5_k(blocks: Tensor) -> Tensor:
    return _scaled_runs(blocks, _nibbles(blocks[:, 48:], 32) | (_bits_by_place(blocks[:, 16:48]) << 4))


def _q6_k(blocks: Tensor) -> Tensor:
    scale = (_half(blocks, 208) * blocks[:, 192:208].view(torch.int8).float()).unsqueeze(2)
    numbers = _nibbles(blocks[:, :128], 64) | (_pairs(blocks[:, 128:192], 32) << 4)
    return (scale * _runs(numbers.float() - 32, 16)).flatten(1)


BLOCK_FORMATS: dict[str, BlockFormat] = {
    "Q4_0": BlockFormat(elements=32, size=18, unpack=_q4_0),
    "Q4_1": BlockFormat(elements=32, size=20, unpack=_q4_1),
    "Q5_0": BlockFormat(elements=32, size=22, unpack=_q5_0),
    "Q5_1": BlockFormat(elements=32, size=24, unpack=_q5_1),
    "Q8_0": BlockFormat(elements=32, size=34, unpack=_q8_0),
    "Q2_K": BlockFormat(elements=256, size=84, unpack=_q2_k),
    "Q3_K": BlockFormat(elements=256, size=110, unpack=_q3_k),
    "Q4_K": BlockFormat(elements=256, size=144, unpack=_q4_k),
    "Q5_K": BlockFormat(elements=256, size=176, unpack=_q5_k),
    "Q6_K": BlockFormat(elements=256, size=210, unpack=_q6_k),
}
