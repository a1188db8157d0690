"""GGUF files of a Wan model as converters write them; the K formats are packed here, which `gguf` cannot.

Packing follows the plain way (scale of a run by its extremes, scales of a block by the largest of its runs)
and not the search of llama.cpp: errors are a little larger than those of published files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from torch import Tensor

Array = np.ndarray
BLOCK = 256


def write_gguf(weights: dict[str, Tensor], file: Path, kind: str) -> Path:
    """A file with all matrices of the blocks in one format, and the rest in F32 or F16.

    Args:
        weights: upstream name -> float weight.
        file: to write.
        kind: Q4_K, Q8_0, F16, BF16 and the like.
    """
    writer = gguf.GGUFWriter(file, "wan")
    writer.add_quantization_version(2)
    for name, weight in weights.items():
        numbers = weight.float().numpy()
        is_matrix = name.startswith("blocks.") and name.endswith(".weight") and weight.ndim == 2
        # As the converter of ComfyUI-GGUF: vectors, modulation and what has five sides stay plain.
        used = kind if is_matrix else "F16" if weight.ndim == 2 else "F32"
        writer.add_tensor(name, pack(numbers, used), raw_dtype=Kind[used])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def pack(numbers: Array, kind: str) -> Array:
    """Rows of float32 -> rows of blocks (uint8), or of plain numbers for F32, F16 and BF16."""
    if kind not in _K_FORMATS:
        return gguf.quants.quantize(numbers, Kind[kind])
    blocks = numbers.reshape(-1, BLOCK).astype(np.float32)
    packed = np.concatenate(_K_FORMATS[kind](blocks), axis=1, dtype=np.uint8)
    return packed.reshape(*numbers.shape[:-1], -1)


def unpack(packed: Array, kind: str) -> Tensor:
    """What the package's own reference makes of it."""
    return torch.from_numpy(gguf.quants.dequantize(packed, Kind[kind]).copy())


def _over(numbers: Array, scale: Array) -> Array:
    """The quotient, and 0 where the scale is 0."""
    return np.divide(numbers, scale, out=np.zeros_like(numbers), where=scale != 0)


def _half(scale: Array) -> tuple[Array, Array]:
    """Bytes of the float16, and the float32 that they mean."""
    half = scale.astype(np.float16)
    return half.view(np.uint8).reshape(len(scale), -1), half.astype(np.float32)


def _join(numbers: Array, bits: int, run: int) -> Array:
    """Numbers of few bits, `run` at a time in one place of the bytes: the inverse of unpacking."""
    places = 8 // bits
    runs = numbers.astype(np.uint8).reshape(len(numbers), -1, places, run)
    joined = np.zeros((*runs.shape[:2], run), np.uint8)
    for place in range(places):
        joined |= runs[:, :, place] << np.uint8(bits * place)
    return joined.reshape(len(numbers), -1)


def _symmetric(blocks: Array, half_range: int, limit: int) -> tuple[Array, Array, Array]:
    """Runs of 16 with a signed scale each: bytes of the block's scale, whole scales, numbers from 0."""
    runs = blocks.reshape(len(blocks), 16, 16)
    at = abs(runs).argmax(axis=2, keepdims=True)
    scale = np.take_along_axis(runs, at, axis=2)[..., 0] / -half_range
    largest = np.take_along_axis(scale, abs(scale).argmax(axis=1, keepdims=True), axis=1)
    data, block_scale = _half(largest / -limit)
    whole = np.clip(np.round(_over(scale, block_scale)), -limit, limit - 1)
    numbers = np.round(_over(runs, (block_scale * whole)[..., None])) + half_range
    return data, whole, np.clip(numbers, 0, 2 * half_range - 1).reshape(len(blocks), BLOCK)


def _with_minima(blocks: Array, run: int, top: int, limit: int) -> tuple[list[Array], Array, Array, Array]:
    """Runs with a scale and a minimum: bytes of both of the block, whole scales, whole minima, numbers."""
    runs = blocks.reshape(len(blocks), -1, run)
    least = np.maximum(-runs.min(axis=2), 0)
    scale = np.maximum(runs.max(axis=2) + least, 0) / top
    data, block_scale = _half(scale.max(axis=1, keepdims=True) / limit)
    least_data, block_least = _half(least.max(axis=1, keepdims=True) / limit)
    whole = np.clip(np.round(_over(scale, block_scale)), 0, limit)
    whole_least = np.clip(np.round(_over(least, block_least)), 0, limit)
    shifted = runs + (block_least * whole_least)[..., None]
    numbers = np.clip(np.round(_over(shifted, (block_scale * whole)[..., None])), 0, top)
    return [data, least_data], whole, whole_least, numbers.reshape(len(blocks), BLOCK)


def _packed_scales(whole: Array, least: Array) -> Array:
    """Eight scales and eight minima of 6 bits in 12 bytes."""
    scale, least = whole.astype(np.uint8), least.astype(np.uint8)
    first = (scale[:, :4] & 63) | ((scale[:, 4:] >> 4) << 6)
    second = (least[:, :4] & 63) | ((least[:, 4:] >> 4) << 6)
    mixed = (scale[:, 4:] & 15) | ((least[:, 4:] & 15) << 4)
    return np.concatenate((first, second, mixed), axis=1)


def _q2_k(blocks: Array) -> list[Array]:
    scales, whole, least, numbers = _with_minima(blocks, 16, 3, 15)
    packed = whole.astype(np.uint8) | (least.astype(np.uint8) << 4)
    return [packed, _join(numbers, 2, 32), *scales]


def _q3_k(blocks: Array) -> list[Array]:
    scale, whole, numbers = _symmetric(blocks, 4, 32)
    stored, numbers = (whole + 32).astype(np.uint8), numbers.astype(np.uint8)
    packed = np.concatenate((_join(stored & 15, 4, 8), _join(stored >> 4, 2, 4)), axis=1)
    return [_join(numbers >> 2, 1, 32), _join(numbers & 3, 2, 32), packed, scale]


def _q4_k(blocks: Array) -> list[Array]:
    scales, whole, least, numbers = _with_minima(blocks, 32, 15, 63)
    return [*scales, _packed_scales(whole, least), _join(numbers, 4, 32)]


def _q5_k(blocks: Array) -> list[Array]:
    scales, whole, least, numbers = _with_minima(blocks, 32, 31, 63)
    numbers = numbers.astype(np.uint8)
    high, low = _join(numbers >> 4, 1, 32), _join(numbers & 15, 4, 32)
    return [*scales, _packed_scales(whole, least), high, low]


def _q6_k(blocks: Array) -> list[Array]:
    scale, whole, numbers = _symmetric(blocks, 32, 128)
    numbers = numbers.astype(np.uint8)
    low, high = _join(numbers & 15, 4, 64), _join(numbers >> 4, 2, 32)
    return [low, high, whole.astype(np.int8).view(np.uint8), scale]


_K_FORMATS: dict[str, Callable[[Array], list[Array]]] = {
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
