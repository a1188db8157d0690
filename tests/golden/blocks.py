"""Every intermediate value of one case, seen through hooks, patches and functions handed to the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from magref_core.dit.attention import Backend, attend
from magref_core.dit.checkpoint import load_dit
from magref_core.dit.model import MagrefDiT
from magref_core.dit.rope import rotate

from . import dit
from .report import Row, compare, verdict

FILE = "blocks.safetensors"
FILES = (FILE, *dit.FILES)

LIMIT = 5e-5

Trace = dict[str, Tensor]


@torch.no_grad()
def check(folder: Path) -> Iterator[Row]:
    """Trace the case of the folder and compare; yields nothing if a file is absent."""
    if not all((folder / name).is_file() for name in FILES):
        return
    with safe_open(folder / FILE, "pt") as opened:
        name = opened.metadata()["case"]
    trace = _traced(folder, next(case for case in dit.cases_of(folder) if case["name"] == name))
    for quantity, golden in load_file(folder / FILE).items():
        ours = trace.get(quantity)
        if ours is None:
            yield verdict(FILE, name, f"{quantity} (unknown)", holds=False)
        else:
            yield compare(FILE, name, quantity, _shaped(ours, golden), golden, LIMIT)


def _traced(folder: Path, case: dict[str, Any]) -> Trace:
    trace: Trace = {}
    attended: list[Tensor] = []
    turned: list[Tensor] = []

    def recording_attention(*args: Any, **kwargs: Any) -> Tensor:
        attended.append(attend(*args, **kwargs))
        return attended[-1]

    def recording_rotate(x: Tensor, freqs: Tensor) -> Tensor:
        turned.append(rotate(x, freqs))
        return turned[-1]

    backend = Backend(attention=recording_attention, rotate=recording_rotate)
    model = load_dit(folder / dit.WEIGHTS, backend)
    _watch_model(model, trace)
    after_cross_attn: list[Tensor] = []
    patch = _recorder(after_cross_attn)
    inputs = dit.case_inputs(case, [0], load_file(folder / dit.FILE))
    trace["final"] = model(*inputs, transformer_options={"patches": {"attn2_patch": [patch]}})[0]
    for index, x in enumerate(after_cross_attn):
        trace[f"block{index}.after_cross_attn"] = x
        trace[f"block{index}.self_attn.q_rope"], trace[f"block{index}.self_attn.k_rope"] = turned[
            2 * index : 2 * index + 2
        ]
        image_part, text_part = attended[3 * index + 1 : 3 * index + 3]
        trace[f"block{index}.cross_attn.image_part"] = image_part
        trace[f"block{index}.cross_attn.text_part"] = text_part
    return trace


def _recorder(into: list[Tensor]) -> Callable[[dict[str, Any]], Tensor]:
    def patch(args: dict[str, Any]) -> Tensor:
        into.append(args["x"])
        return args["x"]

    return patch


def _watch_model(model: MagrefDiT, trace: Trace) -> None:
    _watch(model.patch_embedding, trace, output="patch_embedding")
    _watch(model.time_embedding, trace, "time.sinusoid", "time.e")
    _watch(model.time_projection, trace, output="time.e0")
    _watch(model.text_embedding, trace, output="text_tokens")
    _watch(model.img_emb, trace, output="clip_tokens")
    _watch(model.head, trace, output="head.out")
    for index, block in enumerate(model.blocks):
        _watch_block(block, trace, f"block{index}.")


def _watch_block(block: Any, trace: Trace, name: str) -> None:
    _watch(block, trace, f"{name}in", f"{name}out")
    # The model runs norm1 and the modulation as one; the norm's own module shows the norm alone.
    block.register_forward_pre_hook(
        lambda _, args: trace.update({f"{name}norm1": block.norm1(args[0])}), prepend=True
    )
    _watch(block.self_attn, trace, f"{name}self_attn.in", f"{name}self_attn.out")
    for layer in ("q", "k", "v", "norm_q", "norm_k"):
        _watch(getattr(block.self_attn, layer), trace, output=f"{name}self_attn.{layer}")
    _watch(block.self_attn.o, trace, f"{name}self_attn.before_o")
    _watch(block.norm3, trace, f"{name}after_self_attn", f"{name}norm3")
    _watch(block.cross_attn.norm_q, trace, output=f"{name}cross_attn.q")
    _watch(block.cross_attn.o, trace, f"{name}cross_attn.before_o")
    _watch(block.cross_attn, trace, output=f"{name}cross_attn.out")
    _watch(block.ffn, trace, f"{name}ffn.in", f"{name}ffn.out")


def _watch(
    module: nn.Module, trace: Trace, first_input: str | None = None, output: str | None = None
) -> None:
    def hook(_: nn.Module, args: tuple[Any, ...], result: Tensor) -> None:
        if first_input is not None:
            trace[first_input] = args[0]
        if output is not None:
            trace[output] = result

    module.register_forward_hook(hook)


def _shaped(ours: Tensor, golden: Tensor) -> Tensor:
    """The numbers in the golden file's shape, which splits heads and lists only the first padding row."""
    if ours.ndim == golden.ndim == 3 and ours.shape[1] > golden.shape[1]:
        return ours[:, : golden.shape[1]]
    return ours.reshape(golden.shape) if ours.numel() == golden.numel() else ours
