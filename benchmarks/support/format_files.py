"""One model written in every format that MAGREF DiT Loader reads."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.support.gguf_writing import write_gguf

Weights = dict[str, Tensor]
FP8 = {"e4m3fn": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
NUM_SHARDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """How a model is written, and how it is loaded to keep that."""

    write: Callable[[Weights, Path], Path]
    """Float32 weights under upstream names, and a folder -> the file to choose."""
    dtype: torch.dtype | None = None
    """To ask the loader for; None: as it decides by the file."""


def is_matrix(name: str, weight: Tensor) -> bool:
    """Whether a weight is one of those that quantised files quantise."""
    return name.startswith("blocks.") and name.endswith(".weight") and weight.ndim == 2


def plain(dtype: torch.dtype, *, rest: torch.dtype | None = None) -> Format:
    """Matrices of the blocks in a dtype, the rest in the same or another."""

    def write(weights: Weights, folder: Path) -> Path:
        rest_dtype = dtype if rest is None else rest
        cast = {
            name: weight.to(dtype if is_matrix(name, weight) else rest_dtype)
            for name, weight in weights.items()
        }
        return save(cast, folder)

    return Format(write=write, dtype=dtype)


def shards() -> Format:
    """Several files and their index, in bf16."""

    def write(weights: Weights, folder: Path) -> Path:
        names = sorted(weights)
        places: dict[str, str] = {}
        for number in range(NUM_SHARDS):
            shard = f"model-{number + 1:05}-of-{NUM_SHARDS:05}.safetensors"
            part = names[number::NUM_SHARDS]
            save_file({name: weights[name].bfloat16().contiguous() for name in part}, folder / shard)
            places |= dict.fromkeys(part, shard)
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": places}), encoding="utf-8")
        return index

    return Format(write=write, dtype=torch.bfloat16)


def scaled_fp8(name: str) -> Format:
    """The older form: a scale beside each matrix, and a mark for the file."""

    def write(weights: Weights, folder: Path) -> Path:
        content: Weights = {"scaled_fp8": torch.zeros(0, dtype=FP8[name])}
        for key, weight in weights.items():
            content[key] = weight.bfloat16()
            if is_matrix(key, weight):
                scale = weight.abs().max() / torch.finfo(FP8[name]).max
                content[key] = (weight / scale).to(FP8[name])
                content[key.removesuffix("weight") + "scale_weight"] = scale
        return save(content, folder)

    return Format(write=write)


def comfy_quant(told: str) -> Format:
    """A format of the host's registry, written with its own quantiser; each layer says what it is."""

    def write(weights: Weights, folder: Path) -> Path:
        quant: Any = importlib.import_module("comfy.quant_ops")
        layout = quant.QUANT_ALGOS[told]["comfy_tensor_layout"]
        words = torch.tensor(list(json.dumps({"format": told}).encode()), dtype=torch.uint8)
        content: Weights = {}
        for name, weight in weights.items():
            if not is_matrix(name, weight):
                content[name] = weight.bfloat16()
                continue
            packed = quant.QuantizedTensor.from_float(weight, layout, scale="recalculate")
            for key, part in packed.state_dict(name).items():
                is_exponent = part.dtype == torch.float8_e8m0fnu
                content[key] = part.view(torch.uint8) if is_exponent else part
            content[name.removesuffix("weight") + "comfy_quant"] = words.clone()
        return save(content, folder)

    return Format(write=write)


def gguf(kind: str) -> Format:
    """A GGUF file with all matrices of the blocks in one format."""
    return Format(write=lambda weights, folder: write_gguf(weights, folder / "model.gguf", kind))


def save(weights: Weights, folder: Path) -> Path:
    """One safetensors file."""
    file = folder / "model.safetensors"
    save_file({name: weight.contiguous() for name, weight in weights.items()}, file)
    return file


GGUF_KINDS = ("BF16", "F16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "Q3_K", "Q2_K")
COMFY_QUANT = ("float8_e4m3fn", "float8_e5m2", "mxfp8", "nvfp4", "int8_tensorwise", "convrot_w4a4")

FORMATS: dict[str, Format] = {
    "fp32": plain(torch.float32),
    "bf16": plain(torch.bfloat16),
    "bf16 in shards": shards(),
    "fp16": plain(torch.float16),
    "fp8 e4m3fn, plain": plain(FP8["e4m3fn"], rest=torch.bfloat16),
    "fp8 e5m2, plain": plain(FP8["e5m2"], rest=torch.bfloat16),
    "scaled_fp8 e4m3fn": scaled_fp8("e4m3fn"),
    "scaled_fp8 e5m2": scaled_fp8("e5m2"),
    **{f"comfy_quant {told}": comfy_quant(told) for told in COMFY_QUANT},
    **{f"GGUF {kind}": gguf(kind) for kind in GGUF_KINDS},
}
