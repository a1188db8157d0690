"""What the controls of subjects cost: one block of the DiT with and without each of them.

python scripts/bench.py subjects [--frames 21] [--height 15] [--width 26] [--dim 512] [--threads 1]

A block takes nearly all of a step, and all blocks cost the same. Two subjects stand side by side and fill 7
of 10 tokens of the canvas. On a CPU the time is that of the processor, so that other programs do not count.
Ways take turns, and the median over the turns is shown. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import Tensor

from benchmarks.support import machine
from magref_core.dit.attention import Backend
from magref_core.dit.blocks import Block
from magref_core.dit.config import DiTConfig
from magref_core.dit.rope import THETA, RopeEmbedder, axis_dims, grid_positions
from magref_core.dit.subjects import Boost, Injection, SubjectPlan, averages_of

HEAD_DIM = 128
FILLED = 0.35
"""Share of the canvas that each of the two subjects fills."""
SPANS = ((3, 4), (9, 10, 11))
"""Rows of the prompt that are their words."""
TEXT_LEN, NUM_IMAGE_TOKENS = 512, 257
DEFAULTS = {"frames": 21, "height": 15, "width": 26, "dim": 512, "turns": 5, "threads": 1}


def plans(num_canvas_tokens: int, device: str) -> dict[str, SubjectPlan | None]:
    """Name of a way -> its plan; the plain block first."""
    count = int(FILLED * num_canvas_tokens)
    keys = tuple(torch.arange(first, first + count, device=device) for first in (0, count))
    amounts = torch.zeros(num_canvas_tokens, 2, device=device)
    for index, own in enumerate(keys):
        amounts[own, index] = 0.2
    whole: dict[str, Any] = {"rows": (0, 1), "blocks": (0, 1)}
    injection = Injection(
        **whole, averages=averages_of(SPANS, TEXT_LEN).to(device), amounts=amounts, projection="value_out"
    )
    boosts = [Boost(**whole, keys=keys, factors=(0.6, 1.7), near=near) for near in (False, True)]
    return {
        "plain": None,
        "disentanglement": SubjectPlan(injections=(injection,)),
        "identity, everywhere": SubjectPlan(boosts=(boosts[0],)),
        "identity, near": SubjectPlan(boosts=(boosts[1],)),
        "both": SubjectPlan(injections=(injection,), boosts=(boosts[0],)),
    }


def block_and_inputs(arguments: argparse.Namespace, device: str) -> tuple[Block, dict[str, Any]]:
    """A block of the released proportions, and what it is given."""
    dim = arguments.dim
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    config = DiTConfig(dim=dim, ffn_dim=dim * 27 // 10, num_heads=dim // HEAD_DIM, num_layers=1)
    torch.manual_seed(0)
    block = Block(config, Backend(device=device, dtype=dtype)).requires_grad_(False)
    grid = (arguments.frames, arguments.height, arguments.width)
    positions = grid_positions(grid, device=device)
    freqs = RopeEmbedder(HEAD_DIM, THETA, axis_dims(HEAD_DIM))(positions).movedim(1, 2)
    length = grid[0] * grid[1] * grid[2]
    return block, {
        "x": torch.randn(1, length, dim, device=device),
        "e": torch.randn(1, 6, dim, device=device) * 0.1,
        "freqs": freqs,
        "context": torch.randn(1, NUM_IMAGE_TOKENS + TEXT_LEN, dim, device=device, dtype=dtype),
        "context_img_len": NUM_IMAGE_TOKENS,
    }


def seconds_of(block: Block, inputs: dict[str, Any], plan: SubjectPlan | None) -> float:
    """Time of one forward."""
    is_cuda = inputs["x"].is_cuda
    clock = time.perf_counter if is_cuda else time.process_time
    if is_cuda:
        torch.cuda.synchronize()
    started = clock()
    answer: Tensor = block(**inputs) if plan is None else block(**inputs, subjects=plan)
    if is_cuda:
        torch.cuda.synchronize()
    seconds = clock() - started
    assert bool(torch.isfinite(answer[0, 0]).all())
    return seconds


@torch.no_grad()
def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One record per way."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    block, inputs = block_and_inputs(arguments, device)
    ways = plans(arguments.height * arguments.width, device)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(arguments.turns + 1):
        for name, plan in ways.items():
            seconds = seconds_of(block, inputs, plan)
            if turn:  # the first one warms up
                taken[name].append(seconds)
    return [
        {
            "way": name,
            "seconds": round(statistics.median(seconds), 5),
            "more": round(
                statistics.median(one / plain for one, plain in zip(seconds, taken["plain"], strict=True))
                - 1,
                4,
            ),
        }
        for name, seconds in taken.items()
    ]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the JSON goes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    records = measure(arguments)
    settings = {key: value for key, value in vars(arguments).items() if key != "out"}
    print(f"{settings}\n\n| way | seconds per block | more |\n| --- | --- | --- |")
    for record in records:
        print(f"| {record['way']} | {record['seconds']:.4f} | {record['more']:+.1%} |")
    if arguments.out:
        content = {
            "machine": machine.describe("cuda" if torch.cuda.is_available() else "cpu"),
            "settings": settings,
            "ways": records,
        }
        arguments.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
