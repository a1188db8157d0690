"""The DiT: its outputs, the timestep features and the rotary embedding."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from magref_core.dit.checkpoint import load_dit
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT, timestep_features
from magref_core.dit.rope import axis_dims, grid_positions, rotate, rotations

from .report import Row, compare, verdict

FILE = "dit.safetensors"
WEIGHTS = "dit_weights.safetensors"
FILES = (FILE, WEIGHTS)

OUTPUT_LIMIT, OUTPUT_MEAN_LIMIT = 1e-4, 1e-5
ROPE_LIMIT = 1e-6
SINUSOID_LIMIT = 1e-7
"""Half a unit in the last place of float32 at 1."""


@torch.no_grad()
def check(folder: Path) -> Iterator[Row]:
    """Run every case of the folder and compare; yields nothing if the files are absent."""
    if not all((folder / name).is_file() for name in FILES):
        return
    tensors = load_file(folder / FILE)
    model = load_model(folder)
    yield from _check_config(folder, model)
    yield from _check_sinusoid(tensors)
    yield from _check_rope(tensors)
    for case in cases_of(folder):
        for samples in _batches(case["sizes"]):
            answers = model(*case_inputs(case, samples, tensors))
            for sample, answer in zip(samples, answers, strict=True):
                key = f"{case['name']}.out.{sample}"
                yield compare(
                    FILE, case["name"], f"out.{sample}", answer, tensors[key], OUTPUT_LIMIT, OUTPUT_MEAN_LIMIT
                )


def load_model(folder: Path) -> MagrefDiT:
    """The golden DiT, widened to float32."""
    return load_dit(folder / WEIGHTS)


def cases_of(folder: Path) -> list[dict[str, Any]]:
    """Name, sizes, timesteps and prompt lengths of each case."""
    with safe_open(folder / FILE, "pt") as opened:
        return json.loads(opened.metadata()["cases"])


def case_inputs(
    case: dict[str, Any], samples: list[int], tensors: dict[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of some samples: x (B, 36, T, H, W), timesteps (B,), text (B, L, C) and image tokens (B, N, C)."""
    name = case["name"]
    x = [torch.cat([tensors[f"{name}.x.{sample}"], tensors[f"{name}.y.{sample}"]]) for sample in samples]
    texts = [prompt(case["prompt_tokens"][sample], tensors) for sample in samples]
    length = max(len(text) for text in texts)
    padded = [torch.nn.functional.pad(text, (0, 0, 0, length - len(text))) for text in texts]
    # The second sample of a batch has the same image tokens in reverse order.
    clip = [tensors["clip_fea"][0].flip(0) if sample else tensors["clip_fea"][0] for sample in samples]
    return (
        torch.stack(x).float(),
        tensors[f"{name}.t"][samples],
        torch.stack(padded),
        torch.stack(clip).float(),
    )


def prompt(num_tokens: int, tensors: dict[str, Tensor]) -> Tensor:
    """(num_tokens, C) float32; a long one is stored as the product of two factors."""
    name = f"context.{num_tokens}"
    if name in tensors:
        return tensors[name].float()
    return tensors[f"{name}.left"].float() @ tensors[f"{name}.right"].float()


def _batches(sizes: list[list[int]]) -> list[list[int]]:
    """Numbers of the samples that can run together: all of a case, or one by one where their sizes differ."""
    samples = list(range(len(sizes)))
    return [samples] if all(size == sizes[0] for size in sizes) else [[sample] for sample in samples]


def _check_config(folder: Path, model: MagrefDiT) -> Iterator[Row]:
    """What the weights tell must be what the file says of itself."""
    with safe_open(folder / WEIGHTS, "pt") as opened:
        told = json.loads((opened.metadata() or {}).get("config", "{}"))
    for field in fields(DiTConfig):
        if field.name in told:
            value = getattr(model.config, field.name)
            value = list(value) if isinstance(value, tuple) else value
            yield verdict(WEIGHTS, "config", field.name, holds=value == told[field.name])


def _check_sinusoid(tensors: dict[str, Tensor]) -> Iterator[Row]:
    if "sinusoid.t" not in tensors:
        return
    golden = tensors["sinusoid.out64"]
    ours = timestep_features(tensors["sinusoid.t"], golden.shape[1])
    yield compare(FILE, "sinusoid", "features", ours, golden, SINUSOID_LIMIT)


def _check_rope(tensors: dict[str, Tensor]) -> Iterator[Row]:
    if "rope.in" not in tensors:
        return
    x = tensors["rope.in"]  # (B, L, heads, d), the first T H W tokens of each sample in the grid
    dims = axis_dims(x.shape[-1])
    for axis, table in enumerate(rotations(tensors["rope.positions"], dim) for dim in dims):
        start = sum(dims[:axis]) // 2
        columns = slice(start, start + dims[axis] // 2)
        cos, sin = table[..., 0, 0], table[..., 1, 0]
        yield compare(
            FILE, "rope", f"cos of axis {axis}", cos, tensors["rope.table_cos64"][:, columns], ROPE_LIMIT
        )
        yield compare(
            FILE, "rope", f"sin of axis {axis}", sin, tensors["rope.table_sin64"][:, columns], ROPE_LIMIT
        )
    for sample, grid in enumerate(tensors["rope.grid_sizes"].tolist()):
        positions = grid_positions(grid)
        turns = [rotations(ids, dim) for ids, dim in zip(positions.unbind(-1), dims, strict=True)]
        num_tokens = positions.shape[1]
        ours = rotate(x[sample : sample + 1, :num_tokens], torch.cat(turns, dim=-3).unsqueeze(2))[0]
        for key in ("rope.out", "rope.out64"):
            if key in tensors:
                yield compare(
                    FILE, "rope", f"{key} {sample}", ours, tensors[key][sample, :num_tokens], ROPE_LIMIT
                )
