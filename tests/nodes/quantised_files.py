"""The golden DiT in the formats in which large models are shared, and the weights that each one means."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from . import lora_files

FP8 = torch.float8_e4m3fn
FP8_MAX = 448.0

Content = tuple[dict[str, Tensor], dict[str, str] | None]
"""Tensors and metadata of a file."""


def exact_weights() -> dict[str, Tensor]:
    """Float32 weights that no shorter format holds; those of the golden DiT lie on the grid of fp8."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: weight * (1 + 0.1 * torch.rand(weight.shape, generator=generator))
        for name, weight in sorted(lora_files.weights().items())
    }


def is_block_matrix(name: str, weight: Tensor) -> bool:
    return name.startswith("blocks.") and name.endswith(".weight") and weight.ndim == 2


def cast(dtype: torch.dtype) -> Callable[[dict[str, Tensor]], Content]:
    return lambda weights: ({name: weight.to(dtype) for name, weight in weights.items()}, None)


def plain_fp8(weights: dict[str, Tensor]) -> Content:
    """Block matrices cast to fp8, the rest bf16."""
    return {
        name: weight.to(FP8 if is_block_matrix(name, weight) else torch.bfloat16)
        for name, weight in weights.items()
    }, None


def scaled_fp8(weights: dict[str, Tensor]) -> Content:
    """The older form: `scale_weight` beside each matrix and a mark for the file."""
    return {**_scaled(weights, "scale_weight"), "scaled_fp8": torch.zeros(0, dtype=FP8)}, None


def comfy_quant(weights: dict[str, Tensor]) -> Content:
    """The newer form: each layer says what it is."""
    content = _scaled(weights, "weight_scale")
    for name in _layers(content):
        told = json.dumps({"format": "float8_e4m3fn"}).encode()
        content[f"{name}.comfy_quant"] = torch.tensor(list(told), dtype=torch.uint8)
    return content, None


def told_by_metadata(weights: dict[str, Tensor]) -> Content:
    """As `comfy_quant`, but the file's metadata says what its layers are."""
    content = _scaled(weights, "weight_scale")
    layers = {name: {"format": "float8_e4m3fn"} for name in _layers(content)}
    return content, {"_quantization_metadata": json.dumps({"layers": layers})}


def meaning(content: dict[str, Tensor]) -> dict[str, Tensor]:
    """The float32 weights that a file stands for."""
    result = {
        name: value.float()
        for name, value in content.items()
        if name.endswith((".weight", ".bias", "modulation"))
    }
    for name, value in content.items():
        layer, _, kind = name.rpartition(".")
        if kind in ("scale_weight", "weight_scale"):
            result[f"{layer}.weight"] *= value
    return result


def save(content: Content, folder: Path, name: str = "model") -> Path:
    file = folder / f"{name}.safetensors"
    save_file(content[0], file, metadata=content[1])
    return file


def _scaled(weights: dict[str, Tensor], scale_name: str) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if is_block_matrix(name, weight):
            scale = weight.abs().max() / FP8_MAX
            result[name] = (weight / scale).to(FP8)
            result[name.removesuffix("weight") + scale_name] = scale
        else:
            result[name] = weight.to(torch.bfloat16)
    return result


def _layers(content: dict[str, Tensor]) -> list[str]:
    return [name.removesuffix(".weight_scale") for name in content if name.endswith(".weight_scale")]
