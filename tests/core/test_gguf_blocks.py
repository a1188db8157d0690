"""The torch kernels against the numpy reference of the gguf package, bit by bit."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch

from magref_core.dit import gguf_blocks
from magref_core.dit.gguf_blocks import BLOCK_FORMATS, dequantise

KINDS = sorted(BLOCK_FORMATS)
HALF_PLACES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}
EXTREME_SCALES = np.array(
    [0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 1.0, -1.0, 65504.0, -65504.0, np.inf, -np.inf, np.nan], np.float16
)
"""Zero, the least subnormal and normal numbers, one, the largest, and what is no number."""


def reference(packed, kind):
    with np.errstate(all="ignore"):
        return gguf.quants.dequantize(packed.numpy(), gguf.GGMLQuantizationType[kind])


def random_rows(kind, *, rows=17, blocks=5, seed=0):
    """Any bytes are a valid block; their scales are of any size and may be no numbers."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, blocks * BLOCK_FORMATS[kind].size)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def with_scales(packed, kind, values):
    """The same with given scales, block after block."""
    blocks = packed.clone().view(-1, BLOCK_FORMATS[kind].size)
    for place in HALF_PLACES[kind]:
        scales = np.resize(np.roll(values, place), len(blocks)).astype(np.float16)
        blocks[:, place : place + 2] = torch.from_numpy(scales.view(np.uint8).reshape(-1, 2))
    return blocks.view(packed.shape)


def assert_bit_equal(result, expected):
    expected = torch.from_numpy(expected)
    assert result.dtype == torch.float32 and result.shape == expected.shape
    no_number = expected.isnan()
    assert torch.equal(result.isnan(), no_number)
    bits, expected_bits = (x.view(torch.int32).masked_fill(no_number, 0) for x in (result, expected))
    assert torch.equal(bits, expected_bits)  # tells -0 from 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_sizes_of_a_block_are_those_of_the_format(kind):
    form = BLOCK_FORMATS[kind]
    assert (form.elements, form.size) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_random_blocks_are_bit_equal_to_the_reference(kind, seed):
    packed = random_rows(kind, seed=seed)
    assert_bit_equal(dequantise(packed, kind), reference(packed, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_scales_are_bit_equal_to_the_reference(kind):
    packed = with_scales(random_rows(kind), kind, EXTREME_SCALES)
    assert_bit_equal(dequantise(packed, kind), reference(packed, kind))


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_one_byte_are_bit_equal_to_the_reference(kind, fill):
    packed = with_scales(torch.full_like(random_rows(kind), fill), kind, np.array([0.5, -3.0], np.float16))
    assert_bit_equal(dequantise(packed, kind), reference(packed, kind))


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_what_the_package_quantised_comes_back_within_its_rounding(kind):
    weights = np.random.default_rng(0).standard_normal((8, 128), np.float32)
    packed = gguf.quants.quantize(weights, gguf.GGMLQuantizationType[kind])
    assert_bit_equal(
        dequantise(torch.from_numpy(packed), kind),
        gguf.quants.dequantize(packed, gguf.GGMLQuantizationType[kind]),
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_another_dtype_rounds_the_float32_numbers(dtype):
    packed = with_scales(random_rows("Q5_K"), "Q5_K", np.array([0.01, -0.02], np.float16))
    assert torch.equal(dequantise(packed, "Q5_K", dtype=dtype), dequantise(packed, "Q5_K").to(dtype))


@pytest.mark.parametrize("chunk", [1, 256, 3000])
def test_the_size_of_a_chunk_changes_nothing(monkeypatch, chunk):
    packed = with_scales(random_rows("Q6_K"), "Q6_K", np.array([0.01], np.float16))
    expected = dequantise(packed, "Q6_K")
    monkeypatch.setattr(gguf_blocks, "CHUNK", chunk)
    assert torch.equal(dequantise(packed, "Q6_K"), expected)


def test_rows_within_a_larger_buffer_are_read_in_place():
    packed = random_rows("Q4_K", rows=4)
    buffer = torch.cat((torch.zeros(32, dtype=torch.uint8), packed.flatten()))
    assert_bit_equal(dequantise(buffer[32:].view(packed.shape), "Q4_K"), reference(packed, "Q4_K"))


def test_no_rows_give_no_rows():
    assert dequantise(torch.empty(0, 34, dtype=torch.uint8), "Q8_0").shape == (0, 32)
